import type { ReactNode } from 'react'
import styles from './Waiting.module.css'

/** Says that something is on its way, unless it comes at once. */
export function Waiting({ children }: { children: ReactNode }) {
  return <p className={styles.waiting}>{children}</p>
}
