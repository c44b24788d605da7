import { useEffect, useState } from 'react'
import { useConnection } from '../live/useLive'
import styles from './ConnectionStatus.module.css'

/** How long the page says that the connection is back, in milliseconds. */
const saidFor = 4_000

/** Says whether changes come live: quietly while they do, clearly when they don't. */
export function ConnectionStatus() {
  const connection = useConnection()
  const [wasLost, setWasLost] = useState(false)
  if (connection === 'lost' && !wasLost) setWasLost(true)
  const isBack = connection === 'live' && wasLost
  useEffect(() => {
    if (!isBack) return
    const timer = setTimeout(() => setWasLost(false), saidFor)
    return () => clearTimeout(timer)
  }, [isBack])

  const state = isBack ? 'back' : connection
  const texts = {
    starting: '',
    live: 'Live',
    lost: 'Connection lost. Trying again…',
    back: 'Back again. Nothing was missed.',
  }
  return (
    <p role="status" data-testid="connection" className={styles.status} data-state={state}>
      {texts[state]}
    </p>
  )
}
