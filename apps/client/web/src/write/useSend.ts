import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import { request } from '../api/http'
import type { Problem } from '../api/problem'
import { attemptFor, type Attempt } from './attempt'
import { keep, recall } from './storage'

/** How often a request is sent before the visitor is asked, and how long to wait between, in milliseconds. */
const tries = 3
const wait = 1_000

/**
 * Sends what a form holds, so that it happens once: every try of the same text,
 * also after a reload of the page, has the same Idempotency-Key.
 */
export function useSend<T>(name: string, path: string, onSent: (sent: T) => void) {
  const [attempt, setAttempt] = useState<Attempt | undefined>(() => recall('sessionStorage', `attempt:${name}`, isAttempt))
  const remember = (next: Attempt | undefined) => {
    setAttempt(next)
    keep('sessionStorage', `attempt:${name}`, next)
  }
  const mutation = useMutation<T, Problem, Attempt>({
    mutationFn: async ({ body, key }) => {
      const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key }
      return (await request<T>(path, { method: 'POST', body, headers })).value
    },
    retry: (failures, problem) => problem.transient && failures < tries,
    retryDelay: (_, problem) => problem.retryAfter ?? wait,
    onSuccess: (sent) => {
      remember(undefined)
      onSent(sent)
    },
    onError: (problem) => {
      // What was refused did not happen.
      if (!problem.transient) remember(undefined)
    },
  })
  return {
    send(content: object) {
      const next = attemptFor(JSON.stringify(content), attempt)
      remember(next)
      mutation.mutate(next)
    },
    /** Whether a text is the one whose outcome is not known. */
    isRetryOf: (content: object) => attempt?.body === JSON.stringify(content),
    /** A text was sent, and it is not known whether it came. */
    unsettled: attempt !== undefined && !mutation.isPending,
    problem: mutation.error,
    isSending: mutation.isPending,
    /** The first try failed and the next is under way. */
    isRetrying: mutation.isPending && mutation.failureCount > 0,
  }
}

function isAttempt(value: unknown): value is Attempt {
  return typeof value === 'object' && value !== null && 'body' in value && 'key' in value && typeof value.body === 'string' && typeof value.key === 'string'
}
