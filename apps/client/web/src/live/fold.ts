import type { CommentsPage, FeedPage, FeedPost } from '../api/pages'
import type { Change, Comment } from '../api/types'

/*
 * What was read stands at a number of the log, and a change has one too. So a
 * change is folded in once, whether it comes before the page, after it or again.
 * Each function returns what it was given when the change says nothing about it.
 */

/** A post that came live. It is shown when the visitor asks for it, or at once if it is their own. */
export type Arrived = FeedPost & { shown: boolean }

/** Folds a change into the pages of the list of posts. New posts are not put in here. */
export function foldIntoFeed(pages: FeedPage[], change: Change): FeedPage[] {
  return mapChanged(pages, (page) => {
    const posts = foldIntoPosts(page.posts, change)
    return posts === page.posts ? page : { ...page, posts }
  })
}

/** Folds a change into posts: only their number of comments can change. */
export function foldIntoPosts<T extends FeedPost>(posts: T[], change: Change): T[] {
  if (change.type !== 'CommentCreated') return posts
  return mapChanged(posts, (post) =>
    post.id === change.postId && change.sequence > post.sequence
      ? { ...post, commentCount: post.commentCount + 1, sequence: change.sequence }
      : post,
  )
}

/** Folds a change into the pages of a post's comments. */
export function foldIntoComments(pages: CommentsPage[], change: Change): CommentsPage[] {
  const first = pages[0]
  if (change.type === 'PostCreated' || first?.post.id !== change.postId) return pages
  const { comment, sequence } = change
  const at = pageOf(pages, comment.id)
  return mapChanged(pages, (page, i) => {
    // The pages count the post's comments, the first as the newest reading.
    const counts = i === 0 && change.type === 'CommentCreated'
    if (sequence <= page.sequence || (!counts && i !== at)) return page
    return {
      ...page,
      sequence,
      post: counts ? { ...page.post, commentCount: page.post.commentCount + 1 } : page.post,
      comments: i === at ? upsert(page.comments, comment) : page.comments,
    }
  })
}

/** The page that holds the id or would hold it, or -1 when that one is not read yet. */
function pageOf(pages: CommentsPage[], id: string): number {
  return pages.findIndex((page, i) => {
    const oldest = page.comments.at(-1)
    if (i === pages.length - 1 && page.next === undefined) return true
    return oldest !== undefined && id >= oldest.id
  })
}

/** Puts a comment among others, newest first, or in the place of its earlier version. */
export function upsert(comments: Comment[], comment: Comment): Comment[] {
  const at = comments.findIndex((other) => other.id <= comment.id)
  if (at < 0) return [...comments, comment]
  const old = comments[at]
  if (old?.id !== comment.id) return comments.toSpliced(at, 0, comment)
  // A decision stands.
  return comment.status === 'pending' && old.status !== 'pending' ? comments : comments.with(at, comment)
}

/** Puts a post among those that came live; a later reading of it takes the place of an earlier one. */
export function arrive(arrived: Arrived[], post: Arrived): Arrived[] {
  const earlier = arrived.find((other) => other.id === post.id)
  if (earlier === undefined) return newestFirst([...arrived, post])
  const latest = post.sequence > earlier.sequence ? post : earlier
  return arrived.map((other) => (other === earlier ? { ...latest, shown: earlier.shown || post.shown } : other))
}

/** The posts to show: those that were read and those that came live and were asked for, newest first. */
export function shownPosts(pages: FeedPage[], arrived: Arrived[]): FeedPost[] {
  const read = pages.flatMap((page) => page.posts)
  const ids = new Set(read.map((post) => post.id))
  const live = arrived.filter((post) => post.shown && !ids.has(post.id))
  return live.length === 0 ? read : newestFirst([...live, ...read])
}

/** The posts that wait until the visitor asks for them. */
export function heldPosts(pages: FeedPage[], arrived: Arrived[]): Arrived[] {
  const ids = new Set(pages.flatMap((page) => page.posts.map((post) => post.id)))
  return arrived.filter((post) => !post.shown && !ids.has(post.id))
}

/** The comments to show: those that were read, and the visitor's own that are not yet among them, newest first. */
export function shownComments(pages: CommentsPage[], own: Comment[]): Comment[] {
  const read = pages.flatMap((page) => page.comments)
  const ids = new Set(read.map((comment) => comment.id))
  const missing = own.filter((comment) => !ids.has(comment.id))
  return missing.length === 0 ? read : newestFirst([...missing, ...read])
}

/** Sorts by id, which is by time, newest first. */
export function newestFirst<T extends { id: string }>(items: T[]): T[] {
  return items.toSorted((a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0))
}

/** Like map, but returns the array itself when no item changed. */
function mapChanged<T>(items: T[], change: (item: T, index: number) => T): T[] {
  const changed = items.map(change)
  return changed.every((item, i) => item === items[i]) ? items : changed
}
