import { memo } from 'react'
import { Link } from 'wouter'
import type { FeedPost } from '../api/pages'
import { Ago } from '../ui/Ago'
import { count } from '../ui/count'
import styles from './PostCard.module.css'

/** A post in the list. */
export const PostCard = memo(function PostCard({ post }: { post: FeedPost }) {
  return (
    <li className={styles.item} data-post={post.id}>
      <article className={styles.card}>
        <h2 className={styles.title}>
          <Link href={`/p/${post.id}`}>{post.title}</Link>
        </h2>
        {post.body !== '' && <p className={styles.body}>{excerpt(post.body)}</p>}
        <p className={styles.meta}>
          {post.author !== undefined && (
            <>
              <span className={styles.author}>{post.author}</span>
              <span aria-hidden="true">·</span>
            </>
          )}
          <Ago time={post.createdAt} />
          <span aria-hidden="true">·</span>
          <span>{post.commentCount === 0 ? 'No comments' : count(post.commentCount, 'comment')}</span>
        </p>
      </article>
    </li>
  )
})

/** The beginning of a long text, as much as the lines of a card can show. */
function excerpt(body: string): string {
  const most = 600
  return body.length > most ? `${body.slice(0, most)}…` : body
}
