/** A request that was sent and whose outcome is not known: the same one must go again with the same key. */
export interface Attempt {
  body: string
  key: string
}

/**
 * The attempt for a body: the one before if it was of the same body, so that it
 * happens once however often it is sent (Idempotency-Key), or a new one. A key
 * that comes again with another body is refused by the services.
 */
export function attemptFor(body: string, before: Attempt | undefined): Attempt {
  return before?.body === body ? before : { body, key: newKey() }
}

/** 128 random bits. Not crypto.randomUUID(), which a page served over plain HTTP doesn't have. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
