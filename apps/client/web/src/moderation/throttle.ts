/** Runs something soon after it is asked for, and at most once in a while. Times are in milliseconds. */
export class Throttle {
  #timer: ReturnType<typeof setTimeout> | undefined
  #last = 0

  constructor(
    /** The delay after the first request. */
    private readonly soon: number,
    /** The least time between two runs. */
    private readonly least: number,
  ) {}

  /** Asks for a run. Requests until then ask for the same one. */
  ask(run: () => void): void {
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined
        this.#last = Date.now()
        run()
      },
      Math.max(this.soon, this.#last + this.least - Date.now()),
    )
  }

  /** Forgets the run that was asked for. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
