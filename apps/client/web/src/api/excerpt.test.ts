import { expect, test } from 'vitest'
import { excerptOf } from './excerpt'

const family = '👨‍👩‍👧‍👦' // seven code points, one character

test.each([
  ['nothing', '', ''],
  ['a short text', 'a  b\r\n\tc ', 'a b c'],
  ['one that just fits', 'é'.repeat(600), 'é'.repeat(600)],
  ['one that is a character too long', 'é'.repeat(601), `${'é'.repeat(600)}…`],
  ['families', family.repeat(100), `${family.repeat(85)}…`],
  ['a family at the end', 'x'.repeat(599) + family, `${'x'.repeat(599)}…`],
  ['a letter with accents at the end', `${'x'.repeat(599)}e\u0301\u0302`, `${'x'.repeat(599)}…`],
  ['a space at the end', `${'x'.repeat(599)} y`, `${'x'.repeat(599)}…`],
  ['one endless character', `e${'\u0301'.repeat(5_000)}`, `e${'\u0301'.repeat(599)}…`],
])('the excerpt of %s', (_, text, excerpt) => {
  expect(excerptOf(text)).toBe(excerpt) // as query's, in apps/query/model/summary_test.go
})
