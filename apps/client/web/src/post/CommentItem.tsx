import { Button } from '@base-ui/react/button'
import { memo } from 'react'
import { madeAt } from '../api/ids'
import type { Comment } from '../api/types'
import { Ago } from '../ui/Ago'
import { announce } from '../ui/announce'
import { Folded } from '../ui/Folded'
import { anchorOf } from './anchor'
import styles from './CommentItem.module.css'

interface Props {
  comment: Comment
  /** Whether the visitor wrote it. That may become known only after the comment arrived live. */
  own: boolean
  /** Whether the page's address leads to it. */
  isLinked?: boolean
}

/** Copies the address that leads to a comment. */
async function copyLink(anchor: string): Promise<void> {
  const address = new URL(`#${anchor}`, window.location.href).href
  const isCopied = await navigator.clipboard.writeText(address).then(
    () => true,
    () => false, // the browser does not allow it
  )
  announce(isCopied ? 'The link is copied.' : 'The link can’t be copied here. The time of the comment is the link, too.')
}

/** A comment, or what moderation made of it. Only its author sees the text, the name and the reason of one that is not approved. */
export const CommentItem = memo(function CommentItem({ comment, own, isLinked = false }: Props) {
  const anchor = anchorOf(comment.id)
  const approved = comment.status === 'approved'
  const rejected = comment.status === 'rejected'
  const seen = comment.content !== undefined && (approved || own)
  return (
    <li className={styles.item}>
      <article id={anchor} tabIndex={-1} className={styles.comment} data-status={comment.status} data-linked={isLinked}>
        <p className={styles.meta}>
          {seen && (
            <strong className={styles.author} dir="auto">
              {comment.author ?? 'Anonymous'}
            </strong>
          )}
          {seen && comment.author !== undefined && comment.authorId === undefined && <span className={styles.guest}>guest</span>}
          {own && <span className={styles.own}>you</span>}
          <a className={styles.link} href={`#${anchor}`}>
            <Ago time={comment.createdAt ?? madeAt(comment.id)} />
          </a>
          <Button className={styles.copy} onClick={() => void copyLink(anchor)}>
            Copy link
          </Button>
        </p>
        {!approved && (
          <p className={styles.status} role={own ? 'status' : undefined}>
            {rejected ? 'This comment has been rejected' : 'This comment is awaiting moderation'}
            {own && comment.reason && <span className={styles.reason}>: <bdi>{comment.reason}</bdi></span>}
          </p>
        )}
        {seen && <Folded text={comment.content ?? ''} className={styles.content} />}
      </article>
    </li>
  )
})
