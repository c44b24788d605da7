import { Watchdog } from '../api/watchdog'
import type { Change } from '../api/types'
import { logIn, numberIn } from './position'
import { follow, type StreamListener } from './stream'

/*
 * Over HTTP/1.1 a browser has six connections a host, and each stream takes one. So of the tabs of a browser one
 * follows the stream, the leader, and passes on what comes. It has the lock; when it closes or is hidden, the
 * next tab gets that.
 *
 * A tab has missed nothing if the leader's last change before this one is not beyond the tab's own position.
 * Otherwise it asks for what it lacks. If the leader does not have that any more, belongs to another log, or
 * is silent, the tab follows a stream of its own.
 */

/** What tabs say to each other. */
type Message =
  /** A change of the leader's stream, and the position before it. */
  | { type: 'change'; before: string; position: string; change: Change }
  /** The leader's stream begins anew at a position. */
  | { type: 'reset'; position: string }
  /** Whether the leader's stream is connected, and where it stands. */
  | { type: 'state'; isLive: boolean; position: string }
  /** A tab stands at a position and asks for what comes after. */
  | { type: 'ask'; since: string }
  /** The leader can't say what comes after that position. */
  | { type: 'unknown'; since: string }

const name = 'postbus-live'

/** How many changes the leader keeps for tabs that ask. */
const kept = 1_000

/** How often the leader says where it stands, and after how long a silence it counts as gone, in milliseconds. */
const every = 15_000
const silence = 40_000

/** Follows the live stream as follow does, by the stream of another tab where there is one. */
export async function followShared(after: string, listener: StreamListener, signal: AbortSignal): Promise<void> {
  if (!canShare()) return follow(after, listener, signal)
  const channel = new BroadcastChannel(name)
  const tab = new Tab(after, listener, channel, signal)
  try {
    await navigator.locks.request(name, { signal: tab.waiting }, () => tab.lead())
  } catch {
    // The tab was hidden before its turn came, or follows a stream of its own.
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
  /** The last changes, while the tab leads, and the position before the first of them. */
  #changes: (Message & { type: 'change' })[] = []
  #from: string
  #isLive = false
  #isLeader = false
  /** Where the tab stood when it asked, until there is an answer. */
  #asked: string | undefined
  #own: Promise<void> | undefined
  readonly #alone = new AbortController()
  readonly #watchdog = new Watchdog(silence)

  constructor(
    private position: string,
    private readonly listener: StreamListener,
    private readonly channel: BroadcastChannel,
    private readonly signal: AbortSignal,
  ) {
    this.#from = position
    channel.onmessage = ({ data }: MessageEvent<Message>) => {
      if (this.#isLeader) this.#answer(data)
      else if (this.#own === undefined && !signal.aborted) this.#take(data)
    }
    this.#watchdog.signal.addEventListener('abort', () => this.#followAlone(), { once: true })
    this.#ask()
  }

  /** Ends the wait for the lock. */
  get waiting(): AbortSignal {
    return AbortSignal.any([this.signal, this.#alone.signal])
  }

  /** Follows the stream for all tabs until the signal aborts. */
  async lead(): Promise<void> {
    this.#isLeader = true
    this.#watchdog.stop()
    this.#from = this.position
    const beat = setInterval(() => this.#sayState(), every)
    const setLive = (isLive: boolean) => {
      this.#isLive = isLive
      this.#sayState()
    }
    await follow(
      this.position,
      {
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
      },
      this.signal,
    )
    clearInterval(beat)
  }

  /** Returns once nothing of the tab goes on. */
  async end(): Promise<void> {
    this.#watchdog.stop()
    await this.#own
  }

  #say(message: Message): void {
    this.channel.postMessage(message)
  }

  #sayState(): void {
    this.#say({ type: 'state', isLive: this.#isLive, position: this.position })
  }

  /** Answers a tab that asks. All get what it lacks, and leave out what they have. */
  #answer(message: Message): void {
    if (message.type !== 'ask') return
    const since = numberIn(message.since) ?? 0
    if (isElsewhere(message.since, this.position) || since < (numberIn(this.#from) ?? 0)) {
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

  /** Takes what the leader says. */
  #take(message: Message): void {
    if (message.type === 'ask') return
    this.#watchdog.reset()
    const mine = numberIn(this.position) ?? 0
    if (message.type === 'state') this.#asked = undefined // each answer ends with one
    switch (message.type) {
      case 'unknown':
        if (message.since === this.position) this.#followAlone()
        break
      case 'reset':
        if (message.position === this.position) return
        this.position = message.position
        this.listener.reset(message.position)
        break
      case 'state':
        if (isElsewhere(message.position, this.position) || (numberIn(message.position) ?? 0) > mine) this.#ask()
        else if (message.isLive) this.listener.connected()
        else this.listener.lost()
        break
      case 'change':
        if (isElsewhere(message.position, this.position) || (numberIn(message.before) ?? 0) > mine) this.#ask()
        else if (message.change.sequence > mine) {
          this.position = message.position
          this.listener.change(message.change, message.position)
        }
    }
  }

  /** Follows a stream of its own, and does not lead. */
  #followAlone(): void {
    if (this.#isLeader || this.signal.aborted) return
    this.#watchdog.stop()
    this.#own = follow(this.position, this.listener, this.signal)
    this.#alone.abort()
  }
}

/** Whether two positions are of different logs. A number alone may be of any. */
function isElsewhere(a: string, b: string): boolean {
  const [one, other] = [logIn(a), logIn(b)]
  return one !== undefined && other !== undefined && one !== other
}
