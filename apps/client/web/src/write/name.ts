import { isString, keep, recall } from './storage'

/** The name under which a guest commented last in this browser, or an empty one. */
export function lastName(): string {
  return recall('localStorage', 'name', isString) ?? ''
}

export function rememberName(name: string): void {
  keep('localStorage', 'name', name === '' ? undefined : name)
}
