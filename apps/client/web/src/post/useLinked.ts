import { useEffect, useRef, useSyncExternalStore } from 'react'
import type { CommentsPage } from '../api/pages'
import type { Comment } from '../api/types'
import { anchorOf, commentAt } from './anchor'

interface Read {
  data: { pages: CommentsPage[] } | undefined
  hasNextPage: boolean
  isFetchingNextPage: boolean
  isFetchNextPageError: boolean
  fetchNextPage: () => unknown
}

function subscribe(listener: () => void): () => void {
  window.addEventListener('hashchange', listener)
  return () => window.removeEventListener('hashchange', listener)
}

/**
 * The comment that the page's address leads to, once it is read. The page reads older comments until it is there,
 * or until those that are left are older. Then it scrolls there, and the comment gets the focus, unless the
 * visitor is typing by then.
 */
export function useLinked(comments: Comment[], { data, hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage }: Read): string | undefined {
  const id = commentAt(useSyncExternalStore(subscribe, () => window.location.hash))
  const isThere = comments.some((comment) => comment.id === id)
  const oldest = data?.pages.at(-1)?.comments.at(-1)?.id
  const isOlder = id !== undefined && oldest !== undefined && id < oldest
  useEffect(() => {
    if (isOlder && hasNextPage && !isFetchingNextPage && !isFetchNextPageError) fetchNextPage()
  }, [isOlder, hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage])
  const shown = useRef<string>(undefined)
  useEffect(() => {
    if (id === undefined || !isThere || shown.current === id) return
    shown.current = id
    if (document.activeElement?.matches('input, textarea') === true) return
    const article = document.getElementById(anchorOf(id))
    article?.scrollIntoView({ block: 'center' })
    article?.focus({ preventScroll: true })
  }, [id, isThere])
  return isThere ? id : undefined
}
