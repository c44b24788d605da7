import type { Problem } from '../api/problem'

/** How long a key may be used again, in milliseconds. The services forget a key a day after its first use. */
const repeatableFor = 23 * 60 * 60_000

/** A request whose outcome is not known. It must be repeated with the same key. */
export interface Attempt {
  body: string
  key: string
  /** The time of the first try, in milliseconds since 1970. */
  since: number
  /** The services may have forgotten the key. Sent again with it, the request could happen twice. */
  stale?: boolean
}

/**
 * The attempt for a body. The same body keeps its attempt and so its key (Idempotency-Key), so that it happens
 * once however often it is sent. Another body gets a new attempt, because the services refuse a key with
 * another body. A stale attempt must not be sent; the next one is new.
 */
export function attemptFor(body: string, before: Attempt | undefined): Attempt {
  return isRepeat(body, before) ? aged(before) : { body, key: newKey(), since: Date.now() }
}

/** Whether a body is that of an attempt that may be repeated, as of the last call of aged. */
export function isRepeat(body: string, before: Attempt | undefined): before is Attempt {
  return before?.body === body && !before.stale
}

/** The attempt as of a time, in milliseconds since 1970. A stale attempt stays stale. */
export function aged(attempt: Attempt, now = Date.now()): Attempt {
  return now - attempt.since < repeatableFor ? attempt : { ...attempt, stale: true }
}

/**
 * Whether a request may have happened, though its last try failed. A refused one did not. But who is not signed in
 * any more does not learn whether an earlier try did, which had no answer.
 */
export function mayHaveHappened(last: Problem, wasUnanswered: boolean): boolean {
  return last.transient || (last.status === 401 && wasUnanswered)
}

/** Whether a stored value is an attempt. */
export function isAttempt(value: unknown): value is Attempt {
  if (typeof value !== 'object' || value === null) return false
  return 'body' in value && typeof value.body === 'string' && 'key' in value && typeof value.key === 'string' && 'since' in value && typeof value.since === 'number'
}

/** 128 random bits. A page over plain HTTP does not have crypto.randomUUID(). */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
