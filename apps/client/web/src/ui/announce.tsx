import { useSyncExternalStore } from 'react'

let said = { text: '', times: 0 }
const listeners = new Set<() => void>()

/** Says something to those who hear the page. */
export function announce(text: string): void {
  said = { text, times: said.times + 1 }
  for (const listener of listeners) listener()
}

/** Where screen readers hear what is announced. */
export function Announcer() {
  const { text, times } = useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => said,
  )
  // The same text said again is a new element, or it would not be heard.
  return (
    <div className="unseen" role="log" aria-live="polite" aria-label="Announcements">
      <p key={times}>{text}</p>
    </div>
  )
}
