/** Bounds of what can be sent, in characters; the services have the same (apps/internal/event/entity.go). */
export const limits = { title: 200, body: 10_000, content: 10_000, author: 100 } as const

export type FieldName = keyof typeof limits

/** Fields that may not be empty. */
const required: ReadonlySet<FieldName> = new Set<FieldName>(['title', 'content'])

/** What the fields are called on the page. */
const names: Record<FieldName, string> = { title: 'The title', body: 'The text', content: 'The comment', author: 'The name' }

/** Counts as the services do: Unicode code points, so an emoji is one or more, whatever UTF-16 makes of it. */
export function characters(text: string): number {
  return Array.from(text).length
}

/**
 * Whether a reader sees nothing of the text: white space, control characters, and what Unicode or its
 * name says has no ink. In step with apps/internal/text.
 */
export function isBlank(text: string): boolean {
  return /^[\u{16fe4}\p{White_Space}\p{Cc}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffc\u{13430}-\u{1343f}\u{13441}\u{13442}\u{1d159}]*$/u.test(text)
}

/** What is wrong with a field's text, as a sentence, or undefined. It is what the services check, in their order. */
export function mistakeIn(field: FieldName, text: string): string | undefined {
  const count = characters(text)
  if (count > limits[field]) {
    return `${names[field]} has ${number(count)} characters; at most ${number(limits[field])} are allowed.`
  }
  if (required.has(field) && isBlank(text)) return `${names[field]} must not be empty.`
  if (!text.isWellFormed()) return `${names[field]} has half of a character in it. Type it again.`
  return undefined
}

/** How many characters are left, once that is few enough to be of interest, or undefined. */
export function charactersLeft(field: FieldName, text: string): number | undefined {
  const most = limits[field]
  // A code point has at most two UTF-16 units, so a short text needs no counting.
  if (text.length < most * 0.9) return undefined
  const left = most - characters(text)
  return left <= most * 0.1 ? left : undefined
}

function number(n: number): string {
  return n.toLocaleString('en')
}
