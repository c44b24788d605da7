import { Button } from '@base-ui/react/button'
import { useEffect, useEffectEvent, useRef } from 'react'
import styles from './More.module.css'
import { Trouble } from './Trouble'

interface Props {
  /** What the button says. */
  label: string
  /** The message when the next page cannot be read. */
  trouble: string
  loading: boolean
  failing: boolean
  load: () => void
}

/** How far below the window the end of the list may be before the next page is loaded. */
const ahead = '1200px'

/** The end of a list with more pages. It loads the next page when it comes near the window, or by its button. */
export function More({ label, trouble, loading, failing, load }: Props) {
  const end = useRef<HTMLDivElement>(null)
  const near = useEffectEvent(load)
  useEffect(() => {
    if (loading || failing || !end.current) return
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && near(), { rootMargin: ahead })
    observer.observe(end.current)
    return () => observer.disconnect()
  }, [loading, failing])
  return (
    <div ref={end} className={styles.more}>
      {failing ? (
        <Trouble onRetry={load}>{trouble}</Trouble>
      ) : (
        <Button className="button" onClick={load} disabled={loading} focusableWhenDisabled>
          {loading ? 'Loading…' : label}
        </Button>
      )}
    </div>
  )
}
