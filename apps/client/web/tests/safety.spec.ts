import { expect, test, unique } from './system'
import { cards, comment, comments, connection, openForm, visit } from './views'

declare global {
  interface Window {
    attacked?: boolean
    violations?: string[]
  }
}

const attacks = [
  '<script>window.attacked = true</script>',
  '<img src=x onerror="window.attacked = true">',
  '<svg onload="window.attacked = true">',
  '"><iframe srcdoc="<script>parent.attacked = true</script>"></iframe>',
  '<a href="javascript:window.attacked = true">here</a>',
  '[here](javascript:window.attacked=true)',
  '${window.attacked = true} {{constructor.constructor("window.attacked = true")()}}',
  '</title></textarea></script><script>window.attacked = true</script>',
  '&lt;script&gt;window.attacked = true&lt;/script&gt;',
]

test.describe('safety', () => {
  test('attacks in title, text, author and comment are shown as text, and nothing runs', async ({ page, visitor, api }) => {
    const other = await visitor()
    const dialogs: string[] = []
    for (const each of [page, other]) {
      each.on('dialog', (dialog) => {
        dialogs.push(dialog.message())
        void dialog.dismiss()
      })
      await each.addInitScript(() => {
        window.violations = []
        document.addEventListener('securitypolicyviolation', (event) => window.violations?.push(`${event.violatedDirective} ${event.blockedURI}`))
      })
    }
    const expectUnharmed = async () => {
      for (const each of [page, other]) {
        expect(await each.evaluate(() => window.attacked)).toBeUndefined()
        expect(await each.evaluate(() => window.violations)).toEqual([])
        await expect(each.locator('main').locator('script, img, iframe, [onerror], [onload], a[href^="javascript:"]')).toHaveCount(0)
      }
      expect(dialogs).toEqual([])
    }

    for (const [n, attack] of attacks.entries()) {
      const title = unique(attack)
      // The visitor writes the first attack. The others arrive from elsewhere, live and by reading.
      if (n === 0) {
        await visit(page, '/')
        const form = await openForm(page)
        await form.getByRole('textbox', { name: 'Title' }).fill(title)
        await form.getByRole('textbox', { name: 'Text (optional)' }).fill(attack)
        await form.getByRole('button', { name: 'Publish' }).click()
      } else {
        await api.post({ title, body: attack })
        await page.getByRole('button', { name: '1 new post' }).click()
      }
      await expect(cards(page).first().getByRole('heading')).toHaveText(title)
      await expect(cards(page).first()).toContainText(attack)
      await page.getByRole('link', { name: title }).click()
      await expect(page).toHaveTitle(`${title} · Postbus`)
      await expect(page.getByRole('heading', { level: 1 })).toHaveText(title)
      await expect(page.getByRole('article').first()).toContainText(attack)

      const id = new URL(page.url()).pathname.slice('/p/'.length)
      await visit(other, `/p/${id}`)
      await api.comment(id, { content: attack, author: attack.slice(0, 100) })
      await api.comment(id, { content: `orange ${attack}`, author: attack.slice(0, 100) })
      for (const each of [page, other]) {
        await expect(comment(each, 'This comment has been rejected')).toHaveCount(1)
        await expect(comment(each, 'This comment has been rejected')).not.toContainText(attack.slice(0, 100))
        await expect(comments(each).nth(1)).toContainText(attack)
        await expect(comments(each).nth(1)).toContainText(attack.slice(0, 100))
      }
      await expectUnharmed()
      await page.getByRole('link', { name: 'All posts' }).click()
      await expect(connection(page)).toHaveText('Live')
    }
    await expectUnharmed()
  })

  test('no request goes to another host', async ({ page, api, home }) => {
    const asked = new Set<string>()
    page.on('request', (request) => asked.add(new URL(request.url()).origin))
    page.on('websocket', (socket) => asked.add(new URL(socket.url()).origin))
    const post = await api.post({ title: unique('Self-contained'), body: 'See https://example.com/picture.png' })
    await api.moderated(post.id, { content: 'And https://example.com/other.png' })
    await visit(page, '/')
    await page.getByRole('link', { name: post.title }).click()
    await expect(comments(page)).toHaveCount(1)
    await page.getByRole('button', { name: 'Switch to dark theme' }).click()
    await page.evaluate(() => document.fonts.ready)
    expect([...asked]).toEqual([home])
  })

  test('the initial download is at most 150 KB', async ({ page, context }) => {
    const most = 150_000
    const session = await context.newCDPSession(page)
    const sizes = new Map<string, number>()
    const addresses = new Map<string, string>()
    session.on('Network.responseReceived', ({ requestId, response }) => addresses.set(requestId, response.url))
    session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => sizes.set(requestId, encodedDataLength))
    await session.send('Network.enable')
    await visit(page, '/')
    await page.evaluate(() => document.fonts.ready)
    await page.waitForLoadState('load')

    let files = 0
    let data = 0
    for (const [id, size] of sizes) {
      const path = new URL(addresses.get(id) ?? '').pathname
      if (path.startsWith('/posts')) data += size
      else files += size
      console.log(`${size.toString().padStart(8)} B  ${path}`)
    }
    console.log(`the initial download: ${files} B with fonts and headers, of ${most} B; and ${data} B of posts`)
    expect(files).toBeGreaterThan(10_000)
    expect(files).toBeLessThanOrEqual(most)
  })
})
