import type { Page } from '@playwright/test'
import { expect, recovery, test, unique, type Api, type Control } from './system'
import { card, cards, comment, commentForm, comments, connection, openForm, scrollUntil, send, visit } from './views'

test.describe('live', () => {
  test('others’ posts come as a quiet bar, and the page does not jump', async ({ page, visitor, control }) => {
    await control.seed(45, 0)
    const other = await visitor()
    await Promise.all([visit(page, '/'), visit(other, '/')])
    const publish = async (title: string) => {
      const form = await openForm(other)
      await form.getByRole('textbox', { name: 'Title' }).fill(title)
      await form.getByRole('button', { name: 'Publish' }).click()
      await expect(cards(other).first()).toContainText(title)
    }
    /** The position of a post in the window, once it no longer moves. */
    const place = async (which: number) => {
      let before = -1
      await expect(async () => {
        const now = (await cards(page).nth(which).boundingBox())?.y ?? -1
        const still = now === before
        before = now
        expect(still).toBe(true)
      }).toPass({ intervals: [100] })
      return before
    }

    const [first, second] = [unique('From another browser'), unique('And one more')]
    const atTop = await place(0)
    await publish(first)
    await expect(page.getByRole('button', { name: '1 new post' })).toBeVisible()
    await expect(card(page, first)).toHaveCount(0)
    expect(await place(0)).toBe(atTop)

    await page.mouse.move(640, 400)
    await page.mouse.wheel(0, 900)
    const scrolled = await place(8)
    await publish(second)
    await expect(page.getByRole('button', { name: '2 new posts' })).toBeInViewport()
    expect(await place(8)).toBe(scrolled)

    await page.getByRole('button', { name: '2 new posts' }).click()
    await expect(cards(page).nth(0)).toContainText(second)
    await expect(cards(page).nth(1)).toContainText(first)
    await expect(page.getByRole('link', { name: second })).toBeFocused()
    await expect(cards(page).first()).toBeInViewport()
    await expect(page.getByRole('button', { name: /new post/ })).toBeHidden()
    await expect(card(other, first)).toHaveCount(1)
  })

  test('two browsers see each other’s comments, and the list counts them', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Talk') })
    const [other, list] = [await visitor(), await visitor()]
    await Promise.all([visit(page, `/p/${post.id}`), visit(other, `/p/${post.id}`), visit(list, '/')])
    await expect(card(list, post.title)).toContainText('No comments')
    const say = async (who: Page, content: string) => {
      const form = commentForm(who)
      await form.getByRole('textbox', { name: 'Comment' }).fill(content)
      await form.getByRole('button', { name: 'Send' }).click()
    }
    await say(page, 'Is anybody there?')
    await expect(comment(other, 'Is anybody there?')).toHaveCount(1)
    await expect(card(list, post.title)).toContainText('1 comment')
    await say(other, 'I am.')
    await expect(comments(page).first()).toContainText('I am.')
    await expect(card(list, post.title)).toContainText('2 comments')
    for (const each of [page, other]) {
      await expect(comments(each)).toHaveCount(2)
      await expect(each.getByRole('heading', { level: 2, name: '2 comments' })).toBeVisible()
    }
  })

  test('eight tabs share one stream, also when the tab that has it closes', async ({ page, context, api }) => {
    const streams: string[] = []
    context.on('request', (request) => {
      if (request.headers().accept === 'text/event-stream') streams.push(request.url())
    })
    const post = await api.post({ title: unique('Open eight times') })
    // Over HTTP/1.1 a browser has six connections a host.
    const tabs: Page[] = []
    for (let n = 0; n < 7; n++) {
      const tab = await context.newPage()
      await visit(tab, `/p/${post.id}`)
      tabs.push(tab)
    }
    await visit(page, `/p/${post.id}`)
    expect(streams).toHaveLength(1)
    const first = unique('To all tabs')
    await send(page, first)
    for (const tab of [page, ...tabs]) await expect(comment(tab, first)).toHaveCount(1)
    await tabs.shift()?.close()
    const second = unique('To all that are left')
    await send(page, second)
    for (const tab of [page, ...tabs]) await expect(comment(tab, second)).toHaveCount(1)
    expect(streams).toHaveLength(2)
  })

  const cuts: { name: string; cut: (page: Page, control: Control) => Promise<void>; mend: (page: Page, control: Control) => Promise<void> }[] = [
    {
      name: 'the visitor’s network is cut',
      cut: (page) => page.context().setOffline(true),
      mend: (page) => page.context().setOffline(false),
    },
    {
      name: 'query is killed',
      cut: (_, control) => control.kill('query'),
      mend: (_, control) => control.start('query'),
    },
  ]
  for (const { name, cut, mend } of cuts) {
    test(`${name} and comes back: nothing is missed, and nothing is there twice`, async ({ page, context, api, control }) => {
      const post = await api.post({ title: unique('Long-lived') })
      await api.moderated(post.id, { content: 'Before the cut.' })
      await visit(page, '/')
      const opened = await context.newPage()
      await visit(opened, `/p/${post.id}`)

      await cut(page, control)
      for (const each of [page, opened]) await expect(connection(each)).toHaveText('Connection lost. Trying again…', { timeout: recovery })
      const written = await writeMeanwhile(api, post.id)
      // The page still shows what it has read.
      await expect(card(page, post.title)).toContainText('1 comment')
      await expect(comment(opened, 'Before the cut.')).toBeVisible()
      await mend(page, control)

      for (const each of [page, opened]) await expect(connection(each)).toHaveText('Back again. Nothing was missed.', { timeout: recovery })
      await expect(connection(page)).toHaveText('Live')
      await expect(card(page, post.title)).toContainText('4 comments')
      await page.getByRole('button', { name: '3 new posts' }).click()
      for (const [i, title] of written.titles.toReversed().entries()) await expect(cards(page).nth(i)).toContainText(title)
      for (const title of written.titles) await expect(card(page, title)).toHaveCount(1)

      await expect(comments(opened)).toHaveCount(4)
      await expect(opened.getByRole('heading', { level: 2, name: '4 comments' })).toBeVisible()
      for (const content of written.contents) await expect(comment(opened, content)).toHaveCount(1)
      await expect(opened.getByText('This comment is awaiting moderation')).toHaveCount(0)

      // Changes arrive again.
      await api.comment(post.id, { content: 'After the cut.' })
      await expect(comments(opened)).toHaveCount(5)
      await expect(card(page, post.title)).toContainText('5 comments')
    })
  }

  test('comments that come while older ones load are there once', async ({ page, api, control }) => {
    const { newest } = await control.seed(1, 120)
    await visit(page, `/p/${newest}`)
    const writing = (async () => {
      for (let n = 1; n <= 20; n++) await api.comment(newest, { content: `Meanwhile ${n}.` })
    })()
    await scrollUntil(page, comments(page).nth(110))
    await writing
    await expect(page.getByRole('heading', { level: 2, name: '134 comments' })).toBeVisible() // six are rejected
    await expect(comment(page, 'Meanwhile')).toHaveCount(20)
    await scrollUntil(page, comments(page).nth(139))
    await expect(comments(page)).toHaveCount(140)
  })
})

/** Writes three posts, and three comments on a post, and waits until query shows them moderated. */
async function writeMeanwhile(api: Api, postId: string): Promise<{ titles: string[]; contents: string[] }> {
  const titles = [1, 2, 3].map((n) => unique(`Meanwhile ${n}`))
  const contents = [1, 2, 3].map((n) => unique(`Meanwhile, comment ${n}`))
  for (const title of titles) await api.write({ title })
  for (const content of contents) await api.comment(postId, { content })
  return { titles, contents }
}
