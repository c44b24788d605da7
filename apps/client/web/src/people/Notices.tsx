import { Button } from '@base-ui/react/button'
import { useState } from 'react'
import { Trouble } from '../ui/Trouble'
import { failureTexts, type Failure } from './failure'
import styles from './Notices.module.css'
import { SignIn } from './SignIn'
import { useMe } from './useMe'

/** Above the page: that signing in did not work, or that the session has ended. */
export function Notices({ failure }: { failure: Failure | undefined }) {
  const me = useMe()
  const [isDismissed, setDismissed] = useState(false)
  if (failure !== undefined && !isDismissed && me.subject === undefined) {
    return (
      <div className={styles.notice}>
        <Trouble>{failureTexts[failure]}</Trouble>
        <Button className="button" onClick={() => setDismissed(true)}>
          Dismiss
        </Button>
      </div>
    )
  }
  return (
    <p role="status" className={styles.ended}>
      {me.ended && (
        <>
          Your session has ended. {me.signIn && <SignIn>Sign in again</SignIn>}
        </>
      )}
    </p>
  )
}
