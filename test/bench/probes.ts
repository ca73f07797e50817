/**
 * What handlers tell the bench about themselves: how many run at once, and when cancelled ones heard of it.
 */

/** Counts handlers in flight. */
export class Gauge {
  private running = 0
  /** The most that ever ran at once. */
  peak = 0

  enter(): void {
    this.running++
    if (this.running > this.peak) this.peak = this.running
  }

  leave(): void {
    this.running--
  }
}

/** A crowd of handlers that run until their signal fires, and obey it at once. */
export class Crowd {
  private readonly size: number
  private started = 0
  private signalled = 0
  private readonly full: () => void
  /** Settles when every handler runs. */
  readonly running: Promise<void>
  /** When the last signal fired, on `performance.now`'s clock; `undefined` while one has not. */
  signalledAt: number | undefined

  constructor(size: number) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.size = size
    this.running = promise
    this.full = resolve
  }

  /** The handler: never resolves, rejects when its signal fires. */
  join(signal: AbortSignal): Promise<number> {
    return new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        this.signalled++
        if (this.signalled === this.size) this.signalledAt = performance.now()
        reject(signal.reason)
      }, { once: true })
      this.started++
      if (this.started === this.size) this.full()
    })
  }
}
