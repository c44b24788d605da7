import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Change } from '../api/types'
import { numberIn } from './position'
import { followShared } from './shared'
import type { follow, StreamListener } from './stream'

/** The streams that are open at the server. */
let streams: { after: string; listener: StreamListener; signal: AbortSignal }[] = []
/** All changes of the log, by number. */
let log: number[] = []
/** Where the streams began that were opened, in their order. */
let opened: string[] = []
/** Whether the server takes its time. */
let isSlow = false

const positionOf = (n: number) => `${n}/log/e${n}`
const changeOf = (sequence: number): Change => ({ type: 'PostCommentingChanged', sequence, postId: 'p', commenting: 'open' })

vi.mock('./stream', () => ({
  follow: ((after, listener, signal) => {
    if (signal.aborted) return Promise.resolve()
    const stream = { after, listener, signal }
    streams.push(stream)
    opened.push(after)
    const ended = new Promise<void>((end) =>
      signal.addEventListener('abort', () => {
        streams = streams.filter((other) => other !== stream)
        end()
      }),
    )
    if (!isSlow) {
      listener.connected()
      for (const n of log) if (n > (numberIn(after) ?? 0) && streams.includes(stream)) listener.change(changeOf(n), positionOf(n))
    }
    return ended
  }) as typeof follow,
}))

/** Appends a change to the log, which the server sends to each stream. */
function append(n: number): void {
  log.push(n)
  for (const { listener, signal } of [...streams]) if (!signal.aborted) listener.change(changeOf(n), positionOf(n))
}

/** A channel of the tabs of one browser. Messages arrive in their order, and later than they are sent. */
class Channel {
  static open = new Set<Channel>()
  onmessage: ((event: { data: unknown }) => void) | undefined
  constructor() {
    Channel.open.add(this)
  }
  postMessage(data: unknown): void {
    for (const other of Channel.open) if (other !== this) queueMicrotask(() => Channel.open.has(other) && other.onmessage?.({ data: structuredClone(data) }))
  }
  close(): void {
    Channel.open.delete(this)
  }
}

/** One lock, in the order of the requests. */
class Lock {
  #last: Promise<unknown> = Promise.resolve()
  request(_: string, { signal }: { signal: AbortSignal }, hold: () => Promise<void>): Promise<void> {
    const before = this.#last
    const turn = (async () => {
      const aborted = new Promise<never>((_, fail) => {
        if (signal.aborted) fail(signal.reason as Error)
        signal.addEventListener('abort', () => fail(signal.reason as Error))
      })
      aborted.catch(() => undefined)
      await Promise.race([before, aborted])
      await hold()
    })()
    this.#last = Promise.all([before, turn.catch(() => undefined)])
    return turn
  }
}

beforeEach(() => {
  vi.useFakeTimers()
  streams = []
  log = []
  opened = []
  isSlow = false
  Channel.open.clear()
  vi.stubGlobal('navigator', { locks: new Lock() })
  vi.stubGlobal('BroadcastChannel', Channel)
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

/** Has all that is under way arrive. */
const settle = () => vi.advanceTimersByTimeAsync(0)

/** Opens a tab whose page was read at a number, and records what it gets. */
function open(after: number, comesBack = false) {
  const calls: (string | number)[] = []
  const closing = new AbortController()
  const ended = followShared(
    positionOf(after),
    {
      connected: () => calls.at(-1) !== 'connected' && calls.push('connected'),
      change: ({ sequence }) => calls.push(sequence),
      reset: (position) => calls.push(`reset to ${position}`),
      lost: () => calls.push('lost'),
    },
    closing.signal,
    comesBack,
  )
  return {
    calls,
    changes: () => calls.filter((call) => typeof call === 'number'),
    close: async () => {
      closing.abort()
      await ended
    },
  }
}

test('of all tabs one follows the stream, and all get the changes', async () => {
  const tabs = [open(0), open(0), open(0)]
  await settle()
  append(1)
  append(2)
  await settle()
  expect(streams).toHaveLength(1)
  for (const { calls } of tabs) expect(calls).toEqual(['connected', 1, 2])
  streams[0]?.listener.lost()
  await settle()
  for (const { calls } of tabs) expect(calls.at(-1)).toBe('lost')
  for (const tab of tabs) await tab.close()
  expect(streams).toHaveLength(0)
  expect(Channel.open.size).toBe(0)
  expect(vi.getTimerCount()).toBe(0)
})

test('a tab gets what it lacks, and nothing that it has', async () => {
  const first = open(0)
  await settle()
  for (const n of [1, 2, 3, 4]) append(n)
  const [behind, ahead] = [open(2), open(5)]
  await settle()
  expect([behind.calls, ahead.calls]).toEqual([[3, 4, 'connected'], ['connected']])
  for (const n of [5, 6]) append(n)
  await settle()
  expect([first.changes(), behind.changes(), ahead.changes()]).toEqual([[1, 2, 3, 4, 5, 6], [3, 4, 5, 6], [6]])
  expect(streams).toHaveLength(1)
})

test('when the leader closes the next tab leads, and nothing is missed or there twice', async () => {
  const tabs = [open(0), open(0), open(0)]
  await settle()
  append(1)
  append(2) // the others do not have it yet
  await tabs[0]?.close()
  append(3) // nobody leads yet
  await settle()
  append(4)
  await settle()
  expect(streams).toHaveLength(1)
  for (const tab of tabs.slice(1)) expect(tab.changes()).toEqual([1, 2, 3, 4])
})

test('a tab that the leader can’t help follows a stream of its own until it stands where the leader does', async () => {
  log = [4, 10, 12]
  const leader = open(11)
  await settle()
  const early = open(3)
  await settle()
  expect(opened).toEqual([positionOf(11), positionOf(3)])
  expect(early.changes()).toEqual([4, 10, 12])
  expect(streams).toHaveLength(1)
  append(13)
  await settle()
  expect([leader.changes(), early.changes()]).toEqual([
    [12, 13],
    [4, 10, 12, 13],
  ])
  await leader.close()
  append(14)
  await settle()
  expect(early.changes()).toEqual([4, 10, 12, 13, 14])
})

test('a tab that comes back has the server compare its position first', async () => {
  log = [5]
  const leader = open(4)
  await settle()
  const back = open(4, true)
  await settle()
  expect(opened).toEqual([positionOf(4), positionOf(4)])
  expect(streams).toHaveLength(1)
  append(6)
  await settle()
  expect([leader.changes(), back.changes()]).toEqual([
    [5, 6],
    [5, 6],
  ])
})

test('a tab at another event of the same number follows a stream of its own', async () => {
  log = [5]
  open(4)
  await settle()
  const calls: string[] = []
  void followShared('5/log/lost', { connected: vi.fn(), change: vi.fn(), reset: vi.fn(), lost: () => calls.push('lost') }, new AbortController().signal)
  await settle()
  expect(opened).toEqual([positionOf(4), '5/log/lost'])
})

test('where the browser refuses locks each tab follows a stream of its own', async () => {
  vi.stubGlobal('navigator', { locks: { request: () => Promise.reject(new DOMException('', 'SecurityError')) } })
  const tab = open(4)
  await settle()
  append(5)
  expect(tab.calls).toEqual(['connected', 5])
  await tab.close()
  expect(streams).toHaveLength(0)
  expect(vi.getTimerCount()).toBe(0)
})

test('a leader that is not connected yet is not a lost connection', async () => {
  isSlow = true
  open(4)
  await settle()
  const tab = open(4)
  await settle()
  expect(tab.calls).toEqual([])
  streams[0]?.listener.connected()
  await settle()
  expect(tab.calls).toEqual(['connected'])
})

test('a tab whose page is of another log follows a stream of its own', async () => {
  open(10)
  const closing = new AbortController()
  void followShared('3/other/x', { connected: vi.fn(), change: vi.fn(), reset: vi.fn(), lost: vi.fn() }, closing.signal)
  await settle()
  expect(opened).toEqual([positionOf(10), '3/other/x'])
})

test('when the leader’s stream begins anew, so do all tabs', async () => {
  const tabs = [open(10), open(10)]
  await settle()
  streams[0]?.listener.reset('2/other/x')
  streams[0]?.listener.change(changeOf(3), '3/other/y')
  await settle()
  for (const { calls } of tabs) expect(calls).toEqual(['connected', 'reset to 2/other/x', 3])
  expect(streams).toHaveLength(1)
})

test('a leader that is silent is not waited for', async () => {
  // Another tab has the lock, and says nothing.
  void navigator.locks.request('postbus-live', { signal: new AbortController().signal }, () => new Promise<void>(() => undefined))
  const tab = open(4)
  await vi.advanceTimersByTimeAsync(2_999)
  expect(streams).toHaveLength(0)
  await vi.advanceTimersByTimeAsync(1)
  expect(streams.map(({ after }) => after)).toEqual([positionOf(4)])
  append(5)
  expect(tab.changes()).toEqual([5])
  await tab.close()
  expect(vi.getTimerCount()).toBe(0)
})

test('a leader that falls silent is left, and taken again when it is back', async () => {
  const leader = open(4)
  const tab = open(4)
  await settle()
  const [leaders] = Channel.open
  if (leaders === undefined) throw new Error('the leader has no channel')
  const said = vi.spyOn(leaders, 'postMessage').mockImplementation(() => undefined)
  await vi.advanceTimersByTimeAsync(39_999)
  expect(streams).toHaveLength(1)
  await vi.advanceTimersByTimeAsync(1)
  expect(streams).toHaveLength(2)
  append(5)
  said.mockRestore()
  await vi.advanceTimersByTimeAsync(15_000)
  expect(streams).toHaveLength(1)
  append(6)
  await settle()
  expect([leader.changes(), tab.changes()]).toEqual([
    [5, 6],
    [5, 6],
  ])
})

test('a leader whose log is quiet is not taken for silent', async () => {
  const tabs = [open(4), open(4)]
  await vi.advanceTimersByTimeAsync(300_000)
  expect(streams).toHaveLength(1)
  append(5)
  await settle()
  for (const tab of tabs) expect(tab.changes()).toEqual([5])
})

test('a leader that has forgotten what a tab lacks says so', async () => {
  const leader = open(0)
  await settle()
  for (let n = 1; n <= 2_001; n++) append(n)
  const [behind, fine] = [open(500), open(1_001)]
  await settle()
  expect(opened).toEqual([positionOf(0), positionOf(500)])
  expect(behind.changes()).toHaveLength(1_501)
  expect(fine.changes()).toHaveLength(1_000)
  expect(leader.changes()).toHaveLength(2_001)
})

test('without locks each tab follows a stream of its own', async () => {
  vi.stubGlobal('navigator', {})
  open(0)
  open(0)
  await settle()
  expect(streams).toHaveLength(2)
})

test('in any order of opening and closing, each tab gets each change once and in order', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    let random = seed
    const next = (n: number) => (random = (random * 48_271) % 2_147_483_647) % n
    streams = []
    log = []
    let last = 0
    const tabs: { from: number; tab: ReturnType<typeof open> }[] = []
    for (let step = 0; step < 60; step++) {
      const chosen = next(10)
      if (chosen < 5) append((last += 1 + next(3)))
      else if (chosen < 7) {
        const from = Math.max(0, last - next(4))
        tabs.push({ from, tab: open(from, next(2) === 0) })
      } else if (chosen < 8) await tabs.splice(next(tabs.length || 1), 1)[0]?.tab.close()
      else await settle()
    }
    await settle()
    for (const { from, tab } of tabs) expect(tab.changes(), `seed ${seed}`).toEqual(log.filter((n) => n > from))
    for (const { tab } of tabs) await tab.close()
    expect(streams).toHaveLength(0)
  }
}, 60_000)
