import type { Locator } from '@playwright/test'
import { expect, test, unique, type Api } from './system'
import { comment, visit } from './views'

/** Shows each text as the element's content is shown, and returns its width and where its letters stand. */
const shown = (content: Locator, texts: string[]) =>
  content.evaluate((element, texts) => {
    const probe = element.cloneNode() as HTMLElement
    element.after(probe)
    const range = document.createRange()
    const measured = texts.map((text) => {
      probe.textContent = text
      const node = probe.firstChild as Text
      range.selectNodeContents(probe)
      const { width, height } = range.getBoundingClientRect()
      const letters = Array.from(text, (letter, at) => {
        range.setStart(node, at)
        range.setEnd(node, at + 1)
        return { letter, left: range.getBoundingClientRect().left }
      })
      const inOrder = letters.filter(({ letter }) => /[a-z]/.test(letter)).sort((a, b) => a.left - b.left)
      return { width, height, order: inOrder.map(({ letter }) => letter).join('') }
    })
    probe.remove()
    return measured
  }, texts)

/** Shows each text as the element's content is shown, wrapped, and returns the letters of its first line as they stand. */
const firstLines = (content: Locator, texts: string[]) =>
  content.evaluate((element, texts) => {
    const probe = element.cloneNode() as HTMLElement
    probe.style.width = '10em'
    element.after(probe)
    const range = document.createRange()
    const lines = texts.map((text) => {
      probe.textContent = text
      const node = probe.firstChild as Text
      const letters = Array.from(text, (letter, at) => {
        range.setStart(node, at)
        range.setEnd(node, at + 1)
        const { left, top } = range.getBoundingClientRect()
        return { letter, left, top }
      }).filter(({ letter }) => /[a-z]/.test(letter))
      const top = Math.min(...letters.map((letter) => letter.top))
      const first = letters.filter((letter) => letter.top === top).sort((a, b) => a.left - b.left)
      return first.map(({ letter }) => letter).join('')
    })
    probe.remove()
    return lines
  }, texts)

/** The characters that leave no gap between "or" and "ange", whatever the kerning. */
async function withoutGap(content: Locator, characters: string[]): Promise<string[]> {
  const [kerned, apart, ...measured] = await shown(content, ['orange', 'or\u200cange', ...characters.map((c) => `or${c}ange`)])
  const most = Math.max(kerned?.width ?? 0, apart?.width ?? 0) + 0.3
  return characters.filter((_, n) => (measured[n]?.width ?? 0) <= most && measured[n]?.height === kerned?.height)
}

/** All characters that Unicode allows to be invisible, and all white space. */
function candidates(): string[] {
  const all: string[] = []
  for (let code = 0; code <= 0x10ffff; code++) {
    const character = code >= 0xd800 && code <= 0xdfff ? '' : String.fromCodePoint(code)
    if (/[\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}\u2800\ufffc]/u.test(character)) all.push(character)
  }
  return all
}

/** The first and the last character of each contiguous range. */
function ends(characters: string[]): string[] {
  const codes = characters.map((character) => character.codePointAt(0) ?? 0)
  return characters.filter((_, n) => codes[n] !== (codes[n - 1] ?? -1) + 1 || codes[n] !== (codes[n + 1] ?? -1) - 1)
}

/** Letters mixed with characters that control direction. The same number gives the same text. */
function directed(n: number): string {
  let state = n * 2_654_435_761
  const next = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor(state / 65_536) % below
  }
  const controls = '\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f'
  return Array.from('abcdef', (letter) => controls.charAt(next(controls.length)) + (next(2) ? controls.charAt(next(controls.length)) : '') + letter).join('')
}

/** Writes all texts as comments, and expects each to be rejected. */
async function expectRejected(api: Api, post: string, contents: string[]): Promise<void> {
  const written = new Map<string, string>()
  for (const content of contents) written.set((await api.comment(post, { content })).id, content)
  const statuses = async () => (await api.read(post)).comments.filter(({ id }) => written.has(id))
  await expect.poll(async () => (await statuses()).filter(({ status }) => status !== 'pending').length).toBe(contents.length)
  expect((await statuses()).filter(({ status }) => status !== 'rejected').map(({ id }) => JSON.stringify(written.get(id)))).toEqual([])
}

test.describe('moderation', () => {
  test('a word that is shown without a gap is that word, whatever is in it', async ({ page, api }) => {
    const post = await api.post({ title: unique('Without a gap') })
    await api.moderated(post.id, { content: 'A measure.' })
    await visit(page, `/p/${post.id}`)
    const found = await withoutGap(comment(page, 'A measure.').getByText('A measure.'), candidates())
    for (const known of ['\r', '\f', '\u00ad', '\u200b', '\u180e', '\u2065', '\ufe0f', '\ufffc']) expect(found).toContain(known)
    for (const gap of ['\t', '\n', ' ', '\u2003', '\u2800']) expect(found).not.toContain(gap)
    await expectRejected(api, post.id, ends(found).map((character) => `or${character}ange`))
  })

  test('a word is that which is shown, in whatever order it is written', async ({ page, api }) => {
    const post = await api.post({ title: unique('In order') })
    await api.moderated(post.id, { content: 'A measure.' })
    await visit(page, `/p/${post.id}`)
    const content = comment(page, 'A measure.').getByText('A measure.')
    const templates = Array.from({ length: 60 }, (_, n) => directed(n + 1))
    const orders = (await shown(content, templates)).map(({ order }) => order)
    const written = templates.map((template, n) => template.replace(/[a-f]/g, (letter) => 'orange'.charAt((orders[n] ?? '').indexOf(letter))))
    expect((await shown(content, written)).map(({ order }) => order)).toEqual(written.map(() => 'orange'))
    expect(new Set(orders).size).toBeGreaterThan(20)
    await expectRejected(api, post.id, written)
  })

  test('a word is that which a line shows, wherever the text is wrapped', async ({ page, api }) => {
    const post = await api.post({ title: unique('Wrapped') })
    await api.moderated(post.id, { content: 'A measure.' })
    await visit(page, `/p/${post.id}`)
    const content = comment(page, 'A measure.').getByText('A measure.')
    const wrapped = ['or\u202eegna ' + 'x'.repeat(100), 'or\u202eegna' + ' '.repeat(200) + 'x', 'or\u202eegna\u200b' + 'x'.repeat(100)]
    expect(await firstLines(content, wrapped)).toEqual(wrapped.map(() => 'orange'))
    const templates = Array.from({ length: 30 }, (_, n) => `${directed(n + 1)} ${'x'.repeat(100)}`)
    const orders = await firstLines(content, templates)
    const written = templates.map((template, n) => template.replace(/[a-f]/g, (letter) => 'orange'.charAt((orders[n] ?? '').indexOf(letter))))
    expect(await firstLines(content, written)).toEqual(written.map(() => 'orange'))
    await expectRejected(api, post.id, [...wrapped, ...written])
  })
})
