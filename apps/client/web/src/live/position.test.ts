import { expect, test } from 'vitest'
import { logIn, numberIn } from './position'

test.each([
  ['7', 7, undefined],
  ['0', 0, undefined],
  ['7/log/event', 7, 'log'],
  ['0/log/', 0, 'log'],
  ['7//event', 7, undefined],
  ['9007199254740993', undefined, undefined],
  ['four', undefined, undefined],
  ['4four', undefined, undefined],
  ['-1', undefined, undefined],
  ['', undefined, undefined],
  [undefined, undefined, undefined],
])('%j is event %j of log %j', (text, number, log) => {
  expect(numberIn(text)).toBe(number)
  expect(logIn(text)).toBe(log)
})
