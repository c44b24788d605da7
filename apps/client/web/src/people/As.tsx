import styles from './As.module.css'
import { useMe } from './useMe'

/** In a form: under which name a person writes who is signed in. */
export function As() {
  const { subject, name } = useMe()
  if (subject === undefined) return null
  return <p className={styles.as}>{name === undefined ? 'Signed in, without a name' : `As ${name}`}</p>
}
