import { useCallback, useEffect, useState } from 'react'
import { isTexts, keep, recall } from './storage'
import { withoutSent } from './withoutSent'

/** The text of a form. It survives a reload of the page, until it is sent. */
export function useDraft<T extends Record<string, string>>(name: string, empty: T) {
  const [draft, setDraft] = useState<T>(() => {
    const kept = recall('sessionStorage', `draft:${name}`, isTexts)
    return { ...empty, ...kept }
  })
  useEffect(() => keepDraft(name, draft), [name, draft])
  const change = useCallback((part: Partial<T>) => setDraft((old) => ({ ...old, ...part })), [])
  /** Removes what was sent, but keeps what the visitor typed since. */
  const forget = useCallback(
    (sent: T) => {
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
