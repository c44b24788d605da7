import { capital } from '../ui/capital'

/** The least delay before a failed read is retried, in milliseconds. */
const readAgainAtLeast = 1_500

/** Why a request failed, as a problem document (RFC 9457) says it. */
export class Problem extends Error {
  override name = 'Problem'

  /** The field of the form that the problem is about. */
  readonly field: string | undefined
  /** What stands instead, for a 409. */
  readonly stands: unknown
  /** How long to wait before the next try, in milliseconds. */
  readonly retryAfter: number | undefined

  constructor(
    /** The HTTP status, or 0 without an answer. */
    readonly status: number,
    /** A sentence for people. */
    readonly detail: string,
    more: { field?: string | undefined; stands?: unknown; retryAfter?: number | undefined } = {},
  ) {
    super(detail)
    this.field = more.field
    this.stands = more.stands
    this.retryAfter = more.retryAfter
  }

  /**
   * Whether the same request may still succeed, because nobody knows whether it happened. Query answers a read
   * with 409 when the log no longer has the number that the read asks for. The stream then announces the new
   * log.
   */
  get transient(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 409 || this.status === 429 || this.status >= 500
  }
}

/** The problem of a request without an answer. */
export function noAnswer(cause: unknown): Problem {
  if (cause instanceof Problem) return cause
  return new Problem(0, 'There was no answer.')
}

/** The delay before a read that failed is retried, in milliseconds. */
export function readAgainAfter(cause: unknown): number {
  return Math.max(readAgainAtLeast, cause instanceof Problem ? (cause.retryAfter ?? 0) : 0)
}

/** Reads the problem from an answer that is not a success. */
export function problemOf(status: number, body: string, retryAfter: string | null): Problem {
  const document = documentIn(body)
  const text = (member: string) => (typeof document[member] === 'string' ? document[member] : undefined)
  const wait = milliseconds(retryAfter)
  const detail = status === 429 ? tooMuch(wait) : sentence(text('detail') ?? '') || `The server answered ${status}.`
  return new Problem(status, detail, { field: text('field'), stands: document.stands, retryAfter: wait })
}

/** The members of a problem document. A proxy on the way may answer without one. */
function documentIn(body: string): Partial<Record<string, unknown>> {
  try {
    const document: unknown = JSON.parse(body)
    return typeof document === 'object' && document !== null ? { ...document } : {}
  } catch {
    return {}
  }
}

/** What is said to people who send too much: when to come back. The bounds are for programs. */
function tooMuch(wait: number | undefined): string {
  return wait === undefined ? 'Too much at once. Try again later.' : `Too much at once. Try again in ${Math.ceil(wait / 1000)} s.`
}

/** The advice that the API gives to programs. The page follows it by itself. */
const advice = /[.;] repeat the request with the same Idempotency-Key\.$/i

/** Turns "title must not be empty" into a sentence, without the advice to programs. */
function sentence(detail: string): string {
  if (detail === '') return ''
  const said = capital(detail).replace(advice, '.')
  return /[.!?]$/.test(said) ? said : `${said}.`
}

/** Reads Retry-After in seconds. The services do not use the form with a date. */
function milliseconds(retryAfter: string | null): number | undefined {
  return retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined
}
