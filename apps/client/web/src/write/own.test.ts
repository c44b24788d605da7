import { afterEach, beforeEach, expect, test, vi } from 'vitest'

let kept: string | null

beforeEach(() => {
  kept = null
  vi.resetModules()
  vi.stubGlobal('window', { sessionStorage: { getItem: () => kept, setItem: (_: string, value: string) => void (kept = value) } })
})
afterEach(() => vi.unstubAllGlobals())

test('one’s own are remembered, also after a reload', async () => {
  const before = await import('./own')
  expect(before.isOwn('a')).toBe(false)
  before.rememberOwn('a')
  expect(before.isOwn('a')).toBe(true)
  vi.resetModules()
  const after = await import('./own')
  expect(after.isOwn('a')).toBe(true)
  expect(after.isOwn('b')).toBe(false)
})

test('the receipt of a comment is remembered, also after a reload', async () => {
  const before = await import('./own')
  before.rememberOwn('a')
  before.rememberOwn('b', 'receipt')
  vi.resetModules()
  const { receiptOf } = await import('./own')
  expect(['a', 'b', 'c'].map(receiptOf)).toEqual(['', 'receipt', ''])
})

test('what an earlier version has kept is known', async () => {
  kept = '["a"]'
  const { isOwn, receiptOf } = await import('./own')
  expect([isOwn('a'), receiptOf('a'), isOwn('b')]).toEqual([true, '', false])
})

test('the last 500 are remembered', async () => {
  const { isOwn, rememberOwn } = await import('./own')
  for (let n = 0; n <= 500; n++) rememberOwn(`id${n}`)
  expect(isOwn('id0')).toBe(false)
  expect(isOwn('id1')).toBe(true)
  expect(isOwn('id500')).toBe(true)
})

test('what a browser refuses to keep is remembered until the reload', async () => {
  vi.stubGlobal('window', {})
  const { isOwn, rememberOwn } = await import('./own')
  rememberOwn('a')
  expect(isOwn('a')).toBe(true)
})
