import type { Locator, Page } from '@playwright/test'
import { scan } from './scan'
import { expect, recovery, test, unique } from './system'
import { card, cards, comment, commentForm, comments, connection, openForm, visit } from './views'

/** Presses Tab until the locator has the focus, and checks that it is fully visible. */
async function tabTo(page: Page, target: Locator): Promise<void> {
  await expect(async () => {
    await page.keyboard.press('Tab')
    const look = await page.evaluate(() => {
      const focused = document.activeElement
      if (!focused || focused === document.body) return undefined
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(focused)
      return { name: focused.outerHTML.slice(0, 200), seen: (outlineStyle !== 'none' && outlineWidth !== '0px') || boxShadow !== 'none' }
    })
    if (look) expect.soft(look.seen, `the focus on ${look.name} can be seen`).toBe(true)
    await expect(target).toBeFocused({ timeout: 1 })
  }).toPass({ intervals: [1] })
}

for (const theme of ['light', 'dark'] as const) {
  test.describe(`axe, ${theme}`, () => {
    test.use({ colorScheme: theme })

    test('the list', async ({ page, api }) => {
      const post = await api.post({ title: unique('Seen by all'), body: 'A text.\n'.repeat(10) })
      await visit(page, '/')
      await expect(page.locator('html')).toHaveAttribute('data-theme', theme)
      await expect(card(page, post.title)).toBeVisible()
      await scan(page)
      await api.post({ title: unique('New') })
      await expect(page.getByRole('button', { name: '1 new post' })).toBeVisible()
      await scan(page)
    })

    test('the form for a post, with mistakes in it', async ({ page }) => {
      await visit(page, '/')
      const form = await openForm(page)
      await scan(page)
      await form.getByRole('button', { name: 'Publish' }).click()
      await expect(form.getByRole('alert')).toBeVisible()
      await scan(page)
      await form.getByRole('textbox', { name: 'Title' }).fill('x'.repeat(195))
      await expect(form.getByText('5 characters left')).toBeVisible()
      await form.getByRole('textbox', { name: 'Text (optional)' }).fill('x'.repeat(10_001))
      await expect(form.getByRole('alert')).toBeVisible()
      await scan(page)
    })

    test('a post with comments in each state', async ({ page, api, control }) => {
      const post = await api.post({ title: unique('Discussed by all'), body: 'A text.\n\nOf two parts.' })
      await api.moderated(post.id, { content: 'A good comment.', author: 'Ann' })
      await api.moderated(post.id, { content: 'An orange one.', author: 'Ben' })
      await control.kill('moderation')
      await api.comment(post.id, { content: 'Somebody else’s.' })
      await visit(page, `/p/${post.id}`)
      const form = commentForm(page)
      await form.getByRole('textbox', { name: 'Comment' }).fill('The visitor’s own.')
      await form.getByRole('button', { name: 'Send' }).click()
      await expect(comments(page)).toHaveCount(4)
      await expect(page.getByText('This comment is awaiting moderation')).toHaveCount(2)
      await form.getByRole('button', { name: 'Send' }).click()
      await expect(form.getByRole('alert')).toBeVisible()
      await scan(page)
    })

    test('what doesn’t work', async ({ page, context, api, control }) => {
      const post = await api.post({ title: unique('Out of reach') })
      await visit(page, '/')
      const opened = await context.newPage()
      await visit(opened, `/p/${post.id}`)
      await control.kill('query')
      await control.kill('comments')
      await expect(connection(page)).toHaveText('Connection lost. Trying again…', { timeout: recovery })
      await scan(page)
      await commentForm(opened).getByRole('textbox', { name: 'Comment' }).fill('Later.')
      await commentForm(opened).getByRole('button', { name: 'Send' }).click()
      await expect(commentForm(opened).getByRole('alert')).toBeVisible({ timeout: recovery })
      await scan(opened)
      for (const path of ['/', `/p/${post.id}`]) {
        await page.goto(path)
        await expect(page.getByRole('alert')).toContainText(/can.t be read right now/)
        await scan(page)
      }
    })

    test('a post and an address that there are not', async ({ page }) => {
      for (const path of ['/p/nothing', '/nowhere']) {
        await page.goto(path)
        await expect(page.getByRole('heading', { level: 1 })).toHaveText(/^There is no/)
        await scan(page)
      }
    })
  })
}

test('with the keyboard alone, a visitor writes a post and comments on it', async ({ page }) => {
  await visit(page, '/')
  await page.keyboard.press('Tab')
  await expect(page.getByRole('link', { name: 'Skip to content' })).toBeFocused()
  await expect(page.getByRole('link', { name: 'Skip to content' })).toBeInViewport()
  await page.keyboard.press('Enter')
  await expect(page.getByRole('main')).toBeFocused()

  await tabTo(page, page.getByRole('button', { name: 'Write a post' }))
  await page.keyboard.press('Enter')
  const title = unique('Typed')
  await expect(page.getByRole('textbox', { name: 'Title' })).toBeFocused()
  await page.keyboard.type(title)
  await tabTo(page, page.getByRole('textbox', { name: 'Text (optional)' }))
  await page.keyboard.type('Without a mouse.')
  await tabTo(page, page.getByRole('button', { name: 'Publish' }))
  await page.keyboard.press('Enter')
  await expect(page.getByRole('link', { name: title })).toBeFocused()
  await expect(cards(page).first()).toContainText('Without a mouse.')

  await page.keyboard.press('Enter')
  await expect(page.getByRole('heading', { level: 1, name: title })).toBeVisible()
  await tabTo(page, page.getByRole('textbox', { name: 'Comment' }))
  await page.keyboard.type('Without a mouse, too.')
  await tabTo(page, page.getByRole('textbox', { name: 'Name (optional)' }))
  await page.keyboard.type('Kay')
  await tabTo(page, page.getByRole('button', { name: 'Send' }))
  await page.keyboard.press('Space')
  await expect(comment(page, 'Without a mouse, too.')).toContainText('Kay')
  for (const name of ['All posts', 'Postbus']) {
    await page.keyboard.press('Shift+Tab')
    await tabTo(page, page.getByRole('link', { name, exact: true }))
  }
  await page.keyboard.press('Enter')
  await expect(page.getByRole('heading', { level: 1, name: 'Posts' })).toBeVisible()
})

test('a visitor who asks for less motion gets none', async ({ page }) => {
  await page.emulateMedia({ reducedMotion: 'reduce' })
  await visit(page, '/')
  await openForm(page)
  expect(await page.evaluate(() => document.getAnimations().length)).toBe(0)
})
