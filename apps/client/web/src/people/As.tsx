import styles from './As.module.css'
import { SignIn } from './SignIn'
import { useMe } from './useMe'

/** In a form: under which name a person writes, or that somebody whose session has ended writes as a guest. */
export function As() {
  const { subject, name, ended, signIn } = useMe()
  if (subject === undefined && !ended) return null
  return (
    <p className={styles.as}>
      {subject === undefined ? <>As a guest. {signIn && <SignIn>Sign in again</SignIn>}</> : name === undefined ? 'Signed in, without a name' : <>As <bdi>{name}</bdi></>}
    </p>
  )
}
