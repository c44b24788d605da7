import { ask, endSession, header, people, pick, signIn } from './people'
import { expectNoSidewaysScroll, scan } from './scan'
import { expect, recovery, test, unique } from './system'
import { card, comment, commentForm, comments, openForm, postForm, send, visit } from './views'

test.describe('signing in', () => {
  for (const [person, may] of Object.entries({ author: 'post', reader: 'comment', operator: 'comment', moderator: 'moderate' }) as ['author', string][]) {
    test(`the ${person} is called by name, and sees what they may do`, async ({ page, api }) => {
      const post = await api.post({ title: unique('Seen by a person') })
      await signIn(page, person, `/p/${post.id}`)
      await expect(header(page).getByRole('button', { name: 'Sign out' })).toBeVisible()
      await expect(header(page).getByRole('link', { name: 'Moderation' })).toHaveCount(may === 'moderate' ? 1 : 0)
      const form = commentForm(page)
      await expect(form.getByText(`As ${people[person]}`)).toBeVisible()
      await expect(form.getByRole('textbox', { name: 'Name (optional)' })).toHaveCount(0)
      await visit(page, '/')
      if (may === 'post') await expect(page.getByRole('button', { name: 'Write a post' })).toBeVisible()
      else await expect(page.getByText('You don’t have the role to post.')).toBeVisible()
    })
  }

  test('a guest has a name of their own choice, and a link to sign in', async ({ page, api }) => {
    const post = await api.post({ title: unique('Seen by a guest') })
    await visit(page, `/p/${post.id}`)
    await expect(header(page).getByRole('link', { name: 'Sign in' })).toBeVisible()
    await expect(header(page).getByRole('link', { name: 'Moderation' })).toHaveCount(0)
    await expect(commentForm(page).getByRole('textbox', { name: 'Name (optional)' })).toBeVisible()
  })

  test('who may not write has one line instead of a form', async ({ page, api }) => {
    const post = await api.post({ title: unique('Closed to guests') })
    await page.route('**/me', (route) => route.fulfill({ json: { roles: [], may: [], signIn: true } }))
    await visit(page, '/')
    await expect(page.getByRole('link', { name: 'Sign in to post' })).toBeVisible()
    await expect(page.getByRole('button', { name: 'Write a post' })).toHaveCount(0)
    await visit(page, `/p/${post.id}`)
    await expect(page.getByRole('link', { name: 'Sign in to comment' })).toHaveAttribute('href', `/auth/sign-in?return=${encodeURIComponent(`/p/${post.id}`)}`)
    await expect(commentForm(page)).toHaveCount(0)
  })

  test('signing out leaves a guest', async ({ page, api }) => {
    const post = await api.post({ title: unique('Left behind') })
    await signIn(page, 'reader', `/p/${post.id}`)
    await header(page).getByRole('button', { name: 'Sign out' }).click()
    await expect(header(page).getByRole('link', { name: 'Sign in' })).toBeVisible()
    await expect(header(page)).not.toContainText(people.reader)
    await expect(page.getByText('Your session has ended')).toHaveCount(0)
    await visit(page, `/p/${post.id}`)
    await expect(commentForm(page).getByRole('textbox', { name: 'Name (optional)' })).toBeVisible()
  })

  test('why it did not work is said, and not again after a reload', async ({ page }) => {
    for (const [failure, said] of [['denied', 'it was cancelled or refused'], ['late', 'took too long'], ['unavailable', 'not possible right now'], ['failed', 'did not work']] as const) {
      await page.goto(`/?sign-in=${failure}&a=b`)
      await expect(page.getByRole('alert')).toContainText(said)
      expect(new URL(page.url()).search).toBe('?a=b')
      await scan(page)
      await page.reload()
      await expect(page.getByRole('heading', { level: 1, name: 'Posts' })).toBeVisible()
      await expect(page.getByRole('alert')).toHaveCount(0)
    }
  })

  test('a page whose host does not say who one is can be read, and written on', async ({ page, api }) => {
    const post = await api.post({ title: unique('Without a host') })
    await page.route('**/me', (route) => route.abort())
    await visit(page, `/p/${post.id}`)
    await expect(header(page).getByRole('link', { name: 'Sign in' })).toHaveCount(0)
    await expect(commentForm(page)).toBeVisible()
  })

  test('the header fits in a window of 320 pixels', async ({ page }) => {
    await page.setViewportSize({ width: 320, height: 640 })
    await visit(page, '/')
    await expectNoSidewaysScroll(page)
    await signIn(page, 'moderator')
    await expectNoSidewaysScroll(page)
    await expect(header(page).getByRole('link', { name: 'Moderation' })).toBeInViewport({ ratio: 1 })
    await expect(header(page).getByRole('button', { name: 'Sign out' })).toBeInViewport({ ratio: 1 })
    await scan(page)
  })
})

test.describe('a session that ends in the middle of writing', () => {
  test('loses nothing of a comment', async ({ page, api }) => {
    const post = await api.post({ title: unique('Interrupted') })
    await signIn(page, 'reader', `/p/${post.id}`)
    const content = unique('A long thought')
    const form = commentForm(page)
    await form.getByRole('textbox', { name: 'Comment' }).fill(content)
    await endSession(page)
    await form.getByRole('button', { name: 'Send' }).click()
    await expect(form.getByRole('alert')).toContainText('Your session has ended. Sign in again: what you wrote is kept.')
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue(content)
    await expect(comments(page)).toHaveCount(0)
    await scan(page)

    await form.getByRole('alert').getByRole('link', { name: 'Sign in again' }).click()
    await pick(page, 'reader')
    expect(new URL(page.url()).pathname).toBe(`/p/${post.id}`)
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue(content)
    await form.getByRole('button', { name: 'Send' }).click()
    await expect(comment(page, content)).toContainText(people.reader)
    await expect(comments(page)).toHaveCount(1)
  })

  test('loses nothing of a post', async ({ page, api }) => {
    await signIn(page, 'author')
    const title = unique('An interrupted post')
    let form = await openForm(page)
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('textbox', { name: 'Text (optional)' }).fill('All that I have to say.')
    await endSession(page)
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(form.getByRole('alert')).toContainText('Your session has ended. Sign in again: what you wrote is kept.')
    await form.getByRole('alert').getByRole('link', { name: 'Sign in again' }).click()
    await pick(page, 'author')
    form = postForm(page)
    await expect(form.getByRole('textbox', { name: 'Title' })).toHaveValue(title)
    await expect(form.getByRole('textbox', { name: 'Text (optional)' })).toHaveValue('All that I have to say.')
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(card(page, title)).toContainText(people.author)
    await expect.poll(() => api.titled(title)).toBe(1)
  })

  test('too much at once is said, with when to come back, and nothing is lost', async ({ page, api }) => {
    const post = await api.post({ title: unique('Too much') })
    let tries = 0
    await page.route('**/comments', (route) => {
      tries++
      return route.fulfill({ status: 429, headers: { 'Retry-After': '30', 'Content-Type': 'application/problem+json' }, body: '{"status":429}' })
    })
    await visit(page, `/p/${post.id}`)
    const form = commentForm(page)
    await send(page, 'Once more.')
    await expect(form.getByRole('alert')).toContainText('Too much at once. Try again in 30 s.')
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue('Once more.')
    expect(tries).toBe(1)
  })
})

test.describe('names', () => {
  test('a guest may choose any name, and is marked as a guest', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Forged') })
    await signIn(page, 'reader', `/p/${post.id}`)
    const own = unique('It is me')
    await send(page, own)
    const forged = await api.moderated(post.id, { content: unique('It is me, too'), author: people.reader })
    const other = await visitor()
    await visit(other, `/p/${post.id}`)
    await expect(comment(other, own)).toContainText(people.reader)
    await expect(comment(other, own).getByText('guest', { exact: true })).toHaveCount(0)
    await expect(comment(other, forged.content ?? '')).toContainText(people.reader)
    await expect(comment(other, forged.content ?? '').getByText('guest', { exact: true })).toBeVisible()
    await expect(comment(page, own).getByText('you', { exact: true })).toBeVisible()
    await expect(comment(page, forged.content ?? '').getByText('you', { exact: true })).toHaveCount(0)
  })

  test('somebody who is signed in writes under their own name, whatever the request says', async ({ page, api }) => {
    const post = await api.post({ title: unique('Signed') })
    await signIn(page, 'reader', `/p/${post.id}`)
    const content = unique('Somebody else wrote this')
    expect(await ask(page, 'POST', `/posts/${post.id}/comments`, { content, author: people.moderator })).toMatchObject({ status: 201, body: { author: people.reader } })
    await expect(comment(page, content)).toContainText(people.reader)
    await expect(comment(page, content)).not.toContainText(people.moderator)
  })
})

test('an author sees what was withheld, in any browser, and nobody else does', async ({ page, visitor, api }) => {
  const post = await api.post({ title: unique('Withheld') })
  await signIn(page, 'reader', `/p/${post.id}`)
  const content = unique('Orange is my colour')
  await send(page, content)
  await expect(comments(page)).toContainText('This comment has been rejected: contains “orange”', { timeout: recovery })
  const [elsewhere, other] = [await visitor(), await visitor()]
  await signIn(elsewhere, 'reader', `/p/${post.id}`)
  await signIn(other, 'author', `/p/${post.id}`)
  await expect(comments(elsewhere)).toContainText(content)
  await expect(comments(elsewhere)).toContainText('contains “orange”')
  await expect(comments(elsewhere)).toContainText('you')
  await expect(comments(other)).toContainText('This comment has been rejected')
  await expect(comments(other)).not.toContainText(content)
})
