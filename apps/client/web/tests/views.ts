import { expect, type Locator, type Page, type Route } from '@playwright/test'

/** The posts of the list. */
export const cards = (page: Page) => page.getByRole('list', { name: 'Posts' }).getByRole('article')

/** The post of that title in the list. */
export const card = (page: Page, title: string) => cards(page).filter({ has: page.getByRole('heading', { level: 2, name: title, exact: true }) })

/** The comments of the post. */
export const comments = (page: Page) => page.getByRole('list', { name: 'Comments' }).getByRole('article')

/** The comments with that text. */
export const comment = (page: Page, text: string) => comments(page).filter({ hasText: text })

/** The state of the connection on the page. */
export const connection = (page: Page) => page.getByTestId('connection')

/** Opens an address and waits until the stream is live. */
export async function visit(page: Page, path: string): Promise<void> {
  await page.goto(path)
  await expect(connection(page)).toHaveText('Live')
}

/** Opens the form for a post. */
export async function openForm(page: Page): Promise<Locator> {
  await page.getByRole('button', { name: 'Write a post' }).click()
  return postForm(page)
}

export const postForm = (page: Page) => page.getByRole('region', { name: 'Write a post' })
export const commentForm = (page: Page) => page.getByRole('region', { name: 'Write a comment' })

/** Writes a comment on the post, and sends it. */
export async function send(page: Page, content: string, author?: string): Promise<void> {
  const form = commentForm(page)
  await form.getByRole('textbox', { name: 'Comment' }).fill(content)
  if (author !== undefined) await form.getByRole('textbox', { name: 'Name (optional)' }).fill(author)
  await form.getByRole('button', { name: 'Send' }).click()
}

/** Holds the page's requests to an address on their way until they are released. */
export async function hold(page: Page, address: string, answer = (route: Route) => route.continue()): Promise<{ arrived: Promise<void>; release: () => void }> {
  let release: (() => void) | undefined
  const released = new Promise<void>((resolve) => (release = resolve))
  let arrive: (() => void) | undefined
  const arrived = new Promise<void>((resolve) => (arrive = resolve))
  await page.route(address, async (route) => {
    arrive?.()
    await released
    await answer(route)
  })
  return { arrived, release: () => release?.() }
}

/** Scrolls down until the locator is visible. */
export async function scrollUntil(page: Page, there: Locator, step = 1_000): Promise<void> {
  await page.mouse.move(640, 400)
  await expect(async () => {
    await page.mouse.wheel(0, step)
    await expect(there).toBeVisible({ timeout: 1 })
  }).toPass({ intervals: [50] })
}

/** The titles of the posts of the list, in its order. */
export const titles = (page: Page) => cards(page).getByRole('heading', { level: 2 }).allTextContents()

/** Checks the message under a field, and that it belongs to this field. */
export async function expectMistake(field: Locator, text: string | RegExp): Promise<void> {
  await expect(field).toHaveAttribute('aria-invalid', 'true')
  await expect(field).toHaveAccessibleDescription(text)
  const said = field.page().getByRole('alert').filter({ hasText: text })
  await expect(said).toBeVisible()
  const [above, below] = [await field.boundingBox(), await said.boundingBox()]
  expect(below?.y).toBeGreaterThanOrEqual((above?.y ?? 0) + (above?.height ?? 0))
}
