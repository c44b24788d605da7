import { noAnswer, Problem, problemOf } from './problem'
import { Watchdog } from './watchdog'

/**
 * How long nothing may come of an answer, in milliseconds. It is above the deadlines of the services. A large
 * answer on a slow line may take longer in all, and would only begin again.
 */
const silence = 15_000

export interface Answer<T> {
  value: T
  /** The number of the log at which query made the answer, if query gave one. */
  sequence: number | undefined
  /** The position in the log at which query made the answer, if query gave one. */
  position: string | undefined
  /** The path and query of the next page. */
  next: string | undefined
  /** The version of what was read or written. */
  etag: string | undefined
}

/** Sends a request and reads its JSON. It throws nothing but a Problem. */
export async function request<T>(path: string, init: RequestInit = {}): Promise<Answer<T>> {
  const watchdog = new Watchdog(silence)
  const signals = [watchdog.signal, ...(init.signal ? [init.signal] : [])]
  try {
    const response = await fetch(path, { ...init, signal: AbortSignal.any(signals) })
    const text = await textOf(response, watchdog)
    if (!response.ok) {
      throw problemOf(response.status, text, response.headers.get('Retry-After'))
    }
    const type = response.headers.get('Content-Type') ?? ''
    if (!type.startsWith('application/json')) {
      throw new Problem(502, 'The answer is not from the API.')
    }
    return {
      value: JSON.parse(text) as T,
      sequence: sequenceOf(response.headers),
      position: response.headers.get('Postbus-Position') ?? undefined,
      next: nextOf(response.headers.get('Link')),
      etag: response.headers.get('ETag') ?? undefined,
    }
  } catch (cause) {
    if (init.signal?.aborted) throw cause
    throw noAnswer(cause)
  } finally {
    watchdog.stop()
  }
}

/** The body of an answer. Each part of it is a sign of life. */
async function textOf(response: Response, watchdog: Watchdog): Promise<string> {
  if (!response.body) return ''
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  const parts: string[] = []
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    watchdog.reset()
    parts.push(part.value)
  }
  return parts.join('')
}

/** Sends a value as JSON. */
export function send<T>(method: 'POST' | 'PUT', path: string, value: unknown, headers: Record<string, string> = {}): Promise<Answer<T>> {
  return request<T>(path, { method, body: JSON.stringify(value), headers: { 'Content-Type': 'application/json', ...headers } })
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

/** Adds a parameter to a path that may already have parameters. */
export function withParameter(path: string, name: string, value: number): string {
  return `${path}${path.includes('?') ? '&' : '?'}${name}=${value}`
}
