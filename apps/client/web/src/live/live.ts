import type { InfiniteData, QueryClient } from '@tanstack/react-query'
import { summary, type CommentsPage, type FeedPage, type Stand } from '../api/pages'
import type { Change } from '../api/types'
import { arrive, foldIntoComments, foldIntoFeed, foldIntoPosts, type Arrived } from './fold'
import { keys } from './keys'
import { logIn, numberIn } from './position'
import { followShared } from './shared'

/** The state of the live stream: not yet begun, connected, or lost and reconnecting. */
export type Connection = 'starting' | 'live' | 'lost'

/** How many of the last changes are kept, for a page that is still being read while changes arrive. */
const recentKept = 5_000

/** How long a hidden page keeps its connection, in milliseconds. Over HTTP/1.1 a browser has six connections a host. */
const hiddenFor = 10_000

/**
 * Keeps the pages in the query cache up to date with the live stream.
 *
 * The stream begins at the position of the first answer. Later answers are asked to be at least as new as the
 * stream (min_sequence). Changes that arrive while a page is being read are folded into it afterwards. So the
 * pages miss no change, and count none twice.
 *
 * When the server has another log than the one that was read, all pages are dropped and read again.
 */
export class Live {
  #connection: Connection = 'starting'
  #position: string | undefined
  #recent: Change[] = []
  #beginnings = 0
  #connected: AbortController | undefined
  readonly #listeners = new Set<() => void>()
  readonly #changeListeners = new Set<(change: Change) => void>()

  constructor(
    private readonly client: QueryClient,
    /** Whether a post is the visitor's own, which is shown at once. */
    private readonly isOwn: (id: string) => boolean,
  ) {
    for (const key of [keys.feed, keys.arrived, keys.ownComments('').slice(0, 1)]) {
      client.setQueryDefaults(key, { gcTime: Infinity })
    }
    client.getQueryCache().subscribe((event) => {
      // A page has been read. It gets the changes that arrived meanwhile.
      if (event.type !== 'updated' || event.action.type !== 'success' || event.action.manual === true) return
      for (const change of this.#recent) this.#foldInto(event.query.queryKey as readonly unknown[], change)
    })
  }

  get connection(): Connection {
    return this.#connection
  }

  /** The number of the log up to which changes are folded in. */
  get position(): number | undefined {
    return numberIn(this.#position)
  }

  /** How often all pages were dropped and read again. */
  get beginnings(): number {
    return this.#beginnings
  }

  /** Calls back when the connection changes, or when all pages are read again. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Calls back with each change, after it is folded in. */
  readonly onChange = (listener: (change: Change) => void): (() => void) => {
    this.#changeListeners.add(listener)
    return () => this.#changeListeners.delete(listener)
  }

  /**
   * Takes the position of an answer. The first answer begins the stream. An answer from another log has all
   * pages read again.
   */
  begin({ sequence, position = String(sequence) }: Stand): void {
    if (this.#position !== undefined) {
      const [was, is] = [logIn(this.#position), logIn(position)]
      if (was === undefined || is === undefined || was === is) return
      this.#connected?.abort()
      this.#beginAnew(position)
      if (!document.hidden) this.#connect()
      return
    }
    this.#position = position
    let hiding: ReturnType<typeof setTimeout> | undefined
    document.addEventListener('visibilitychange', () => {
      clearTimeout(hiding)
      if (document.hidden) hiding = setTimeout(() => this.#connected?.abort(), hiddenFor)
      else if (this.#connected === undefined || this.#connected.signal.aborted) this.#connect(true)
    })
    if (!document.hidden) this.#connect()
  }

  /** Begins to follow the stream. A tab that comes back may stand where the log no longer is. */
  #connect(comesBack = false): void {
    this.#connected = new AbortController()
    void followShared(
      this.#position ?? '0',
      {
        connected: () => this.#set('live'),
        change: (change, position) => this.#fold(change, position),
        reset: (position) => this.#beginAnew(position),
        lost: () => this.#set('lost'),
      },
      this.#connected.signal,
      comesBack,
    )
  }

  /** Drops the pages and the live posts of a log that is gone, and reads the pages on display again. Who the visitor is does not depend on it. */
  #beginAnew(position: string): void {
    this.#position = position
    this.#recent = []
    this.#beginnings++
    for (const { queryKey } of this.client.getQueryCache().getAll()) {
      if (queryKey[0] === keys.arrived[0] || queryKey[0] === keys.ownComments('')[0]) this.client.setQueryData(queryKey, [])
      else if (queryKey[0] !== keys.me[0]) void this.client.resetQueries({ queryKey, exact: true })
    }
    for (const listener of this.#listeners) listener()
  }

  #set(connection: Connection): void {
    if (this.#connection === connection) return
    this.#connection = connection
    for (const listener of this.#listeners) listener()
  }

  #fold(change: Change, position: string): void {
    this.#position = position
    if (this.#recent.push(change) > 2 * recentKept) this.#recent = this.#recent.slice(-recentKept)
    for (const { queryKey } of this.client.getQueryCache().getAll()) this.#foldInto(queryKey, change)
    for (const listener of this.#changeListeners) listener(change)
  }

  #foldInto(key: readonly unknown[], change: Change): void {
    switch (key[0]) {
      case keys.feed[0]:
        if (change.type === 'PostCreated') this.#arrive(change)
        this.#update<InfiniteData<FeedPage>>(key, (data) => inPages(data, foldIntoFeed(data.pages, change)))
        break
      case keys.arrived[0]:
        this.#update<Arrived[]>(key, (posts) => foldIntoPosts(posts, change))
        break
      case keys.post('')[0]:
        this.#update<InfiniteData<CommentsPage>>(key, (data) => inPages(data, foldIntoComments(data.pages, change)))
        break
    }
  }

  /** Adds a new post, unless the list was read after it was created. */
  #arrive({ post, sequence }: Change & { type: 'PostCreated' }): void {
    const readAt = this.client.getQueryData<InfiniteData<FeedPage>>(keys.feed)?.pages[0]?.sequence
    if (readAt === undefined || sequence <= readAt) return
    this.add({ ...summary(post, sequence), shown: this.isOwn(post.id) })
  }

  /** Adds a post that arrived live or that the visitor wrote. */
  add(post: Arrived): void {
    this.client.setQueryData<Arrived[]>(keys.arrived, (arrived = []) => arrive(arrived, post))
  }

  /** Shows the posts that wait until the visitor asks for them. */
  showArrived(): void {
    this.#update<Arrived[]>(keys.arrived, (arrived) => arrived.map((post) => ({ ...post, shown: true })))
  }

  #update<T>(key: readonly unknown[], change: (data: T) => T): void {
    const data = this.client.getQueryData<T>(key)
    if (data === undefined) return
    const changed = change(data)
    if (changed !== data) this.client.setQueryData(key, changed)
  }
}

function inPages<P>(data: InfiniteData<P>, pages: P[]): InfiniteData<P> {
  return pages === data.pages ? data : { ...data, pages }
}
