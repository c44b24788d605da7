import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { postPath, readFeed, readPost, summary } from './pages'

const fetched = vi.fn<typeof fetch>()
beforeEach(() => vi.stubGlobal('fetch', fetched))
afterEach(() => {
  fetched.mockReset()
  vi.unstubAllGlobals()
})

const signal = new AbortController().signal
const post = { id: '0b', title: 'T', body: 'One\n\ntwo', createdAt: '2026-11-24T09:00:00Z', commentCounts: { approved: 1 } }
const comment = { id: '0c', content: 'C', status: 'approved' as const, createdAt: '2026-11-24T09:01:00Z' }

test('readFeed keeps the order, the number and the next page', async () => {
  const post = { id: '0b', title: 'T', excerpt: 'One two', createdAt: '2026-11-24T09:00:00Z', commentCounts: { approved: 1 } }
  const answer = { '0b': post, '0a': { ...post, id: '0a' } }
  fetched.mockResolvedValue(Response.json(answer, { headers: { 'Postbus-Sequence': '9', Link: '</posts?cursor=0a>; rel="next"' } }))
  expect(await readFeed('/posts', undefined, signal)).toEqual({
    sequence: 9,
    next: '/posts?cursor=0a',
    posts: [
      { ...post, sequence: 9 },
      { ...post, id: '0a', sequence: 9 },
    ],
  })
  expect(fetched.mock.calls[0]?.[0]).toBe('/posts')
})

test('readFeed asks for an answer that is new enough', async () => {
  fetched.mockImplementation(() => Promise.resolve(Response.json({})))
  await readFeed('/posts', 0, signal)
  await readFeed('/posts?cursor=0a', 12, signal)
  expect(fetched.mock.calls.map(([path]) => path)).toEqual(['/posts?min_sequence=0', '/posts?cursor=0a&min_sequence=12'])
})

test('readPost takes the comments apart from the post', async () => {
  fetched.mockResolvedValue(Response.json({ ...post, comments: [comment] }, { headers: { 'Postbus-Sequence': '9' } }))
  expect(await readPost(postPath('0b'), 5, signal)).toEqual({ sequence: 9, next: undefined, post, comments: [comment] })
  expect(fetched.mock.calls[0]?.[0]).toBe('/posts/0b?min_sequence=5')
})

test('postPath leads nowhere else', () => {
  expect(postPath('../create?x=#')).toBe('/posts/..%2Fcreate%3Fx%3D%23')
})

test('summary leaves the comments out, and most of a long text', () => {
  const { body, ...rest } = post
  expect(summary({ ...post, comments: [comment] }, 4)).toEqual({ ...rest, excerpt: 'One two', sequence: 4 })
})
