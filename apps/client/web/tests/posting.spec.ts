import { expect, test, unique } from './system'
import { card, cards, expectMistake, hold, openForm, postForm, visit } from './views'

test.describe('writing a post', () => {
  test('it is at the top at once, is said, and has the focus', async ({ page, api }) => {
    await visit(page, '/')
    const form = await openForm(page)
    await expect(form.getByRole('textbox', { name: 'Title' })).toBeFocused()
    const title = unique('Written')
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('textbox', { name: 'Text (optional)' }).fill('What I have to say.')
    await form.getByRole('button', { name: 'Publish' }).click()

    await expect(cards(page).first()).toContainText(title)
    await expect(cards(page).first()).toContainText('What I have to say.')
    await expect(page.getByRole('link', { name: title })).toBeFocused()
    await expect(page.getByText('Your post is published.')).toBeAttached()
    await expect(page.getByRole('button', { name: 'Write a post' })).toBeVisible()
    await expect(page.getByRole('button', { name: /new post/ })).toBeHidden()

    // The post can be opened at once, and is still there after a reload.
    await page.getByRole('link', { name: title }).click()
    await expect(page.getByRole('heading', { level: 1, name: title })).toBeVisible()
    await page.goto('/')
    await expect(card(page, title)).toHaveCount(1)
    await expect.poll(() => api.titled(title)).toBe(1)
  })

  test('a post of a title alone will do', async ({ page }) => {
    await visit(page, '/')
    const form = await openForm(page)
    const title = unique('Nothing but a title')
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('textbox', { name: 'Title' }).press('Enter')
    await expect(cards(page).first()).toContainText(title)
  })

  test('Escape closes the form and keeps what is typed, and Ctrl+Enter sends it', async ({ page }) => {
    await visit(page, '/')
    const title = unique('By keys')
    let form = await openForm(page)
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('textbox', { name: 'Title' }).press('Escape')
    await expect(page.getByRole('button', { name: 'Write a post' })).toBeFocused()
    form = await openForm(page)
    await expect(form.getByRole('textbox', { name: 'Title' })).toHaveValue(title)
    await form.getByRole('textbox', { name: 'Text (optional)' }).press('Control+Enter')
    await expect(cards(page).first()).toContainText(title)
  })

  test('who reads elsewhere while it is sent, and comes back, finds it in the list and the form closed', async ({ page, api }) => {
    const other = await api.post({ title: unique('Read meanwhile') })
    const { release } = await hold(page, '**/posts/create')
    await visit(page, '/')
    const form = await openForm(page)
    const title = unique('On its way')
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('button', { name: 'Publish' }).click()
    await card(page, other.title).getByRole('link').click()
    await expect(page.getByRole('heading', { level: 1, name: other.title })).toBeVisible()
    await page.goBack()
    await expect(form.getByRole('button', { name: 'Sending…' })).toBeVisible()
    release()
    await expect(page.getByRole('button', { name: 'Write a post' })).toBeVisible()
    await expect(form.getByRole('textbox', { name: 'Title' })).toBeHidden()
    await expect(page.getByRole('button', { name: '1 new post' }).or(card(page, title))).toBeVisible()
  })

  test('what is typed stays through a reload, and Cancel closes the form', async ({ page }) => {
    await visit(page, '/')
    let form = await openForm(page)
    await form.getByRole('textbox', { name: 'Title' }).fill('Half a thought')
    await page.reload()
    form = postForm(page)
    await expect(form.getByRole('textbox', { name: 'Title' })).toHaveValue('Half a thought')
    await form.getByRole('button', { name: 'Cancel' }).click()
    await expect(form.getByRole('textbox', { name: 'Title' })).toBeHidden()
    await expect(page.getByRole('button', { name: 'Write a post' })).toBeFocused()
  })

  test('an empty title is refused under the field, and nothing is sent', async ({ page }) => {
    await visit(page, '/')
    const form = await openForm(page)
    const title = form.getByRole('textbox', { name: 'Title' })
    page.on('request', (request) => expect(request.method()).toBe('GET'))
    for (const empty of ['', '   ']) {
      await title.fill(empty)
      await form.getByRole('button', { name: 'Publish' }).click()
      await expectMistake(title, 'The title must not be empty.')
      await expect(title).toBeFocused()
    }
    await title.fill('Something')
    await expect(title).not.toHaveAttribute('aria-invalid', 'true')
    await expect(page.getByText('The title must not be empty.')).toBeHidden()
  })

  test('201 characters are refused under the field, 200 emoji pass, and room is counted', async ({ page, api }) => {
    await visit(page, '/')
    const form = await openForm(page)
    const title = form.getByRole('textbox', { name: 'Title' })
    await title.fill('x'.repeat(188))
    await expect(form.getByText('12 characters left')).toBeVisible()
    await title.fill('x'.repeat(199))
    await expect(form.getByText('1 character left')).toBeVisible()
    for (const long of ['x'.repeat(201), '🎈'.repeat(201)]) {
      await title.fill(long)
      await form.getByRole('button', { name: 'Publish' }).click()
      await expectMistake(title, 'The title has 201 characters; at most 200 are allowed.')
      await expect(title).toHaveValue(long)
    }
    const text = form.getByRole('textbox', { name: 'Text (optional)' })
    await text.fill('y'.repeat(10_001))
    await expectMistake(text, 'The text has 10,001 characters; at most 10,000 are allowed.')
    await text.fill('y'.repeat(10_000))
    await expect(text).not.toHaveAttribute('aria-invalid', 'true')

    const emoji = `${'🎈'.repeat(191)} ${unique('').trim()}`
    await title.fill(emoji)
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(card(page, emoji)).toHaveCount(1)
    await expect.poll(() => api.titled(emoji)).toBe(1)
  })

  test('what the service itself refuses is said under the field', async ({ page }) => {
    // Simulates a page whose checks are of an older version: the service gets another title than the typed one.
    await page.route('**/posts/create', (route) => route.continue({ postData: JSON.stringify({ title: 'x'.repeat(201) }) }))
    await visit(page, '/')
    const form = await openForm(page)
    const title = form.getByRole('textbox', { name: 'Title' })
    await title.fill('Short enough')
    await form.getByRole('button', { name: 'Publish' }).click()
    await expectMistake(title, /title has 201 characters; at most 200 are allowed/i)
    await expect(title).toHaveValue('Short enough')
    await page.unroute('**/posts/create')
    const mended = unique('Mended')
    await title.fill(mended)
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(card(page, mended)).toHaveCount(1)
  })

  test('an answer that is lost makes no second post', async ({ page, api }) => {
    const keys: (string | undefined)[] = []
    await page.route('**/posts/create', async (route) => {
      keys.push(route.request().headers()['idempotency-key'])
      if (keys.length > 1) return route.continue()
      expect((await route.fetch()).status()).toBe(201)
      await route.abort('connectionreset')
    })
    await visit(page, '/')
    const form = await openForm(page)
    const title = unique('Sent twice')
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(page.getByText('Your post is published.')).toBeAttached()
    await expect(card(page, title)).toHaveCount(1)
    expect(keys).toHaveLength(2)
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/)
    expect(keys[1]).toBe(keys[0])
    await expect.poll(() => api.titled(title)).toBe(1)
    await page.reload()
    await expect(card(page, title)).toHaveCount(1)
  })

  test('sending that fails keeps the text, through a reload too, and trying again posts once', async ({ page, api }) => {
    const keys = new Set<string | undefined>()
    let answersComeThrough = false
    await page.route('**/posts/create', async (route) => {
      keys.add(route.request().headers()['idempotency-key'])
      const response = await route.fetch()
      expect(response.status()).toBe(201)
      await (answersComeThrough ? route.fulfill({ response }) : route.abort('connectionreset'))
    })
    await visit(page, '/')
    let form = await openForm(page)
    const title = unique('Kept')
    await form.getByRole('textbox', { name: 'Title' }).fill(title)
    await form.getByRole('textbox', { name: 'Text (optional)' }).fill('All of it.')
    await form.getByRole('button', { name: 'Publish' }).click()
    await expect(form.getByRole('alert')).toContainText('What you wrote is kept.')
    await expect(form.getByRole('textbox', { name: 'Title' })).toHaveValue(title)

    await page.reload()
    form = postForm(page)
    await expect(form.getByRole('textbox', { name: 'Title' })).toHaveValue(title)
    await expect(form.getByRole('textbox', { name: 'Text (optional)' })).toHaveValue('All of it.')
    answersComeThrough = true
    await form.getByRole('button', { name: 'Try again' }).click()
    await expect(page.getByText('Your post is published.')).toBeAttached()
    await expect(card(page, title)).toHaveCount(1)
    expect(keys.size).toBe(1)
    await expect.poll(() => api.titled(title)).toBe(1)
  })
})
