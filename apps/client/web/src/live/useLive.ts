import { createContext, use, useEffect, useEffectEvent, useSyncExternalStore } from 'react'
import type { Change } from '../api/types'
import type { Connection, Live } from './live'

export const LiveContext = createContext<Live | undefined>(undefined)

/** The live stream of this page. */
export function useLive(): Live {
  const live = use(LiveContext)
  if (!live) throw new Error('there is no LiveContext around this')
  return live
}

/** The state of the live stream's connection. */
export function useConnection(): Connection {
  const live = useLive()
  return useSyncExternalStore(live.subscribe, () => live.connection)
}

/** How often all pages were dropped and read again, because the server had another log. */
export function useBeginnings(): number {
  const live = useLive()
  return useSyncExternalStore(live.subscribe, () => live.beginnings)
}

/** Calls the listener with each change after it is folded in, while the component is mounted. */
export function useChanges(listener: (change: Change) => void): void {
  const live = useLive()
  const changed = useEffectEvent(listener)
  useEffect(() => live.onChange((change) => changed(change)), [live])
}
