import { Button } from '@base-ui/react/button'
import { useEffect, useRef } from 'react'
import { summary } from '../api/pages'
import { useLive } from '../live/useLive'
import { announce } from '../ui/announce'
import { count } from '../ui/count'
import { More } from '../ui/More'
import { Trouble } from '../ui/Trouble'
import { Waiting } from '../ui/Waiting'
import styles from './FeedPage.module.css'
import { NewPost } from './NewPost'
import { PostCard } from './PostCard'
import { useFeed } from './useFeed'

export function FeedPage() {
  const live = useLive()
  const feed = useFeed()
  /** The post whose link gets the focus once it is shown. */
  const focusOn = useRef<string>(undefined)
  const list = useRef<HTMLOListElement>(null)
  useEffect(() => {
    if (focusOn.current === undefined) return
    const link = list.current?.querySelector<HTMLElement>(`[data-post="${focusOn.current}"] a`)
    if (!link) return
    focusOn.current = undefined
    link.focus()
  }, [feed.posts])

  const showHeld = () => {
    focusOn.current = feed.held[0]?.id
    live.showArrived()
    window.scrollTo({ top: 0 })
  }
  return (
    <>
      <title>Postbus</title>
      <h1>Posts</h1>
      <NewPost
        onSent={(post) => {
          focusOn.current = post.id
          live.add({ ...summary(post, 0), shown: true })
          announce('Your post is published.')
        }}
      />
      <div className={styles.held} aria-live="polite">
        {feed.held.length > 0 && (
          <Button className={styles.bar} onClick={showHeld}>
            {count(feed.held.length, 'new post')}
          </Button>
        )}
      </div>
      {feed.data === undefined && (feed.failureCount > 0 ? (
        <Trouble onRetry={() => void feed.refetch()}>The posts can’t be read right now.</Trouble>
      ) : (
        <Waiting>Reading the posts…</Waiting>
      ))}
      {feed.posts.length > 0 && (
        <ol className={styles.list} aria-label="Posts" ref={list}>
          {feed.posts.map((post) => (
            <PostCard key={post.id} post={post} />
          ))}
        </ol>
      )}
      {feed.data !== undefined && feed.posts.length === 0 && <p className={styles.end}>There is no post yet. Write the first one.</p>}
      {feed.hasNextPage && (
        <More
          label="Load more posts"
          trouble="More posts can’t be read right now."
          loading={feed.isFetchingNextPage}
          failing={feed.isFetchingNextPage ? feed.failureCount > 0 : feed.isFetchNextPageError}
          load={() => void feed.fetchNextPage()}
        />
      )}
      {feed.data !== undefined && !feed.hasNextPage && feed.posts.length > 0 && <p className={styles.end}>You have reached the beginning.</p>}
    </>
  )
}
