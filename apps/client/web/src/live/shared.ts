import type { Change } from '../api/types'
import { logIn, numberIn } from './position'
import { follow, type StreamListener } from './stream'

/*
 * Over HTTP/1.1 a browser has six connections a host, and each stream takes one. So of the tabs of a browser one
 * follows the stream, the leader, and passes on what comes. It has the lock; when it closes or is hidden, the
 * next tab gets that.
 *
 * A tab has missed nothing if the leader's last change before this one is not beyond the tab's own position.
 * Otherwise it asks for what it lacks. If the leader does not have that any more, belongs to another log, or is
 * silent, the tab follows a stream of its own, until it stands where the leader does. So does a tab that comes
 * back after it was hidden: the log may have lost its end meanwhile, and the server alone can say so.
 */

/** What tabs say to each other. */
type Message =
  /** A change of the leader's stream, and the position before it. */
  | { type: 'change'; before: string; position: string; change: Change }
  /** The leader's stream begins anew at a position. */
  | { type: 'reset'; position: string }
  /** Whether the leader's stream is connected, if that is known yet, and where it stands. */
  | { type: 'state'; isLive: boolean | undefined; position: string }
  /** A tab stands at a position and asks for what comes after. */
  | { type: 'ask'; since: string }
  /** The leader can't say what comes after that position. */
  | { type: 'unknown'; since: string }
  /** A tab with a stream of its own asks where the leader stands. */
  | { type: 'where' }

/** The name of the lock and of the channel. Tabs of another version of the messages have another one. */
const name = 'postbus-live-1'

/** How many changes the leader keeps for tabs that ask. */
const kept = 1_000

/** How often the leader says where it stands, in milliseconds. */
const every = 15_000

/** After how long a silence the leader counts as gone, and how soon it has to answer at first, in milliseconds. */
const silence = 40_000
const firstAnswer = 3_000

/** Follows the live stream as follow does, by the stream of another tab where there is one. */
export async function followShared(after: string, listener: StreamListener, signal: AbortSignal, comesBack = false): Promise<void> {
  if (!canShare()) return follow(after, listener, signal)
  const channel = new BroadcastChannel(name)
  const tab = new Tab(after, listener, channel, signal)
  if (comesBack) tab.followAlone()
  try {
    await navigator.locks.request(name, { signal }, () => tab.lead())
  } catch {
    // The tab is hidden before its turn came, or the browser refuses locks.
    tab.followAlone()
  }
  await tab.end()
  channel.close()
}

/** Web Locks need a secure context (https://w3c.github.io/web-locks/). */
function canShare(): boolean {
  return typeof navigator !== 'undefined' && 'locks' in navigator && typeof BroadcastChannel !== 'undefined'
}

/** One tab: at first it takes what the leader says, then it may lead. */
class Tab {
  #role: 'taking' | 'alone' | 'leading' = 'taking'
  /** The last changes, while the tab leads, and the position before the first of them. */
  #changes: (Message & { type: 'change' })[] = []
  #from: string
  #isLive: boolean | undefined
  /** Where the tab stood when it asked, until there is an answer. */
  #asked: string | undefined
  /** Where the leader stands, as far as a tab with a stream of its own knows. */
  #leaderAt: string | undefined
  #own = { ending: new AbortController(), ended: Promise.resolve() }
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    private position: string,
    private readonly listener: StreamListener,
    private readonly channel: BroadcastChannel,
    private readonly signal: AbortSignal,
  ) {
    this.#from = position
    channel.onmessage = ({ data }: MessageEvent<Message>) => {
      if (signal.aborted) return
      if (this.#role === 'leading') this.#answer(data)
      else if (this.#role === 'alone') this.#note(data)
      else this.#take(data)
    }
    this.#expectSign(firstAnswer)
    this.#ask()
  }

  /** Follows the stream for all tabs until the signal aborts. */
  async lead(): Promise<void> {
    clearTimeout(this.#timer)
    this.#role = 'leading'
    this.#own.ending.abort()
    await this.#own.ended
    this.#from = this.position
    const beat = setInterval(() => this.#sayState(), every)
    try {
      await follow(this.position, this.#passingOn(), this.signal)
    } finally {
      clearInterval(beat)
    }
  }

  /** Follows a stream of the tab's own, until it stands where the leader does. */
  followAlone(): void {
    if (this.#role !== 'taking' || this.signal.aborted) return
    clearTimeout(this.#timer)
    this.#role = 'alone'
    this.#leaderAt = undefined
    const ending = new AbortController()
    const listener: StreamListener = {
      ...this.listener,
      connected: () => {
        this.listener.connected()
        this.#say({ type: 'where' })
      },
      change: (change, position) => {
        this.position = position
        this.listener.change(change, position)
        this.#takeAgain()
      },
      reset: (position) => {
        this.position = position
        this.listener.reset(position)
      },
    }
    this.#own = { ending, ended: follow(this.position, listener, AbortSignal.any([this.signal, ending.signal])) }
  }

  /** Returns once the signal has aborted and nothing of the tab goes on. */
  async end(): Promise<void> {
    if (!this.signal.aborted) await new Promise((resolve) => this.signal.addEventListener('abort', resolve, { once: true }))
    await this.#own.ended
    clearTimeout(this.#timer)
  }

  /** The listener of the leader's stream: it passes on to the other tabs what comes. */
  #passingOn(): StreamListener {
    const setLive = (isLive: boolean) => {
      this.#isLive = isLive
      this.#sayState()
    }
    return {
      connected: () => {
        this.listener.connected()
        setLive(true)
      },
      change: (change, position) => {
        const message = { type: 'change', before: this.position, position, change } as const
        this.position = position
        if (this.#changes.push(message) > 2 * kept) {
          this.#changes = this.#changes.slice(-kept)
          this.#from = this.#changes[0]?.before ?? position
        }
        this.listener.change(change, position)
        this.#say(message)
      },
      reset: (position) => {
        this.position = position
        this.#from = position
        this.#changes = []
        this.listener.reset(position)
        this.#say({ type: 'reset', position })
      },
      lost: () => {
        this.listener.lost()
        setLive(false)
      },
    }
  }

  #say(message: Message): void {
    this.channel.postMessage(message)
  }

  #sayState(): void {
    this.#say({ type: 'state', isLive: this.#isLive, position: this.position })
  }

  /** Answers a tab that asks. All get what it lacks, and leave out what they have. */
  #answer(message: Message): void {
    if (message.type === 'where') this.#sayState()
    if (message.type !== 'ask') return
    const since = numberIn(message.since) ?? 0
    if (since < (numberIn(this.#from) ?? 0) || contradicts(message.since, this.position)) {
      this.#say({ type: 'unknown', since: message.since })
      return
    }
    for (const change of this.#changes) if (change.change.sequence > since) this.#say(change)
    this.#sayState()
  }

  #ask(): void {
    if (this.#asked === this.position) return
    this.#asked = this.position
    this.#say({ type: 'ask', since: this.position })
  }

  /** Without a sign of the leader until then the tab follows a stream of its own. */
  #expectSign(within: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.followAlone(), within)
  }

  /** Takes what the leader says. */
  #take(message: Message): void {
    if (message.type === 'ask' || message.type === 'where') return
    this.#expectSign(silence)
    const mine = numberIn(this.position) ?? 0
    if (message.type === 'state') this.#asked = undefined // each answer ends with one
    switch (message.type) {
      case 'unknown':
        if (message.since === this.position) this.followAlone()
        break
      case 'reset':
        if (message.position === this.position) return
        this.position = message.position
        this.listener.reset(message.position)
        break
      case 'state':
        if (contradicts(message.position, this.position) || (numberIn(message.position) ?? 0) > mine) this.#ask()
        else if (message.isLive === true) this.listener.connected()
        else if (message.isLive === false) this.listener.lost()
        break
      case 'change':
        if (contradicts(message.position, this.position) || (numberIn(message.before) ?? 0) > mine) this.#ask()
        else if (message.change.sequence > mine) {
          this.position = message.position
          this.listener.change(message.change, message.position)
        }
    }
  }

  /** Notes where the leader stands. */
  #note(message: Message): void {
    if (message.type !== 'state' && message.type !== 'change' && message.type !== 'reset') return
    this.#leaderAt = message.position
    this.#takeAgain()
  }

  /** Ends the tab's own stream once it has all that the leader has passed on. */
  #takeAgain(): void {
    const leaderAt = this.#leaderAt
    if (leaderAt === undefined || contradicts(leaderAt, this.position) || (numberIn(leaderAt) ?? 0) > (numberIn(this.position) ?? 0)) return
    this.#role = 'taking'
    this.#asked = undefined
    this.#own.ending.abort()
    this.#expectSign(silence)
  }
}

/** Whether two positions can't be of one log. A number alone may be of any. */
function contradicts(a: string, b: string): boolean {
  const [one, other] = [logIn(a), logIn(b)]
  if (one === undefined || other === undefined) return false
  return one !== other || (numberIn(a) === numberIn(b) && a !== b)
}
