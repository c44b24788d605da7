import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import { request } from '../api/http'
import { noAnswer, type Problem } from '../api/problem'
import { aged, attemptFor, isAttempt, isRepeat, type Attempt } from './attempt'
import { keep, recall } from './storage'

/** How often a request is sent again before the visitor is asked, and how long to wait between, in milliseconds. */
const retries = 2
const wait = 1_000

/**
 * Sends what a form holds, so that it happens once: every try of the same text,
 * also after a reload of the page, has the same Idempotency-Key, for as long as the
 * services know it. What was sent comes back with what the service made of it, also
 * when the form is no longer on the page.
 */
export function useSend<C extends object, T>(name: string, path: string, onSent: (made: T, sent: C) => void) {
  const [attempt, setAttempt] = useState<Attempt | undefined>(() => {
    const kept = recall('sessionStorage', `attempt:${name}`, isAttempt)
    return kept && aged(kept)
  })
  const remember = (next: Attempt | undefined) => {
    setAttempt(next)
    keep('sessionStorage', `attempt:${name}`, next)
  }
  const mutation = useMutation<T, Problem, Attempt>({
    mutationFn: async (sending) => {
      // While the page is hidden the next try waits, for days if need be.
      const { body, key, stale } = aged(sending)
      if (stale) throw noAnswer(undefined)
      const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key }
      return (await request<T>(path, { method: 'POST', body, headers })).value
    },
    retry: (failures, problem) => problem.transient && failures < retries,
    retryDelay: (_, problem) => problem.retryAfter ?? wait,
    onSuccess: (made, { body }) => {
      remember(undefined)
      onSent(made, JSON.parse(body) as C)
    },
    onError: (problem) => {
      // What was refused did not happen.
      if (!problem.transient) remember(undefined)
    },
  })
  return {
    send(content: C) {
      const next = attemptFor(JSON.stringify(content), attempt)
      remember(next)
      // To send it was offered as safe. Now that it isn't, that is said first.
      if (!next.stale) mutation.mutate(next)
    },
    /** Whether a text is the one whose outcome is not known, and to send it again is safe. */
    isRetryOf: (content: C) => isRepeat(JSON.stringify(content), attempt),
    /** A text was sent, and it is not known whether it came. */
    unsettled: attempt !== undefined && !mutation.isPending,
    problem: mutation.error,
    isSending: mutation.isPending,
    /** The first try failed and the next is under way. */
    isRetrying: mutation.isPending && mutation.failureCount > 0,
  }
}
