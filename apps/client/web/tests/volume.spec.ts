import type { Locator, Page } from '@playwright/test'
import { expect, test, unique } from './system'
import { cards, comments, visit } from './views'

declare global {
  interface Window {
    longTasks?: number[]
  }
}

/** No task may take longer while the page scrolls, in milliseconds. */
const longest = 200

/**
 * How often a page is scrolled through at most. The machine has two cores, for the
 * whole system and the browser, and whatever stops the browser looks like a long
 * task of the page: so a pass without one is what counts.
 */
const passes = 3

// To record each step of thousands of elements takes longer than what is measured.
test.use({ trace: 'off' })

/** Scrolls through a page, with what comes live meanwhile, and checks its longest task. */
async function expectSmooth(page: Page, path: string, end: Locator, live: () => Promise<void>): Promise<void> {
  const worst: number[] = []
  await page.addInitScript(() => {
    window.longTasks = []
    new PerformanceObserver((list) => window.longTasks?.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask', buffered: true })
  })
  // A measure that notices nothing would prove nothing.
  await visit(page, path)
  await page.evaluate((time) => {
    setTimeout(() => {
      for (const end = performance.now() + time; performance.now() < end; );
    })
  }, 2 * longest)
  await expect.poll(() => page.evaluate(() => Math.max(0, ...(window.longTasks ?? [])))).toBeGreaterThan(longest)

  const frame = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(done)))
  for (let pass = 1; pass <= passes; pass++) {
    await visit(page, path)
    await page.evaluate(() => window.longTasks?.splice(0))
    await page.mouse.move(640, 400)
    const begin = Date.now()
    let wheels = 0
    for (; !(await end.isVisible()); wheels++) {
      await page.mouse.wheel(0, 1_200)
      await frame()
      expect(Date.now() - begin, 'the end comes in the end').toBeLessThan(120_000)
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
    // The observer hears of a task when it is over.
    await page.evaluate(() => new Promise((done) => setTimeout(done)))
    const tasks = (await page.evaluate(() => window.longTasks)) ?? []
    worst.push(Math.max(0, ...tasks))
    const height = await page.evaluate(() => document.documentElement.scrollHeight)
    console.log(
      `pass ${pass}: ${height} pixels in ${wheels} turns of the wheel, ${Date.now() - begin} ms; ` +
        `${tasks.length} tasks over 50 ms, the longest ${Math.round(worst.at(-1) ?? 0)} ms`,
    )
    if ((worst.at(-1) ?? 0) <= longest) return
  }
  expect(Math.min(...worst)).toBeLessThanOrEqual(longest)
}

test('1,000 posts scroll without a long task', async ({ page, api, control }) => {
  test.setTimeout(600_000)
  const { posts } = await control.seed(1_000, 0)
  await expectSmooth(page, '/', page.getByText('You have reached the beginning.'), async () => {
    await api.write({ title: unique('Meanwhile') })
    await expect(page.getByRole('button', { name: '1 new post' })).toBeVisible()
  })
  expect(await cards(page).count()).toBeGreaterThanOrEqual(posts.length)
})

test('a post with 2,000 comments scrolls without a long task', async ({ page, api, control }) => {
  test.setTimeout(600_000)
  const { newest } = await control.seed(1, 2_000)
  let more = 0
  await expectSmooth(page, `/p/${newest}`, comments(page).nth(1_999), async () => {
    await api.comment(newest, { content: 'Meanwhile.' })
    more++
    await expect(page.getByRole('heading', { level: 2, name: `${(2_000 + more).toLocaleString('en')} comments` })).toBeVisible()
  })
  // Comments of earlier passes are on a page after the last that was scrolled to.
  await expect(async () => {
    await page.mouse.wheel(0, 20_000)
    expect(await comments(page).count()).toBe(2_000 + more)
  }).toPass()
})
