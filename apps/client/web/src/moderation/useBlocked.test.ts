import { expect, test } from 'vitest'
import { withBlocking } from './useBlocked'

const blocking = (subject: string, blocked = true) => ({ subject, blocked, decidedBy: 'mo', decidedAt: '2026-11-24T09:00:00Z' })

test('who is blocked is first in the list, and once', () => {
  expect(withBlocking([blocking('a'), blocking('b')], blocking('b')).map(({ subject }) => subject)).toEqual(['b', 'a'])
})

test('who is not blocked any more is not in the list', () => {
  expect(withBlocking([blocking('a'), blocking('b')], blocking('a', false))).toEqual([blocking('b')])
})
