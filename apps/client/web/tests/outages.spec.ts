import { expect, recovery, test, unique } from './system'
import { card, comment, commentForm, comments, connection, openForm, visit } from './views'

test.describe('while a service is down', () => {
  test('query: reading says so and recovers by itself, and posting works', async ({ page, context, api, control }) => {
    const post = await api.post({ title: unique('Read before') })
    await control.kill('query')
    const opened = await context.newPage()
    await Promise.all([page.goto('/'), opened.goto(`/p/${post.id}`)])
    await expect(page.getByRole('alert')).toContainText(/The posts can.t be read right now\./)
    await expect(opened.getByRole('alert')).toContainText(/This post can.t be read right now\./)

    const form = await openForm(page)
    const title = unique('Written meanwhile')
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(page.getByText('Your post is published.')).toBeAttached()
    const content = unique('A comment meanwhile')
    await commentForm(opened).getByRole('textbox', { name: 'Comment' }).fill(content)
    await commentForm(opened).getByRole('button', { name: 'Send' }).click()
    await expect(commentForm(opened).getByRole('textbox', { name: 'Comment' })).toHaveValue('')
    await expect(comment(opened, content)).toHaveCount(1)
    // A visitor who can't wait.
    await opened.getByRole('button', { name: 'Try again' }).click()
    await expect(opened.getByRole('alert')).toContainText(/This post can.t be read right now\./)

    await control.start('query')
    await expect(card(page, post.title)).toBeVisible({ timeout: recovery })
    await expect(card(page, title)).toHaveCount(1)
    await expect(opened.getByRole('heading', { level: 1, name: post.title })).toBeVisible({ timeout: recovery })
    await expect(comment(opened, content)).toHaveCount(1)
    await expect(opened.getByText('This comment is awaiting moderation')).toHaveCount(0)
    for (const each of [page, opened]) {
      await expect(each.getByRole('alert')).toBeHidden()
      await expect(connection(each)).toHaveText('Live')
    }
  })

  test('query: the rest of a list says so, and is read when it is back', async ({ page, control }) => {
    const { newest } = await control.seed(1, 120)
    await visit(page, `/p/${newest}`)
    const before = await comments(page).count()
    expect(before).toBeLessThan(120)
    await control.kill('query')
    await page.mouse.move(640, 400)
    await expect(async () => {
      await page.mouse.wheel(0, 2_000)
      await expect(page.getByRole('alert')).toContainText(/Older comments can.t be read right now\./, { timeout: 500 })
    }).toPass({ timeout: recovery })
    await expect(comments(page)).toHaveCount(before)
    await control.start('query')
    await expect(async () => {
      await page.mouse.wheel(0, 2_000)
      expect(await comments(page).count()).toBe(120)
    }).toPass({ timeout: recovery })
  })

  test('comments: commenting fails kindly, what was typed is kept, and trying again sends it once', async ({ page, api, control }) => {
    const post = await api.post({ title: unique('Unanswered') })
    const keys = new Set<string | undefined>()
    page.on('request', (request) => {
      if (request.method() === 'POST') keys.add(request.headers()['idempotency-key'])
    })
    await control.kill('comments')
    await visit(page, `/p/${post.id}`)
    const form = commentForm(page)
    const content = unique('It will arrive')
    await form.getByRole('textbox', { name: 'Comment' }).fill(content)
    await form.getByRole('textbox', { name: 'Name (optional)' }).fill('Ann')
    await form.getByRole('button', { name: 'Send' }).click()
    await expect(form.getByRole('alert')).toContainText('The comments service does not answer', { timeout: recovery })
    await expect(form.getByRole('alert')).toContainText('What you wrote is kept.')
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue(content)
    await expect(form.getByRole('button', { name: 'Try again' })).toBeVisible()
    // The rest goes on.
    const meanwhile = await api.write({ title: unique('Meanwhile') })
    await page.getByRole('link', { name: 'All posts' }).click()
    await expect(card(page, post.title)).toBeVisible()
    await expect(page.getByRole('button', { name: '1 new post' }).or(card(page, meanwhile.title))).toBeVisible()
    await page.goBack()
    await page.reload()
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue(content)
    await expect(form.getByRole('textbox', { name: 'Name (optional)' })).toHaveValue('Ann')

    await control.start('comments')
    await form.getByRole('button', { name: 'Try again' }).click()
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue('', { timeout: recovery })
    await expect(comment(page, content)).toHaveCount(1)
    await expect(page.getByText('This comment is awaiting moderation')).toHaveCount(0, { timeout: recovery })
    await expect(comments(page)).toHaveCount(1)
    expect(keys.size).toBe(1)
    expect((await api.read(post.id)).commentCount).toBe(1)
  })

  test('posts: posting fails kindly, what was typed is kept, and trying again posts it once', async ({ page, api, control }) => {
    const post = await api.post({ title: unique('Still readable') })
    const keys = new Set<string | undefined>()
    page.on('request', (request) => {
      if (request.url().endsWith('/posts/create')) keys.add(request.headers()['idempotency-key'])
    })
    await visit(page, '/')
    await control.kill('posts')
    const form = await openForm(page)
    const title = unique('It will be published')
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('textbox', { name: 'Text (optional)' }).fill('Later.')
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(form.getByRole('alert')).toContainText('The posts service does not answer', { timeout: recovery })
    await expect(form.getByRole('alert')).toContainText('What you wrote is kept.')
    await expect(form.getByRole('textbox', { name: 'Title' })).toHaveValue(title)
    await expect(form.getByRole('textbox', { name: 'Text (optional)' })).toHaveValue('Later.')

    // The rest goes on.
    await card(page, post.title).getByRole('link').click()
    const content = unique('I can still comment')
    await commentForm(page).getByRole('textbox', { name: 'Comment' }).fill(content)
    await commentForm(page).getByRole('button', { name: 'Send' }).click()
    await expect(comment(page, content)).toHaveCount(1)
    await page.goBack()
    await expect(form.getByRole('textbox', { name: 'Title' })).toHaveValue(title)

    await control.start('posts')
    await form.getByRole('button', { name: 'Try again' }).click()
    await expect(page.getByText('Your post is published.')).toBeAttached({ timeout: recovery })
    await expect(card(page, title)).toHaveCount(1)
    expect(keys.size).toBe(1)
    expect(await api.titled(title)).toBe(1)
  })
})
