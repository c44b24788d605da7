import { join } from 'node:path'
import { expectNoSidewaysScroll } from './scan'
import { expect, test, unique } from './system'
import { card, cards, comments, commentForm, openForm, visit } from './views'

test('long words wrap in a window of 320 pixels, and nothing scrolls sideways', async ({ page, api }) => {
  const long = 'Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft'
  const title = unique(`W${'w'.repeat(150)}`)
  const post = await api.post({ title, body: `https://example.com/${'path/'.repeat(100)}${long.repeat(3)}` })
  await api.moderated(post.id, { content: long.repeat(4), author: 'A'.repeat(100) })
  await api.moderated(post.id, { content: `orange${long}`, author: '名'.repeat(100) })
  await page.setViewportSize({ width: 320, height: 640 })
  await visit(page, '/')
  await expect(card(page, title)).toBeVisible()
  await openForm(page)
  await expectNoSidewaysScroll(page)
  await page.getByRole('link', { name: title }).click()
  await expect(comments(page)).toHaveCount(2)
  await commentForm(page).getByRole('button', { name: 'Send' }).click()
  await expect(commentForm(page).getByRole('alert')).toBeVisible()
  await expectNoSidewaysScroll(page)
  // The text fits in the window and is not cut off.
  for (const text of [page.getByRole('heading', { level: 1 }), page.getByText('https://example.com/'), comments(page).first(), comments(page).last()]) {
    const box = await text.boundingBox()
    expect((box?.x ?? 0) + (box?.width ?? Infinity)).toBeLessThanOrEqual(320)
    expect(await text.evaluate((element) => element.scrollWidth - element.clientWidth)).toBeLessThanOrEqual(0)
  }
})

for (const colorScheme of ['light', 'dark'] as const) {
  test.describe(`on a phone, ${colorScheme}`, () => {
    test.use({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme })

    test('everything fits, is large enough for a thumb, and a picture is kept', async ({ page, api }, info) => {
      const keep = (name: string) => page.screenshot({ path: join(info.project.outputDir, `phone-${name}-${colorScheme}.png`) })
      const post = await api.post({ title: unique('Read on the way'), body: 'Events carry whole entities.\n\nSo nobody has to ask back.' })
      await api.moderated(post.id, { content: 'On the train, too.', author: 'Ann' })
      await visit(page, '/')
      await expect(card(page, post.title)).toContainText('1 comment')
      await expectNoSidewaysScroll(page)
      await keep('list')
      const form = await openForm(page)
      await form.getByRole('button', { name: 'Publish' }).tap()
      await expect(form.getByRole('alert')).toBeVisible()
      await expectNoSidewaysScroll(page)
      await keep('form')
      await form.getByRole('button', { name: 'Cancel' }).tap()
      await cards(page).first().getByRole('link').tap()
      await expect(comments(page)).toHaveCount(1)
      await expectNoSidewaysScroll(page)
      await keep('post')
      for (const button of await page.getByRole('button').all()) {
        const box = await button.boundingBox()
        // WCAG 2.2, 2.5.8 Target Size (Minimum).
        expect(Math.min(box?.width ?? 0, box?.height ?? 0)).toBeGreaterThanOrEqual(24)
      }
    })
  })
}
