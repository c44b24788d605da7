import type { InfiniteData, QueryClient } from '@tanstack/react-query'
import { summary, type CommentsPage, type FeedPage, type Stand } from '../api/pages'
import type { Change } from '../api/types'
import { arrive, foldIntoComments, foldIntoFeed, foldIntoPosts, type Arrived } from './fold'
import { keys } from './keys'
import { logIn, numberIn } from './position'
import { follow } from './stream'

/** How the live stream is: not yet begun, connected, or lost and trying again. */
export type Connection = 'starting' | 'live' | 'lost'

/** How many of the last changes are kept for pages whose reading takes longer than the changes do. */
const recentKept = 5_000

/** How long a hidden page keeps its connection, in milliseconds. A browser has six for each host over HTTP/1.1. */
const hiddenFor = 10_000

/**
 * Keeps what was read up to date with the live stream. It begins where the first
 * answer stands; later answers are asked to stand at least where the stream does
 * (min_sequence), and changes that come while an answer is on its way are folded
 * into it when it is there. So nothing is missed, and nothing is counted twice.
 *
 * When the log is not the one any more that was read, all is dropped and read anew.
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
    /** Whether a post is the visitor's own: it is shown without being asked for. */
    private readonly isOwn: (id: string) => boolean,
  ) {
    for (const key of [keys.feed, keys.arrived, keys.ownComments('').slice(0, 1)]) {
      client.setQueryDefaults(key, { gcTime: Infinity })
    }
    client.getQueryCache().subscribe((event) => {
      // A page has been read: what changed meanwhile is folded in.
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

  /** How often all was dropped and read anew. */
  get beginnings(): number {
    return this.#beginnings
  }

  /** Calls back when the connection changes, or all is read anew. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Calls back with each change after it is folded in. */
  readonly onChange = (listener: (change: Change) => void): (() => void) => {
    this.#changeListeners.add(listener)
    return () => this.#changeListeners.delete(listener)
  }

  /** Says where an answer stands; the first one begins the stream. One of another log has all read anew. */
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
      else if (this.#connected?.signal.aborted) this.#connect()
    })
    this.#connect()
  }

  #connect(): void {
    this.#connected = new AbortController()
    void follow(
      this.#position ?? '0',
      {
        connected: () => this.#set('live'),
        change: (change, position) => this.#fold(change, position),
        reset: (position) => this.#beginAnew(position),
        lost: () => this.#set('lost'),
      },
      this.#connected.signal,
    )
  }

  /** Drops what was read and came live of a log that is not there any more, and has what is shown read anew. */
  #beginAnew(position: string): void {
    this.#position = position
    this.#recent = []
    this.#beginnings++
    for (const { queryKey } of this.client.getQueryCache().getAll()) {
      if (queryKey[0] === keys.arrived[0] || queryKey[0] === keys.ownComments('')[0]) this.client.setQueryData(queryKey, [])
      else void this.client.resetQueries({ queryKey, exact: true })
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

  /** Keeps a post that the list, as it was read, can't have. */
  #arrive({ post, sequence }: Change & { type: 'PostCreated' }): void {
    const readAt = this.client.getQueryData<InfiniteData<FeedPage>>(keys.feed)?.pages[0]?.sequence
    if (readAt === undefined || sequence <= readAt) return
    this.add({ ...summary(post, sequence), shown: this.isOwn(post.id) })
  }

  /** Adds a post that came live or that the visitor wrote. */
  add(post: Arrived): void {
    this.client.setQueryData<Arrived[]>(keys.arrived, (arrived = []) => arrive(arrived, post))
  }

  /** Shows the posts that wait. */
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
