import { describe, expect, test } from 'vitest'
import { characters, charactersLeft, limits, mistakeIn, type FieldName } from './limits'

test.each([
  ['', 0],
  ['abc', 3],
  ['é', 1],
  ['e\u0301', 2],
  ['🎈', 1],
  ['👩‍🚀', 3],
  ['\ud83c', 1],
])('%j has %d characters', (text, count) => {
  expect(characters(text)).toBe(count)
})

describe('mistakeIn', () => {
  test.each(Object.entries(limits) as [FieldName, number][])('%s has at most %d characters, whatever they are', (field, most) => {
    for (const one of ['x', '🎈']) {
      expect(mistakeIn(field, one.repeat(most))).toBeUndefined()
      expect(mistakeIn(field, one.repeat(most + 1))).toContain(`has ${(most + 1).toLocaleString('en')} characters; at most ${most.toLocaleString('en')} are allowed.`)
    }
  })

  test('names the field', () => {
    expect(mistakeIn('title', 'x'.repeat(201))).toBe('The title has 201 characters; at most 200 are allowed.')
    expect(mistakeIn('content', 'x'.repeat(10_001))).toBe('The comment has 10,001 characters; at most 10,000 are allowed.')
  })

  const blank = [
    ...['', ' ', '\n\t ', '\u00a0', '\u0085', '\u3000', '\ufeff', '\u200b', '\u00ad', '\u2800', '\u3164', '\uffa0', '\u180e', '\u2065'],
    ...['\0\x07\x1b', '\u200d\u202e\u2066', '\ufe0f', '\u{e0067}\u{e007f}', '\ufff9\ufffc', '\u{1d159}', '\u{13430}\u{13441}', ' \u200b\u2800 '],
  ]
  test.each(blank)('a title and a comment of %j are empty', (text) => {
    expect(mistakeIn('title', text)).toBe('The title must not be empty.')
    expect(mistakeIn('content', text)).toBe('The comment must not be empty.')
    expect(mistakeIn('body', text)).toBeUndefined()
    expect(mistakeIn('author', text)).toBeUndefined()
  })

  test.each(['.', '\u200bx', '👨‍👩‍👧‍👦', '🇳🇱', '🏴\u{e0067}\u{e0062}\u{e007f}', '❤️', 'שלום', 'می‌خواهم', '\u0600', '\u0301', '\ufffd', '\ue000', '\u2801'])('%j is seen', (text) => {
    expect(mistakeIn('title', text)).toBeUndefined()
    expect(mistakeIn('content', text)).toBeUndefined()
  })

  test('half of a character is none', () => {
    expect(mistakeIn('body', 'x\ud83c')).toBe('The text has half of a character in it. Type it again.')
    expect(mistakeIn('body', 'x🎈')).toBeUndefined()
  })
})

test.each([
  [179, undefined],
  [180, 20],
  [188, 12],
  [200, 0],
  [201, -1],
])('of a title with %d characters, %s are left', (count, left) => {
  expect(charactersLeft('title', 'x'.repeat(count))).toBe(left)
  expect(charactersLeft('title', '🎈'.repeat(count))).toBe(left)
})
