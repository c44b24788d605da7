import { noAnswer, Problem, problemOf } from './problem'

/** How long an answer may take, in milliseconds. The services' own deadlines are well below it. */
const timeout = 15_000

export interface Answer<T> {
  value: T
  /** The number of the log that the answer stands at, if query gave it. */
  sequence: number | undefined
  /** Where in which log that is, if query gave it. */
  position: string | undefined
  /** Where the next page is, as a path with its query. */
  next: string | undefined
}

/** Sends a request and reads its JSON. Everything that goes wrong is a Problem. */
export async function request<T>(path: string, init: RequestInit = {}): Promise<Answer<T>> {
  const signals = [AbortSignal.timeout(timeout), ...(init.signal ? [init.signal] : [])]
  try {
    const response = await fetch(path, { ...init, signal: AbortSignal.any(signals) })
    if (!response.ok) {
      throw problemOf(response.status, await response.text(), response.headers.get('Retry-After'))
    }
    const type = response.headers.get('Content-Type') ?? ''
    if (!type.startsWith('application/json')) {
      throw new Problem(502, 'The answer is not from the API.')
    }
    return {
      value: (await response.json()) as T,
      sequence: sequenceOf(response.headers),
      position: response.headers.get('Postbus-Position') ?? undefined,
      next: nextOf(response.headers.get('Link')),
    }
  } catch (cause) {
    if (init.signal?.aborted) throw cause
    throw noAnswer(cause)
  }
}

/** The number of the log in the headers of query's answers. */
export function sequenceOf(headers: Headers): number | undefined {
  const text = headers.get('Postbus-Sequence') ?? ''
  return /^\d+$/.test(text) ? Number(text) : undefined
}

/** The target of rel="next" in a Link header (RFC 8288), as the API writes it. */
export function nextOf(link: string | null): string | undefined {
  return /<([^>]*)>\s*;\s*rel="?next"?/.exec(link ?? '')?.[1]
}

/** Adds a parameter to a path that may have some. */
export function withParameter(path: string, name: string, value: number): string {
  return `${path}${path.includes('?') ? '&' : '?'}${name}=${value}`
}
