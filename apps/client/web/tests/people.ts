import type { Page } from '@playwright/test'
import { expect } from './system'

/** The people of the development issuer. */
export const people = { author: 'Ada Author', reader: 'Rita Reader', moderator: 'Mo Moderator', 'second-moderator': 'Mia Moderator', operator: 'Otto Operator' } as const

export type Person = keyof typeof people

export const header = (page: Page) => page.getByRole('banner')

/** Picks somebody on the issuer's page, and waits until the page is back. */
export async function pick(page: Page, person: Person): Promise<void> {
  await page.getByRole('button', { name: people[person] }).click()
  await expect(header(page)).toContainText(people[person])
}

/** Opens an address and signs in there. */
export async function signIn(page: Page, person: Person, path = '/'): Promise<void> {
  await page.goto(path)
  await header(page).getByRole('link', { name: 'Sign in' }).click()
  await pick(page, person)
  await expect.poll(() => new URL(page.url()).pathname + new URL(page.url()).search).toBe(path)
}

/** Ends the session of a browser, as time does: the host can't read the cookie any more. */
export async function endSession(page: Page): Promise<void> {
  const context = page.context()
  const session = (await context.cookies()).filter(({ name }) => name.includes('postbus-session'))
  expect(session.length).toBeGreaterThan(0)
  await context.addCookies(session.map((cookie) => ({ ...cookie, value: cookie.value.slice(0, -12) })))
}

interface Answered {
  status: number
  body: unknown
  etag: string | null
}

/** Sends a request as the page would, with its session. */
export function ask(page: Page, method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answered> {
  return page.evaluate(
    async ([method, path, body, headers]) => {
      const init = body === undefined ? {} : { body: JSON.stringify(body) }
      const response = await fetch(path, { method, headers: { 'Content-Type': 'application/json', ...headers }, ...init })
      return { status: response.status, body: (await response.json()) as unknown, etag: response.headers.get('ETag') }
    },
    [method, path, body, headers] as const,
  )
}
