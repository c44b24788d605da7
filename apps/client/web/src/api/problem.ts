/** Why a request failed, as a problem document (RFC 9457) says it. */
export class Problem extends Error {
  override name = 'Problem'

  constructor(
    /** The HTTP status, or 0 without an answer. */
    readonly status: number,
    /** A sentence for people. */
    readonly detail: string,
    /** The field of the form that the problem is about. */
    readonly field?: string,
    /** How long to wait before the next try, in milliseconds. */
    readonly retryAfter?: number,
  ) {
    super(detail)
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

/** Reads the problem from an answer that is not a success. */
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
    // A proxy on the way may answer without a problem document.
  }
  return new Problem(status, sentence(detail) || `The server answered ${status}.`, field, milliseconds(retryAfter))
}

/** The advice that the API gives to programs. The page follows it by itself. */
const advice = /[.;] repeat the request with the same Idempotency-Key\.$/i

/** Turns "title must not be empty" into a sentence, without the advice to programs. */
function sentence(detail: string): string {
  if (detail === '') return ''
  const capital = detail.charAt(0).toUpperCase() + detail.slice(1).replace(advice, '.')
  return /[.!?]$/.test(capital) ? capital : `${capital}.`
}

/** Reads Retry-After in seconds. The services do not use the form with a date. */
function milliseconds(retryAfter: string | null): number | undefined {
  return retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined
}
