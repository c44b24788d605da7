/** A text with at most two empty lines in a row. Thousands of them would hide what comes after. */
export function squeezed(text: string): string {
  return text.replace(/\n(?:[^\S\n]*\n){3,}/g, '\n\n\n')
}
