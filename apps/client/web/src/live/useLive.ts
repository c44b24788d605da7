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

/** How the connection of the live stream is. */
export function useConnection(): Connection {
  const live = useLive()
  return useSyncExternalStore(live.subscribe, () => live.connection)
}

/** How often all was dropped and read anew, because the log was not the same any more. */
export function useBeginnings(): number {
  const live = useLive()
  return useSyncExternalStore(live.subscribe, () => live.beginnings)
}

/** Hears each change after it is folded in, while the component is on the page. */
export function useChanges(listener: (change: Change) => void): void {
  const live = useLive()
  const heard = useEffectEvent(listener)
  useEffect(() => live.onChange((change) => heard(change)), [live])
}
