/** Aborts what has shown no sign of life for a time, in milliseconds. */
export class Watchdog {
  readonly #controller = new AbortController()
  #timer: ReturnType<typeof setTimeout>

  constructor(private readonly silence: number) {
    this.#timer = setTimeout(this.abort, silence)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** There was a sign of life. The time begins again. */
  reset(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(this.abort, this.silence)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  readonly abort = (): void => this.#controller.abort()
}
