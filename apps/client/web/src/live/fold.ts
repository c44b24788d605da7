import type { CommentsPage, FeedPage, FeedPost } from '../api/pages'
import type { Change, Comment } from '../api/types'

/*
 * Every page was read at a number of the log, and every change has a number too. So a change counts once,
 * whether it arrives before the page, after it, or twice. Each function returns its argument itself when the
 * change does not concern it.
 */

/** A post that arrived live. It is shown when the visitor asks for it, or at once if it is their own. */
export type Arrived = FeedPost & { shown: boolean }

/** Folds a change into the pages of the list of posts. It does not add new posts. */
export function foldIntoFeed(pages: FeedPage[], change: Change): FeedPage[] {
  return mapChanged(pages, (page) => {
    const posts = foldIntoPosts(page.posts, change)
    return posts === page.posts ? page : { ...page, posts }
  })
}

/** Folds a change into posts. Only their numbers of comments can change, which a change of a comment has. */
export function foldIntoPosts<T extends FeedPost>(posts: T[], change: Change): T[] {
  if (change.type !== 'CommentCreated' && change.type !== 'CommentUpdated') return posts
  const { postId, sequence, commentCounts } = change
  return mapChanged(posts, (post) => (post.id === postId && sequence > post.sequence ? { ...post, sequence, ...(commentCounts && { commentCounts }) } : post))
}

/** Folds a change into the pages of a post's comments. The first page has the post as it now stands. */
export function foldIntoComments(pages: CommentsPage[], change: Change): CommentsPage[] {
  const first = pages[0]
  if (change.type === 'PostCreated' || first?.post.id !== change.postId) return pages
  const { sequence } = change
  if (change.type === 'PostCommentingChanged') {
    if (sequence <= first.sequence) return pages
    return pages.with(0, { ...first, sequence, post: { ...first.post, commenting: change.commenting } })
  }
  const { comment, commentCounts } = change
  const at = pageOf(pages, comment.id)
  return mapChanged(pages, (page, i) => {
    // Each page has the counts of all comments; the first page keeps the newest ones.
    const counts = i === 0 && commentCounts !== undefined
    if (sequence <= page.sequence || (!counts && i !== at)) return page
    return {
      ...page,
      sequence,
      post: counts ? { ...page.post, commentCounts } : page.post,
      comments: i === at ? upsert(page.comments, comment) : page.comments,
    }
  })
}

/** The index of the page that holds the id or would hold it, or -1 when that page is not read yet. */
function pageOf(pages: CommentsPage[], id: string): number {
  return pages.findIndex((page, i) => {
    const oldest = page.comments.at(-1)
    if (i === pages.length - 1 && page.next === undefined) return true
    return oldest !== undefined && id >= oldest.id
  })
}

/** Adds a comment, newest first, or replaces its earlier version. */
export function upsert(comments: Comment[], comment: Comment): Comment[] {
  const at = comments.findIndex((other) => other.id <= comment.id)
  if (at < 0) return [...comments, comment]
  const old = comments[at]
  if (old?.id !== comment.id) return comments.toSpliced(at, 0, comment)
  // A decision is final.
  return comment.status === 'pending' && old.status !== 'pending' ? comments : comments.with(at, comment)
}

/** Adds a post that arrived live, or replaces it if this one was read later. */
export function arrive(arrived: Arrived[], post: Arrived): Arrived[] {
  const earlier = arrived.find((other) => other.id === post.id)
  if (earlier === undefined) return newestFirst([...arrived, post])
  const latest = post.sequence > earlier.sequence ? post : earlier
  return arrived.map((other) => (other === earlier ? { ...latest, shown: earlier.shown || post.shown } : other))
}

/** The posts to show, newest first: those on pages, and those that arrived live and were asked for. */
export function shownPosts(pages: FeedPage[], arrived: Arrived[]): FeedPost[] {
  const read = pages.flatMap((page) => page.posts)
  const ids = new Set(read.map((post) => post.id))
  const live = arrived.filter((post) => post.shown && !ids.has(post.id))
  return live.length === 0 ? read : newestFirst([...live, ...read])
}

/** The posts that arrived live and wait until the visitor asks for them. */
export function heldPosts(pages: FeedPage[], arrived: Arrived[]): Arrived[] {
  const ids = new Set(pages.flatMap((page) => page.posts.map((post) => post.id)))
  return arrived.filter((post) => !post.shown && !ids.has(post.id))
}

/** The comments to show, newest first: those on pages, and the visitor's own that no page has yet. */
export function shownComments(pages: CommentsPage[], own: Comment[]): Comment[] {
  const read = pages.flatMap((page) => page.comments)
  const ids = new Set(read.map((comment) => comment.id))
  const missing = own.filter((comment) => !ids.has(comment.id))
  return missing.length === 0 ? read : newestFirst([...missing, ...read])
}

/** Sorts by id, and thereby by time, newest first. */
export function newestFirst<T extends { id: string }>(items: T[]): T[] {
  return items.toSorted((a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0))
}

/** Like map, but returns the array itself when no item changed. */
function mapChanged<T>(items: T[], change: (item: T, index: number) => T): T[] {
  const changed = items.map(change)
  return changed.every((item, i) => item === items[i]) ? items : changed
}
