import { expect, test } from 'vitest'
import { failureIn } from './failure'

test.each([
  ['', undefined, ''],
  ['?status=held', undefined, '?status=held'],
  ['?sign-in=denied', 'denied', ''],
  ['?sign-in=late&status=held', 'late', '?status=held'],
  ['?status=held&sign-in=unavailable', 'unavailable', '?status=held'],
  ['?sign-in=toString', 'failed', ''],
  ['?sign-in=else', 'failed', ''],
])('failureIn %j', (search, failure, rest) => {
  expect(failureIn(search)).toEqual({ failure, rest })
})
