import { request, withParameter } from './http'
import { excerptOf } from './excerpt'
import type { Comment, Post, PostWithComments, Summary } from './types'

/** A post in the list, and the number of the log at which it was read. */
export interface FeedPost extends Summary {
  sequence: number
}

/** The place in the log at which a page was read: its number, and its position if query gave one. */
export interface Stand {
  sequence: number
  position?: string | undefined
}

/** A page of the list of posts, newest first. */
export interface FeedPage extends Stand {
  posts: FeedPost[]
  next: string | undefined
}

/** A page of a post's comments, newest first. Its number is that of the last change in it. */
export interface CommentsPage extends Stand {
  post: Post
  comments: Comment[]
  next: string | undefined
}

/** The address of the first page of posts. */
export const feedPath = '/posts?comments=0'

/** The address of a post and the first page of its comments. */
export const postPath = (id: string) => `/posts/${encodeURIComponent(id)}`

/** A post as the list shows it, as of a number of the log. */
export function summary(post: Post | PostWithComments, sequence: number): FeedPost {
  const { body, comments, ...rest } = { comments: [], ...post }
  return { ...rest, excerpt: excerptOf(body), sequence }
}

/** Reads a page of posts that is at least as new as the number. */
export async function readFeed(path: string, atLeast: number | undefined, signal: AbortSignal): Promise<FeedPage> {
  const answer = await request<Record<string, Summary>>(atSequence(path, atLeast), { signal })
  const sequence = answer.sequence ?? 0
  return {
    sequence,
    position: answer.position,
    posts: Object.values(answer.value).map((post) => ({ ...post, sequence })),
    next: answer.next,
  }
}

/** Reads a post with a page of its comments that is at least as new as the number. */
export async function readPost(path: string, atLeast: number | undefined, signal: AbortSignal): Promise<CommentsPage> {
  const answer = await request<PostWithComments>(atSequence(path, atLeast), { signal })
  const { comments, ...post } = answer.value
  return { sequence: answer.sequence ?? 0, position: answer.position, post, comments, next: answer.next }
}

/** Reads a comment as its author may see it. A guest shows the receipt. */
export async function readOwnComment(postId: string, id: string, receipt: string, signal: AbortSignal): Promise<Comment> {
  const headers = receipt === '' ? {} : { Receipt: receipt }
  return (await request<Comment>(`${postPath(postId)}/comments/${encodeURIComponent(id)}`, { headers, signal })).value
}

function atSequence(path: string, atLeast: number | undefined): string {
  return atLeast === undefined ? path : withParameter(path, 'min_sequence', atLeast)
}
