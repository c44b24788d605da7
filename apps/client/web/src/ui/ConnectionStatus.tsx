import { useEffect, useState } from 'react'
import { useBeginnings, useConnection } from '../live/useLive'
import styles from './ConnectionStatus.module.css'

/** How long the messages "connected again" and "everything read again" stay, in milliseconds. */
const saidFor = { back: 4_000, anew: 12_000 }

/** Shows whether changes arrive live: quietly while they do, clearly when they do not. */
export function ConnectionStatus() {
  const connection = useConnection()
  const beginnings = useBeginnings()
  const [wasLost, setWasLost] = useState(false)
  /** The number of the beginning that was shown last. */
  const [said, setSaid] = useState(beginnings)
  if (connection === 'lost' && !wasLost) setWasLost(true)
  const news = connection !== 'live' ? undefined : beginnings > said ? 'anew' : wasLost ? 'back' : undefined
  useEffect(() => {
    if (news === undefined) return
    const timer = setTimeout(() => {
      setWasLost(false)
      setSaid(beginnings)
    }, saidFor[news])
    return () => clearTimeout(timer)
  }, [news, beginnings])

  const state = news ?? connection
  const texts = {
    starting: '',
    live: 'Live',
    lost: 'Connection lost. Trying again…',
    back: 'Back again. Nothing was missed.',
    anew: 'The data on the server began anew. This page was read again.',
  }
  return (
    <p role="status" data-testid="connection" className={styles.status} data-state={state}>
      {texts[state]}
    </p>
  )
}
