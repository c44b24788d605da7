import { Button } from '@base-ui/react/button'
import { useState } from 'react'
import { Refusal } from '../people/Refusal'
import { useMe } from '../people/useMe'
import { Ago } from '../ui/Ago'
import { Reading } from '../ui/Reading'
import { Trouble } from '../ui/Trouble'
import type { Blocking } from './api'
import styles from './PeopleView.module.css'
import { markOf, moderatorOf } from './queue'
import { useBlocked } from './useBlocked'

/** The people who are blocked. Those who are unblocked here stay in the list, so that it can be undone. */
export function PeopleView() {
  const { query, change, isBlocked } = useBlocked()
  const [freed, setFreed] = useState<Blocking[]>([])
  const { subject } = useMe()
  const blocked = query.data ?? []
  const shown = [...blocked, ...freed.filter((one) => !isBlocked(one.subject))].toSorted((a, b) => Date.parse(b.decidedAt) - Date.parse(a.decidedAt))
  const toggle = (one: Blocking) => {
    const to = !isBlocked(one.subject)
    setFreed((before) => [...before.filter((other) => other.subject !== one.subject), one])
    change.mutate({ subject: one.subject, to })
  }
  return (
    <section aria-labelledby="people-heading">
      <h2 id="people-heading">Blocked people</h2>
      <p className={styles.quiet}>They may read, and not write. You block somebody at a comment of theirs, in the queue.</p>
      <Reading query={query} what="the list" />
      {change.error && (
        <Trouble>
          <Refusal problem={change.error} command="moderate" isWriting={false} />
        </Trouble>
      )}
      {shown.length > 0 && (
        <ol className={styles.list} aria-label="Blocked people">
          {shown.map((one) => {
            const isOn = isBlocked(one.subject)
            return (
              <li key={one.subject} className={styles.person}>
                <code className={styles.mark}>{one.subject}</code>
                <p className={styles.quiet}>
                  {isOn ? 'Blocked' : 'Unblocked. Was blocked'} by {moderatorOf(one.decidedBy, subject)}, <Ago time={one.decidedAt} />
                </p>
                <Button
                  className="button"
                  onClick={() => toggle(one)}
                  disabled={change.isPending}
                  focusableWhenDisabled
                  aria-label={`${isOn ? 'Unblock' : 'Undo: block'} ${markOf(one.subject)}`}
                >
                  {isOn ? 'Unblock' : 'Undo'}
                </Button>
              </li>
            )
          })}
        </ol>
      )}
      {query.data !== undefined && shown.length === 0 && <p className={styles.quiet}>Nobody is blocked.</p>}
    </section>
  )
}
