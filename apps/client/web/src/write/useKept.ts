import { useCallback, useSyncExternalStore } from 'react'
import { keep, recall } from './storage'

/** What this page has read or written. It stands, also where the browser keeps nothing. */
const values = new Map<string, unknown>()
const listeners = new Set<() => void>()

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/**
 * A value that outlives a reload of the page, and the form that shows it: who comes back to a form while its
 * request is under way sees what becomes of it. The name distinguishes values.
 */
export function useKept<T>(name: string, isExpected: (value: unknown) => value is T) {
  const read = (): T | undefined => {
    if (!values.has(name)) values.set(name, recall('sessionStorage', name, isExpected))
    return values.get(name) as T | undefined
  }
  const value = useSyncExternalStore(subscribe, read, read)
  const change = useCallback(
    (next: (old: T | undefined) => T | undefined) => {
      const changed = next(values.get(name) as T | undefined)
      values.set(name, changed)
      keep('sessionStorage', name, changed)
      for (const listener of listeners) listener()
    },
    [name],
  )
  return [value, change] as const
}
