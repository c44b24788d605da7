import { describe, expect, it } from 'vitest'
import { ago } from './ago'

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

describe('ago', () => {
  const now = new Date(2026, 10, 24, 12)
  it.each([
    [-5 * minute, 'just now'], // the service's clock is ahead
    [0, 'just now'],
    [minute - 1, 'just now'],
    [minute, '1 minute ago'],
    [2 * minute - 1, '1 minute ago'],
    [hour - 1, '59 minutes ago'],
    [hour, '1 hour ago'],
    [day - 1, '23 hours ago'],
    [day, 'yesterday'],
    [7 * day - 1, '6 days ago'],
    [7 * day, 'November 17'],
    [400 * day, 'October 20, 2025'],
  ])('%i ms is %s', (age, said) => {
    expect(ago(new Date(now.getTime() - age), now)).toBe(said)
  })
})
