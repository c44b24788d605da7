import { expect, it } from 'vitest'
import { count } from './count'

it.each([
  [0, '0 comments'],
  [1, '1 comment'],
  [2, '2 comments'],
  [2_000, '2,000 comments'],
])('counts %i', (n, said) => {
  expect(count(n, 'comment')).toBe(said)
})
