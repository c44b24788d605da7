/** A draft after it was sent. Fields that still have the sent text become empty; others keep what was typed since. */
export function withoutSent(draft: Record<string, string>, sent: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(draft).map(([field, text]) => [field, text === sent[field] ? '' : text]))
}
