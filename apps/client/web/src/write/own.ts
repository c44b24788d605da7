import { isStrings, keep, recall } from './storage'

/** The number of ids that are kept. */
const most = 500

let ids: ReadonlySet<string> | undefined

function known(): ReadonlySet<string> {
  return (ids ??= new Set(recall('sessionStorage', 'own', isStrings)))
}

/** Whether the post or comment was written in this tab. */
export function isOwn(id: string): boolean {
  return known().has(id)
}

/** Remembers that the post or comment was written in this tab. */
export function rememberOwn(id: string): void {
  const all = [...known(), id].slice(-most)
  ids = new Set(all)
  keep('sessionStorage', 'own', all)
}
