import { memo } from 'react'
import type { Comment } from '../api/types'
import { Ago } from '../ui/Ago'
import styles from './CommentItem.module.css'

interface Props {
  comment: Comment
  /** Whether the visitor wrote it. That may become known only after the comment arrived live. */
  own: boolean
}

/** A comment, or what moderation made of it. */
export const CommentItem = memo(function CommentItem({ comment, own }: Props) {
  // Only its writer sees the name and the text of a pending comment. Nobody sees a rejected text, nor the name and text of a
  // comment whose status only a newer version knows.
  const approved = comment.status === 'approved'
  const rejected = comment.status === 'rejected'
  const pending = comment.status === 'pending'
  const named = approved || (own && (pending || rejected))
  return (
    <li className={styles.item}>
      <article className={styles.comment} data-status={comment.status}>
        <p className={styles.meta}>
          {named && <strong className={styles.author}>{comment.author ?? 'Anonymous'}</strong>}
          {own && <span className={styles.own}>you</span>}
          <Ago time={comment.createdAt} />
        </p>
        {!approved && (
          <p className={styles.status} role={own ? 'status' : undefined}>
            {rejected ? 'This comment has been rejected' : 'This comment is awaiting moderation'}
            {rejected && comment.reason && <span className={styles.reason}>: {comment.reason}</span>}
          </p>
        )}
        {(approved || (own && pending)) && <p className={styles.content}>{comment.content}</p>}
      </article>
    </li>
  )
})
