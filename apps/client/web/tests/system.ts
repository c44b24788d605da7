import { randomUUID } from 'node:crypto'
import { test as base, expect, type APIRequestContext, type APIResponse, type BrowserContext, type BrowserContextOptions, type Page } from '@playwright/test'
import type { Comment, NewComment, NewPost, Post, PostWithComments } from '../src/api/types'

export { expect }

/** How long a killed service may take until it shows what it missed, in milliseconds. */
export const recovery = 40_000

/** Makes a text that no other test writes. */
export function unique(text: string): string {
  return `${text} ${randomUUID().slice(0, 8)}`
}

/** The API at the page's own address, as other visitors use it. */
export class Api {
  constructor(private readonly request: APIRequestContext) {}

  /** Writes a post; query may not show it yet. */
  write(post: Partial<NewPost>): Promise<Post> {
    return this.#create<Post>('/posts/create', post)
  }

  /** Writes a post and waits until readers see it. */
  async post(post: Partial<NewPost>): Promise<Post> {
    const made = await this.write(post)
    await expect.poll(async () => (await this.request.get(`/posts/${made.id}`)).status()).toBe(200)
    return made
  }

  /** Writes a comment; it is not moderated yet. */
  comment(postId: string, comment: Partial<NewComment>): Promise<Comment> {
    return this.#create<Comment>(`/posts/${postId}/comments`, comment)
  }

  /** Writes a comment and waits until readers see it moderated. */
  async moderated(postId: string, comment: Partial<NewComment>): Promise<Comment> {
    const { id } = await this.comment(postId, comment)
    let found: Comment | undefined
    await expect(async () => {
      found = (await this.read(postId)).comments.find((other) => other.id === id)
      expect(found?.status).toMatch(/approved|rejected|held/)
    }).toPass({ timeout: 15_000 })
    if (!found) throw new Error('it was there')
    return found
  }

  /** A post with its newest 100 comments. */
  async read(postId: string): Promise<PostWithComments> {
    const response = await this.request.get(`/posts/${postId}?limit=100`)
    expect(response.status()).toBe(200)
    return (await response.json()) as PostWithComments
  }

  /** All posts, newest first. */
  async all(): Promise<PostWithComments[]> {
    const all: PostWithComments[] = []
    for (let path: string | undefined = '/posts?limit=100'; path !== undefined; ) {
      const response: APIResponse = await this.request.get(path)
      expect(response.status()).toBe(200)
      all.push(...Object.values((await response.json()) as Record<string, PostWithComments>))
      path = /<([^>]*)>; rel="next"/.exec(response.headers().link ?? '')?.[1]
    }
    return all
  }

  /** The number of the newest posts that have this title. */
  async titled(title: string): Promise<number> {
    const response = await this.request.get('/posts?limit=100')
    const posts = Object.values((await response.json()) as Record<string, Post>)
    return posts.filter((post) => post.title === title).length
  }

  async #create<T>(path: string, data: object): Promise<T> {
    const response = await this.request.post(path, { data })
    expect(response.status(), await response.text()).toBe(201)
    return (await response.json()) as T
  }
}

export type Service = 'posts' | 'comments' | 'moderation' | 'query'

/** Breaks the system, and fills it: apps/tools/e2e/browser_test.go. */
export class Control {
  readonly #killed = new Set<Service>()

  constructor(private readonly request: APIRequestContext) {}

  /** Kills a service at once. */
  async kill(service: Service): Promise<void> {
    await this.#ask(`/kill/${service}`)
    this.#killed.add(service)
  }

  /** Starts a service that was killed, and returns when it is ready. */
  async start(service: Service): Promise<void> {
    await this.#ask(`/start/${service}`)
    this.#killed.delete(service)
  }

  /** Writes posts, and comments on the newest, and returns when readers see all. */
  async seed(posts: number, comments: number): Promise<{ posts: string[]; newest: string }> {
    return (await this.#ask(`/seed?posts=${posts}&comments=${comments}`)) as { posts: string[]; newest: string }
  }

  /** Empties Redis: all data and the bus. */
  async flush(): Promise<void> {
    await this.#ask('/flush')
  }

  async mendAll(): Promise<void> {
    for (const service of this.#killed) await this.start(service)
  }

  async #ask(path: string): Promise<unknown> {
    const address = process.env.CONTROL
    if (address === undefined) throw new Error('CONTROL is not set; run these tests with `go test -run TestTheClientInABrowser .` in apps/tools/e2e')
    const response = await this.request.post(address + path, { timeout: 180_000 })
    expect(response.status(), `${path}: ${await response.text()}`).toBe(200)
    return response.json()
  }
}

/**
 * Records what must not happen in any test: an uncaught error, a violation of the Content-Security-Policy, a
 * request to another host.
 */
function watch(context: BrowserContext, home: string): string[] {
  const complaints: string[] = []
  context.on('weberror', (error) => complaints.push(`uncaught: ${error.error().message}`))
  context.on('console', (message) => {
    if (/Content.Security.Policy|Trusted ?(HTML|Script|Type)/i.test(message.text())) complaints.push(message.text())
  })
  context.on('request', (request) => {
    const { origin, hostname } = new URL(request.url())
    // Signing in leads to the issuer's pages and back.
    const isSigningIn = request.isNavigationRequest() && hostname === 'localhost'
    if (origin !== home && !isSigningIn) complaints.push(`a request to ${request.url()}`)
  })
  return complaints
}

interface Fixtures {
  api: Api
  control: Control
  /** Opens a page in a browser of another visitor. */
  visitor: (options?: BrowserContextOptions) => Promise<Page>
  /** The origin of the address under test. */
  home: string
}

export const test = base.extend<Fixtures>({
  home: ({ baseURL }, use) => use(new URL(baseURL ?? '').origin),
  context: async ({ context, home }, use) => {
    const complaints = watch(context, home)
    await use(context)
    expect(complaints).toEqual([])
  },
  visitor: async ({ browser, home }, use) => {
    const opened: [BrowserContext, string[]][] = []
    await use(async (options) => {
      const context = await browser.newContext(options)
      opened.push([context, watch(context, home)])
      return context.newPage()
    })
    for (const [context, complaints] of opened) {
      await context.close()
      expect(complaints).toEqual([])
    }
  },
  api: ({ request }, use) => use(new Api(request)),
  control: async ({ request }, use) => {
    const control = new Control(request)
    await use(control)
    await control.mendAll()
  },
})
