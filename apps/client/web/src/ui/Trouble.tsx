import { Button } from '@base-ui/react/button'
import type { ReactNode } from 'react'
import styles from './Trouble.module.css'

interface Props {
  children: ReactNode
  /** Retries, if the visitor can ask for that here. */
  onRetry?: () => void
}

/** Shows an error. */
export function Trouble({ children, onRetry }: Props) {
  return (
    <div role="alert" className={styles.trouble}>
      <p>{children}</p>
      {onRetry && (
        <Button className="button" onClick={onRetry}>
          Try again
        </Button>
      )}
    </div>
  )
}
