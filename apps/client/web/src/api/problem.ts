/** Why a request did not do what it was sent for, as a problem document (RFC 9457) says it. */
export class Problem extends Error {
  override name = 'Problem'

  constructor(
    /** The HTTP status, or 0 when there was no answer at all. */
    readonly status: number,
    /** A sentence for people. */
    readonly detail: string,
    /** The field of the form that it is about. */
    readonly field?: string,
    /** How long to wait before the next try, in milliseconds. */
    readonly retryAfter?: number,
  ) {
    super(detail)
  }

  /**
   * Whether the same request may yet succeed: it is not known whether it happened. A
   * reading is refused with 409 when it asks for a number that the log does not have any
   * more; the stream is about to say so.
   */
  get transient(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 409 || this.status === 429 || this.status >= 500
  }
}

/** The problem of a request that got no answer. */
export function noAnswer(cause: unknown): Problem {
  if (cause instanceof Problem) return cause
  return new Problem(0, 'There was no answer.')
}

/** Reads the problem out of an answer that is not a success. */
export function problemOf(status: number, body: string, retryAfter: string | null): Problem {
  let detail = ''
  let field: string | undefined
  try {
    const document: unknown = JSON.parse(body)
    if (typeof document === 'object' && document !== null) {
      if ('detail' in document && typeof document.detail === 'string') detail = document.detail
      if ('field' in document && typeof document.field === 'string') field = document.field
    }
  } catch {
    // Not every server in between answers with a problem document.
  }
  return new Problem(status, sentence(detail) || `The server answered ${status}.`, field, milliseconds(retryAfter))
}

/** What the API advises programs to do; the page does it by itself. */
const advice = /[.;] repeat the request with the same Idempotency-Key\.$/i

/** Makes "title must not be empty" a sentence, and leaves out what is not for people. */
function sentence(detail: string): string {
  if (detail === '') return ''
  const capital = detail.charAt(0).toUpperCase() + detail.slice(1).replace(advice, '.')
  return /[.!?]$/.test(capital) ? capital : `${capital}.`
}

/** Retry-After in its form of seconds; the form of a date is not used here. */
function milliseconds(retryAfter: string | null): number | undefined {
  return retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined
}
