import { Button } from '@base-ui/react/button'
import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import type { Problem } from '../api/problem'
import { Refusal } from '../people/Refusal'
import { capital } from '../ui/capital'
import { TextField } from '../ui/TextField'
import { Trouble } from '../ui/Trouble'
import { tryPolicy, type Verdict } from './api'
import { mistakesIn, rulesOf, type Draft } from './draft'
import styles from './PolicyView.module.css'

/** What was tried. */
interface Trial {
  draft: Draft
  content: string
  author: string
}

/** Says what the policy, as it is edited, would decide on a comment. */
export function TryOut({ draft }: { draft: Draft }) {
  const [content, setContent] = useState('')
  const [author, setAuthor] = useState('')
  const trying = useMutation<Verdict, Problem, Trial>({ mutationFn: (trial) => tryPolicy(rulesOf(trial.draft), trial.content, trial.author) })
  const { variables: tried } = trying
  const isCurrent = tried?.draft === draft && tried.content === content && tried.author === author
  /** What moderation says of a field of this form. */
  const mistake = (field: string) => (isCurrent && trying.error?.field === field ? trying.error.detail : undefined)
  const isAbout = trying.error?.field === 'content' || trying.error?.field === 'author'
  const isWrong = mistakesIn(draft).size > 0
  return (
    <section aria-labelledby="try-heading" className={styles.box}>
      <h3 id="try-heading">Try it out</h3>
      <p className={styles.quiet}>What would the policy, as it is above, say of this comment? Nothing is saved.</p>
      <form
        className={styles.try}
        noValidate
        onSubmit={(event) => {
          event.preventDefault()
          if (!isWrong) trying.mutate({ draft, content, author })
        }}
      >
        <TextField name="content" label="Comment" rows={2} value={content} onChange={setContent} mistake={mistake('content')} />
        <TextField name="author" label="Name" value={author} onChange={setAuthor} mistake={mistake('author')} />
        <div>
          <Button type="submit" className="button" disabled={isWrong || trying.isPending} focusableWhenDisabled>
            Try
          </Button>
        </div>
      </form>
      {trying.error && !isAbout && (
        <Trouble>
          <Refusal problem={trying.error} command="moderate" />
        </Trouble>
      )}
      <p role="status">{isWrong ? 'The policy above has a mistake.' : isCurrent && trying.data && verdictOf(trying.data)}</p>
    </section>
  )
}

/** What the policy says, as a sentence. */
function verdictOf({ status, phase, reason }: Verdict): string {
  if (phase === undefined) return `${capital(status)}: nothing in the policy says anything of it.`
  return `${capital(status)} by ${phase}${reason ? `: ${reason}` : ''}.`
}
