import type { ReactNode } from 'react'
import styles from './Waiting.module.css'

/** Shows that something is loading, unless it arrives at once. */
export function Waiting({ children }: { children: ReactNode }) {
  return <p className={styles.waiting}>{children}</p>
}
