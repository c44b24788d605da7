import type { Page } from '@playwright/test'
import { expect, recovery, test, unique } from './system'
import { comment, commentForm, comments, expectMistake, hold, send, visit } from './views'

const awaiting = 'This comment is awaiting moderation'
const rejected = 'This comment has been rejected'

/** Leaves a mark that a reload would remove. */
const mark = (page: Page) => page.evaluate(() => document.body.setAttribute('data-mark', ''))

/** Collects the alerts of the page from now on, also those that are gone again. */
async function collectAlerts(page: Page): Promise<() => Promise<string[]>> {
  await page.evaluate(() => {
    const seen: string[] = []
    Object.assign(window, { seen })
    new MutationObserver(() => {
      for (const alert of document.querySelectorAll('[role=alert]')) seen.push(alert.textContent)
    }).observe(document.body, { subtree: true, childList: true, characterData: true })
  })
  return () => page.evaluate(() => (window as unknown as { seen: string[] }).seen)
}

test.describe('commenting', () => {
  test('a comment is awaiting moderation at once and then approved, without reloading', async ({ page, visitor, api, control }) => {
    const post = await api.post({ title: unique('Discussed') })
    const other = await visitor()
    await Promise.all([visit(page, `/p/${post.id}`), visit(other, `/p/${post.id}`)])
    await expect(page.getByRole('heading', { level: 2, name: 'No comments yet' })).toBeVisible()
    await mark(page)
    await control.kill('moderation')
    const content = unique('A fine thought')
    await send(page, content, 'Ann')

    // The visitor sees their text; others see only that there is a comment.
    await expect(comments(page)).toHaveCount(1)
    await expect(comments(page)).toContainText(awaiting)
    await expect(comments(page)).toContainText(content)
    await expect(comments(page)).toContainText('Ann')
    await expect(page.getByRole('heading', { level: 2, name: '1 comment' })).toBeVisible()
    await expect(commentForm(page).getByRole('textbox', { name: 'Comment' })).toHaveValue('')
    await expect(comments(other)).toContainText(awaiting)
    await expect(comments(other)).not.toContainText(content)
    await expect(comments(other)).not.toContainText('Ann')

    await control.start('moderation')
    for (const each of [page, other]) {
      await expect(comments(each)).toContainText(content, { timeout: recovery })
      await expect(comments(each)).toContainText('Ann')
      await expect(comments(each)).not.toContainText(awaiting)
      await expect(comments(each)).toHaveCount(1)
      await expect(each.getByRole('heading', { level: 2, name: '1 comment' })).toBeVisible()
    }
    await expect(page.locator('body')).toHaveAttribute('data-mark', '')
  })

  test('a comment is awaiting moderation at once and then rejected, without reloading', async ({ page, visitor, api, control }) => {
    const post = await api.post({ title: unique('Discussed') })
    const other = await visitor()
    await Promise.all([visit(page, `/p/${post.id}`), visit(other, `/p/${post.id}`)])
    await mark(page)
    await control.kill('moderation')
    const content = unique('Orange is my colour')
    await send(page, content)
    await expect(comments(page)).toContainText(awaiting)
    await expect(comments(page)).toContainText('Anonymous')
    await expect(comments(other)).toContainText(awaiting)

    await control.start('moderation')
    for (const each of [page, other]) {
      await expect(comments(each)).toContainText(rejected, { timeout: recovery })
      await expect(comments(each)).not.toContainText(awaiting)
      await expect(comments(each)).toHaveCount(1)
    }
    for (const reloaded of [false, true]) {
      for (const text of ['contains “orange”', content, 'Anonymous']) {
        await expect(comments(page)).toContainText(text)
        await expect(comments(other)).not.toContainText(text)
      }
      if (reloaded) break
      await expect(page.locator('body')).toHaveAttribute('data-mark', '')
      await Promise.all([page.reload(), other.reload()])
      await expect(comments(other)).toContainText(rejected)
    }
  })

  test('a name that is rejected is shown to nobody but its writer', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Named') })
    const other = await visitor()
    await Promise.all([visit(page, `/p/${post.id}`), visit(other, `/p/${post.id}`)])
    await send(page, 'A fine thought.', 'Orange')
    for (const each of [page, other]) await expect(comments(each)).toContainText(rejected)
    await expect(comments(page)).toContainText('Orange')
    await expect(comments(other)).not.toContainText('Orange')
    await expect(comments(other)).not.toContainText('Anonymous')
    await other.reload()
    await expect(comments(other)).toContainText(rejected)
    await expect(comments(other)).not.toContainText('Orange')
  })

  test('comments are first in the list as they are sent, and each is there once', async ({ page, api }) => {
    const post = await api.post({ title: unique('Busy') })
    await api.moderated(post.id, { content: 'An earlier one.' })
    await visit(page, `/p/${post.id}`)
    for (const n of [1, 2, 3]) {
      await send(page, `Thought ${n}`)
      await expect(comments(page).first()).toContainText(`Thought ${n}`)
    }
    await expect(page.getByText(awaiting)).toHaveCount(0)
    await expect(comments(page)).toHaveCount(4)
    await expect(page.getByRole('heading', { level: 2, name: '4 comments' })).toBeVisible()
    await page.reload()
    await expect(comments(page)).toHaveCount(4)
    await expect(page.getByRole('heading', { level: 2, name: '4 comments' })).toBeVisible()
  })

  test('others’ comments that one cannot read are not counted', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Counted') })
    const other = await visitor()
    await Promise.all([visit(page, `/p/${post.id}`), visit(other, `/p/${post.id}`)])
    await send(page, 'An orange one.')
    await expect(comments(other)).toContainText(rejected)
    await expect(other.getByRole('heading', { level: 2, name: 'Comments', exact: true })).toBeVisible()
    await expect(page.getByRole('heading', { level: 2, name: '1 comment' })).toBeVisible()
    await send(other, 'A good one.')
    for (const [each, n] of [[page, '2 comments'], [other, '1 comment']] as const) await expect(each.getByRole('heading', { level: 2, name: n, exact: true })).toBeVisible()
  })

  test('Ctrl+Enter sends, and the name is there again on the next post', async ({ page, api }) => {
    const [post, next] = [await api.post({ title: unique('By keys') }), await api.post({ title: unique('The next one') })]
    await visit(page, `/p/${post.id}`)
    const form = commentForm(page)
    const [content, author] = [form.getByRole('textbox', { name: 'Comment' }), form.getByRole('textbox', { name: 'Name (optional)' })]
    await author.fill('Ann')
    await content.fill('First line.')
    await content.press('Enter')
    await content.pressSequentially('Second line.')
    await content.press('Control+Enter')
    await expect(comment(page, 'Second line.')).toContainText('Ann')
    await expect(content).toHaveValue('')
    await expect(author).toHaveValue('Ann')

    await visit(page, `/p/${next.id}`)
    await expect(author).toHaveValue('Ann')
    await content.fill('Again.')
    await form.getByRole('button', { name: 'Send' }).click()
    await expect(comment(page, 'Again.')).toContainText('Ann')
    // Who removes the name writes without one, and is not given it again.
    await author.fill('')
    await expect(author).toHaveValue('')
    await page.reload()
    await expect(author).toHaveValue('')
    await content.fill('Without a name.')
    await content.press('Control+Enter')
    await expect(comment(page, 'Without a name.')).toContainText('Anonymous')
    await page.reload()
    await expect(author).toHaveValue('')
  })

  test('what is repeated has the name that it had, also where another was used since', async ({ page, context, api }) => {
    const [post, next] = [await api.post({ title: unique('Answered late') }), await api.post({ title: unique('Meanwhile') })]
    const keys: string[] = []
    await page.route(`**/posts/${post.id}/comments`, async (route) => {
      keys.push(route.request().headers()['idempotency-key'] ?? '')
      if (keys.length > 3) return route.continue()
      await route.fetch() // it happens, and the answer is lost
      await route.abort()
    })
    await visit(page, `/p/${post.id}`)
    await page.evaluate(() => localStorage.setItem('postbus:name', '"Ann"'))
    await page.reload()
    const form = commentForm(page)
    await expect(form.getByRole('textbox', { name: 'Name (optional)' })).toHaveValue('Ann')
    await form.getByRole('textbox', { name: 'Comment' }).fill('Hello.')
    await form.getByRole('button', { name: 'Send' }).click()
    await expect(form.getByRole('button', { name: 'Try again' })).toBeVisible({ timeout: recovery })
    const other = await context.newPage()
    await visit(other, `/p/${next.id}`)
    await send(other, 'By another name.', 'Bob')
    await expect(comment(other, 'By another name.')).toContainText('Bob')
    await page.reload()
    await form.getByRole('button', { name: 'Try again' }).click()
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue('')
    await expect(comment(page, 'Hello.')).toHaveCount(1)
    await expect(comment(page, 'Hello.')).toContainText('Ann')
    expect(new Set(keys).size).toBe(1)
  })

  test('what is refused is said under the field, and what is typed stays', async ({ page, api }) => {
    const post = await api.post({ title: unique('Strict') })
    await visit(page, `/p/${post.id}`)
    const form = commentForm(page)
    const content = form.getByRole('textbox', { name: 'Comment' })
    const author = form.getByRole('textbox', { name: 'Name (optional)' })
    await form.getByRole('button', { name: 'Send' }).click()
    await expectMistake(content, 'The comment must not be empty.')
    await content.fill('z'.repeat(10_001))
    await expectMistake(content, 'The comment has 10,001 characters; at most 10,000 are allowed.')
    await content.fill('Short.')
    await author.fill('A'.repeat(101))
    await form.getByRole('button', { name: 'Send' }).click()
    await expectMistake(author, 'The name has 101 characters; at most 100 are allowed.')
    await expect(content).toHaveValue('Short.')
    await expect(comments(page)).toHaveCount(0)
    await author.fill('A'.repeat(100))
    await form.getByRole('button', { name: 'Send' }).click()
    await expect(comments(page)).toHaveCount(1)
  })

  test('an answer that is lost makes no second comment', async ({ page, api }) => {
    const post = await api.post({ title: unique('Once') })
    const keys: (string | undefined)[] = []
    await page.route('**/comments', async (route) => {
      keys.push(route.request().headers()['idempotency-key'])
      if (keys.length > 1) return route.continue()
      expect((await route.fetch()).status()).toBe(201)
      await route.abort('connectionreset')
    })
    await visit(page, `/p/${post.id}`)
    const content = unique('Sent twice')
    const alerts = await collectAlerts(page)
    await send(page, content)
    await expect(commentForm(page).getByRole('textbox', { name: 'Comment' })).toHaveValue('')
    await expect(commentForm(page).getByRole('button', { name: 'Send' })).toBeVisible()
    expect(await alerts()).toEqual([])
    await expect(comment(page, content)).toHaveCount(1)
    expect(keys).toHaveLength(2)
    expect(keys[1]).toBe(keys[0])
    await expect(page.getByText(awaiting)).toHaveCount(0)
    await expect(comments(page)).toHaveCount(1)
    expect((await api.read(post.id)).commentCounts).toEqual({ approved: 1 })
  })

  for (const when of ['before', 'after'] as const) {
    test(`who reads elsewhere while a comment is sent, and comes back ${when} the answer, is not offered to send it again`, async ({ page, api }) => {
      const post = await api.post({ title: unique('Left early') })
      const held = await hold(page, '**/comments')
      await visit(page, `/p/${post.id}`)
      const content = unique('On its way')
      await send(page, content)
      await held.arrived
      await page.getByRole('link', { name: 'All posts' }).click()
      await expect(page.getByRole('heading', { level: 1, name: 'Posts' })).toBeVisible()
      if (when === 'before') {
        await page.goBack()
        await expect(commentForm(page).getByRole('button', { name: 'Sending…' })).toBeVisible()
        held.release()
      } else {
        const answered = page.waitForResponse('**/comments')
        held.release()
        await (await answered).finished()
        await page.goBack()
      }
      await expect(comment(page, content)).toHaveCount(1)
      await expect(commentForm(page).getByRole('textbox', { name: 'Comment' })).toHaveValue('')
      await expect(commentForm(page).getByRole('button', { name: 'Send' })).toBeVisible()
    })
  }

  test('what is refused while one reads elsewhere is there, with the reason', async ({ page, api }) => {
    const post = await api.post({ title: unique('Refused meanwhile') })
    await visit(page, `/p/${post.id}`)
    const { arrived, release } = await hold(page, '**/comments', (route) => route.fulfill({ status: 422, json: { title: 'Invalid', status: 422, detail: 'The comment is too odd.', field: 'content' } }))
    const content = unique('On its way')
    await send(page, content)
    await arrived
    await page.getByRole('link', { name: 'All posts' }).click()
    await expect(page.getByRole('heading', { level: 1, name: 'Posts' })).toBeVisible()
    release()
    await page.goBack()
    const text = commentForm(page).getByRole('textbox', { name: 'Comment' })
    await expectMistake(text, 'The comment is too odd.')
    await expect(text).toHaveValue(content)
  })

  test('what is typed while a comment is being sent stays', async ({ page, api }) => {
    const post = await api.post({ title: unique('Quick writer') })
    const held = await hold(page, '**/comments')
    await visit(page, `/p/${post.id}`)
    const content = unique('The first')
    await send(page, content, 'Ann')
    await held.arrived
    const next = unique('The next')
    await commentForm(page).getByRole('textbox', { name: 'Comment' }).fill(next)
    held.release()
    await expect(comment(page, content)).toHaveCount(1)
    await expect(commentForm(page).getByRole('textbox', { name: 'Comment' })).toHaveValue(next)
  })

  test('a screen reader announces the outcome of the visitor’s comment, and others’ comments', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Announced') })
    const other = await visitor()
    await Promise.all([visit(page, `/p/${post.id}`), visit(other, `/p/${post.id}`)])
    await send(page, unique('A fine thought'), 'Ann')
    await expect(page.getByRole('log')).toHaveText('Your comment is approved.')
    await expect(other.getByRole('log')).toHaveText('New comment by Ann.')
  })
})
