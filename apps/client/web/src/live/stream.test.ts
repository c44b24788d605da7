import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Change } from '../api/types'
import { changeOf, follow } from './stream'

const fetched = vi.fn<typeof fetch>()
let machine: EventTarget

beforeEach(() => {
  vi.useFakeTimers()
  machine = new EventTarget()
  vi.stubGlobal('window', machine)
  vi.stubGlobal('fetch', fetched)
})
afterEach(() => {
  fetched.mockReset()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const post = (sequence: number) => `id: ${sequence}\nevent: PostCreated\ndata: {"id":"p${sequence}"}\n\n`

/** A server that answers each connection in the test's way. */
class Server {
  readonly asked: (string | null)[] = []
  #send: ReadableStreamDefaultController<Uint8Array> | undefined
  failing = false
  /** Where the stream says that it begins. */
  position: string | undefined

  constructor() {
    fetched.mockImplementation((_, init) => {
      this.asked.push(new Headers(init?.headers).get('Last-Event-ID'))
      if (this.failing) return Promise.resolve(new Response('{"detail":"starting"}', { status: 503 }))
      const body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#send = controller) })
      init?.signal?.addEventListener('abort', () => this.#send?.error(init.signal?.reason))
      const begins: Record<string, string> = this.position === undefined ? {} : { 'Postbus-Position': this.position }
      return Promise.resolve(new Response(body, { headers: { 'Content-Type': 'text/event-stream', ...begins } }))
    })
  }

  async send(part: string | Uint8Array): Promise<void> {
    this.#send?.enqueue(typeof part === 'string' ? new TextEncoder().encode(part) : part)
    await settle()
  }

  async close(): Promise<void> {
    this.#send?.close()
    await settle()
  }

  async break(): Promise<void> {
    this.#send?.error(new TypeError('network error'))
    await settle()
  }
}

const settle = () => vi.advanceTimersByTimeAsync(0)

/** Follows from a position, and records the calls of the listener. */
function record(after: number | string) {
  const calls: (string | number)[] = []
  const leave = new AbortController()
  const ended = follow(
    String(after),
    {
      connected: () => calls.push('connected'),
      change: (change: Change) => calls.push(change.sequence),
      reset: (position) => calls.push(`reset to ${position}`),
      lost: () => calls.push('lost'),
    },
    leave.signal,
  )
  return { calls, leave, ended }
}

describe('follow', () => {
  test('drops what it has read but not delivered when it is aborted', async () => {
    const server = new Server()
    const calls: number[] = []
    const leave = new AbortController()
    const none = () => undefined
    const change = ({ sequence }: Change) => {
      calls.push(sequence)
      leave.abort()
    }
    const ended = follow('7', { connected: none, change, reset: none, lost: none }, leave.signal)
    await settle()
    await server.send(post(8) + post(9))
    await ended
    expect(calls).toEqual([8])
  })

  test('begins after the number, and delivers each change', async () => {
    const server = new Server()
    const { calls, leave, ended } = record(7)
    await settle()
    await server.send('id: 7\n\n: still here\n\n')
    await server.send(post(8) + post(9))
    expect(server.asked).toEqual(['7'])
    expect(calls).toEqual(['connected', 8, 9])
    leave.abort()
    await ended
    expect(calls).toEqual(['connected', 8, 9])
    expect(server.asked).toHaveLength(1)
  })

  test('puts together what comes in pieces, in the middle of a character too', async () => {
    const server = new Server()
    const changes: Change[] = []
    const leave = new AbortController()
    void follow('0', { connected: vi.fn(), lost: vi.fn(), reset: vi.fn(), change: (change) => changes.push(change) }, leave.signal)
    await settle()
    const bytes = new TextEncoder().encode('id: 1\nevent: PostCreated\ndata: {"id":"p","title":"🎈"}\n\n')
    for (const byte of bytes) await server.send(Uint8Array.of(byte))
    expect(changes).toEqual([{ type: 'PostCreated', sequence: 1, post: { id: 'p', title: '🎈' } }])
    leave.abort()
  })

  test.each(['close', 'break'] as const)('after a %s reconnects at the last position, and delivers nothing twice', async (how) => {
    const server = new Server()
    const { calls, leave } = record(0)
    await settle()
    await server.send(post(1) + post(2) + 'id: 3\nevent: PostCreated\ndata: {"id"')
    await server[how]()
    expect(calls).toEqual(['connected', 1, 2, 'lost'])
    await vi.advanceTimersByTimeAsync(250)
    expect(server.asked).toEqual(['0', '2'])
    await server.send(post(2) + post(3))
    expect(calls).toEqual(['connected', 1, 2, 'lost', 'connected', 3])
    leave.abort()
  })

  test('tries again and again, with longer waits, until the server answers', async () => {
    const server = new Server()
    server.failing = true
    const { calls, leave } = record(5)
    await settle()
    for (const [n, wait] of [250, 500, 1_000, 2_000, 3_000, 3_000].entries()) {
      expect(server.asked).toHaveLength(n + 1)
      await vi.advanceTimersByTimeAsync(wait - 1)
      expect(server.asked).toHaveLength(n + 1)
      await vi.advanceTimersByTimeAsync(1)
    }
    expect(calls.every((each) => each === 'lost')).toBe(true)
    server.failing = false
    await vi.advanceTimersByTimeAsync(3_000)
    expect(calls.at(-1)).toBe('connected')
    expect(new Set(server.asked)).toEqual(new Set(['5']))
    // A connection resets the delay.
    await server.close()
    const before = server.asked.length
    await vi.advanceTimersByTimeAsync(250)
    expect(server.asked).toHaveLength(before + 1)
    leave.abort()
  })

  test('does not wait when the machine comes online', async () => {
    const server = new Server()
    fetched.mockRejectedValueOnce(new TypeError('Failed to fetch'))
    const { calls, leave } = record(5)
    await settle()
    expect(calls).toEqual(['lost'])
    machine.dispatchEvent(new Event('online'))
    await settle()
    expect(calls).toEqual(['lost', 'connected'])
    expect(server.asked).toEqual(['5'])
    leave.abort()
  })

  test('takes a connection for dead that is silent for 40 s', async () => {
    const server = new Server()
    const { calls, leave } = record(0)
    await settle()
    await vi.advanceTimersByTimeAsync(39_000)
    await server.send(': still here\n\n')
    await vi.advanceTimersByTimeAsync(39_999)
    expect(calls).toEqual(['connected'])
    await vi.advanceTimersByTimeAsync(1)
    expect(calls).toEqual(['connected', 'lost'])
    leave.abort()
  })

  test('takes a connection for lost when the machine goes offline', async () => {
    const server = new Server()
    const { calls, leave } = record(0)
    await settle()
    await server.send(post(1))
    machine.dispatchEvent(new Event('offline'))
    await settle()
    expect(calls).toEqual(['connected', 1, 'lost'])
    machine.dispatchEvent(new Event('online'))
    await settle()
    expect(calls).toEqual(['connected', 1, 'lost', 'connected'])
    expect(server.asked).toEqual(['0', '1'])
    leave.abort()
  })

  test('comes back with the position that it got, and not with its number alone', async () => {
    const server = new Server()
    const { calls, leave } = record('7/log/a')
    server.position = '7/log/a'
    await settle()
    await server.send('id: 7/log/a\n\n' + post(8).replace('id: 8', 'id: 8/log/b'))
    await server.close()
    await vi.advanceTimersByTimeAsync(250)
    expect(server.asked).toEqual(['7/log/a', '8/log/b'])
    expect(calls.slice(0, 3)).toEqual(['connected', 8, 'lost'])
    leave.abort()
  })

  test.each([true, false])('a new position is delivered before the connection counts as live, known by its header: %s', async (header) => {
    const server = new Server()
    const { calls, leave } = record('7/log/a')
    await settle()
    await server.close()
    if (header) server.position = '3/other/x'
    await vi.advanceTimersByTimeAsync(250)
    await server.send('id: 3/other/x\nevent: reset\ndata: {"position":"3/other/x"}\n\n' + post(4).replace('id: 4', 'id: 4/other/y'))
    expect(calls).toEqual(['connected', 'lost', ...(header ? ['reset to 3/other/x', 'connected'] : ['connected', 'reset to 3/other/x']), 4])
    await server.close()
    await vi.advanceTimersByTimeAsync(250)
    expect(server.asked).toEqual(['7/log/a', '7/log/a', '4/other/y'])
    leave.abort()
  })

  test('an answer that is no stream is a lost connection', async () => {
    fetched.mockResolvedValue(Response.json({}))
    const { calls, leave } = record(0)
    await settle()
    expect(calls).toEqual(['lost'])
    leave.abort()
  })
})

describe('changeOf', () => {
  test('a post', () => {
    const post = { id: 'p', title: 'T', body: '', createdAt: '', comments: [] }
    expect(changeOf({ id: '3', event: 'PostCreated', data: JSON.stringify(post) })).toEqual({ type: 'PostCreated', sequence: 3, post })
  })

  test.each(['CommentCreated', 'CommentUpdated'] as const)('%s', (event) => {
    const comment = { id: 'c', content: 'C', status: 'pending', createdAt: '' }
    expect(changeOf({ id: '4', event, data: JSON.stringify({ ...comment, postId: 'p' }) })).toEqual({ type: event, sequence: 4, postId: 'p', comment })
    const counted = { ...comment, postId: 'p', commentCount: 1, commentCounts: { pending: 1 } }
    expect(changeOf({ id: '4', event, data: JSON.stringify(counted) })).toEqual({ type: event, sequence: 4, postId: 'p', comment, commentCounts: { pending: 1 } })
  })

  test('whether the comments of a post are open', () => {
    expect(changeOf({ id: '5', event: 'PostCommentingChanged', data: '{"postId":"p","commenting":"closed"}' })).toEqual({
      type: 'PostCommentingChanged',
      sequence: 5,
      postId: 'p',
      commenting: 'closed',
    })
  })

  test.each([
    { id: '4', event: 'SomethingNew', data: '{}' },
    { id: '4', event: undefined, data: '' },
    { id: 'four', event: 'PostCreated', data: '{}' },
    { id: '4/log/event', event: 'reset', data: '{"position":"4/log/event"}' },
    { id: undefined, event: 'PostCreated', data: '{}' },
  ])('nothing of %j', (message) => {
    expect(changeOf(message)).toBeUndefined()
  })
})
