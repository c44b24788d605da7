import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { createElement } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { useSend } from './useSend'

type Sending = ReturnType<typeof useSend<{ content: string }, { id: string }>>

const fetched = vi.fn<typeof fetch>()
const content = { content: 'Once.' }
let items: Map<string, string>
/** What was sent, by the keys of the tries. */
const keys = () => fetched.mock.calls.map(([, init]) => (init?.headers as Record<string, string>)['Idempotency-Key'])

beforeEach(() => {
  items = new Map()
  vi.useFakeTimers()
  vi.stubGlobal('fetch', fetched)
  vi.stubGlobal('window', {
    sessionStorage: {
      getItem: (name: string) => items.get(name) ?? null,
      setItem: (name: string, value: string) => void items.set(name, value),
      removeItem: (name: string) => void items.delete(name),
    },
  })
})
afterEach(() => {
  fetched.mockReset()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

/** The form as a page that is loaded, or loaded again, has it. */
async function load(): Promise<Sending> {
  vi.resetModules()
  const { useSend } = await import('./useSend')
  let sending: Sending | undefined
  const Form = () => {
    sending = useSend('comment', '/posts/1/comments', vi.fn())
    return null
  }
  renderToString(createElement(QueryClientProvider, { client: new QueryClient() }, createElement(Form)))
  if (!sending) throw new Error('it was rendered')
  return sending
}

/** Sends the text, with an answer for each try: a status, or nothing. */
async function send(sending: Sending, ...answers: (number | undefined)[]): Promise<void> {
  for (const status of answers) {
    if (status === undefined) fetched.mockRejectedValueOnce(new TypeError('Failed to fetch'))
    else fetched.mockResolvedValueOnce(Response.json({ id: '1' }, { status }))
  }
  sending.send(content)
  await vi.runAllTimersAsync()
}

test('what was refused did not happen: sent again, it is new', async () => {
  for (const status of [401, 403, 422]) {
    await send(await load(), status)
    expect((await load()).isRetryOf(content)).toBe(false)
  }
  await send(await load(), 201)
  expect(new Set(keys()).size).toBe(4)
  expect(items.size).toBe(0)
})

test('a refusal after a try without an answer did not happen either', async () => {
  await send(await load(), undefined, 422)
  expect((await load()).isRetryOf(content)).toBe(false)
})

test.each<[string, (number | undefined)[][]]>([
  ['in the same sending', [[undefined, 401]]],
  ['in the next one', [[503, 503, 503], [401]]],
  ['again and again', [[undefined, 401], [401], [401]]],
])('a session that ends after a try without an answer keeps its key, %s', async (_, sendings) => {
  for (const answers of sendings) {
    await send(await load(), ...answers)
    expect((await load()).isRetryOf(content)).toBe(true)
  }
  await send(await load(), 201)
  expect(new Set(keys()).size).toBe(1)
  expect(items.size).toBe(0)
})

test('a session that ends before the page is loaded again, without an answer, keeps the key', async () => {
  fetched.mockReturnValueOnce(new Promise(() => undefined))
  const left = await load()
  left.send(content)
  await vi.advanceTimersByTimeAsync(0)
  await send(await load(), 401)
  await send(await load(), 201)
  expect(keys()).toHaveLength(3)
  expect(new Set(keys()).size).toBe(1)
})
