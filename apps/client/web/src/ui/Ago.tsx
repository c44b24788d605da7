import { useSyncExternalStore } from 'react'
import { ago } from './ago'

/** How often the times on the page are updated, in milliseconds. */
const every = 10_000

let now = new Date()
let timer: ReturnType<typeof setInterval> | undefined
const listeners = new Set<() => void>()

/** One clock for all times on the page. */
function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  timer ??= setInterval(() => {
    now = new Date()
    for (const update of listeners) update()
  }, every)
  return () => {
    listeners.delete(listener)
    if (listeners.size > 0) return
    clearInterval(timer)
    timer = undefined
  }
}

/** How long ago a time is. The text updates by itself. */
export function Ago({ time }: { time: string }) {
  const then = new Date(time)
  // The snapshot is the text, so only the components whose text changes render again.
  const text = useSyncExternalStore(subscribe, () => ago(then, now))
  return (
    <time dateTime={time} title={then.toLocaleString('en', { dateStyle: 'full', timeStyle: 'short' })}>
      {text}
    </time>
  )
}
