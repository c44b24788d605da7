/** How many code points an excerpt has at most. Query cuts those of pages at the same length. */
const most = 600

/** The beginning of a text as one paragraph, cut between what readers take for characters. */
export function excerptOf(text: string): string {
  const paragraph = text.trim().replace(/\s+/gu, ' ')
  const points = Array.from(paragraph)
  if (points.length <= most) return paragraph
  // One code point more shows whether the last character is whole.
  const characters = [...new Intl.Segmenter().segment(points.slice(0, most + 1).join(''))].slice(0, -1)
  const whole = characters.map(({ segment }) => segment).join('')
  return `${(whole === '' ? points.slice(0, most).join('') : whole).trimEnd()}…`
}
