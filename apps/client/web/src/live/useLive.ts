import { createContext, use, useSyncExternalStore } from 'react'
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
