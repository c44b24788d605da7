import { skipToken, useInfiniteQuery, useQueries, useQuery, useQueryClient, type InfiniteData } from '@tanstack/react-query'
import { useMemo } from 'react'
import { postPath, readOwnComment, readPost, type CommentsPage } from '../api/pages'
import { Problem, readAgainAfter } from '../api/problem'
import type { Comment } from '../api/types'
import { shownComments, upsert } from '../live/fold'
import { keys } from '../live/keys'
import { useChanges, useLive } from '../live/useLive'
import { isMine, type Me } from '../people/me'
import { useMe } from '../people/useMe'
import { isOwn, receiptOf } from '../write/own'

/** How often the page reads the visitor's own new post until query has it, and the delay between, in milliseconds. */
const ownTries = 20
const ownWait = 250

/** How many withheld comments of a post are read to find out whether the visitor wrote them. */
const asked = 20

const none: Comment[] = []

/** Whether the visitor wrote a comment: the pseudonym says so, or this tab remembers it. */
export function isOwnComment({ id, authorId }: Comment, me: Me): boolean {
  return isMine(authorId, me) ?? isOwn(id)
}

/**
 * The comments that the visitor may see more of than other readers: those of this tab, and for somebody who is signed
 * in the newest that were decided on, since their author is not known. A pending one is decided on in a moment.
 */
export function withheldFrom(comments: Comment[], me: Me): Comment[] {
  let left = me.subject === undefined ? 0 : asked
  return comments.filter(({ id, status }) => status !== 'approved' && (isOwn(id) || (status !== 'pending' && left-- > 0)))
}

/** A post with its comments: the pages read so far, the visitor's own comments since, and a way to read the next page. */
export function usePost(id: string) {
  const live = useLive()
  const client = useQueryClient()
  const query = useInfiniteQuery({
    queryKey: keys.post(id),
    queryFn: async ({ pageParam, signal }) => {
      const page = await readPost(pageParam, live.position, signal)
      live.begin(page)
      return page
    },
    initialPageParam: postPath(id),
    getNextPageParam: (last: CommentsPage) => last.next,
    retry: (failures, cause) => cause instanceof Problem && (cause.transient || (isYoung(id, cause) && failures < ownTries)),
    retryDelay: (_, cause) => (cause instanceof Problem && isYoung(id, cause) ? ownWait : readAgainAfter(cause)),
  })
  const ownKey = keys.ownComments(id)
  const { data: own = none } = useQuery({ queryKey: ownKey, queryFn: skipToken, initialData: () => client.getQueryData<Comment[]>(ownKey) ?? none })
  const pages = query.data?.pages
  const read = useMemo(() => shownComments(pages ?? [], own), [pages, own])
  const comments = useWithheld(id, read, own)
  return {
    ...query,
    post: pages?.[0]?.post,
    comments,
    /** Shows a comment that the visitor just sent. */
    addOwn: (comment: Comment) => client.setQueryData<Comment[]>(ownKey, (before = []) => upsert(before, comment)),
    /** The comment as it was last read or changed, if it is on a page. */
    known: (commentId: string) =>
      client
        .getQueryData<InfiniteData<CommentsPage>>(keys.post(id))
        ?.pages.flatMap((page) => page.comments)
        .find((comment) => comment.id === commentId),
    missing: query.error instanceof Problem && query.error.status === 404,
  }
}

/** The comments, with what only their author sees of those that are not approved: at first as it was sent, then as it was read. */
function useWithheld(postId: string, comments: Comment[], sent: Comment[]): Comment[] {
  const client = useQueryClient()
  const me = useMe()
  useChanges((change) => {
    if (change.type === 'CommentUpdated') void client.invalidateQueries({ queryKey: keys.ownComment(change.comment.id) })
  })
  const withheld = withheldFrom(comments, me)
  const queries = withheld.map(({ id, status }) => ({
    queryKey: keys.ownComment(id),
    queryFn: ({ signal }: { signal: AbortSignal }) => readOwnComment(postId, id, receiptOf(id), signal),
    staleTime: Infinity,
    ...(!isOwn(id) && { retry: false }),
    enabled: status !== 'pending' || !sent.some((comment) => comment.id === id), // otherwise all is known
  }))
  return useQueries({
    queries,
    combine: (results) =>
      comments.map((comment) => {
        const at = withheld.indexOf(comment)
        if (at < 0) return comment
        const { reason, ...own } = results[at]?.data ?? sent.find(({ id }) => id === comment.id) ?? comment
        // The reason is of a decision, and another one may stand by now.
        return { ...own, ...comment, ...(own.status === comment.status && reason !== undefined && { reason }) }
      }),
  })
}

/** Whether a post may be missing only because query does not have it yet. */
function isYoung(id: string, problem: Problem): boolean {
  return problem.status === 404 && isOwn(id)
}
