import { useQuery } from '@tanstack/react-query'
import { useEffect, useEffectEvent, useState } from 'react'
import { feedPath, readFeed } from '../api/pages'
import { keys } from '../live/keys'
import { useChanges, useConnection, useLive } from '../live/useLive'
import { Throttle } from './throttle'

/** The least time between two wake-ups, and the delay of the first: moderation may read the log a moment after query. In milliseconds. */
const spacing = { least: 1_000, soon: 300 }

/** Calls back when comments may have changed, at most once a second, as long as the component is mounted. */
export function useWakeUp(wakeUp: () => void): void {
  const live = useLive()
  const connection = useConnection()
  const [throttle] = useState(() => new Throttle(spacing.soon, spacing.least))
  // The live stream begins at the position of an answer of query. Perhaps no page has asked for one.
  useQuery({
    queryKey: keys.beginning,
    queryFn: async ({ signal }) => {
      const page = await readFeed(`${feedPath}&limit=1`, live.position, signal)
      live.begin(page)
      return page.sequence
    },
    enabled: live.position === undefined,
  })
  const wake = useEffectEvent(wakeUp)
  useEffect(() => {
    // What changed before the stream was there, the queue may have missed.
    if (connection === 'live') throttle.ask(() => wake())
  }, [connection, throttle])
  useEffect(() => () => throttle.stop(), [throttle])
  useChanges((change) => {
    if (change.type !== 'PostCreated') throttle.ask(wakeUp)
  })
}
