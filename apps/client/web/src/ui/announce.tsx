import { useSyncExternalStore } from 'react'

let said = ''
const listeners = new Set<() => void>()

/** Says something to those who hear the page. */
export function announce(text: string): void {
  said = text
  for (const listener of listeners) listener()
}

/** Where screen readers hear what is announced. */
export function Announcer() {
  const text = useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => said,
  )
  return (
    <p className="unseen" role="log" aria-live="polite" aria-label="Announcements">
      {text}
    </p>
  )
}
