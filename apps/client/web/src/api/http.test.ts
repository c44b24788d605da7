import { afterEach, beforeEach, expect, test, vi } from 'vitest'
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

test('an answer that takes too long is none', async () => {
  hang()
  const late = new AbortController()
  const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(late.signal)
  const answer = request('/posts')
  late.abort(new DOMException('', 'TimeoutError'))
  await expect(answer).rejects.toMatchObject({ name: 'Problem', status: 0 })
  expect(timeout).toHaveBeenCalledWith(15_000)
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
