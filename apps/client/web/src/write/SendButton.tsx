import { Button } from '@base-ui/react/button'
import type { Problem } from '../api/problem'
import { Refusal } from '../people/Refusal'
import { Trouble } from '../ui/Trouble'
import styles from './SendButton.module.css'

interface Props {
  label: string
  /** What the button is for, as in "sign in to comment". */
  command: 'post' | 'comment'
  isSending: boolean
  isRetrying: boolean
  /** The same text was sent before, and sending it again is safe. */
  isRepeat: boolean
  /** Another text was sent before, or the same one too long ago. */
  isBeside: boolean
  trouble: Problem | undefined
  children?: React.ReactNode
}

/** The end of a form: the error, and the button that sends. */
export function SendButton({ label, command, isSending, isRetrying, isRepeat, isBeside, trouble, children }: Props) {
  return (
    <>
      {isRetrying && (
        <p role="status" className={styles.retrying}>
          No answer yet. Trying again…
        </p>
      )}
      {trouble ? (
        <Trouble>
          <Refusal problem={trouble} command={command} />
        </Trouble>
      ) : (
        isRepeat && <p className={styles.retrying}>It is not known whether this was sent. To try again is safe: it happens once.</p>
      )}
      {isBeside && (
        <p role="status" className={styles.retrying}>
          What you sent before may have arrived. This is sent as another one beside it.
        </p>
      )}
      <div className={styles.actions}>
        <Button type="submit" className="button primary" disabled={isSending} focusableWhenDisabled>
          {isSending ? 'Sending…' : isRepeat ? 'Try again' : label}
        </Button>
        {children}
      </div>
    </>
  )
}
