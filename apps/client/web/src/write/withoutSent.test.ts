import { expect, test } from 'vitest'
import { withoutSent } from './withoutSent'

test('what was sent is gone', () => {
  expect(withoutSent({ title: 'One', body: 'Two' }, { title: 'One', body: 'Two' })).toEqual({})
})

test('what was typed since stays', () => {
  expect(withoutSent({ content: 'The next one', author: 'Ann' }, { content: 'The first', author: 'Ann' })).toEqual({ content: 'The next one' })
})

test('a field that was not sent stays', () => {
  expect(withoutSent({ content: 'One', author: 'Ann' }, { content: 'One' })).toEqual({ author: 'Ann' })
})
