import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { noAnswer, Problem, problemOf } from '../api/problem'
import { Watchdog } from '../api/watchdog'
import type { Change, Comment, CommentCounts, Commenting, PostWithComments } from '../api/types'
import { numberIn } from './position'

/**
 * After this long without data the connection counts as lost, in milliseconds. The server sends a line at least
 * every 15 s.
 */
const silence = 40_000

/** The delays before the first reconnects, in milliseconds. The last one holds for all later reconnects. */
const waits = [250, 500, 1_000, 2_000, 3_000]

export interface StreamListener {
  /** The server answers. */
  connected(): void
  /** A change, and the position of its event. */
  change(change: Change, position: string): void
  /** The log no longer has the position that the stream asked for. The stream continues from this one. */
  reset(position: string): void
  /** The connection broke. The stream reconnects by itself. */
  lost(): void
}

/**
 * Follows the live stream of changes after a position in the log until the signal aborts. After a lost
 * connection it reconnects at the last position.
 *
 * EventSource does not do: it cannot begin at a position, and it gives up for good on a 503, which a starting
 * service answers.
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
      // Events that were parsed in the same read as the abort are dropped.
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
      // A new position must be known before the listener sees the connection as live.
      if (position !== null) beginAnew(position)
      listener.connected()
    }
    await readOnce(after, signal, begin, (text) => parser.feed(text)).catch((cause: unknown) => noAnswer(cause))
    if (isAborted(signal)) return
    listener.lost()
    await pause(waits[Math.min(tries++, waits.length - 1)] ?? 0, signal)
  }
}

/** Whether the signal is aborted. TypeScript narrows `signal.aborted` and does not see that an await can change it. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted
}

/**
 * Reads one connection to its end. It calls begin with the position of the stream, then receive with each piece
 * of text.
 */
async function readOnce(
  after: string,
  signal: AbortSignal,
  begin: (position: string | null) => void,
  receive: (text: string) => void,
): Promise<void> {
  const watchdog = new Watchdog(silence)
  // An open connection reports nothing when the network goes away.
  window.addEventListener('offline', watchdog.abort)
  try {
    const response = await fetch('/posts', {
      headers: { Accept: 'text/event-stream', 'Last-Event-ID': after },
      cache: 'no-store',
      signal: AbortSignal.any([signal, watchdog.signal]),
    })
    if (!response.ok) throw problemOf(response.status, await response.text(), null)
    if (!response.body || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      throw new Problem(502, 'The answer is no stream.')
    }
    begin(response.headers.get('Postbus-Position'))
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      watchdog.reset()
      receive(part.value)
    }
  } finally {
    watchdog.stop()
    window.removeEventListener('offline', watchdog.abort)
  }
}

/** Reads a change from an event of the stream. It is undefined for any other event. */
export function changeOf(message: EventSourceMessage): Change | undefined {
  const sequence = numberIn(message.id)
  if (sequence === undefined) return undefined
  switch (message.event) {
    case 'PostCreated':
      return { type: 'PostCreated', sequence, post: JSON.parse(message.data) as PostWithComments }
    case 'CommentCreated':
    case 'CommentUpdated': {
      const { postId, commentCount, commentCounts, ...comment } = JSON.parse(message.data) as Comment & { postId: string; commentCount?: number; commentCounts?: CommentCounts }
      return { type: message.event, sequence, postId, comment, ...(commentCounts && { commentCounts }) }
    }
    case 'PostCommentingChanged':
      return { type: message.event, sequence, ...(JSON.parse(message.data) as { postId: string; commenting: Commenting }) }
    default:
      return undefined
  }
}

/** Waits, but at most until the machine comes online. */
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
