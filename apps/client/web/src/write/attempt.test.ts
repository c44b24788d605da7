import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Problem } from '../api/problem'
import { aged, attemptFor, isAttempt, isRepeat, mayHaveHappened } from './attempt'

const hour = 3_600_000

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

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

test('for 23 hours after the first try the same text is a repeat, however often it was tried', () => {
  const first = attemptFor('{}', undefined)
  for (const wait of [12 * hour, 11 * hour - 1]) {
    vi.advanceTimersByTime(wait)
    expect(isRepeat('{}', aged(first))).toBe(true)
    expect(attemptFor('{}', first)).toBe(first)
  }
})

test('after that it is stale, which comes before a new key', () => {
  const first = attemptFor('{}', undefined)
  vi.advanceTimersByTime(23 * hour)
  // Of a page that was left open: it has offered a safe repeat.
  expect(isRepeat('{}', first)).toBe(true)
  const stale = attemptFor('{}', first)
  expect(stale).toEqual({ ...first, stale: true })
  expect(isRepeat('{}', stale)).toBe(false)
  // Of a page that is loaded again.
  expect(aged(first)).toEqual(stale)
  const next = attemptFor('{}', stale)
  expect(next).toEqual({ body: '{}', key: next.key, since: Date.now() })
  expect(next.key).not.toBe(first.key)
})

test('another text is not held up by a stale one', () => {
  const first = attemptFor('{"title":"A"}', undefined)
  vi.advanceTimersByTime(48 * hour)
  expect(attemptFor('{"title":"B"}', first).stale).toBeUndefined()
})

test('what the browser keeps is an attempt, and what has no time is none', () => {
  const { since, ...timeless } = attemptFor('{}', undefined)
  expect(isAttempt(JSON.parse(JSON.stringify({ ...timeless, since })))).toBe(true)
  for (const other of [timeless, { ...timeless, since: '1' }, null, 'a', []]) expect(isAttempt(other)).toBe(false)
})

test.each([
  ['no answer', 0, false, true],
  ['a service that is down', 503, false, true],
  ['bad text', 400, false, false],
  ['bad text, after a try without an answer', 400, true, false],
  ['an ended session', 401, false, false],
  ['an ended session, after a try without an answer', 401, true, true],
  ['a missing role, after a try without an answer', 403, true, false],
])('after %s a request may have happened, or not', (_, status, wasUnanswered, may) => {
  expect(mayHaveHappened(new Problem(status, ''), wasUnanswered)).toBe(may)
})
