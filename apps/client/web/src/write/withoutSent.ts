/** A draft after it was sent: the fields that still say what was sent are empty, the others have been typed into since. */
export function withoutSent<T extends Record<string, string>>(draft: T, sent: Record<string, string>): T {
  return Object.fromEntries(Object.entries(draft).map(([field, text]) => [field, text === sent[field] ? '' : text])) as T
}
