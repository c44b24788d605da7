/** A draft after it was sent. Fields that still have the sent text become empty; others keep what was typed since. */
export function withoutSent<T extends Record<string, string>>(draft: T, sent: Record<string, string>): T {
  return Object.fromEntries(Object.entries(draft).map(([field, text]) => [field, text === sent[field] ? '' : text])) as T
}
