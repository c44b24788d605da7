import { useSyncExternalStore } from 'react'

let said = { text: '', times: 0 }
const listeners = new Set<() => void>()

/** Announces a text to screen readers. */
export function announce(text: string): void {
  said = { text, times: said.times + 1 }
  for (const listener of listeners) listener()
}

/** The live region that screen readers announce. */
export function Announcer() {
  const { text, times } = useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => said,
  )
  // A repeated text needs a new element: screen readers announce only changes.
  return (
    <div className="unseen" role="log" aria-live="polite" aria-label="Announcements">
      <p key={times}>{text}</p>
    </div>
  )
}
