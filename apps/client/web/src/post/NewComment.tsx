import { postPath } from '../api/pages'
import type { CreatedComment } from '../api/types'
import { As } from '../people/As'
import { may } from '../people/me'
import { SignInTo } from '../people/SignInTo'
import { useMe } from '../people/useMe'
import { TextField } from '../ui/TextField'
import { lastName, rememberName } from '../write/name'
import { rememberOwn } from '../write/own'
import { SendButton } from '../write/SendButton'
import { useForm } from '../write/useForm'
import styles from './NewComment.module.css'

/** The fields of a guest, and of a person, whose name the issuer has. */
const fields = { guest: ['content', 'author'], person: ['content'] } as const

/** What is said where comments are closed. */
export const closed = 'Comments are closed.'

interface Props {
  postId: string
  isClosed: boolean
  onSent: (comment: CreatedComment) => void
}

/** The form for a comment. What somebody has typed who may not comment any more stays. */
export function NewComment({ postId, isClosed, onSent }: Props) {
  const me = useMe()
  const isGuest = me.subject === undefined
  const form = useForm<'content' | 'author', CreatedComment>(
    `comment:${postId}`,
    `${postPath(postId)}/comments`,
    isGuest ? fields.guest : fields.person,
    (comment, { author }) => {
      rememberOwn(comment.id, comment.receipt)
      if (author !== undefined) rememberName(author)
      onSent(comment)
    },
    isGuest ? { author: lastName() } : {},
  )
  if (form.isEmpty && isClosed) return <p className={styles.closed}>{closed}</p>
  if (form.isEmpty && !may(me, 'comment')) return <SignInTo command="comment" />
  return (
    <section aria-label="Write a comment" className={styles.section}>
      {isClosed && <p className={styles.closed}>{closed} What you wrote is kept.</p>}
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <TextField name="content" label="Comment" rows={3} value={form.draft.content} onChange={form.set('content')} mistake={form.mistake('content')} />
        <div className={styles.last}>
          {isGuest && (
            <TextField name="author" label="Name (optional)" value={form.draft.author} onChange={form.set('author')} mistake={form.mistake('author')} autoComplete="nickname" />
          )}
          <As />
          <SendButton label="Send" command="comment" {...form} />
        </div>
      </form>
    </section>
  )
}
