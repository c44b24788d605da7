import { useRef, useState } from 'react'
import { Link, useSearch } from 'wouter'
import { capital } from '../ui/capital'
import { More } from '../ui/More'
import { Reading } from '../ui/Reading'
import { Keys } from './Keys'
import { statuses, statusIn, type QueueStatus } from './queue'
import { QueueRow } from './QueueRow'
import styles from './QueueView.module.css'
import { useActing } from './useActing'
import { useQueue } from './useQueue'
import { useKeysSwitch } from './useShortcuts'

/** What an empty list says. */
const nothing: Record<QueueStatus, string> = {
  held: 'Nothing is held. All is decided.',
  pending: 'No comment waits for the policy.',
  rejected: 'No comment is rejected.',
  approved: 'No comment is approved.',
}

/** The comments to moderate, by status. */
export function QueueView() {
  const status = statusIn(useSearch())
  return (
    <>
      <nav aria-label="Status" className={styles.statuses}>
        {statuses.map((one) => (
          <Link key={one} href={one === 'held' ? '/moderate' : `/moderate?status=${one}`} aria-current={one === status ? 'true' : undefined}>
            {capital(one)}
          </Link>
        ))}
      </nav>
      <QueueList key={status} status={status} />
    </>
  )
}

function QueueList({ status }: { status: QueueStatus }) {
  const element = useRef<HTMLElement>(null)
  const { query, comments, more, take } = useQueue(status)
  const [isHelpShown, setHelpShown] = useState(false)
  const [areKeysOn, switchKeys] = useKeysSwitch()
  const acting = useActing({ element, status, comments, take }, areKeysOn, () => setHelpShown(!isHelpShown))
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set())
  const isEmpty = query.data !== undefined && more === undefined && !comments.some((comment) => comment.status === status)
  return (
    <section ref={element} aria-labelledby="queue-heading">
      <div className={styles.head}>
        <h2 id="queue-heading" tabIndex={-1}>
          {capital(status)}
        </h2>
        <Keys isShown={isHelpShown} onShow={setHelpShown} isOn={areKeysOn} onSwitch={switchKeys} />
      </div>
      <Reading query={query} what="the comments" />
      {comments.length > 0 && (
        <ol className={styles.list} aria-label={`${capital(status)} comments`}>
          {comments.map((comment) => (
            <QueueRow
              key={comment.id}
              comment={comment}
              isOpen={comment.status === status}
              mark={acting.marks.get(comment.id)}
              reason={acting.reasonOf(comment.id)}
              onReason={(reason) => acting.setReason(comment.id, reason)}
              onAct={(what) => acting.act(what, comment)}
              isClosed={closed.has(comment.postId)}
              onClosed={(isClosed) => setClosed((before) => new Set([...before].filter((id) => id !== comment.postId).concat(isClosed ? comment.postId : [])))}
            />
          ))}
        </ol>
      )}
      {isEmpty && <p className={styles.end}>{nothing[status]}</p>}
      {more && <More label="More" trouble="More comments can’t be read right now." {...more} />}
    </section>
  )
}
