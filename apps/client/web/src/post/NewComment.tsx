import type { CreatedComment } from '../api/types'
import { TextField } from '../ui/TextField'
import { rememberOwn } from '../write/own'
import { SendButton } from '../write/SendButton'
import { useForm } from '../write/useForm'
import styles from './NewComment.module.css'

const fields = ['content', 'author'] as const

/** The form for a comment. */
export function NewComment({ postId, onSent }: { postId: string; onSent: (comment: CreatedComment) => void }) {
  const form = useForm<(typeof fields)[number], CreatedComment>(`comment:${postId}`, `/posts/${encodeURIComponent(postId)}/comments`, fields, (comment) => {
    rememberOwn(comment.id, comment.receipt)
    onSent(comment)
  })
  return (
    <section aria-label="Write a comment" className={styles.section}>
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <TextField name="content" label="Comment" rows={3} value={form.draft.content} onChange={form.set('content')} mistake={form.mistake('content')} />
        <div className={styles.last}>
          <TextField name="author" label="Name (optional)" value={form.draft.author} onChange={form.set('author')} mistake={form.mistake('author')} autoComplete="nickname" />
          <SendButton label="Send" {...form} />
        </div>
      </form>
    </section>
  )
}
