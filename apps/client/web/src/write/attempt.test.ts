import { expect, test } from 'vitest'
import { attemptFor } from './attempt'

test('the same text goes with the same key, another with another', () => {
  const first = attemptFor('{"title":"A"}', undefined)
  expect(first.key).toMatch(/^[0-9a-f]{32}$/)
  expect(attemptFor('{"title":"A"}', first)).toBe(first)
  const second = attemptFor('{"title":"B"}', first)
  expect(second.body).toBe('{"title":"B"}')
  expect(second.key).not.toBe(first.key)
})

test('the same text, once it was sent, is new', () => {
  const keys = new Set(Array.from({ length: 100 }, () => attemptFor('{}', undefined).key))
  expect(keys.size).toBe(100)
})
