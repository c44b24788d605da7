import { memo } from 'react'
import { madeAt } from '../api/ids'
import type { Comment } from '../api/types'
import { Ago } from '../ui/Ago'
import styles from './CommentItem.module.css'

interface Props {
  comment: Comment
  /** Whether the visitor wrote it. That may become known only after the comment arrived live. */
  own: boolean
}

/** A comment, or what moderation made of it. Only its author sees the text, the name and the reason of one that is not approved. */
export const CommentItem = memo(function CommentItem({ comment, own }: Props) {
  const approved = comment.status === 'approved'
  const rejected = comment.status === 'rejected'
  const seen = comment.content !== undefined && (approved || own)
  return (
    <li className={styles.item}>
      <article className={styles.comment} data-status={comment.status}>
        <p className={styles.meta}>
          {seen && <strong className={styles.author}>{comment.author ?? 'Anonymous'}</strong>}
          {seen && comment.author !== undefined && comment.authorId === undefined && <span className={styles.guest}>guest</span>}
          {own && <span className={styles.own}>you</span>}
          <Ago time={comment.createdAt ?? madeAt(comment.id)} />
        </p>
        {!approved && (
          <p className={styles.status} role={own ? 'status' : undefined}>
            {rejected ? 'This comment has been rejected' : 'This comment is awaiting moderation'}
            {own && comment.reason && <span className={styles.reason}>: {comment.reason}</span>}
          </p>
        )}
        {seen && <p className={styles.content}>{comment.content}</p>}
      </article>
    </li>
  )
})
