/** How long the same key may go again, in milliseconds. The services forget it a day after they heard it first. */
const repeatableFor = 23 * 60 * 60_000

/** A request that was sent and whose outcome is not known: the same one must go again with the same key. */
export interface Attempt {
  body: string
  key: string
  /** When it was first sent, in milliseconds since 1970. */
  since: number
  /** The services may have forgotten the key: sent again with it, it could happen twice. */
  stale?: boolean
}

/**
 * The attempt for a body: the one before if it was of the same body, so that it
 * happens once however often it is sent (Idempotency-Key), or a new one. A key
 * that comes again with another body is refused by the services. The one before
 * may have become stale: it is not to be sent, and the next is a new one.
 */
export function attemptFor(body: string, before: Attempt | undefined): Attempt {
  return isRepeat(body, before) ? aged(before) : { body, key: newKey(), since: Date.now() }
}

/** Whether a body is that of an attempt that may be sent again, as far as was known when it was last looked at. */
export function isRepeat(body: string, before: Attempt | undefined): before is Attempt {
  return before?.body === body && !before.stale
}

/** The attempt as it is by now: once stale, always. */
export function aged(attempt: Attempt): Attempt {
  return Date.now() - attempt.since < repeatableFor ? attempt : { ...attempt, stale: true }
}

/** Whether it is an attempt, as the browser keeps it. */
export function isAttempt(value: unknown): value is Attempt {
  if (typeof value !== 'object' || value === null) return false
  return 'body' in value && typeof value.body === 'string' && 'key' in value && typeof value.key === 'string' && 'since' in value && typeof value.since === 'number'
}

/** 128 random bits. Not crypto.randomUUID(), which a page served over plain HTTP doesn't have. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
