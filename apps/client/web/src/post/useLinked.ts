import { useEffect, useSyncExternalStore } from 'react'
import type { Comment } from '../api/types'
import { anchorOf, commentAt } from './anchor'

interface Read {
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
 * or until those that are left are older. Then it scrolls there, and the comment gets the focus.
 */
export function useLinked(comments: Comment[], { hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage }: Read): string | undefined {
  const id = commentAt(useSyncExternalStore(subscribe, () => window.location.hash))
  const isThere = comments.some((comment) => comment.id === id)
  const oldest = comments.at(-1)?.id
  const isOlder = id !== undefined && oldest !== undefined && id < oldest
  useEffect(() => {
    if (isOlder && hasNextPage && !isFetchingNextPage && !isFetchNextPageError) fetchNextPage()
  }, [isOlder, hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage])
  useEffect(() => {
    if (id === undefined || !isThere) return
    const article = document.getElementById(anchorOf(id))
    article?.scrollIntoView({ block: 'center' })
    article?.focus({ preventScroll: true })
  }, [id, isThere])
  return isThere ? id : undefined
}
