import { expect, recovery, test, unique } from './system'
import { card, cards, comment, comments, commentForm, connection, visit } from './views'

test('the data on the server begins anew: open pages say so, read anew, and go on', async ({ page, context, api, control }) => {
  const lost = await api.post({ title: unique('It will be lost') })
  await api.moderated(lost.id, { content: 'This, too.' })
  await visit(page, '/')
  const opened = await context.newPage()
  await visit(opened, `/p/${lost.id}`)
  await expect(comments(opened)).toHaveCount(1)
  const said: string[] = []
  for (const each of [page, opened]) {
    await each.exposeFunction('note', (text: string) => said.push(text))
    await connection(each).evaluate((status) => {
      const page = window as unknown as { note: (text: string | null) => void }
      new MutationObserver(() => page.note(status.textContent)).observe(status, { childList: true, characterData: true, subtree: true })
    })
  }
  await expect(card(page, lost.title)).toBeVisible()

  await control.flush()
  for (const each of [page, opened]) {
    await expect(connection(each)).toHaveText('The data on the server began anew. This page was read again.', { timeout: recovery })
  }
  await expect(cards(page)).toHaveCount(0)
  await expect(opened.getByRole('heading', { level: 1, name: 'There is no such post' })).toBeVisible()
  expect(said).toContain('The data on the server began anew. This page was read again.')
  expect(said).not.toContain('Back again. Nothing was missed.')

  // Changes arrive again.
  const title = unique('After the loss')
  const post = await api.post({ title })
  await page.getByRole('button', { name: '1 new post' }).click()
  await card(page, title).getByRole('link').click()
  await commentForm(page).getByRole('textbox', { name: 'Comment' }).fill('It goes on.')
  await commentForm(page).getByRole('button', { name: 'Send' }).click()
  await expect(comment(page, 'It goes on.')).toHaveCount(1)
  await expect(page.getByText('This comment is awaiting moderation')).toHaveCount(0)
  expect((await api.all()).map((each) => each.id)).toEqual([post.id])
  await expect(connection(page)).toHaveText('Live')
})
