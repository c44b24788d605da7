import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { nextOf, request, send, sequenceOf, withParameter } from './http'

const fetched = vi.fn<typeof fetch>()
beforeEach(() => vi.stubGlobal('fetch', fetched))
afterEach(() => {
  fetched.mockReset()
  vi.unstubAllGlobals()
})

test('request reads JSON with what the headers say', async () => {
  fetched.mockResolvedValue(Response.json({ a: 1 }, { headers: { 'Postbus-Sequence': '42', Link: '</posts?cursor=x>; rel="next"' } }))
  expect(await request('/posts')).toEqual({ value: { a: 1 }, sequence: 42, next: '/posts?cursor=x' })
  expect(fetched.mock.calls[0]?.[0]).toBe('/posts')
})

test('request passes on what is to be sent', async () => {
  fetched.mockResolvedValue(Response.json({}, { status: 201 }))
  await request('/posts/create', { method: 'POST', body: '{}', headers: { 'Idempotency-Key': 'k' } })
  expect(fetched.mock.calls[0]?.[1]).toMatchObject({ method: 'POST', body: '{}', headers: { 'Idempotency-Key': 'k' } })
})

test('send sends JSON, and gives the version of the answer', async () => {
  fetched.mockResolvedValue(Response.json({ b: 2 }, { headers: { ETag: '"3"' } }))
  expect(await send('PUT', '/moderation/policy', { a: 1 }, { 'If-Match': '"2"' })).toMatchObject({ value: { b: 2 }, etag: '"3"' })
  expect(fetched.mock.calls[0]?.[1]).toMatchObject({ method: 'PUT', body: '{"a":1}', headers: { 'Content-Type': 'application/json', 'If-Match': '"2"' } })
})

test('a refusal is a problem', async () => {
  fetched.mockResolvedValue(new Response('{"detail":"content must not be empty","field":"content"}', { status: 422 }))
  await expect(request('/posts/1/comments')).rejects.toMatchObject({ name: 'Problem', status: 422, field: 'content' })
})

test('an answer that is not from the API is a problem that may pass', async () => {
  fetched.mockResolvedValue(new Response('<html>', { headers: { 'Content-Type': 'text/html' } }))
  await expect(request('/posts')).rejects.toMatchObject({ name: 'Problem', status: 502, transient: true })
})

test('JSON that is cut off is no answer', async () => {
  fetched.mockResolvedValue(new Response('{"a":', { headers: { 'Content-Type': 'application/json' } }))
  await expect(request('/posts')).rejects.toMatchObject({ name: 'Problem', status: 0 })
})

test('a connection that fails is no answer', async () => {
  fetched.mockRejectedValue(new TypeError('Failed to fetch'))
  await expect(request('/posts')).rejects.toMatchObject({ name: 'Problem', status: 0 })
})

/** Never answers, and fails when its signal aborts. */
function hang(): void {
  fetched.mockImplementation((_, init) => new Promise((_, fail) => init?.signal?.addEventListener('abort', () => fail(init.signal?.reason as Error))))
}

test('the caller’s abort is not a problem', async () => {
  hang()
  const caller = new AbortController()
  const answer = request('/posts', { signal: caller.signal })
  caller.abort()
  await expect(answer).rejects.toMatchObject({ name: 'AbortError' })
})

describe('the deadline', () => {
  beforeEach(() => vi.useFakeTimers())
  afterEach(() => vi.useRealTimers())

  test('an answer of which nothing comes is none', async () => {
    hang()
    const answer = request('/posts')
    const failed = expect(answer).rejects.toMatchObject({ name: 'Problem', status: 0 })
    await vi.advanceTimersByTimeAsync(14_999)
    expect(fetched.mock.calls[0]?.[1]?.signal?.aborted).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    await failed
    expect(vi.getTimerCount()).toBe(0)
  })

  /** Answers with a body whose parts the test sends. */
  function inParts() {
    let body: ReadableStreamDefaultController<Uint8Array> | undefined
    fetched.mockImplementation((_, init) => {
      const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (body = controller) })
      init?.signal?.addEventListener('abort', () => body?.error(init.signal?.reason))
      return Promise.resolve(new Response(stream, { headers: { 'Content-Type': 'application/json' } }))
    })
    return { send: (part: string) => body?.enqueue(new TextEncoder().encode(part)), end: () => body?.close() }
  }

  test('a slow answer may take as long as it likes', async () => {
    const slow = inParts()
    const answer = request('/posts')
    for (const part of '{"a":[1,2]}') {
      await vi.advanceTimersByTimeAsync(14_000)
      slow.send(part)
    }
    await vi.advanceTimersByTimeAsync(14_000)
    slow.end()
    await expect(answer).resolves.toMatchObject({ value: { a: [1, 2] } })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('an answer that stops in the middle is none', async () => {
    const stopping = inParts()
    const answer = request('/posts')
    const failed = expect(answer).rejects.toMatchObject({ name: 'Problem', status: 0 })
    await vi.advanceTimersByTimeAsync(14_000)
    stopping.send('{"a":')
    await vi.advanceTimersByTimeAsync(15_000)
    await failed
  })
})

test.each([
  ['7', 7],
  ['0', 0],
  ['', undefined],
  ['-1', undefined],
  ['7a', undefined],
])('sequenceOf %j', (header, sequence) => {
  expect(sequenceOf(new Headers(header === '' ? {} : { 'Postbus-Sequence': header }))).toBe(sequence)
})

test.each([
  ['</posts?limit=2&cursor=a>; rel="next"', '/posts?limit=2&cursor=a'],
  ['</posts?cursor=a>;rel=next', '/posts?cursor=a'],
  ['</posts>; rel="first", </posts?cursor=b>; rel="next"', '/posts?cursor=b'],
  ['</posts>; rel="first"', undefined],
  ['', undefined],
  [null, undefined],
])('nextOf %j', (link, next) => {
  expect(nextOf(link)).toBe(next)
})

test('withParameter adds to a path with and without others', () => {
  expect(withParameter('/posts', 'min_sequence', 3)).toBe('/posts?min_sequence=3')
  expect(withParameter('/posts?cursor=a', 'min_sequence', 3)).toBe('/posts?cursor=a&min_sequence=3')
})
