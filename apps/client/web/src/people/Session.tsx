import { Button } from '@base-ui/react/button'
import { useMutation } from '@tanstack/react-query'
import { Link } from 'wouter'
import { request } from '../api/http'
import type { Problem } from '../api/problem'
import { Trouble } from '../ui/Trouble'
import { may } from './me'
import styles from './Session.module.css'
import { SignIn } from './SignIn'
import { useMe } from './useMe'

/** In the header: who is signed in, and the way in and out. */
export function Session() {
  const me = useMe()
  const leaving = useMutation<string, Problem>({
    mutationFn: async () => (await request<{ next: string }>('/auth/sign-out', { method: 'POST' })).value.next,
    onSuccess: (next) => window.location.assign(next),
  })
  return (
    <div className={styles.session}>
      {may(me, 'moderate') && <Link href="/moderate">Moderation</Link>}
      {me.subject !== undefined ? (
        <>
          <bdi className={styles.name}>{me.name ?? 'Signed in'}</bdi>
          <Button className={styles.out} onClick={() => leaving.mutate()} disabled={leaving.isPending} focusableWhenDisabled>
            Sign out
          </Button>
        </>
      ) : (
        me.signIn && <SignIn />
      )}
      {leaving.error && (
        <div className={styles.trouble}>
          <Trouble>You are still signed in. {leaving.error.detail}</Trouble>
        </div>
      )}
    </div>
  )
}
