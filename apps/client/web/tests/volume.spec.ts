import type { Locator, Page } from '@playwright/test'
import { expect, test, unique } from './system'
import { cards, comments, visit } from './views'

declare global {
  interface Window {
    seen?: { longest: number; added: number; changed: string[] }
  }
}

// Recording each step of thousands of elements takes longer than the measured steps.
test.use({ trace: 'off' })

/**
 * Observes the list of these articles from now on: the longest task, in milliseconds; the number of added
 * articles; and the text of each article in which anything but its time changes.
 */
function watch(articles: Locator): Promise<void> {
  return articles.first().evaluate((article) => {
    const list = article.closest('ol')
    if (!list) throw new Error('the article is in no list')
    const seen = { longest: 0, added: 0, changed: [] as string[] }
    window.seen = seen
    new PerformanceObserver((tasks) => {
      for (const task of tasks.getEntries()) seen.longest = Math.max(seen.longest, task.duration)
    }).observe({ type: 'longtask' })
    new MutationObserver((records) => {
      for (const { target, addedNodes } of records) {
        const element = target instanceof Element ? target : target.parentElement
        if (target === list) seen.added += addedNodes.length
        else if (!element?.closest('time')) seen.changed.push(element?.closest('li')?.textContent ?? '')
      }
    }).observe(list, { attributes: true, characterData: true, childList: true, subtree: true })
  })
}

/** The text of what is written while a page scrolls. */
const meanwhile = 'Meanwhile'

/** How long the browser takes to lay out that many plain cards, in milliseconds. */
function layoutOfPlain(page: Page, many: number): Promise<number> {
  return page.evaluate((many) => {
    const plain = document.createElement('ol')
    for (let n = 0; n < many; n++) {
      const [item, title, text] = [document.createElement('li'), document.createElement('h2'), document.createElement('p')]
      title.textContent = `Title ${n}`
      text.textContent = 'And some words below it.'
      item.append(title, text)
      plain.append(item)
    }
    const begin = performance.now()
    document.body.append(plain)
    plain.getBoundingClientRect()
    const took = performance.now() - begin
    plain.remove()
    return took
  }, many)
}

/** How many articles of a list the browser renders. It skips those that are far away. */
function rendered(articles: Locator): Promise<number> {
  return articles.evaluateAll((all) => all.filter((article) => article.checkVisibility({ contentVisibilityAuto: true })).length)
}

/**
 * Scrolls through a page while changes arrive live. Two things keep that smooth: the page changes nothing that
 * it already shows, and the browser renders only what is near the window. The machine decides how smooth it is;
 * the figures are printed.
 */
async function expectSmooth(page: Page, path: string, articles: Locator, many: number, live: () => Promise<void>): Promise<void> {
  const frame = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(done)))
  await visit(page, path)
  const reference = await layoutOfPlain(page, many)
  const first = await articles.count()
  await watch(articles)
  await page.mouse.move(640, 400)
  const begin = Date.now()
  let wheels = 0
  for (const end = articles.nth(many - 1); !(await end.isVisible()); wheels++) {
    await page.mouse.wheel(0, 1_200)
    await frame()
    expect(Date.now() - begin, 'the end comes in the end').toBeLessThan(240_000)
  }
  await live()
  for (const key of ['Home', 'End', 'Home']) {
    await page.keyboard.press(key)
    await frame()
  }
  for (let n = 0; n < 20; n++) {
    await page.mouse.wheel(0, 1_200)
    await frame()
  }
  const near = await rendered(articles)
  // The observer gets a task after it has ended.
  await page.evaluate(() => new Promise((done) => setTimeout(done)))
  const seen = await page.evaluate(() => window.seen)
  const height = await page.evaluate(() => document.documentElement.scrollHeight)
  console.log(
    `${height} pixels in ${wheels} turns of the wheel, ${Date.now() - begin} ms; the longest task ${Math.round(seen?.longest ?? 0)} ms, ` +
      `${((seen?.longest ?? 0) / reference).toFixed(1)} times the layout of ${many} plain cards; ${near} cards rendered`,
  )
  expect(seen?.added, 'what the page adds is noticed').toBeGreaterThanOrEqual(many - first)
  const changed = seen?.changed.filter((text) => !text.includes(meanwhile))
  expect(changed, 'what is shown stays as it is').toEqual([])
  expect(near, 'what is near the window is rendered').toBeGreaterThan(0)
  expect(near, 'what is far from the window is not').toBeLessThan(many / 5)
}

test('1,000 posts scroll, and only what is near is rendered', async ({ page, api, control }) => {
  test.setTimeout(600_000)
  const { posts } = await control.seed(1_000, 0)
  await expectSmooth(page, '/', cards(page), posts.length, async () => {
    await api.write({ title: unique(meanwhile) })
    await expect(page.getByRole('button', { name: '1 new post' })).toBeVisible()
  })
})

test('a post with 2,000 comments scrolls, and only what is near is rendered', async ({ page, api, control }) => {
  test.setTimeout(600_000)
  const { newest } = await control.seed(1, 2_000)
  await expectSmooth(page, `/p/${newest}`, comments(page), 2_000, async () => {
    await api.comment(newest, { content: meanwhile })
    await expect(page.getByRole('heading', { level: 2, name: '1,901 comments' })).toBeVisible() // each twentieth is rejected
  })
  // Only the one that arrived meanwhile may be missing.
  await expect(async () => {
    await page.mouse.wheel(0, 20_000)
    expect(await comments(page).count()).toBe(2_001)
  }).toPass()
})
