import { useMutation, useMutationState, type MutationState } from '@tanstack/react-query'
import { useRef, useState } from 'react'
import { request } from '../api/http'
import { noAnswer, type Problem } from '../api/problem'
import { useCheckMe } from '../people/useMe'
import { aged, attemptFor, isAttempt, isRepeat, mayHaveHappened, type Attempt } from './attempt'
import { useKept } from './useKept'

/** How often a request is retried before the visitor is asked, and the delay between, in milliseconds. */
const retries = 2
const wait = 1_000

/**
 * Sends a form so that it happens once. Every try of the same text has the same Idempotency-Key, after a reload
 * of the page too, for as long as the services remember the key. onSent gets the text and what the service made
 * of it, even if the form is no longer mounted.
 */
export function useSend<C extends object, T>(name: string, path: string, onSent: (made: T, sent: C) => void) {
  const [kept, change] = useKept(`attempt:${name}`, isAttempt)
  // A repeat that is offered stays one under the visitor's eyes.
  const [openedAt] = useState(Date.now)
  const attempt = kept && aged(kept, openedAt)
  const remember = (next: Attempt | undefined) => change(() => next)
  /** The key of which a try had no answer. Of what is kept from before a reload the answer is lost. */
  const unanswered = useRef(attempt?.key)
  const checkMe = useCheckMe()
  const mutationKey = ['send', name]
  const { mutate } = useMutation<T, Problem, Attempt>({
    mutationKey,
    mutationFn: async (sending) => {
      // While the page is hidden the next try is paused, possibly for days.
      const { body, key, stale } = aged(sending)
      if (stale) throw noAnswer(undefined)
      await checkMe()
      const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key }
      try {
        return (await request<T>(path, { method: 'POST', body, headers })).value
      } catch (cause) {
        const problem = noAnswer(cause)
        if (problem.transient) unanswered.current = key
        throw problem
      }
    },
    // Who sends too much has to wait for longer than anybody waits for an answer.
    retry: (failures, problem) => problem.transient && problem.status !== 429 && failures < retries,
    retryDelay: (_, problem) => problem.retryAfter ?? wait,
    onSuccess: (made, { body }) => {
      remember(undefined)
      onSent(made, JSON.parse(body) as C)
    },
    onError: (problem, { key }) => {
      if (!mayHaveHappened(problem, unanswered.current === key)) remember(undefined)
    },
  })
  // Who leaves a form and comes back to it finds its request there, an ended one for five minutes.
  const last = useMutationState<MutationState<T, Problem, Attempt>>({ filters: { mutationKey } }).at(-1)
  const isSending = last?.status === 'pending'
  return {
    send(content: C) {
      const next = attemptFor(JSON.stringify(content), attempt)
      remember(next)
      // The visitor was offered a safe repeat. If it is no longer safe, the form says that first.
      if (!next.stale) mutate(next)
    },
    /** Whether a text is the one whose outcome is not known, and sending it again is safe. */
    isRetryOf: (content: C) => isRepeat(JSON.stringify(content), attempt),
    /** A text was sent, and its outcome is not known. */
    unsettled: attempt !== undefined && !isSending,
    problem: last?.error ?? null,
    /** What was sent last, if that failed. The form may have had other fields then. */
    failed: last?.status === 'error' && last.variables ? (JSON.parse(last.variables.body) as Partial<C>) : undefined,
    /** What was sent last has arrived. */
    hasArrived: last?.status === 'success',
    isSending,
    /** The first try failed and the next is under way. */
    isRetrying: isSending && last.failureCount > 0,
  }
}
