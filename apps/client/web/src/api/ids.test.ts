import { expect, test } from 'vitest'
import { madeAt } from './ids'

test('an id says when it was made', () => {
  expect(madeAt('017f22e2-79b0-7cc3-98c4-dc0c0c07398f')).toBe('2022-02-22T19:22:22.000Z') // the example of RFC 9562
  expect(madeAt('')).toBe('1970-01-01T00:00:00.000Z')
})
