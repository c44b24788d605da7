import { isTexts } from './storage'
import { useKept } from './useKept'
import { withoutSent } from './withoutSent'

type Texts = Record<string, string>

const nothing: Texts = {}

/** The texts of a form by field, where they are not the usual ones. They survive a reload of the page, until they are sent. */
export function useDraft(name: string, usual: Texts = nothing) {
  const [draft = nothing, setDraft] = useKept(`draft:${name}`, isTexts)
  const change = (part: Texts) => setDraft((old) => typed({ ...old, ...part }, usual))
  /** Removes what was sent, but keeps what the visitor typed since. */
  const forget = (sent: Texts) => setDraft((old) => old && ifAny(withoutSent(old, sent)))
  return { draft, change, forget }
}

/** A draft, or nothing if it has no field. One that was emptied since it was sent is something. */
function ifAny(draft: Texts): Texts | undefined {
  return Object.keys(draft).length > 0 ? draft : undefined
}

/** A draft, or nothing if nothing is typed. A usual text that was removed is something. */
function typed(draft: Texts, usual: Texts): Texts | undefined {
  return Object.entries(draft).some(([field, text]) => text !== (usual[field] ?? '')) ? draft : undefined
}
