import { QueryClient, QueryObserver, type InfiniteData } from '@tanstack/react-query'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { FeedPage } from '../api/pages'
import type { Arrived } from './fold'
import { keys } from './keys'
import { Live } from './live'
import type { follow, StreamListener } from './stream'

/** The latest stream that the page opened. */
let stream: { after: string; listener: StreamListener; signal: AbortSignal } | undefined
vi.mock('./stream', () => ({
  follow: ((after, listener, signal) => {
    stream = { after, listener, signal }
    return Promise.resolve()
  }) as typeof follow,
}))

let client: QueryClient
beforeEach(() => {
  vi.stubGlobal('document', Object.assign(new EventTarget(), { hidden: false }))
  vi.stubGlobal('navigator', {}) // without locks: each tab has a stream of its own
  client = new QueryClient()
})
afterEach(() => {
  client.clear()
  vi.unstubAllGlobals()
})

const post = (id: string, sequence: number) => ({ id, title: id, excerpt: '', createdAt: '', sequence })
const arrived = () => client.getQueryData<Arrived[]>(keys.arrived)?.map((each) => each.id)

/** Shows a list of posts that is read from pages, one after another. */
function show(pages: FeedPage[]) {
  const read = vi.fn(() => Promise.resolve({ pages: [pages.shift()], pageParams: [''] }))
  const observer = new QueryObserver(client, { queryKey: keys.feed, queryFn: read, staleTime: Infinity })
  const leave = observer.subscribe(() => undefined)
  return { read, leave, shown: () => client.getQueryData<InfiniteData<FeedPage>>(keys.feed)?.pages[0]?.posts.map((each) => each.id) }
}

/** A page that follows a log and shows one post, and a second post that arrived live. */
async function followed() {
  const list = show([
    { sequence: 7, posts: [post('old', 7)], next: undefined },
    { sequence: 3, posts: [post('new', 3)], next: undefined },
  ])
  const live = new Live(client, () => false)
  live.begin({ sequence: 7, position: '7/log/a' })
  await vi.waitFor(() => expect(list.shown()).toEqual(['old']))
  stream?.listener.connected()
  stream?.listener.change({ type: 'PostCreated', sequence: 8, post: { id: 'live', title: 'live', body: '', createdAt: '', comments: [] } }, '8/log/b')
  client.setQueryData(keys.ownComments('old'), [{ id: 'c' }])
  expect(arrived()).toEqual(['live'])
  return { live, list }
}

test('goes on from the position of the last change', async () => {
  const { live, list } = await followed()
  expect(stream?.after).toBe('7/log/a')
  expect(live.position).toBe(8)
  list.leave()
})

test('a tab that is hidden when it opens follows nothing until it is seen', () => {
  const page = Object.assign(new EventTarget(), { hidden: true })
  vi.stubGlobal('document', page)
  stream = undefined
  const live = new Live(client, () => false)
  live.begin({ sequence: 7, position: '7/log/a' })
  expect(stream).toBeUndefined()
  page.hidden = false
  page.dispatchEvent(new Event('visibilitychange'))
  expect(stream).toMatchObject({ after: '7/log/a' })
})

test('a stream that begins anew has all dropped and read anew, and says so', async () => {
  const { live, list } = await followed()
  const listener = vi.fn()
  live.subscribe(listener)
  stream?.listener.reset('3/other/x')
  expect([live.position, live.beginnings, listener.mock.calls.length]).toEqual([3, 1, 1])
  expect(arrived()).toEqual([])
  expect(client.getQueryData(keys.ownComments('old'))).toEqual([])
  expect(list.shown()).toBeUndefined()
  // Posts that arrived live from the other log are not folded in.
  await vi.waitFor(() => expect(list.shown()).toEqual(['new']))
  expect(list.read).toHaveBeenCalledTimes(2)
  expect(arrived()).toEqual([])
  list.leave()
})

test('an answer of another log has all read anew, and the stream begin there', async () => {
  const { live, list } = await followed()
  const before = stream
  live.begin({ sequence: 3, position: '3/other/x' })
  expect(before?.signal.aborted).toBe(true)
  expect([stream?.after, live.position, live.beginnings]).toEqual(['3/other/x', 3, 1])
  await vi.waitFor(() => expect(list.shown()).toEqual(['new']))
  list.leave()
})

test.each([{ sequence: 9, position: '9/log/c' }, { sequence: 2, position: '2/log/z' }, { sequence: 9 }, { sequence: 9, position: '9//c' }])(
  'an answer at %j changes nothing',
  async (stand) => {
    const { live, list } = await followed()
    const before = stream
    live.begin(stand)
    expect(stream).toBe(before)
    expect([live.position, live.beginnings]).toEqual([8, 0])
    list.leave()
  },
)
