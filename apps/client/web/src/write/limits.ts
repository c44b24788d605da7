/** The bounds of the fields, in characters. The services have the same (apps/internal/event, and apps/moderation/policy for a word). */
export const limits = { title: 200, body: 10_000, content: 10_000, author: 100, reason: 500, word: 100 } as const

export type FieldName = keyof typeof limits

/** Fields that may not be empty. */
const required: ReadonlySet<FieldName> = new Set<FieldName>(['title', 'content', 'word'])

/** The names of the fields on the page. */
const names: Record<FieldName, string> = { title: 'The title', body: 'The text', content: 'The comment', author: 'The name', reason: 'The reason', word: 'The word' }

/** Counts Unicode code points, as the services do. An emoji is one or more of them. */
export function characters(text: string): number {
  return Array.from(text).length
}

/**
 * Whether a reader sees nothing of the text: it has only white space, control characters, and characters that
 * Unicode says have no ink. Keep it in step with apps/internal/text.
 */
export function isBlank(text: string): boolean {
  return /^[\u{16fe4}\p{White_Space}\p{Cc}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffc\u{13430}-\u{1343f}\u{13441}\u{13442}\u{1d159}]*$/u.test(text)
}

/** The mistake in a field's text, as a sentence, or undefined. It makes the checks of the services, in their order. */
export function mistakeIn(field: FieldName, text: string): string | undefined {
  const count = characters(text)
  if (count > limits[field]) {
    return `${names[field]} has ${number(count)} characters; at most ${number(limits[field])} are allowed.`
  }
  if (required.has(field) && isBlank(text)) return `${names[field]} must not be empty.`
  if (!text.isWellFormed()) return `${names[field]} has half of a character in it. Type it again.`
  return undefined
}

/** How many characters are left, or undefined while there are plenty. */
export function charactersLeft(field: FieldName, text: string): number | undefined {
  const most = limits[field]
  // A code point has at most two UTF-16 units. So a short text needs no counting.
  if (text.length < most * 0.9) return undefined
  const left = most - characters(text)
  return left <= most * 0.1 ? left : undefined
}

function number(n: number): string {
  return n.toLocaleString('en')
}
