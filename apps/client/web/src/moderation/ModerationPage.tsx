import { useState } from 'react'
import { Link } from 'wouter'
import { may } from '../people/me'
import { SignIn } from '../people/SignIn'
import { useMe, useMeState } from '../people/useMe'
import { NothingHere } from '../ui/NothingHere'
import { Trouble } from '../ui/Trouble'
import { Waiting } from '../ui/Waiting'
import styles from './ModerationPage.module.css'
import { PeopleView } from './PeopleView'
import { PolicyView } from './PolicyView'
import { QueueView } from './QueueView'

const views = [
  { view: undefined, href: '/moderate', title: 'Queue', View: QueueView },
  { view: 'policy', href: '/moderate/policy', title: 'Policy', View: PolicyView },
  { view: 'people', href: '/moderate/people', title: 'People', View: PeopleView },
]

/** What moderators see and decide. Its addresses are not those of the API, which begin with /moderation. */
export function ModerationPage({ view }: { view: string | undefined }) {
  const me = useMe()
  const isModerator = may(me, 'moderate')
  const [wasModerator, setWasModerator] = useState(false)
  if (isModerator && !wasModerator) setWasModerator(true)
  const shown = views.find((one) => one.view === view)
  if (!shown) return <NothingHere />
  // When a session ends, what was being written stays.
  if (!isModerator && !(wasModerator && me.ended)) return <NotForYou />
  return (
    <>
      <title>{`${shown.title} · Moderation · Postbus`}</title>
      <h1>Moderation</h1>
      <nav aria-label="Moderation" className={styles.tabs}>
        {views.map(({ href, title }) => (
          <Link key={href} href={href} aria-current={title === shown.title ? 'page' : undefined}>
            {title}
          </Link>
        ))}
      </nav>
      <shown.View />
    </>
  )
}

/** Instead of the page, for everybody else. */
function NotForYou() {
  const me = useMe()
  const state = useMeState()
  if (state === 'asking') return <Waiting>Asking who you are…</Waiting>
  return (
    <>
      <title>Moderation · Postbus</title>
      <h1>Moderation</h1>
      {state === 'failing' ? (
        <Trouble onRetry={() => window.location.reload()}>It can’t be found out right now whether you are a moderator.</Trouble>
      ) : (
        <p className={styles.quiet}>
          This is for moderators. {me.subject === undefined ? me.signIn && <SignIn /> : 'You don’t have that role.'}
        </p>
      )}
    </>
  )
}
