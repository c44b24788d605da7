import { Button } from '@base-ui/react/button'
import type { ReactNode } from 'react'
import styles from './Trouble.module.css'

interface Props {
  children: ReactNode
  /** What tries again, if the visitor can ask for it here. */
  onRetry?: () => void
}

/** Says what doesn't work. */
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
