import { isStrings, isTexts, keep, recall } from './storage'

/** The number of ids that are kept. */
const most = 500

/** The receipts by id. The receipt is empty for a post, and for a comment of somebody who is signed in. */
let receipts: ReadonlyMap<string, string> | undefined

function known(): ReadonlyMap<string, string> {
  return (receipts ??= new Map(Object.entries(recall('sessionStorage', 'own', isTexts) ?? ofEarlierVersions())))
}

/** Earlier versions have kept the ids alone. */
function ofEarlierVersions(): Record<string, string> {
  return Object.fromEntries((recall('sessionStorage', 'own', isStrings) ?? []).map((id) => [id, '']))
}

/** Whether the post or comment was written in this tab. */
export function isOwn(id: string): boolean {
  return known().has(id)
}

/** What shows that the comment was written in this tab, if it was a guest. */
export function receiptOf(id: string): string {
  return known().get(id) ?? ''
}

/** Remembers that the post or comment was written in this tab. */
export function rememberOwn(id: string, receipt = ''): void {
  receipts = new Map([...known(), [id, receipt] as const].slice(-most))
  keep('sessionStorage', 'own', Object.fromEntries(receipts))
}
