import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { noAnswer, Problem, problemOf } from '../api/problem'
import type { Change, Comment, PostWithComments } from '../api/types'
import { numberIn } from './position'

/** The server sends a line at least every 15 s; after this long without one the connection is taken for dead. */
const silence = 40_000

/** Waits between tries to connect, in milliseconds; the last is for all later ones. */
const waits = [250, 500, 1_000, 2_000, 3_000]

export interface StreamListener {
  /** The server answers. */
  connected(): void
  /** A change, and the position after it. */
  change(change: Change, position: string): void
  /** The stream goes on from another position than it was asked for: the log does not have that any more. */
  reset(position: string): void
  /** The connection broke; the next try comes by itself. */
  lost(): void
}

/**
 * Follows the live stream of changes after a position in the log until the signal
 * aborts, and comes back after each break where it stood.
 *
 * EventSource is not used: it can't begin at a number, and it gives up for good on
 * an answer such as 503, which a service that starts gives.
 */
export async function follow(after: string, listener: StreamListener, signal: AbortSignal): Promise<void> {
  let tries = 0
  const beginAnew = (position: string) => {
    if (position === after) return
    after = position
    listener.reset(position)
  }
  const parser = createParser({
    onEvent(message) {
      // What was read together with the cause of an abort is not told any more.
      if (signal.aborted || message.id === undefined) return
      if (message.event === 'reset') beginAnew(message.id)
      const change = changeOf(message)
      if (change === undefined || change.sequence <= (numberIn(after) ?? 0)) return
      after = message.id
      listener.change(change, after)
    },
  })
  while (!signal.aborted) {
    parser.reset()
    const begin = (position: string | null) => {
      tries = 0
      // Before it is said that the connection is back, and that nothing was missed.
      if (position !== null) beginAnew(position)
      listener.connected()
    }
    await readOnce(after, signal, begin, (text) => parser.feed(text)).catch((cause: unknown) => noAnswer(cause))
    if (isAborted(signal)) return
    listener.lost()
    await pause(waits[Math.min(tries++, waits.length - 1)] ?? 0, signal)
  }
}

/** Whether it aborted meanwhile; asked this way because an await may lie between two questions. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted
}

/** Reads one connection to its end: begin gets where the stream begins, then receive the text as it comes. */
async function readOnce(
  after: string,
  signal: AbortSignal,
  begin: (position: string | null) => void,
  receive: (text: string) => void,
): Promise<void> {
  const quiet = new AbortController()
  const hangUp = () => quiet.abort()
  let watchdog = setTimeout(hangUp, silence)
  // Of a network that is gone, an open connection hears nothing.
  window.addEventListener('offline', hangUp)
  try {
    const response = await fetch('/posts', {
      headers: { Accept: 'text/event-stream', 'Last-Event-ID': after },
      cache: 'no-store',
      signal: AbortSignal.any([signal, quiet.signal]),
    })
    if (!response.ok) throw problemOf(response.status, await response.text(), null)
    if (!response.body || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      throw new Problem(502, 'The answer is no stream.')
    }
    begin(response.headers.get('Postbus-Position'))
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(watchdog)
      watchdog = setTimeout(hangUp, silence)
      receive(part.value)
    }
  } finally {
    clearTimeout(watchdog)
    window.removeEventListener('offline', hangUp)
  }
}

/** Reads a change out of an event of the stream; undefined for an event of another kind. */
export function changeOf(message: EventSourceMessage): Change | undefined {
  const sequence = numberIn(message.id)
  if (sequence === undefined) return undefined
  switch (message.event) {
    case 'PostCreated':
      return { type: 'PostCreated', sequence, post: JSON.parse(message.data) as PostWithComments }
    case 'CommentCreated':
    case 'CommentUpdated': {
      const { postId, ...comment } = JSON.parse(message.data) as Comment & { postId: string }
      return { type: message.event, sequence, postId, comment }
    }
    default:
      return undefined
  }
}

/** Waits, or less when the machine comes online. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = new AbortController()
    const end = () => {
      clearTimeout(timer)
      done.abort()
      resolve()
    }
    const timer = setTimeout(end, milliseconds)
    signal.addEventListener('abort', end, { signal: done.signal })
    window.addEventListener('online', end, { signal: done.signal })
  })
}
