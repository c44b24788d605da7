import { expect, test } from 'vitest'
import { squeezed } from './squeezed'

test.each([
  ['', ''],
  ['a\nb\n\nc\n\n\nd', 'a\nb\n\nc\n\n\nd'],
  ['a\n\n\n\nb', 'a\n\n\nb'],
  [`a${'\n'.repeat(9_000)}b${'\n'.repeat(9_000)}`, 'a\n\n\nb\n\n\n'],
  [`a${'\n \t'.repeat(9_000)}b`, 'a\n\n\n \tb'],
  ['a\r\n\r\n\r\n\r\nb', 'a\r\n\n\nb'],
  ['  indented\n  code', '  indented\n  code'],
])('%j becomes %j', (text, shown) => {
  expect(squeezed(text)).toBe(shown)
})
