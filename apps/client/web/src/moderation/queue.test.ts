import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ModeratedComment } from './api'
import { arrivals, deciderOf, nextOf, readAnew, readMore, statusIn, vanished, withVersions } from './queue'

const comment = (id: string, status = 'held', revision = 2): ModeratedComment => ({ id, postId: 'p', content: `The ${id}.`, status, revision, createdAt: '2026-11-24T09:00:00Z' })
const ids = (comments: ModeratedComment[]) => comments.map(({ id }) => id)
const signal = new AbortController().signal

const fetched = vi.fn<typeof fetch>()
beforeEach(() => vi.stubGlobal('fetch', fetched))
afterEach(() => {
  fetched.mockReset()
  vi.unstubAllGlobals()
})

/** Answers by path. */
function serve(answers: Record<string, { comments: unknown; next?: string }>): void {
  fetched.mockImplementation((path) => {
    const answer = answers[path as string]
    if (!answer) return Promise.reject(new TypeError(`nothing at ${path as string}`))
    return Promise.resolve(Response.json(answer.comments, answer.next === undefined ? {} : { headers: { Link: `<${answer.next}>; rel="next"` } }))
  })
}

describe('withVersions', () => {
  test('keeps comments by age', () => {
    expect(ids(withVersions([comment('b')], [comment('c'), comment('a')]))).toEqual(['a', 'b', 'c'])
  })

  test('of two versions the higher one counts', () => {
    const decided = comment('a', 'approved', 3)
    expect(withVersions([decided], [comment('a')])).toEqual([decided])
    expect(withVersions([comment('a')], [decided])).toEqual([decided])
  })
})

test('vanished are those that were read before and are not there any more', () => {
  const before = [comment('a'), comment('b', 'approved', 3), comment('c'), comment('e')]
  expect(ids(vanished(before, { comments: [comment('d')], next: undefined }, 'held'))).toEqual(['a', 'c', 'e'])
  expect(ids(vanished(before, { comments: [comment('d')], next: '/more' }, 'held'))).toEqual(['a', 'c'])
  expect(ids(vanished(before, { comments: [], next: undefined }, 'held'))).toEqual(['a', 'c', 'e'])
})

test('arrivals are those that come to a list that was known to its end', () => {
  const now = { comments: [comment('a'), comment('b'), comment('c', 'approved', 3)], next: undefined }
  expect(arrivals({ comments: [comment('a')], next: undefined }, now, 'held')).toBe(1)
  expect(arrivals({ comments: [comment('a')], next: '/second' }, now, 'held')).toBe(0)
  expect(arrivals(undefined, now, 'held')).toBe(0)
})

describe('reading', () => {
  test('the first page', async () => {
    serve({ '/moderation/queue?status=held&limit=20': { comments: [comment('a')], next: '/moderation/queue?cursor=a' } })
    expect(await readAnew('held', undefined, signal)).toEqual({ comments: [comment('a')], next: '/moderation/queue?cursor=a' })
  })

  test('anew, what another moderator has decided stays, with the decision', async () => {
    const decided = comment('a', 'approved', 3)
    serve({ '/moderation/queue?status=held&limit=20': { comments: [comment('b'), comment('c')] }, '/moderation/comments/a': { comments: decided } })
    expect((await readAnew('held', { comments: [comment('a'), comment('b')], next: undefined }, signal)).comments).toEqual([decided, comment('b'), comment('c')])
  })

  test('anew, what was decided here is not asked for', async () => {
    const decided = comment('a', 'approved', 3)
    serve({ '/moderation/queue?status=held&limit=20': { comments: [comment('a')] } })
    expect((await readAnew('held', { comments: [decided], next: undefined }, signal)).comments).toEqual([decided])
    expect(fetched).toHaveBeenCalledTimes(1)
  })

  test('anew, as many as before', async () => {
    const many = Array.from({ length: 150 }, (_, n) => comment(String(n).padStart(3, '0')))
    serve({
      '/moderation/queue?status=held&limit=100': { comments: many.slice(0, 100), next: '/second' },
      '/second': { comments: many.slice(100), next: '/third' },
    })
    expect(await readAnew('held', { comments: many, next: '/second' }, signal)).toEqual({ comments: many, next: '/third' })
  })

  test('the next page, if there is one', async () => {
    serve({ '/second': { comments: [comment('b')] } })
    expect(await readMore({ comments: [comment('a')], next: '/second' })).toEqual({ comments: [comment('a'), comment('b')], next: undefined })
    const whole = { comments: [comment('a')], next: undefined }
    expect(await readMore(whole)).toBe(whole)
  })
})

test.each([
  ['a', 'c'],
  ['c', 'd'],
  ['d', 'c'],
])('after %s comes %s', (id, next) => {
  expect(nextOf([comment('a'), comment('b', 'approved'), comment('c'), comment('d')], id, 'held')).toBe(next)
})

test('after the last one comes nothing', () => {
  expect(nextOf([comment('a')], 'a', 'held')).toBeUndefined()
})

test.each([
  ['', 'held'],
  ['status=rejected', 'rejected'],
  ['status=else', 'held'],
])('statusIn %j', (search, status) => {
  expect(statusIn(search)).toBe(status)
})

test.each([
  [{ status: 'pending' }, 'Not decided yet'],
  [{ policyVersion: 3 }, 'Held by the policy (version 3)'],
  [{ decidedBy: 'me' }, 'Held by you'],
  [{ decidedBy: '0123456789' }, 'Held by moderator 01234567'],
  [{ decidedBy: 'me', policyVersion: 3 }, 'Held by the policy (version 3), which you had look at it anew'],
])('of %j it says %j', (decided, said) => {
  expect(deciderOf({ ...comment('a'), ...decided }, 'me')).toBe(said)
})
