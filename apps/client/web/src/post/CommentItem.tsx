import { Button } from '@base-ui/react/button'
import { memo, useState } from 'react'
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

/** Copies the address that leads to a comment, and says whether that worked. */
async function copyLink(anchor: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(new URL(`#${anchor}`, window.location.href).href)
    announce('The link is copied.')
    return true
  } catch {
    // There is no clipboard without a secure context, or the visitor does not allow it.
    announce('The link can’t be copied here. The time of the comment is the link, too.')
    return false
  }
}

/** What the button says before and after. */
const copying = { ready: 'Copy link', done: 'Copied', failed: 'Can’t copy' } as const

function CopyLink({ anchor }: { anchor: string }) {
  const [state, setState] = useState<keyof typeof copying>('ready')
  return (
    <Button className={`quiet ${styles.copy}`} onClick={() => void copyLink(anchor).then((isCopied) => setState(isCopied ? 'done' : 'failed'))} onBlur={() => setState('ready')}>
      {copying[state]}
    </Button>
  )
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
          <CopyLink anchor={anchor} />
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
