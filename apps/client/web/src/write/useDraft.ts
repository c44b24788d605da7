import { useCallback, useEffect, useState } from 'react'
import { isTexts, keep, recall } from './storage'

/** What is typed into a form, kept through a reload of the page until it is sent. */
export function useDraft<T extends Record<string, string>>(name: string, empty: T) {
  const [draft, setDraft] = useState<T>(() => {
    const kept = recall('sessionStorage', `draft:${name}`, isTexts)
    return { ...empty, ...kept }
  })
  useEffect(() => {
    const typed = Object.values(draft).some((text) => text !== '')
    keep('sessionStorage', `draft:${name}`, typed ? draft : undefined)
  }, [name, draft])
  const change = useCallback((part: Partial<T>) => setDraft((old) => ({ ...old, ...part })), [])
  return [draft, change] as const
}
