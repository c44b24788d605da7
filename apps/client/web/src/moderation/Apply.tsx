import { Button } from '@base-ui/react/button'
import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import type { Problem } from '../api/problem'
import { Refusal } from '../people/Refusal'
import { count } from '../ui/count'
import { Trouble } from '../ui/Trouble'
import { applyPolicy } from './api'
import styles from './PolicyView.module.css'

/** How far the policy has looked at the held comments. */
interface Progress {
  examined: number
  decided: number
  /** Where to go on. */
  next: string | undefined
}

/** Has the saved policy look at the held comments anew. After a failure it goes on where it was. */
export function Apply({ isEdited }: { isEdited: boolean }) {
  const [progress, setProgress] = useState<Progress>()
  const applying = useMutation<unknown, Problem>({
    mutationFn: async () => {
      let { examined, decided, next }: Progress = progress?.next === undefined ? { examined: 0, decided: 0, next: undefined } : progress
      do {
        const part = await applyPolicy(next)
        examined += part.examined
        decided += part.decided.length
        next = part.next
        setProgress({ examined, decided, next })
      } while (next !== undefined)
    },
  })
  const isHalfway = progress?.next !== undefined && !applying.isPending
  return (
    <section aria-labelledby="apply-heading" className={styles.box}>
      <h3 id="apply-heading">What is held already</h3>
      <p className={styles.quiet}>The saved policy can look at the comments that are held{isEdited && '. Your edits are not saved, so they do not count'}.</p>
      <div>
        <Button className="button" onClick={() => applying.mutate()} disabled={applying.isPending} focusableWhenDisabled>
          {isHalfway ? 'Go on' : 'Look at held comments anew'}
        </Button>
      </div>
      {applying.error && (
        <Trouble>
          <Refusal problem={applying.error} command="moderate" isWriting={false} />
        </Trouble>
      )}
      <p role="status">
        {progress && `${count(progress.examined, 'comment')} looked at, ${progress.decided.toLocaleString('en')} decided${applying.isPending ? '…' : '.'}`}
      </p>
    </section>
  )
}
