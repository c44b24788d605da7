import styles from './SignInTo.module.css'
import { SignIn } from './SignIn'
import { useMe } from './useMe'

/** Instead of a form: one line for those who may not use it. */
export function SignInTo({ command }: { command: 'post' | 'comment' }) {
  const { subject, signIn } = useMe()
  return (
    <p className={styles.line}>
      {subject !== undefined ? (
        `You don’t have the role to ${command}.`
      ) : signIn ? (
        <>
          <SignIn>{`Sign in to ${command}`}</SignIn>.
        </>
      ) : (
        `Guests may not ${command} here.`
      )}
    </p>
  )
}
