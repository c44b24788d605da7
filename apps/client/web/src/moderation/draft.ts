import { mistakeIn } from '../write/limits'
import { isTexts } from '../write/storage'
import { phases, type NumberField, type Rules } from './rules'

/** A policy while somebody edits it: each field is the text in its control. */
export interface Draft {
  words: Record<string, string>[]
  /** The phases that are on, by name. */
  phases: Record<string, Record<string, string>>
  /** Phases that this page does not know. They stay as they are. */
  rest: Record<string, unknown>
}

/** Edits that are not saved, and the version of the policy that was edited. */
export interface Edits {
  draft: Draft
  etag: string
}

/** How many words there may be, as moderation has it (apps/moderation/policy/words.go). */
const mostWords = 1_000

/** The edits after some were saved. What was edited since is kept, as edits of the version that was saved. */
export function afterSave(now: Edits | undefined, sent: Edits, etag: string): Edits | undefined {
  return now === undefined || JSON.stringify(now.draft) === JSON.stringify(sent.draft) ? undefined : { ...now, etag }
}

/** A word as it is added. */
export const newWord = { text: '', match: 'part', action: 'reject' }

const known = new Set<string>(['words', ...phases.map(({ name }) => name)])

export function draftOf(rules: Rules): Draft {
  const texts = (rule: object) => Object.fromEntries(Object.entries(rule).map(([name, value]) => [name, String(value)]))
  const entries = Object.entries(rules)
  return {
    words: (rules.words ?? []).map(texts),
    phases: Object.fromEntries(entries.filter(([name]) => known.has(name) && name !== 'words').map(([name, rule]) => [name, texts(rule as object)])),
    rest: Object.fromEntries(entries.filter(([name]) => !known.has(name))),
  }
}

/** The draft with a phase that is on, or off if there are no values. */
export function withPhase(draft: Draft, name: string, values: Record<string, string> | undefined): Draft {
  const others = Object.entries(draft.phases).filter(([other]) => other !== name)
  return { ...draft, phases: Object.fromEntries(values === undefined ? others : [...others, [name, values]]) }
}

/** Whether the form shows a mistake at the place that a problem names. */
export function hasPlace(draft: Draft, field: string | undefined): boolean {
  const phase = /^\w+/.exec(field ?? '')?.[0] ?? ''
  return phase === 'words' || Object.hasOwn(draft.phases, phase)
}

/** What moderation says of a place, shown at that place: "words[2].text must not be empty" without the first word. */
export function withoutPlace(detail: string, field: string): string {
  return detail.toLowerCase().startsWith(field.toLowerCase()) ? `This${detail.slice(field.length)}` : detail
}

/** The policy that a draft without mistakes is. */
export function rulesOf(draft: Draft): Rules {
  const rules: Record<string, unknown> = { ...draft.rest }
  if (draft.words.length > 0) rules.words = draft.words
  for (const { name, fields } of phases) {
    const values = draft.phases[name]
    if (values === undefined) continue
    rules[name] = Object.fromEntries(fields.map((field) => [field.name, field.kind === 'number' ? Number(values[field.name]) : values[field.name]]))
  }
  return rules
}

/** The mistakes in a draft by their places, which are named as moderation names them: words[2].text. */
export function mistakesIn(draft: Draft): Map<string, string> {
  const mistakes = new Map<string, string>()
  if (draft.words.length > mostWords) mistakes.set('words', `There are ${draft.words.length} words; at most ${mostWords} are allowed.`)
  draft.words.forEach(({ text = '' }, at) => {
    const mistake = mistakeIn('word', text)
    if (mistake !== undefined) mistakes.set(`words[${at}].text`, mistake)
  })
  for (const { name, fields } of phases) {
    const values = draft.phases[name]
    if (values === undefined) continue
    for (const field of fields) {
      const mistake = field.kind === 'number' ? mistakeInNumber(field, values[field.name] ?? '') : undefined
      if (mistake !== undefined) mistakes.set(`${name}.${field.name}`, mistake)
    }
  }
  return mistakes
}

function mistakeInNumber({ least, most, isPart }: NumberField, text: string): string | undefined {
  const number = Number(text)
  const isWrong = text.trim() === '' || Number.isNaN(number) || number < least || number > most || (!isPart && !Number.isInteger(number))
  return isWrong ? `A number from ${least.toLocaleString('en')} to ${most.toLocaleString('en')} is expected.` : undefined
}

/** Whether a stored value is Edits. */
export function isEdits(value: unknown): value is Edits {
  if (typeof value !== 'object' || value === null || !('draft' in value) || !('etag' in value) || typeof value.etag !== 'string') return false
  const { draft } = value
  if (typeof draft !== 'object' || draft === null || !('words' in draft) || !('phases' in draft) || !('rest' in draft)) return false
  const areTexts = (values: unknown) => typeof values === 'object' && values !== null && Object.values(values).every(isTexts)
  return Array.isArray(draft.words) && areTexts(draft.words) && areTexts(draft.phases) && typeof draft.rest === 'object' && draft.rest !== null
}
