import { describe, expect, test } from 'vitest'
import { summary, type CommentsPage, type FeedPage, type FeedPost } from '../api/pages'
import type { Change, Comment, Post } from '../api/types'
import { arrive, foldIntoComments, foldIntoFeed, foldIntoPosts, heldPosts, newestFirst, shownComments, shownPosts, upsert, type Arrived } from './fold'

const createdAt = '2026-11-24T09:00:00Z'
const post = (id: string, approved = 0): Post => ({ id, title: `Title ${id}`, body: '', createdAt, commentCounts: { approved } })
const feedPost = (id: string, sequence: number, approved = 0): FeedPost => summary(post(id, approved), sequence)
const arrived = (id: string, sequence: number, shown: boolean): Arrived => ({ ...feedPost(id, sequence), shown })
const comment = (id: string, status: Comment['status'] = 'pending'): Comment => ({ id, content: `Content ${id}`, status, createdAt })
/** A change of a comment. Afterwards its post has so many that are approved, and as many that are pending as the sequence says. */
const created = (sequence: number, postId: string, id: string, approved = 0): Change => ({ type: 'CommentCreated', sequence, postId, comment: comment(id), commentCounts: { approved, pending: sequence } })
const updated = (sequence: number, postId: string, id: string, status: Comment['status'] = 'approved', approved = 0): Change => ({ type: 'CommentUpdated', sequence, postId, comment: comment(id, status), commentCounts: { approved, pending: sequence } })
const postCreated = (sequence: number, id: string): Change => ({ type: 'PostCreated', sequence, post: { ...post(id), comments: [] } })
const feed = (sequence: number, ...posts: FeedPost[]): FeedPage => ({ sequence, posts, next: undefined })
const page = (sequence: number, ids: string[], next?: string, approved = ids.length): CommentsPage => ({ sequence, post: post('p', approved), comments: ids.map((id) => comment(id)), next })
const ids = (items: { id: string }[]) => items.map(({ id }) => id)

describe('the list of posts', () => {
  const pages = [feed(10, feedPost('4', 10), feedPost('3', 10, 2)), feed(12, feedPost('2', 12))]

  test.each([created(11, '3', 'c', 3), updated(11, '3', 'c', 'approved', 3)])('takes the counts of the post from a change of a comment, once', (change) => {
    const once = foldIntoFeed(pages, change)
    expect(once[0]?.posts[1]).toMatchObject({ commentCounts: { approved: 3, pending: 11 }, sequence: 11 })
    expect(once[1]).toBe(pages[1])
    expect(once[0]?.posts[0]).toBe(pages[0]?.posts[0])
    expect(foldIntoFeed(once, change)).toBe(once)
  })

  test('keeps its counts if an older service gives none with a change', () => {
    const { commentCounts, ...change } = created(11, '3', 'c') as Change & { type: 'CommentCreated' }
    expect(foldIntoFeed(pages, change)[0]?.posts[1]).toMatchObject({ commentCounts: { approved: 2 }, sequence: 11 })
  })

  test('does not count what the page already had', () => {
    expect(foldIntoFeed(pages, created(10, '3', 'c'))).toBe(pages)
    expect(foldIntoFeed(pages, created(12, '2', 'c'))).toBe(pages)
  })

  test('is the same one after what does not change it', () => {
    for (const change of [updated(20, 'unknown', 'c'), postCreated(20, '9'), created(20, 'unknown', 'c')]) {
      expect(foldIntoFeed(pages, change)).toBe(pages)
      expect(foldIntoPosts(pages[0]?.posts ?? [], change)).toBe(pages[0]?.posts)
    }
  })
})

describe('the comments of a post', () => {
  test('a new one is first, and counted', () => {
    const [first] = foldIntoComments([page(10, ['2', '1'])], created(11, 'p', '3', 2))
    expect(ids(first?.comments ?? [])).toEqual(['3', '2', '1'])
    expect(first).toMatchObject({ sequence: 11, post: { commentCounts: { approved: 2, pending: 11 } } })
  })

  test('a new one is first of a post without any', () => {
    const [first] = foldIntoComments([page(10, [])], created(11, 'p', '3'))
    expect(ids(first?.comments ?? [])).toEqual(['3'])
    expect(first?.post.commentCounts).toEqual({ approved: 0, pending: 11 })
  })

  test('what comes again, or was read already, changes nothing', () => {
    const pages = [page(10, ['2', '1'])]
    expect(foldIntoComments(pages, created(10, 'p', '2'))).toBe(pages)
    const once = foldIntoComments(pages, created(11, 'p', '3'))
    expect(foldIntoComments(once, created(11, 'p', '3'))).toBe(once)
  })

  test('whether they are open is of the post, unless it was read later', () => {
    const pages = [page(10, ['c', 'b'], 'next'), page(12, ['a'])]
    const closed: Change = { type: 'PostCommentingChanged', sequence: 11, postId: 'p', commenting: 'closed' }
    const now = foldIntoComments(pages, closed)
    expect(now[0]).toMatchObject({ sequence: 11, post: { ...post('p', 2), commenting: 'closed' } })
    expect(now[1]).toBe(pages[1])
    expect(foldIntoComments(now, closed)).toBe(now)
    expect(foldIntoComments(pages, { ...closed, sequence: 10 })).toBe(pages)
    expect(foldIntoComments(pages, { ...closed, postId: 'q' })).toBe(pages)
  })

  test('another post’s changes, and posts, change nothing', () => {
    const pages = [page(10, ['1'])]
    expect(foldIntoComments(pages, created(11, 'other', '3'))).toBe(pages)
    expect(foldIntoComments(pages, postCreated(11, 'p'))).toBe(pages)
    expect(foldIntoComments([], created(11, 'p', '3'))).toEqual([])
  })

  test('a decision takes the place of the comment, on whichever page it is', () => {
    const pages = [page(10, ['4', '3'], '/next', 4), page(10, ['2', '1'], undefined, 4)]
    const folded = foldIntoComments(pages, updated(11, 'p', '1', 'rejected', 3))
    expect(folded[0]).toMatchObject({ comments: pages[0]?.comments, post: { commentCounts: { approved: 3 } } })
    expect(folded[1]?.comments[1]?.status).toBe('rejected')
    expect(ids(folded[1]?.comments ?? [])).toEqual(['2', '1'])
  })

  test('a decision about a comment on a page that is not read changes the counts alone', () => {
    const pages = [page(10, ['4', '3'], '/next', 4)]
    const [first] = foldIntoComments(pages, updated(11, 'p', '1', 'approved', 5))
    expect(first).toEqual({ ...pages[0], sequence: 11, post: { ...pages[0]?.post, commentCounts: { approved: 5, pending: 11 } } })
  })

  test('a comment that is older than what was read is counted on the first page and put where it belongs', () => {
    // It was created before those on the first page, and reached the log after them.
    const pages = [page(10, ['5', '4'], '/next', 4), page(10, ['2', '1'], undefined, 4)]
    const folded = foldIntoComments(pages, created(11, 'p', '3', 4))
    expect(folded.map(({ comments }) => ids(comments))).toEqual([
      ['5', '4'],
      ['3', '2', '1'],
    ])
    expect(folded[0]?.post.commentCounts).toEqual({ approved: 4, pending: 11 })
  })

  test('a page that was read later than the change is not given it twice, and the first still counts it', () => {
    const pages = [page(10, ['5', '4'], '/next', 3), page(12, ['3', '1'], undefined, 4)]
    const folded = foldIntoComments(pages, created(11, 'p', '3', 3))
    expect(folded[0]?.post.commentCounts).toEqual({ approved: 3, pending: 11 })
    expect(folded[1]).toBe(pages[1])
  })

  test('whatever was read when, folding all changes ends in the same', () => {
    // Ten comments are created and approved. The page is read at any moment in between, and some changes arrive
    // twice.
    const changes = Array.from({ length: 10 }, (_, n) => [created(2 * n + 1, 'p', `c${n}`), updated(2 * n + 2, 'p', `c${n}`)]).flat()
    const fold = (pages: CommentsPage[], from: number) => changes.slice(from).reduce(foldIntoComments, pages)
    const whole = fold([page(0, [])], 0)
    expect(whole[0]?.comments).toHaveLength(10)
    expect(whole[0]?.comments.every(({ status }) => status === 'approved')).toBe(true)
    for (let readAt = 0; readAt <= changes.length; readAt++) {
      const read = changes.slice(0, readAt).reduce(foldIntoComments, [page(0, [])])
      for (let from = 0; from <= readAt; from++) expect(fold(read, from)).toEqual(whole)
    }
  })
})

describe('upsert', () => {
  test.each([
    ['3', ['3', '2', '0']],
    ['1', ['2', '1', '0']],
    ['/', ['2', '0', '/']],
  ])('puts %j in its place', (id, want) => {
    expect(ids(upsert([comment('2'), comment('0')], comment(id)))).toEqual(want)
  })

  test('a decision takes the place of what is pending, and stands', () => {
    const decided = upsert([comment('1')], comment('1', 'approved'))
    expect(decided).toEqual([comment('1', 'approved')])
    expect(upsert(decided, comment('1'))).toBe(decided)
    expect(upsert(decided, comment('1', 'rejected'))).toEqual([comment('1', 'rejected')])
  })
})

describe('posts that came live', () => {
  test('are kept newest first, each once', () => {
    const two = arrive([arrived('2', 5, false)], arrived('3', 6, false))
    expect(ids(two)).toEqual(['3', '2'])
    expect(ids(arrive(two, arrived('2', 5, false)))).toEqual(['3', '2'])
  })

  test('the later reading of one stays, and what was shown is not hidden again', () => {
    const own = arrived('2', 0, true)
    const later = { ...arrived('2', 5, false), commentCounts: { approved: 1 } }
    const after = arrive([own], later)
    expect(after).toEqual([{ ...later, shown: true }])
    expect(arrive(after, own)).toEqual(after)
  })

  test('wait until they are asked for, unless they were read', () => {
    const pages = [feed(10, feedPost('2', 10), feedPost('1', 10))]
    const live = [arrived('4', 12, false), arrived('3', 11, true), arrived('2', 9, false)]
    expect(ids(shownPosts(pages, live))).toEqual(['3', '2', '1'])
    expect(ids(heldPosts(pages, live))).toEqual(['4'])
  })

  test('a list of one’s own posts is there before anything is read', () => {
    expect(ids(shownPosts([], [arrived('3', 0, true)]))).toEqual(['3'])
  })

  test('an older post that came late stands among those that were read', () => {
    const pages = [feed(10, feedPost('4', 10), feedPost('2', 10))]
    expect(ids(shownPosts(pages, [arrived('3', 11, true)]))).toEqual(['4', '3', '2'])
  })
})

test('shownComments adds the visitor’s own until they are read', () => {
  const pages = [page(10, ['2', '1'])]
  expect(ids(shownComments(pages, [comment('3')]))).toEqual(['3', '2', '1'])
  expect(shownComments([{ ...page(11, []), comments: [comment('3', 'approved')] }], [comment('3')])).toEqual([comment('3', 'approved')])
})

test('newestFirst sorts by id and leaves what it was given', () => {
  const items = [{ id: '1' }, { id: '3' }, { id: '2' }]
  expect(ids(newestFirst(items))).toEqual(['3', '2', '1'])
  expect(ids(items)).toEqual(['1', '3', '2'])
})
