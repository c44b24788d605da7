import { capital } from '../ui/capital'
import { readComment, readQueue, type Decision, type ModeratedComment } from './api'

/** The statuses by which the queue is shown. */
export const statuses = ['held', 'pending', 'rejected', 'approved'] as const

export type QueueStatus = (typeof statuses)[number]

/** The comments of a status as they were read, oldest first, also those that have another status by now. */
export interface Queue {
  comments: ModeratedComment[]
  /** The address of the next page. */
  next: string | undefined
}

/** How many comments are read at once. */
const pageSize = { first: 20, most: 100 }

/** How many comments that have left the queue are looked for at once. */
const lookedFor = 20

/** The status in the query of an address. */
export function statusIn(search: string): QueueStatus {
  const said = new URLSearchParams(search).get('status')
  return statuses.find((status) => status === said) ?? 'held'
}

/** Whether one version of a comment replaces another. */
function isNewer(version: ModeratedComment, than: ModeratedComment | undefined): boolean {
  return than === undefined || version.revision >= than.revision
}

/** Adds versions of comments to a list by age. The highest revision of each counts. */
export function withVersions(comments: ModeratedComment[], versions: ModeratedComment[]): ModeratedComment[] {
  const all = new Map(comments.map((comment) => [comment.id, comment]))
  for (const version of versions) {
    if (isNewer(version, all.get(version.id))) all.set(version.id, version)
  }
  return [...all.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** The comments that had the status and were not read with it again. What is after the read pages is not known. */
export function vanished(before: ModeratedComment[], read: Queue, status: string): ModeratedComment[] {
  const ids = new Set(read.comments.map(({ id }) => id))
  const last = read.comments.at(-1)?.id ?? ''
  return before.filter((comment) => comment.status === status && !ids.has(comment.id) && (read.next === undefined || comment.id <= last))
}

/**
 * Reads the comments of a status, as many as were read before. Comments that have left the queue meanwhile stay
 * in the list, with what was decided on them.
 */
export async function readAnew(status: QueueStatus, before: Queue | undefined, signal: AbortSignal): Promise<Queue> {
  const had = before?.comments ?? []
  const many = had.filter((comment) => comment.status === status).length
  let read: Queue = { comments: [], next: queuePath(status, Math.min(Math.max(many, pageSize.first), pageSize.most)) }
  do read = await readMore(read, signal)
  while (read.next !== undefined && read.comments.length < many)
  const gone = vanished(had, read, status)
  const found = await Promise.all(gone.slice(-lookedFor).map(({ id }) => readComment(id, signal)))
  const dropped = new Set(gone.slice(0, -lookedFor).map(({ id }) => id))
  const kept = had.filter(({ id }) => !dropped.has(id))
  return { comments: withVersions(kept, [...read.comments, ...found]), next: read.next }
}

/** How many comments have come to a list that was known to its end. */
export function arrivals(before: Queue | undefined, now: Queue, status: string): number {
  if (before === undefined || before.next !== undefined) return 0
  const ids = new Set(before.comments.map(({ id }) => id))
  return now.comments.filter((comment) => comment.status === status && !ids.has(comment.id)).length
}

/** Adds the next page. */
export async function readMore(queue: Queue, signal?: AbortSignal): Promise<Queue> {
  if (queue.next === undefined) return queue
  const page = await readQueue(queue.next, signal)
  return { comments: withVersions(queue.comments, page.value), next: page.next }
}

function queuePath(status: QueueStatus, limit: number): string {
  return `/moderation/queue?status=${status}&limit=${limit}`
}

/** The comment to look at after one that was decided on: the next one with the status, or else the one before it. */
export function nextOf(comments: ModeratedComment[], id: string, status: string): string | undefined {
  const open = comments.filter((comment) => comment.status === status && comment.id !== id)
  return (open.find((comment) => comment.id > id) ?? open.at(-1))?.id
}

/** What a decision makes of a comment. */
export const outcomes: Record<Decision, QueueStatus> = { approve: 'approved', reject: 'rejected', hold: 'held' }

/** Whether a comment in a problem document is one. */
export function isComment(value: unknown): value is ModeratedComment {
  return typeof value === 'object' && value !== null && 'id' in value && 'revision' in value && 'status' in value
}

/** Who decided on a comment, in words. */
export function deciderOf({ status, decidedBy, policyVersion }: ModeratedComment, subject: string | undefined): string {
  const who = decidedBy === undefined ? undefined : moderatorOf(decidedBy, subject)
  if (status === 'pending') return 'Not decided yet'
  if (policyVersion === undefined) return who === undefined ? capital(status) : `${capital(status)} by ${who}`
  return `${capital(status)} by the policy (version ${policyVersion})${who === undefined ? '' : `, which ${who} had look at it anew`}`
}

/** A moderator as another one, or the same, reads of them. */
export function moderatorOf(decidedBy: string, subject: string | undefined): string {
  return decidedBy === subject ? 'you' : `moderator ${markOf(decidedBy)}`
}

/** The beginning of a pseudonym, by which people recognise it. */
export function markOf(subject: string): string {
  return subject.slice(0, 8)
}
