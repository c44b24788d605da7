import { useCallback, useEffect, useState } from 'react'
import { isTexts, keep, recall } from './storage'
import { withoutSent } from './withoutSent'

/** The texts of a form by field. They survive a reload of the page, until they are sent. */
export function useDraft(name: string) {
  const [draft, setDraft] = useState(() => recall('sessionStorage', `draft:${name}`, isTexts) ?? {})
  useEffect(() => keepDraft(name, draft), [name, draft])
  const change = useCallback((part: Record<string, string>) => setDraft((old) => ({ ...old, ...part })), [])
  /** Removes what was sent, but keeps what the visitor typed since. */
  const forget = useCallback(
    (sent: Record<string, string>) => {
      setDraft((old) => withoutSent(old, sent))
      // An unmounted form has no state. Its stored draft must still lose what was sent.
      const kept = recall('sessionStorage', `draft:${name}`, isTexts)
      if (kept) keepDraft(name, withoutSent(kept, sent))
    },
    [name],
  )
  return { draft, change, forget }
}

function keepDraft(name: string, draft: Record<string, string>): void {
  const typed = Object.values(draft).some((text) => text !== '')
  keep('sessionStorage', `draft:${name}`, typed ? draft : undefined)
}
