import { memo } from 'react'
import { Link } from 'wouter'
import type { FeedPost } from '../api/pages'
import { Ago } from '../ui/Ago'
import { count } from '../ui/count'
import styles from './PostCard.module.css'

/** A post in the list. */
export const PostCard = memo(function PostCard({ post }: { post: FeedPost }) {
  const comments = post.commentCounts?.approved ?? 0
  return (
    <li className={styles.item} data-post={post.id}>
      <article className={styles.card}>
        <h2 className={styles.title} dir="auto">
          <Link href={`/p/${post.id}`}>{post.title}</Link>
        </h2>
        {post.excerpt !== '' && <p className={styles.body} dir="auto">{post.excerpt}</p>}
        <p className={styles.meta}>
          {post.author !== undefined && (
            <>
              <bdi className={styles.author}>{post.author}</bdi>
              <span aria-hidden="true">·</span>
            </>
          )}
          <Ago time={post.createdAt} />
          <span aria-hidden="true">·</span>
          <span>{comments === 0 ? 'No comments' : count(comments, 'comment')}</span>
        </p>
      </article>
    </li>
  )
})
