import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { isString, isStrings, isTexts, keep, recall } from './storage'

let items: Map<string, string>

beforeEach(() => {
  items = new Map()
  const storage = {
    getItem: (name: string) => items.get(name) ?? null,
    setItem: (name: string, value: string) => void items.set(name, value),
    removeItem: (name: string) => void items.delete(name),
  }
  vi.stubGlobal('window', { localStorage: storage, sessionStorage: storage })
})
afterEach(() => vi.unstubAllGlobals())

test('what is kept is recalled, until it is forgotten', () => {
  keep('localStorage', 'theme', 'dark')
  expect(items.get('postbus:theme')).toBe('"dark"')
  expect(recall('localStorage', 'theme', isString)).toBe('dark')
  keep('localStorage', 'theme', undefined)
  expect(recall('localStorage', 'theme', isString)).toBeUndefined()
  expect(items.size).toBe(0)
})

test.each(['{', '7', 'null', '["dark"]'])('what is of another form, as %s, is nothing', (kept) => {
  items.set('postbus:theme', kept)
  expect(recall('localStorage', 'theme', isString)).toBeUndefined()
})

test('a browser that keeps nothing is no error', () => {
  const refuse = () => {
    throw new DOMException('denied', 'SecurityError')
  }
  vi.stubGlobal('window', {
    get localStorage() {
      return refuse()
    },
    sessionStorage: { getItem: refuse, setItem: refuse, removeItem: refuse },
  })
  for (const storage of ['localStorage', 'sessionStorage'] as const) {
    expect(() => keep(storage, 'a', 'b')).not.toThrow()
    expect(() => keep(storage, 'a', undefined)).not.toThrow()
    expect(recall(storage, 'a', isString)).toBeUndefined()
  }
})

describe('forms', () => {
  test('isTexts', () => {
    expect(isTexts({ title: 'a', body: '' })).toBe(true)
    expect(isTexts({})).toBe(true)
    for (const other of [null, 'a', ['a'], { title: 1 }]) expect(isTexts(other)).toBe(false)
  })

  test('isStrings', () => {
    expect(isStrings([])).toBe(true)
    expect(isStrings(['a'])).toBe(true)
    for (const other of [null, 'a', { 0: 'a' }, [1]]) expect(isStrings(other)).toBe(false)
  })
})
