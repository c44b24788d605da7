/** A draft after it was sent. Fields that still have the sent text are gone; others keep what was typed since. */
export function withoutSent(draft: Record<string, string>, sent: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(draft).filter(([field, text]) => text !== sent[field]))
}
