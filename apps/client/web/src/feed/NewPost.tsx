import { Button } from '@base-ui/react/button'
import { useEffect, useRef, useState } from 'react'
import type { Post } from '../api/types'
import { As } from '../people/As'
import { may } from '../people/me'
import { SignInTo } from '../people/SignInTo'
import { useMe } from '../people/useMe'
import { TextField } from '../ui/TextField'
import { rememberOwn } from '../write/own'
import { SendButton } from '../write/SendButton'
import { useForm } from '../write/useForm'
import styles from './NewPost.module.css'

const fields = ['title', 'body'] as const

/** The form for a post, behind a button that opens it. What somebody has typed who may not post any more stays. */
export function NewPost({ onSent }: { onSent: (post: Post) => void }) {
  const [toggled, setToggled] = useState<boolean>()
  const form = useForm<(typeof fields)[number], Post>('post', '/posts/create', fields, (post) => {
    rememberOwn(post.id)
    setToggled(false)
    onSent(post)
  })
  const me = useMe()
  const [hadDraft] = useState(!form.isEmpty)
  const open = toggled ?? (hadDraft && !form.isSent)
  const asked = toggled !== undefined
  const close = () => setToggled(false)
  const section = useRef<HTMLElement>(null)
  useEffect(() => {
    // After the post was sent, the focus moves to it in the list.
    if (asked) section.current?.querySelector<HTMLElement>(open ? 'input' : 'button')?.focus()
  }, [asked, open])

  if (!may(me, 'post') && form.isEmpty) return <SignInTo command="post" />
  return (
    <section ref={section} className={styles.section} aria-label="Write a post">
      {open ? (
        <form className={styles.form} onSubmit={form.submit} noValidate>
          <TextField name="title" label="Title" value={form.draft.title} onChange={form.set('title')} mistake={form.mistake('title')} onEscape={close} />
          <TextField name="body" label="Text (optional)" rows={6} value={form.draft.body} onChange={form.set('body')} mistake={form.mistake('body')} onEscape={close} />
          <As />
          <SendButton label="Publish" command="post" {...form}>
            <Button className="button" onClick={close}>
              Cancel
            </Button>
          </SendButton>
        </form>
      ) : (
        <Button className={styles.open} onClick={() => setToggled(true)}>
          Write a post
        </Button>
      )}
    </section>
  )
}
