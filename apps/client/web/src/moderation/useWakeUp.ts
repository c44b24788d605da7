import { useQuery } from '@tanstack/react-query'
import { useEffect, useEffectEvent, useRef } from 'react'
import { feedPath, readFeed } from '../api/pages'
import { useChanges, useConnection, useLive } from '../live/useLive'

/** The least time between two wake-ups, and the delay of the first: moderation may read the log a moment later. In milliseconds. */
const spacing = { least: 1_000, first: 300 }

/** Calls back when comments may have changed, at most once a second, as long as the component is mounted. */
export function useWakeUp(wakeUp: () => void): void {
  const live = useLive()
  const connection = useConnection()
  // The live stream begins at the position of an answer of query. No page has asked for one here, perhaps.
  useQuery({
    queryKey: ['beginning'],
    queryFn: async ({ signal }) => {
      const page = await readFeed(`${feedPath}?limit=1`, live.position, signal)
      live.begin(page)
      return page.sequence
    },
    enabled: live.position === undefined,
  })
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  const last = useRef(0)
  const wake = useEffectEvent(() => {
    last.current = Date.now()
    timer.current = undefined
    wakeUp()
  })
  const schedule = useEffectEvent(() => {
    timer.current ??= setTimeout(() => wake(), Math.max(spacing.first, last.current + spacing.least - Date.now()))
  })
  useEffect(() => () => clearTimeout(timer.current), [])
  useEffect(() => {
    if (connection === 'live') schedule()
  }, [connection])
  useChanges((change) => {
    if (change.type !== 'PostCreated') schedule()
  })
}
