import { Button } from '@base-ui/react/button'
import { useState } from 'react'
import { Refusal } from '../people/Refusal'
import { useMe } from '../people/useMe'
import { Ago } from '../ui/Ago'
import { squeezed } from '../ui/squeezed'
import { TextField } from '../ui/TextField'
import { Trouble } from '../ui/Trouble'
import { mistakeIn } from '../write/limits'
import type { Decision, ModeratedComment } from './api'
import { CloseComments, BlockPerson } from './Measures'
import { PostLink } from './PostLink'
import { deciderOf, markOf, outcomes } from './queue'
import styles from './QueueRow.module.css'
import { isBusy, type Act, type Mark } from './useDecisions'

interface Props {
  comment: ModeratedComment
  /** Whether it still has the status by which the list is shown. */
  isOpen: boolean
  mark: Mark | undefined
  reason: string
  onReason: (reason: string) => void
  onAct: (act: Act) => void
  /** Whether the comments of its post were closed here. */
  isClosed: boolean
  onClosed: (isClosed: boolean) => void
}

const labels: Record<Decision, string> = { approve: 'Approve', reject: 'Reject', hold: 'Hold' }
const decisions: Decision[] = ['approve', 'reject', 'hold']

/** What is said while something is being done. */
const doing: Record<Act, string> = { approve: 'Approving…', reject: 'Rejecting…', hold: 'Holding…', undo: 'Undoing…' }

/** The lowest revision of a moderator's decision (apps/internal/event/decisions.go). */
const firstByModerator = 3

/** A comment to moderate, whole; or one line of what was decided on it. */
export function QueueRow({ comment, isOpen, mark, reason, onReason, onAct, isClosed, onClosed }: Props) {
  const { subject } = useMe()
  const busy = isBusy(mark)
  return (
    <li className={styles.item}>
      <article data-comment={comment.id} tabIndex={-1} aria-label={`Comment by ${comment.author ?? 'Anonymous'}`} className={styles.row} data-open={isOpen}>
        <By comment={comment} />
        <p className={isOpen ? styles.content : styles.excerpt} dir="auto">{squeezed(comment.content)}</p>
        <p className={styles.decided} data-status={comment.status}>
          {deciderOf(comment, subject)}
          {comment.reason && <>: <bdi>{comment.reason}</bdi></>}
        </p>
        {mark?.problem && (
          <Trouble>
            <Refusal problem={mark.problem} command="moderate" isWriting={false} />
          </Trouble>
        )}
        {isOpen && <Reason reason={reason} onReason={onReason} />}
        <div className={styles.actions}>
          {mark && busy && <span role="status">{doing[mark.act]}</span>}
          {isOpen &&
            !busy &&
            decisions
              .filter((decision) => outcomes[decision] !== comment.status)
              .map((decision) => (
                <Button key={decision} className="button" onClick={() => onAct(decision)}>
                  {labels[decision]}
                </Button>
              ))}
          {comment.revision >= firstByModerator && !busy && (
            <Button className={styles.quiet} onClick={() => onAct('undo')}>
              Undo
            </Button>
          )}
        </div>
        {isOpen && (
          <div className={styles.measures}>
            <CloseComments postId={comment.postId} isClosed={isClosed} onClosed={onClosed} />
            {comment.authorId !== undefined && comment.authorId !== subject && <BlockPerson subject={comment.authorId} />}
          </div>
        )}
      </article>
    </li>
  )
}

/** Who wrote the comment, when, and on which post. */
function By({ comment }: { comment: ModeratedComment }) {
  return (
    <p className={styles.meta}>
      <strong className={styles.author} dir="auto">{comment.author ?? 'Anonymous'}</strong>
      <span>{comment.authorId === undefined ? 'guest' : `signed in as ${markOf(comment.authorId)}`}</span>
      <Ago time={comment.createdAt} />
      <PostLink id={comment.postId} />
    </p>
  )
}

/** The reason for the next decision, behind a button until there is one. */
function Reason({ reason, onReason }: { reason: string; onReason: (reason: string) => void }) {
  const [hadReason] = useState(reason !== '')
  const [isAsked, setAsked] = useState(false)
  if (!hadReason && !isAsked) {
    return (
      <Button className={styles.quiet} onClick={() => setAsked(true)}>
        Give a reason
      </Button>
    )
  }
  return <TextField name="reason" label="Reason (optional; the author sees it)" value={reason} onChange={onReason} mistake={mistakeIn('reason', reason)} focus={isAsked} />
}
