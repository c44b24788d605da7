import { request, send, type Answer } from '../api/http'
import { postPath } from '../api/pages'
import type { PostWithComments, Status } from '../api/types'
import type { Rules } from './rules'

/** A comment as moderators see it: whole, whatever was decided. */
export interface ModeratedComment {
  id: string
  postId: string
  content: string
  author?: string
  /** The pseudonym of a person who signed in. */
  authorId?: string
  status: Status
  reason?: string
  createdAt: string
  /** Counts the comment's versions. Those of moderators begin at 3. */
  revision: number
  /** The pseudonym of the moderator who decided. */
  decidedBy?: string
  policyVersion?: number
}

export type Decision = 'approve' | 'reject' | 'hold'

/** A person who is blocked, and by whom. */
export interface Blocking {
  subject: string
  blocked: boolean
  decidedBy: string
  decidedAt: string
}

/** The policy with the version that a change of it must name. */
export interface Versioned {
  rules: Rules
  etag: string
}

/** What a policy says of a comment. Without a phase none of them says anything. */
export interface Verdict {
  status: Status
  reason?: string
  phase?: string
}

/** What the saved policy has made of some held comments. */
export interface Applied {
  examined: number
  decided: ModeratedComment[]
  /** Where to go on. */
  next?: string
}

const commentPath = (id: string) => `/moderation/comments/${encodeURIComponent(id)}`

/** Reads a page of the comments of a status, oldest first. */
export function readQueue(path: string, signal?: AbortSignal): Promise<Answer<ModeratedComment[]>> {
  return request(path, signal ? { signal } : {})
}

export async function readComment(id: string, signal: AbortSignal): Promise<ModeratedComment> {
  return (await request<ModeratedComment>(commentPath(id), { signal })).value
}

/** Decides on a comment as the moderator has seen it. */
export async function decide({ id, revision }: ModeratedComment, decision: Decision, reason: string): Promise<ModeratedComment> {
  return (await send<ModeratedComment>('POST', commentPath(id), { decision, reason, revision })).value
}

/** Gives back the decision before the one that stands. */
export async function undo({ id, revision }: ModeratedComment): Promise<ModeratedComment> {
  return (await send<ModeratedComment>('POST', `${commentPath(id)}/undo`, { revision })).value
}

/** The title of a post. */
export async function readTitle(postId: string, signal: AbortSignal): Promise<string> {
  return (await request<PostWithComments>(`${postPath(postId)}?limit=1`, { signal })).value.title
}

/** Opens or closes the comments of a post. */
export async function setCommenting(postId: string, comments: 'open' | 'closed'): Promise<void> {
  await send('POST', `/moderation/posts/${encodeURIComponent(postId)}`, { comments })
}

/** Blocks a person, or no longer. */
export async function setBlocked(subject: string, blocked: boolean): Promise<Blocking> {
  return (await send<Blocking>('POST', `/moderation/people/${encodeURIComponent(subject)}`, { blocked })).value
}

/** Reads who is blocked, newest first. */
export async function readBlocked(signal: AbortSignal): Promise<Blocking[]> {
  return (await request<{ people: Blocking[] }>('/moderation/people', { signal })).value.people
}

export async function readPolicy(signal: AbortSignal): Promise<Versioned> {
  return versioned(await request<Rules>('/moderation/policy', { signal }))
}

/** Changes the policy, if it still is the one of that version. */
export async function savePolicy({ rules, etag }: Versioned): Promise<Versioned> {
  return versioned(await send<Rules>('PUT', '/moderation/policy', rules, { 'If-Match': etag }))
}

function versioned({ value, etag }: Answer<Rules>): Versioned {
  return { rules: value, etag: etag ?? '' }
}

/** Asks what a policy, which need not be saved, says of a comment. */
export async function tryPolicy(policy: Rules, content: string, author: string): Promise<Verdict> {
  return (await send<Verdict>('POST', '/moderation/policy/try', { policy, content, author })).value
}

/** Has the saved policy look at some held comments anew, after a cursor. */
export async function applyPolicy(cursor: string | undefined): Promise<Applied> {
  const path = '/moderation/policy/apply'
  return (await request<Applied>(cursor === undefined ? path : `${path}?cursor=${encodeURIComponent(cursor)}`, { method: 'POST' })).value
}
