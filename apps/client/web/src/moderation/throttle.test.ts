import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Throttle } from './throttle'

beforeEach(() => void vi.useFakeTimers({ now: 100_000 }))
afterEach(() => void vi.useRealTimers())

test('it runs soon, once for all that ask, and then not again for a while', () => {
  const throttle = new Throttle(300, 1_000)
  const run = vi.fn()
  throttle.ask(run)
  throttle.ask(run)
  vi.advanceTimersByTime(299)
  expect(run).toHaveBeenCalledTimes(0)
  vi.advanceTimersByTime(1)
  expect(run).toHaveBeenCalledTimes(1)
  throttle.ask(run)
  vi.advanceTimersByTime(999)
  expect(run).toHaveBeenCalledTimes(1)
  vi.advanceTimersByTime(1)
  expect(run).toHaveBeenCalledTimes(2)
  vi.advanceTimersByTime(10_000)
  expect(run).toHaveBeenCalledTimes(2)
})

test('what is stopped does not run', () => {
  const throttle = new Throttle(300, 1_000)
  const run = vi.fn()
  throttle.ask(run)
  throttle.stop()
  vi.advanceTimersByTime(10_000)
  expect(run).not.toHaveBeenCalled()
  throttle.ask(run)
  vi.advanceTimersByTime(300)
  expect(run).toHaveBeenCalledTimes(1)
})
