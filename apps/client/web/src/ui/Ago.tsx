import { useSyncExternalStore } from 'react'
import { ago } from './ago'

/** How often the times on the page are looked at, in milliseconds. */
const every = 10_000

let now = new Date()
let timer: ReturnType<typeof setInterval> | undefined
const listeners = new Set<() => void>()

/** One clock for all times on the page. */
function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  timer ??= setInterval(() => {
    now = new Date()
    for (const tell of listeners) tell()
  }, every)
  return () => {
    listeners.delete(listener)
    if (listeners.size > 0) return
    clearInterval(timer)
    timer = undefined
  }
}

/** How long ago a time is; it updates. */
export function Ago({ time }: { time: string }) {
  const then = new Date(time)
  // The text alone is what changes, so only those whose text changes render anew.
  const text = useSyncExternalStore(subscribe, () => ago(then, now))
  return (
    <time dateTime={time} title={then.toLocaleString('en', { dateStyle: 'full', timeStyle: 'short' })}>
      {text}
    </time>
  )
}
