import { useState } from 'react'
import type { Problem } from '../api/problem'
import { limits, mistakeIn, type FieldName } from './limits'
import { useDraft } from './useDraft'
import { useSend } from './useSend'

/**
 * A form. Its text is kept until it is sent, it is checked as the services check it, and it is sent once. The
 * name distinguishes forms in the browser's storage. The fields may change: what was typed into one that is
 * not there is kept, and not sent. Usual is what fields have before anything is typed.
 */
export function useForm<F extends FieldName, T>(
  name: string,
  path: string,
  fields: readonly F[],
  onSent: (made: T, sent: Partial<Record<F, string>>) => void,
  usual: Partial<Record<FieldName, string>> = {},
) {
  const { draft: kept, change, forget } = useDraft(name, usual)
  const draft = Object.fromEntries(fields.map((field) => [field, kept[field] ?? usual[field] ?? ''])) as Record<F, string>
  const sending = useSend<Record<F, string>, T>(name, path, (made, sent) => {
    forget(sent)
    onSent(made, sent)
  })
  const [hasMistakes, setHasMistakes] = useState(false)
  const { problem, failed } = sending

  /** The mistake in a field: found here, or reported by the service about this same text. */
  const mistake = (field: F): string | undefined => {
    const text = draft[field]
    const here = mistakeIn(field, text)
    if (here !== undefined && (hasMistakes || text.length > limits[field])) return here
    return problem?.field === field && failed?.[field] === text ? problem.detail : undefined
  }
  const isEmpty = fields.every((field) => draft[field] === '' || draft[field] === usual[field])
  const isFailed = failed !== undefined && fields.every((field) => (failed[field] ?? '') === draft[field])
  return {
    draft,
    mistake,
    set: (field: F) => (text: string) => change({ [field]: text }),
    isEmpty,
    isSending: sending.isSending,
    /** The form is empty because what was in it has arrived. */
    isSent: sending.hasArrived && isEmpty,
    /** The error that concerns no single field, while the text is still the same. */
    trouble: isFailed ? aboutAll(problem, fields) : undefined,
    /** The service did not answer, and the request is being retried. */
    isRetrying: sending.isRetrying,
    /** This text was sent before, its outcome is not known, and sending it again is safe. */
    isRepeat: sending.isRetryOf(draft) && sending.unsettled,
    /** Another text was sent before, or this one too long ago, and its outcome is not known. */
    isBeside: !sending.isRetryOf(draft) && sending.unsettled,
    submit: (event: React.SyntheticEvent<HTMLFormElement>) => {
      event.preventDefault()
      if (sending.isSending) return
      const wrong = fields.find((field) => mistakeIn(field, draft[field]) !== undefined)
      setHasMistakes(wrong !== undefined)
      if (wrong === undefined) {
        change(draft) // what is usual may change until this is repeated
        sending.send(draft)
      } else event.currentTarget.querySelector<HTMLElement>(`[name="${wrong}"]`)?.focus()
    },
  }
}

function aboutAll(problem: Problem | null, fields: readonly string[]): Problem | undefined {
  if (problem === null || (problem.field !== undefined && fields.includes(problem.field))) return undefined
  return problem
}
