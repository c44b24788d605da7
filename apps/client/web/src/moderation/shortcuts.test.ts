import { expect, test } from 'vitest'
import { moved, shortcutOf } from './shortcuts'

const press = { key: 'a', ctrlKey: false, metaKey: false, altKey: false, repeat: false, isComposing: false, defaultPrevented: false }

test.each([
  ['a', 'approve'],
  ['r', 'reject'],
  ['h', 'hold'],
  ['u', 'undo'],
  ['?', 'help'],
  ['j', 'next'],
  ['ArrowDown', 'next'],
  ['k', 'previous'],
  ['ArrowUp', 'previous'],
  ['x', undefined],
  ['A', undefined],
])('the key %s asks for %s', (key, shortcut) => {
  expect(shortcutOf({ ...press, key }, false)).toBe(shortcut)
})

test.each([{ ctrlKey: true }, { metaKey: true }, { altKey: true }, { repeat: true }, { isComposing: true }, { defaultPrevented: true }])('with %j it asks for nothing', (with_) => {
  expect(shortcutOf({ ...press, ...with_ }, false)).toBeUndefined()
})

test('while somebody types, no key asks for anything', () => {
  expect(shortcutOf(press, true)).toBeUndefined()
})

test('a key that is held down moves on', () => {
  expect(shortcutOf({ ...press, key: 'j', repeat: true }, false)).toBe('next')
})

test.each([
  [undefined, 1, 'a'],
  [undefined, -1, 'c'],
  ['a', 1, 'b'],
  ['b', -1, 'a'],
  ['c', 1, 'c'],
  ['a', -1, 'a'],
  ['gone', 1, 'a'],
] as const)('from %s by %i one comes to %s', (from, by, to) => {
  expect(moved(['a', 'b', 'c'], from, by)).toBe(to)
})

test('in an empty list there is nowhere to go', () => {
  expect(moved([], undefined, 1)).toBeUndefined()
})
