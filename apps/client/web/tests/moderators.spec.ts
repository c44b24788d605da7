import type { Locator, Page } from '@playwright/test'
import type { Comment } from '../src/api/types'
import { ask, endSession, header, pick, signIn } from './people'
import { expectNoSidewaysScroll, scan } from './scan'
import { expect, recovery, test, unique, type Api } from './system'
import { comment, commentForm, comments, hold, send, visit } from './views'

/** Comments with this word are held, once a moderator has said so. */
const word = 'pineapple'

const rows = (page: Page) => page.locator('[data-comment]')
const row = (page: Page, text: string) => rows(page).filter({ hasText: text })
const policyForm = (page: Page) => page.getByRole('region', { name: /^The policy/ })

/** Has comments with the word held. */
async function holdTheWord(page: Page): Promise<void> {
  const { body, etag } = await ask(page, 'GET', '/moderation/policy')
  const rules = body as { words?: { text: string }[] }
  if (rules.words?.some(({ text }) => text === word)) return
  const words = [...(rules.words ?? []), { text: word, match: 'part', action: 'hold' }]
  expect(await ask(page, 'PUT', '/moderation/policy', { ...rules, words }, { 'If-Match': etag ?? '' })).toMatchObject({ status: 200 })
}

/** Writes a comment that is held. The policy is read again after a second, so the first ones may be approved. */
async function held(api: Api, postId: string, author?: string): Promise<Comment & { text: string }> {
  let made: (Comment & { text: string }) | undefined
  await expect(async () => {
    const text = unique(`I like ${word}s`)
    made = { ...(await api.moderated(postId, { content: text, ...(author !== undefined && { author }) })), text }
    expect(made.status).toBe('held')
  }).toPass({ timeout: recovery })
  if (!made) throw new Error('it was there')
  return made
}

/** Signs a moderator in, and opens the queue. */
async function moderator(page: Page, person: 'moderator' | 'second-moderator' = 'moderator'): Promise<void> {
  await signIn(page, person, '/moderate')
  await holdTheWord(page)
  await expect(page.getByTestId('connection')).toHaveText('Live')
}

const press = (page: Page, ...keys: string[]) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve())

/** Clicks on the text of a row, which gets the focus. */
async function focusOn(on: Locator): Promise<void> {
  await on.locator('p').nth(1).click()
  await expect(on).toBeFocused()
}

test.describe('the queue', () => {
  test('an author and two moderators see each other’s doing, live', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Moderated live') })
    const [first, second, guest] = [page, await visitor(), await visitor()]
    const author = await visitor()
    await moderator(first)
    await moderator(second, 'second-moderator')
    await signIn(author, 'reader', `/p/${post.id}`)
    await visit(guest, `/p/${post.id}`)
    await held(api, post.id)

    const content = unique(`A ${word} of my own`)
    await send(author, content)
    await expect(comment(author, content)).toContainText('awaiting moderation: contains')
    for (const each of [first, second]) {
      await expect(row(each, content)).toContainText('Rita Reader')
      await expect(row(each, content)).toContainText('signed in as')
      await expect(row(each, content)).toContainText(/Held by the policy \(version \d+\): contains “pineapple”/)
      await expect(row(each, content).getByRole('link', { name: post.title })).toHaveAttribute('href', `/p/${post.id}`)
    }
    await expect(guest.getByText(content)).toHaveCount(0)

    await row(first, content).getByRole('button', { name: 'Approve' }).click()
    await expect(row(first, content)).toContainText('Approved by you')
    await expect(row(second, content)).toContainText('Approved by moderator')
    await expect(row(second, content).getByRole('button', { name: 'Approve' })).toHaveCount(0)
    await expect(comment(guest, content)).toContainText('Rita Reader')
    await expect(comment(author, content)).not.toContainText('awaiting moderation')

    await row(second, content).getByRole('button', { name: 'Undo' }).click()
    await expect(row(second, content).getByRole('button', { name: 'Approve' })).toBeVisible()
    await expect(row(first, content).getByRole('button', { name: 'Approve' })).toBeVisible()
    await expect(guest.getByText(content)).toHaveCount(0)

    await row(first, content).getByRole('button', { name: 'Give a reason' }).click()
    await row(first, content).getByRole('textbox', { name: /^Reason/ }).fill('Not about fruit.')
    await row(first, content).getByRole('button', { name: 'Reject' }).click()
    await expect(row(first, content)).toContainText('Rejected by you: Not about fruit.')
    await expect(comment(author, content)).toContainText('This comment has been rejected: Not about fruit.')
    await expect(guest.getByText('Not about fruit.')).toHaveCount(0)
  })

  test('by keys alone one decides, goes on, and undoes', async ({ page, api }) => {
    const post = await api.post({ title: unique('By keys') })
    await moderator(page)
    const [one, two, three] = [await held(api, post.id), await held(api, post.id, 'Ann'), await held(api, post.id)]
    await expect(row(page, three.text)).toBeVisible()
    await press(page, 'j')
    await expect(rows(page).first()).toBeFocused()
    await focusOn(row(page, one.text))
    await press(page, 'j')
    await expect(row(page, two.text)).toBeFocused()
    await press(page, 'ArrowUp')
    await expect(row(page, one.text)).toBeFocused()

    await press(page, 'a')
    await expect(row(page, two.text)).toBeFocused()
    await expect(row(page, one.text)).toContainText('Approved by you')
    await expect(page.getByRole('log')).toHaveText('Approved.')
    await press(page, 'r')
    await expect(row(page, three.text)).toBeFocused()
    await expect(row(page, two.text)).toContainText('Rejected by you')
    await press(page, 'u')
    await expect(row(page, two.text)).toBeFocused()
    await expect(row(page, two.text).getByRole('button', { name: 'Approve' })).toBeVisible()
    await press(page, 'u')
    await expect(row(page, one.text)).toBeFocused()
    await expect(row(page, one.text).getByRole('button', { name: 'Approve' })).toBeVisible()

    // Letters that are typed, or pressed with a modifier, decide nothing.
    await focusOn(row(page, one.text))
    await press(page, 'Alt+a', 'h')
    await row(page, one.text).getByRole('button', { name: 'Give a reason' }).click()
    await page.keyboard.type('a rare h?')
    await expect(row(page, one.text).getByRole('textbox', { name: /^Reason/ })).toHaveValue('a rare h?')
    await expect(row(page, one.text).getByRole('button', { name: 'Approve' })).toBeVisible()

    await focusOn(row(page, one.text))
    await press(page, '?')
    await expect(page.getByText('Undo the last decision')).toBeVisible()
    await scan(page)
    await page.getByRole('checkbox', { name: 'Use these keys' }).uncheck()
    await focusOn(row(page, one.text))
    await press(page, 'a')
    await expect(row(page, one.text).getByRole('button', { name: 'Approve' })).toBeVisible()
    await page.getByRole('checkbox', { name: 'Use these keys' }).check()
  })

  test('of two moderators who decide at once, the second one sees what stands', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('At once') })
    await moderator(page)
    const second = await visitor()
    await moderator(second, 'second-moderator')
    const { text } = await held(api, post.id)
    const { release } = await hold(second, '**/moderation/comments/*')
    await row(second, text).getByRole('button', { name: 'Reject' }).click()
    await expect(row(second, text)).toContainText('Rejecting…')
    await row(page, text).getByRole('button', { name: 'Approve' }).click()
    await expect(row(page, text)).toContainText('Approved by you')
    release()
    await expect(row(second, text)).toContainText('Another moderator was first.')
    await expect(row(second, text)).toContainText('Approved by moderator')
    await expect.poll(async () => (await api.read(post.id)).comments[0]?.status).toBe('approved')
  })

  test('it is shown by status', async ({ page, api }) => {
    const post = await api.post({ title: unique('By status') })
    await api.moderated(post.id, { content: unique('An orange'), author: 'Ben' })
    await moderator(page)
    const statuses = page.getByRole('navigation', { name: 'Status' })
    await expect(statuses.getByRole('link', { name: 'Held' })).toHaveAttribute('aria-current', 'true')
    await statuses.getByRole('link', { name: 'Rejected' }).click()
    await expect(statuses.getByRole('link', { name: 'Rejected' })).toHaveAttribute('aria-current', 'true')
    await expect(rows(page).first()).toContainText('Rejected by')
    await expect(rows(page).first().getByRole('button', { name: 'Approve' })).toBeVisible()
    await expect(rows(page).first().getByRole('button', { name: 'Reject' })).toHaveCount(0)
    await statuses.getByRole('link', { name: 'Pending' }).click()
    await expect(page.getByText('No comment waits for the policy.')).toBeVisible()
  })

  test('when it can’t be read, that is said, and it is read again', async ({ page }) => {
    await page.route('**/moderation/queue*', (route) => route.abort())
    await signIn(page, 'moderator', '/moderate')
    await expect(page.getByRole('alert')).toContainText('The comments can’t be read right now.')
    await scan(page)
    await page.unroute('**/moderation/queue*')
    await expect(page.getByRole('alert')).toHaveCount(0)
  })

  test('a session that ends keeps the reason, and says so', async ({ page, api }) => {
    const post = await api.post({ title: unique('Ended') })
    await moderator(page)
    const { text } = await held(api, post.id)
    await row(page, text).getByRole('button', { name: 'Give a reason' }).click()
    await row(page, text).getByRole('textbox', { name: /^Reason/ }).fill('A reason that is long.')
    await endSession(page)
    await row(page, text).getByRole('button', { name: 'Approve' }).click()
    await expect(row(page, text).getByRole('alert')).toContainText('Your session has ended. Sign in again')
    await row(page, text).getByRole('link', { name: 'Sign in again' }).click()
    await pick(page, 'moderator')
    await expect(row(page, text).getByRole('textbox', { name: /^Reason/ })).toHaveValue('A reason that is long.')
  })
})

test.describe('closing and blocking', () => {
  test('a moderator closes the comments of a post, and opens them again', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Closed') })
    await moderator(page)
    const { text } = await held(api, post.id)
    const [guest, reader] = [await visitor(), await visitor()]
    for (const each of [guest, reader]) await visit(each, `/p/${post.id}`)
    const form = commentForm(guest)
    await form.getByRole('textbox', { name: 'Comment' }).fill('May I?')
    await row(page, text).getByRole('button', { name: 'Close comments of this post' }).click()
    await expect(row(page, text)).toContainText('The comments of this post are closed.')
    await expect(form).toContainText('Comments are closed. What you wrote is kept.')
    await expect(reader.getByRole('main')).toContainText('Comments are closed.')
    await expect(commentForm(reader)).toHaveCount(0)
    await reader.reload()
    await expect(reader.getByRole('main')).toContainText('Comments are closed.')
    await expect(async () => {
      await form.getByRole('button', { name: 'Send' }).click()
      await expect(form.getByRole('alert')).toContainText('A moderator has closed the comments of this post. What you wrote is kept.', { timeout: 1_000 })
      await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue('May I?')
    }).toPass({ timeout: recovery })
    await row(page, text).getByRole('button', { name: 'Undo: open them' }).click()
    await expect(commentForm(reader)).toBeVisible()
    await expect(reader.getByRole('log')).toHaveText('Comments are open again.')
    await expect(form).not.toContainText('Comments are closed.')
    await expect(async () => {
      await form.getByRole('button', { name: 'Send' }).click()
      await expect(comment(guest, 'May I?')).toBeVisible({ timeout: 2_000 })
    }).toPass({ timeout: recovery })
  })

  test('who is blocked may read and not write, until that is undone', async ({ page, visitor, api }) => {
    const post = await api.post({ title: unique('Blocked') })
    await moderator(page)
    await held(api, post.id)
    const person = await visitor()
    await signIn(person, 'operator', `/p/${post.id}`)
    const content = unique(`My ${word}`)
    const form = commentForm(person)
    await send(person, content)
    await row(page, content).getByRole('button', { name: 'Block this person' }).click()
    await expect(row(page, content)).toContainText('Blocked.')
    await expect(page.getByRole('log')).toHaveText('Blocked.')
    await expect(async () => {
      await send(person, 'Again?')
      await expect(form.getByRole('alert')).toContainText('A moderator has blocked you', { timeout: 1_000 })
    }).toPass({ timeout: recovery })
    await expect(form.getByRole('textbox', { name: 'Comment' })).toHaveValue('Again?')

    await page.getByRole('navigation', { name: 'Moderation' }).getByRole('link', { name: 'People' }).click()
    const people = page.getByRole('list', { name: 'Blocked people' }).getByRole('listitem')
    await expect(people).toHaveCount(1)
    await expect(people).toContainText('Blocked by you')
    await people.getByRole('button', { name: 'Unblock' }).click()
    await expect(people).toContainText('Unblocked.')
    await people.getByRole('button', { name: 'Undo' }).click()
    await expect(people).toContainText('Blocked by you')
    await people.getByRole('button', { name: 'Unblock' }).click()
    await expect(people).toContainText('Unblocked.')
    await expect(async () => {
      await send(person, 'At last.')
      await expect(comment(person, 'At last.')).toBeVisible({ timeout: 2_000 })
    }).toPass({ timeout: recovery })
  })
})

test.describe('the policy', () => {
  const open = async (page: Page) => {
    await signIn(page, 'moderator', '/moderate/policy')
    await expect(policyForm(page).getByRole('textbox', { name: 'Word 1' })).toBeVisible()
  }
  /** Adds a word, which is rejected, and returns it. */
  const add = async (page: Page) => {
    const added = unique('Kumquat').replaceAll(' ', '')
    await policyForm(page).getByRole('button', { name: 'Add a word' }).click()
    await expect(policyForm(page).getByRole('textbox', { name: /^Word/ }).last()).toBeFocused()
    await page.keyboard.type(added)
    return added
  }
  const tryOut = async (page: Page, content: string) => {
    await page.getByRole('textbox', { name: 'Comment', exact: true }).fill(content)
    await page.getByRole('button', { name: 'Try', exact: true }).click()
  }

  test('it is tried out before it is saved, and then decides', async ({ page, api }) => {
    const post = await api.post({ title: unique('Under a new policy') })
    await open(page)
    const added = await add(page)
    await tryOut(page, `One ${added}.`)
    await expect(page.getByText(`Rejected by words: contains “${added}”.`)).toBeVisible()
    expect((await api.moderated(post.id, { content: `One ${added}.` })).status).toBe('approved')
    await tryOut(page, 'An apple.')
    await expect(page.getByText('Approved: nothing in the policy says anything of it.')).toBeVisible()

    await policyForm(page).getByRole('button', { name: 'Save the policy' }).click()
    await expect(page.getByRole('log')).toHaveText(/^The policy is saved: version \d+\.$/)
    await expect(page.getByText('Saved.', { exact: true })).toBeVisible()
    await expect(async () => {
      expect((await api.moderated(post.id, { content: `One more ${added}.` })).status).toBe('rejected')
    }).toPass({ timeout: recovery })
    await page.reload()
    await expect(policyForm(page).getByRole('textbox', { name: /^Word/ }).last()).toHaveValue(added)
  })

  test('mistakes are said where they are, and edits are kept through a reload', async ({ page }) => {
    await open(page)
    await page.getByRole('checkbox', { name: 'Many links' }).check()
    const most = page.getByRole('textbox', { name: 'More links than' })
    await most.fill('1000')
    await add(page)
    await policyForm(page).getByRole('button', { name: 'Save the policy' }).click()
    await expect(most).toHaveAttribute('aria-invalid', 'true')
    await expect(most).toHaveAccessibleDescription('A number from 0 to 100 is expected.')
    await expect(most).toBeFocused()
    await scan(page)
    await page.reload()
    await expect(most).toHaveValue('1000')
    await page.getByRole('button', { name: 'Discard my edits' }).click()
    await expect(most).toHaveCount(0)
  })

  test('what moderation itself refuses is said where it is', async ({ page }) => {
    await page.route('**/moderation/policy', async (route) => {
      if (route.request().method() !== 'PUT') return route.continue()
      await route.fulfill({ status: 422, contentType: 'application/problem+json', body: '{"status":422,"detail":"words[0].text must not be empty","field":"words[0].text"}' })
    })
    await open(page)
    await add(page)
    await policyForm(page).getByRole('button', { name: 'Save the policy' }).click()
    await expect(page.getByRole('textbox', { name: 'Word 1' })).toHaveAccessibleDescription('This must not be empty.')
    await page.getByRole('button', { name: 'Discard my edits' }).click()
  })

  test('a change of another moderator meanwhile is shown, and one’s own is kept', async ({ page }) => {
    await open(page)
    const { body, etag } = await ask(page, 'GET', '/moderation/policy')
    const rules = body as { words: object[] }
    const mine = await add(page)
    const theirs = { ...rules, words: [...rules.words, { text: unique('theirs'), match: 'part', action: 'hold' }] }
    expect((await ask(page, 'PUT', '/moderation/policy', theirs, { 'If-Match': etag ?? '' })).status).toBe(200)
    await policyForm(page).getByRole('button', { name: 'Save the policy' }).click()
    await expect(page.getByRole('alert')).toContainText('The policy was changed meanwhile')
    await expect(page.getByRole('alert')).toContainText('theirs')
    await expect(policyForm(page).getByRole('textbox', { name: /^Word/ }).last()).toHaveValue(mine)
    await scan(page)
    await page.getByRole('button', { name: 'Save mine over it' }).click()
    await expect(page.getByRole('log')).toHaveText(/^The policy is saved/)
    await expect(page.getByRole('alert')).toHaveCount(0)
    expect(JSON.stringify((await ask(page, 'GET', '/moderation/policy')).body)).toContain(mine)
  })

  test('it looks at held comments anew', async ({ page, api }) => {
    const post = await api.post({ title: unique('Looked at anew') })
    await moderator(page)
    const { text } = await held(api, post.id)
    await page.goto('/moderate/policy')
    await expect(policyForm(page).getByRole('textbox', { name: 'Word 1' })).toBeVisible()
    const words = policyForm(page).getByRole('listitem')
    const at = (await words.getByRole('textbox').evaluateAll((inputs) => inputs.map((input) => (input as HTMLInputElement).value))).indexOf(word)
    await words.nth(at).getByRole('button', { name: /^Remove/ }).click()
    await policyForm(page).getByRole('button', { name: 'Save the policy' }).click()
    await expect(page.getByText('Saved.', { exact: true })).toBeVisible()
    await expect(async () => {
      await page.getByRole('button', { name: 'Look at held comments anew' }).click()
      await expect(page.getByText(/\d+ comments? looked at, \d+ decided\./)).toBeVisible()
      expect((await api.read(post.id)).comments.find(({ content }) => content === text)?.status).toBe('approved')
    }).toPass({ timeout: recovery })
  })
})

test('others see a quiet line, and moderators alone load what is for them', async ({ page, visitor }) => {
  await page.goto('/moderate')
  await expect(page.getByText('This is for moderators.')).toBeVisible()
  await expect(page.getByRole('main').getByRole('link', { name: 'Sign in' })).toBeVisible()
  await scan(page)
  const reader = await visitor()
  await signIn(reader, 'reader', '/moderate/policy')
  await expect(reader.getByText('This is for moderators. You don’t have that role.')).toBeVisible()
  const scripts: string[] = []
  const plain = await visitor()
  plain.on('request', (request) => scripts.push(request.url()))
  await visit(plain, '/')
  expect(scripts.filter((url) => url.includes('Moderation'))).toEqual([])
  await signIn(plain, 'moderator')
  await header(plain).getByRole('link', { name: 'Moderation' }).click()
  await expect(plain.getByRole('heading', { level: 1, name: 'Moderation' })).toBeVisible()
  expect(scripts.filter((url) => url.includes('Moderation'))).not.toEqual([])
})

for (const colorScheme of ['light', 'dark'] as const) {
  for (const [device, viewport] of Object.entries({ desktop: { width: 1280, height: 800 }, phone: { width: 320, height: 640 } })) {
    test.describe(`axe, ${colorScheme}, ${device}`, () => {
      test.use({ colorScheme, viewport })

      test('the queue, the policy and the people', async ({ page, api }) => {
        const post = await api.post({ title: unique('Seen by moderators') })
        await moderator(page)
        const one = await held(api, post.id, 'A'.repeat(100))
        const two = await held(api, post.id)
        await row(page, one.text).getByRole('button', { name: 'Approve' }).click()
        await expect(row(page, one.text)).toContainText('Approved by you')
        await row(page, two.text).getByRole('button', { name: 'Give a reason' }).click()
        await page.getByRole('button', { name: 'Keys' }).click()
        const views: [string, Locator][] = [
          ['Queue', row(page, two.text)],
          ['Policy', page.getByRole('textbox', { name: 'Word 1' })],
          ['People', page.getByText(/Nobody is blocked\.|Blocked by/).first()],
        ]
        for (const [tab, there] of views) {
          await page.getByRole('navigation', { name: 'Moderation' }).getByRole('link', { name: tab }).click()
          await expect(there).toBeVisible()
          if (tab === 'Policy') {
            for (const phase of await policyForm(page).getByRole('checkbox').all()) await phase.check()
          }
          await scan(page)
          await expectNoSidewaysScroll(page)
        }
        await page.getByRole('navigation', { name: 'Moderation' }).getByRole('link', { name: 'Policy' }).click()
        await page.getByRole('button', { name: 'Discard my edits' }).click()
      })
    })
  }
}

test('on a post, what is held is not for the eyes of moderators alone: its author sees it', async ({ page, visitor, api }) => {
  const post = await api.post({ title: unique('Held') })
  await moderator(page)
  await held(api, post.id)
  const author = await visitor()
  await visit(author, `/p/${post.id}`)
  const content = unique(`A guest’s ${word}`)
  await send(author, content)
  await expect(comment(author, content)).toContainText('awaiting moderation: contains')
  await row(page, content).getByRole('button', { name: 'Approve' }).click()
  await expect(comment(author, content)).not.toContainText('awaiting moderation')
  await expect(comments(author)).toHaveCount(2)
})
