import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import type { Problem } from '../api/problem'
import { announce } from '../ui/announce'
import { capital } from '../ui/capital'
import { decide, undo, type Decision, type ModeratedComment } from './api'
import { isComment } from './queue'

export type Act = Decision | 'undo'

/** What is going on with a comment: something is being done, or it failed. */
export interface Mark {
  act: Act
  problem?: Problem
}

/** Whether something is being done. */
export function isBusy(mark: Mark | undefined): boolean {
  return mark !== undefined && mark.problem === undefined
}

/** What is to be done. */
interface Task {
  act: Act
  comment: ModeratedComment
  reason: string
}

/**
 * The decisions that are made here. It hands each comment on as it stands then, also where another moderator was first,
 * and the reason that was sent for it, by its id.
 */
export function useDecisions(take: (comment: ModeratedComment) => void, forget: (sent: Record<string, string>) => void) {
  const [marks, setMarks] = useState<ReadonlyMap<string, Mark>>(new Map())
  /** The comments that were decided on here, and not undone, in that order. */
  const [made, setMade] = useState<string[]>([])
  const mark = (id: string, next: Mark | undefined) =>
    setMarks((before) => new Map([...before].filter(([other]) => other !== id).concat(next ? [[id, next]] : [])))
  const run = useMutation<ModeratedComment, Problem, Task>({
    mutationFn: ({ act, comment, reason }) => (act === 'undo' ? undo(comment) : decide(comment, act, reason)),
    onMutate: ({ act, comment }) => mark(comment.id, { act }),
    onSuccess: (stands, { act, comment: { id }, reason }) => {
      mark(id, undefined)
      take(stands)
      forget({ [id]: reason })
      setMade((before) => [...before.filter((other) => other !== id), ...(act === 'undo' ? [] : [id])])
      announce(act === 'undo' ? `Undone: ${stands.status}.` : `${capital(stands.status)}.`)
    },
    onError: (problem, { act, comment: { id } }) => {
      mark(id, { act, problem })
      if (problem.status !== 409) return
      setMade((before) => before.filter((other) => other !== id))
      if (isComment(problem.stands)) take(problem.stands)
    },
  })
  return {
    marks,
    /** The comment that was decided on last. */
    last: made.at(-1),
    /** Does something, unless something is being done with the comment already. It says whether it does. */
    start: (act: Act, comment: ModeratedComment, reason: string) => {
      if (isBusy(marks.get(comment.id))) return false
      run.mutate({ act, comment, reason })
      return true
    },
  }
}
