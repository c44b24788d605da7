import { useCallback } from 'react'
import { isTexts } from './storage'
import { useKept } from './useKept'
import { withoutSent } from './withoutSent'

type Texts = Record<string, string>

const nothing: Texts = {}

/** The texts of a form by field. They survive a reload of the page, until they are sent. */
export function useDraft(name: string) {
  const [draft = nothing, setDraft] = useKept(`draft:${name}`, isTexts)
  const change = useCallback((part: Texts) => setDraft((old) => typed({ ...old, ...part })), [setDraft])
  /** Removes what was sent, but keeps what the visitor typed since. */
  const forget = useCallback((sent: Texts) => setDraft((old) => old && typed(withoutSent(old, sent))), [setDraft])
  return { draft, change, forget }
}

/** A draft, or nothing if nothing is typed. */
function typed(draft: Texts): Texts | undefined {
  return Object.values(draft).some((text) => text !== '') ? draft : undefined
}
