import { randomUUID } from 'node:crypto'
import type { Locator } from '@playwright/test'
import { expect, test, unique } from './system'
import { card, cards, comment, comments, scrollUntil, titles, visit } from './views'

test.describe('reading', () => {
  test('posts are listed newest first', async ({ page, api }) => {
    const written: string[] = []
    for (const name of ['First', 'Second', 'Third']) {
      const post = await api.post({ title: unique(name), body: 'A text.' })
      written.unshift(post.title)
    }
    await visit(page, '/')
    await expect(page).toHaveTitle('Postbus')
    await expect(page.getByRole('heading', { level: 1, name: 'Posts' })).toBeVisible()
    expect((await titles(page)).slice(0, 3)).toEqual(written)
    await expect(cards(page).first()).toContainText('A text.')
    await expect(cards(page).first()).toContainText('No comments')
    await expect(cards(page).first().getByRole('time')).toHaveText('just now')
  })

  test('the list of long posts is small, and can be read on a slow line', async ({ page, context, api }) => {
    // Words that do not compress well, 10 KB a post.
    const long = () => Array.from({ length: 270 }, () => randomUUID()).join(' ')
    for (let n = 0; n < 20; n++) await api.write({ title: unique('Long'), body: long() })
    const last = await api.post({ title: unique('The last of the long ones'), body: long() })
    const line = await context.newCDPSession(page)
    await line.send('Network.enable')
    await line.send('Network.emulateNetworkConditions', { offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 50_000 })
    const isList = (url: string) => url.includes('/posts?comments=0')
    const answered = page.waitForResponse((response) => isList(response.url()))
    await page.goto('/')
    await expect(card(page, last.title)).toBeVisible({ timeout: 60_000 })
    const response = await answered
    expect(response.headers()['content-encoding']).toMatch(/^(zstd|br|gzip)$/)
    const { responseBodySize } = await response.request().sizes()
    expect(responseBodySize).toBeLessThan(60_000)
    expect(await cards(page).count()).toBe(20)
    await expect(card(page, last.title).getByText(last.body.slice(0, 300))).toBeVisible()
  })

  test('more posts load as the visitor scrolls, to the beginning, each once', async ({ page, api, control }) => {
    await control.seed(45, 0)
    const all = await api.all()
    await visit(page, '/')
    expect(await cards(page).count()).toBeLessThan(all.length)
    await scrollUntil(page, page.getByText('You have reached the beginning.'))
    expect(await titles(page)).toEqual(all.map((post) => post.title))
  })

  test('more posts load by the button where scrolling does nothing', async ({ page, control }) => {
    await control.seed(45, 0)
    await page.addInitScript(() => {
      window.IntersectionObserver = class extends window.IntersectionObserver {
        override observe() {
          // An observer that reports nothing.
        }
      }
    })
    await visit(page, '/')
    await expect(cards(page)).toHaveCount(20)
    await page.getByRole('button', { name: 'Load more posts' }).click()
    await expect(cards(page)).toHaveCount(40)
  })

  test('older comments load as the visitor scrolls, each once, newest first', async ({ page, control }) => {
    const { newest } = await control.seed(1, 120)
    await visit(page, `/p/${newest}`)
    await expect(page.getByRole('heading', { level: 2, name: '114 comments' })).toBeVisible() // six are rejected
    expect(await comments(page).count()).toBeLessThan(120)
    await scrollUntil(page, comments(page).nth(119))
    await expect(comments(page)).toHaveCount(120)
    await expect(page.getByRole('button', { name: 'Load older comments' })).toBeHidden()
    const times = await comments(page).getByRole('time').evaluateAll((all) => all.map((time) => time.getAttribute('datetime') ?? ''))
    // Several were written at once, so those within some milliseconds have no order.
    for (const [i, time] of times.slice(1).entries()) {
      expect(Date.parse(time), `${time} after ${times[i]}`).toBeLessThan(Date.parse(times[i] ?? '') + 100)
    }
  })

  test('a post has its own address: by link, by reload, and back again to where one was', async ({ page, api, control }) => {
    const post = await api.post({ title: unique('Addressed'), body: 'One line.\n\nAnother   line.' })
    await api.moderated(post.id, { content: 'Well said.', author: 'Ann' })
    await control.seed(45, 0)
    await visit(page, '/')
    await scrollUntil(page, card(page, post.title))
    await card(page, post.title).scrollIntoViewIfNeeded()
    await card(page, post.title).getByRole('link').click()

    await expect(page).toHaveURL(`/p/${post.id}`)
    const expectPost = async () => {
      await expect(page).toHaveTitle(`${post.title} · Postbus`)
      await expect(page.getByRole('heading', { level: 1, name: post.title })).toBeVisible()
      await expect(page.getByText('One line.')).toHaveText('One line.\n\nAnother   line.', { useInnerText: true })
      await expect(page.getByRole('heading', { level: 2, name: '1 comment' })).toBeVisible()
      await expect(comment(page, 'Well said.')).toContainText('Ann')
    }
    await expectPost()
    await page.goBack()
    await expect(card(page, post.title)).toBeInViewport()
    await expect(page.getByRole('link', { name: post.title })).toBeFocused()
    await page.goForward()
    await expectPost()
    await page.reload()
    await expectPost()
    await page.getByRole('link', { name: 'All posts' }).click()
    await expect(page).toHaveURL('/')
    await expect(page.getByRole('heading', { level: 1, name: 'Posts' })).toBeVisible()
  })

  for (const path of ['/p/019f0000-0000-7000-8000-000000000000', '/p/nothing', '/p/%3Cimg%20src%3Dx%3E']) {
    test(`there is no post at ${path}`, async ({ page }) => {
      await page.goto(path)
      await expect(page.getByRole('heading', { level: 1, name: 'There is no such post' })).toBeVisible()
      await page.getByRole('link', { name: 'All posts' }).click()
      await expect(page.getByRole('heading', { level: 1, name: 'Posts' })).toBeVisible()
    })
  }

  test('times are relative and update', async ({ page, api }) => {
    const post = await api.post({ title: unique('Timed') })
    await page.clock.install()
    await page.goto(`/p/${post.id}`)
    const time = page.getByRole('article').getByRole('time').first()
    await expect(time).toHaveText('just now')
    await expect(time).toHaveAttribute('datetime', post.createdAt)
    await page.clock.fastForward('05:10')
    await expect(time).toHaveText('5 minutes ago')
    await page.clock.fastForward('02:00:00')
    await expect(time).toHaveText('2 hours ago')
    await page.clock.fastForward('24:00:00')
    await expect(time).toHaveText('yesterday')
  })

  test('the address of a comment leads to it, also where it is far down, and can be copied', async ({ page, context, api }) => {
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    const { id: newest } = await api.post({ title: unique('Linked') })
    const first = await api.moderated(newest, { content: 'The first of all.' })
    for (let n = 0; n < 60; n++) await api.comment(newest, { content: `One of many, ${n}.` })
    await api.moderated(newest, { content: 'The last of all.' })
    await page.goto(`/p/${newest}#comment-${first.id}`)
    await expect(comment(page, 'The first of all.')).toBeInViewport()
    await expect(comment(page, 'The first of all.')).toBeFocused()
    await expect(comment(page, 'The first of all.')).toHaveAttribute('data-linked', 'true')

    const last = comment(page, 'The last of all.')
    await last.getByRole('button', { name: 'Copy link' }).click()
    await expect(page.getByText('The link is copied.')).toBeAttached()
    await expect(last.getByRole('button', { name: 'Copied' })).toBeVisible()
    await last.getByRole('link').click()
    await expect(last).toHaveAttribute('data-linked', 'true')
    await expect(page.locator('[data-linked=true]')).toHaveCount(1)
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(page.url())
    await page.goto(`/p/${newest}#comment-017f22e2-79b0-7cc3-98c4-dc0c0c07398f`) // of no comment
    await expect(page.getByText('The first of all.')).toBeVisible()
    await expect(page.locator('[data-linked=true]')).toHaveCount(0)
  })

  test('a long comment is folded, and thousands of line breaks take no room', async ({ page, api }) => {
    const post = await api.post({ title: unique('Long-winded'), body: `Above.${'\n'.repeat(5_000)}Below.` })
    await api.moderated(post.id, { content: `Begin.${'\n'.repeat(9_000)}End.` })
    await api.moderated(post.id, { content: `${'All work and no play.\n'.repeat(400)}The end.` })
    await visit(page, `/p/${post.id}`)
    await expect(comment(page, 'Begin.')).toContainText('End.')
    await expect(comment(page, 'Begin.').getByRole('button', { name: 'Show more' })).toBeHidden()
    const long = comment(page, 'All work')
    const height = async () => (await long.boundingBox())?.height ?? 0
    const folded = await height()
    expect(folded).toBeLessThan(700)
    await long.getByRole('button', { name: 'Show more' }).click()
    await expect(long.getByRole('button', { name: 'Show less' })).toHaveAttribute('aria-expanded', 'true')
    expect(await height()).toBeGreaterThan(5_000)
    await long.getByRole('button', { name: 'Show less' }).click()
    expect(await height()).toBe(folded)
    expect(await page.evaluate(() => document.documentElement.scrollHeight)).toBeLessThan(3_000)
  })

  test('what is written from right to left is shown so, beside what is not', async ({ page, api }) => {
    const post = await api.post({ title: unique('مرحبا بالعالم'), body: 'نص عربي.' })
    const english = await api.post({ title: unique('In English'), body: 'A text.' })
    await api.moderated(post.id, { content: 'تعليق بالعربية', author: 'ليلى' })
    await api.moderated(post.id, { content: 'A comment.', author: 'Ann' })
    const direction = (of: Locator) => of.evaluate((element) => getComputedStyle(element).direction)
    await visit(page, '/')
    for (const [title, body, expected] of [
      [post.title, 'نص عربي.', 'rtl'],
      [english.title, 'A text.', 'ltr'],
    ] as const) {
      expect(await direction(card(page, title).getByRole('heading'))).toBe(expected)
      expect(await direction(card(page, title).getByText(body))).toBe(expected)
    }
    await visit(page, `/p/${post.id}`)
    expect(await direction(page.getByRole('heading', { level: 1 }))).toBe('rtl')
    expect(await direction(page.getByText('تعليق بالعربية'))).toBe('rtl')
    expect(await direction(page.getByText('A comment.'))).toBe('ltr')
    const field = page.getByRole('textbox', { name: 'Comment' })
    await field.fill('سلام')
    expect(await direction(field)).toBe('rtl')
  })

  test('the focus of what is at the edge of a list can be seen whole', async ({ page, api }) => {
    const post = await api.post({ title: unique('At the edge') })
    await visit(page, '/')
    const link = card(page, post.title).getByRole('link')
    await link.focus()
    const outside = await link.evaluate((element) => {
      const { outlineWidth, outlineOffset } = getComputedStyle(element)
      const clip = element.closest('li')?.getBoundingClientRect()
      return element.getBoundingClientRect().left - Number.parseFloat(outlineWidth) - Number.parseFloat(outlineOffset) - (clip?.left ?? 0)
    })
    expect(outside).toBeGreaterThanOrEqual(0)
  })

  test('the theme follows the device until the visitor chooses one, which stays', async ({ page }) => {
    await page.emulateMedia({ colorScheme: 'dark' })
    await visit(page, '/')
    const root = page.locator('html')
    const background = () => root.evaluate((element) => getComputedStyle(element).backgroundColor)
    await expect(root).toHaveAttribute('data-theme', 'dark')
    const dark = await background()
    await page.emulateMedia({ colorScheme: 'light' })
    await expect(root).toHaveAttribute('data-theme', 'light')
    expect(await background()).not.toBe(dark)
    await page.getByRole('button', { name: 'Switch to dark theme' }).click()
    await expect(root).toHaveAttribute('data-theme', 'dark')
    expect(await background()).toBe(dark)
    await page.reload()
    await expect(root).toHaveAttribute('data-theme', 'dark')
    await page.getByRole('button', { name: 'Switch to light theme' }).click()
    await expect(root).toHaveAttribute('data-theme', 'light')
  })
})
