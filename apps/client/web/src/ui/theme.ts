import { useSyncExternalStore } from 'react'
import { isString, keep, recall } from '../write/storage'

export type Theme = 'light' | 'dark'

const preferred = window.matchMedia('(prefers-color-scheme: dark)')
const listeners = new Set<() => void>()
preferred.addEventListener('change', applyTheme)

/** The theme that the visitor chose, or the one that the device prefers. */
function theme(): Theme {
  const chosen = recall('localStorage', 'theme', isString)
  if (chosen === 'light' || chosen === 'dark') return chosen
  return preferred.matches ? 'dark' : 'light'
}

/** Shows the page in its theme. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = theme()
  for (const listener of listeners) listener()
}

/** The theme, and a function that switches to the other one. */
export function useTheme(): [Theme, () => void] {
  const current = useSyncExternalStore((listener) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }, theme)
  return [
    current,
    () => {
      keep('localStorage', 'theme', current === 'dark' ? 'light' : 'dark')
      applyTheme()
    },
  ]
}
