import { useEffect, useEffectEvent, useState } from 'react'
import { isString, keep, recall } from '../write/storage'
import { isTypingIn, shortcutOf, type Shortcut } from './shortcuts'

/** Calls back with each key that is a shortcut. The callback says whether the key was for it. */
export function useShortcuts(isOn: boolean, act: (shortcut: Shortcut, key: string) => boolean): void {
  const press = useEffectEvent((event: KeyboardEvent) => {
    const shortcut = shortcutOf(event, isTypingIn(event.target))
    if (shortcut !== undefined && act(shortcut, event.key)) event.preventDefault()
  })
  useEffect(() => {
    if (!isOn) return
    const listen = (event: KeyboardEvent) => press(event)
    window.addEventListener('keydown', listen)
    return () => window.removeEventListener('keydown', listen)
  }, [isOn])
}

/** Whether the visitor wants keys. Speech input may type letters by chance (WCAG 2.2, 2.1.4). */
export function useKeysSwitch(): [boolean, (isOn: boolean) => void] {
  const [isOn, setOn] = useState(() => recall('localStorage', 'keys', isString) !== 'off')
  return [
    isOn,
    (to) => {
      setOn(to)
      keep('localStorage', 'keys', to ? undefined : 'off')
    },
  ]
}
