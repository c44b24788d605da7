import { Button } from '@base-ui/react/button'
import { useMutation } from '@tanstack/react-query'
import type { Problem } from '../api/problem'
import { Refusal } from '../people/Refusal'
import { announce } from '../ui/announce'
import { Trouble } from '../ui/Trouble'
import { setCommenting } from './api'
import styles from './QueueRow.module.css'
import { useBlocked } from './useBlocked'

interface Props {
  /** Whether the measure is taken. */
  isTaken: boolean
  /** What is said while it is. */
  taken: string
  /** The labels of the button that takes the measure, and of the one that takes it back. */
  take: string
  undo: string
  onChange: (to: boolean) => void
  isBusy: boolean
  problem: Problem | null
}

/** Something that a moderator does at once, and can undo where it was done. */
function Measure({ isTaken, taken, take, undo, onChange, isBusy, problem }: Props) {
  return (
    <div className={styles.measure}>
      {isTaken && <span>{taken}</span>}
      <Button className={styles.quiet} onClick={() => onChange(!isTaken)} disabled={isBusy} focusableWhenDisabled>
        {isTaken ? undo : take}
      </Button>
      {problem && (
        <Trouble>
          <Refusal problem={problem} command="moderate" isWriting={false} />
        </Trouble>
      )}
    </div>
  )
}

/** Closes the comments of a post, or opens them again. */
export function CloseComments({ postId, isClosed, onClosed }: { postId: string; isClosed: boolean; onClosed: (isClosed: boolean) => void }) {
  const change = useMutation<unknown, Problem, boolean>({
    mutationFn: (to) => setCommenting(postId, to ? 'closed' : 'open'),
    onSuccess: (_, to) => {
      onClosed(to)
      announce(to ? 'The comments of this post are closed.' : 'The comments of this post are open.')
    },
  })
  return (
    <Measure
      isTaken={isClosed}
      taken="The comments of this post are closed."
      take="Close comments of this post"
      undo="Undo: open them"
      onChange={change.mutate}
      isBusy={change.isPending}
      problem={change.error}
    />
  )
}

/** Blocks the person who wrote a comment, or no longer. */
export function BlockPerson({ subject }: { subject: string }) {
  const { isBlocked, change } = useBlocked()
  return (
    <Measure
      isTaken={isBlocked(subject)}
      taken="Blocked."
      take="Block this person"
      undo="Undo: unblock"
      onChange={(to) => change.mutate({ subject, to })}
      isBusy={change.isPending}
      problem={change.error}
    />
  )
}
