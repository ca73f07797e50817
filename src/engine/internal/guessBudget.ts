/**
 * How many guesses may be in vain: in any window, however it lies, at most so many start that nobody claims. Who refuses one for the rate halves that, and it
 * comes back slowly, by guesses that got through.
 */

/** What each guess that got through gives back: from a half to the whole takes twice the whole. */
const recovery = 0.25

export class GuessBudget {
  private readonly calls: number
  private readonly windowMillis: number
  private allowed: number
  /** When those of the last window started, from `head` on; in order. */
  private starts: Array<number> = []
  private head = 0
  private loweredAt = Number.NEGATIVE_INFINITY

  constructor(calls: number, windowMillis: number) {
    this.calls = calls
    this.windowMillis = windowMillis
    this.allowed = calls
  }

  hasRoom(now: number): boolean {
    this.forget(now)
    return this.starts.length - this.head < Math.floor(this.allowed)
  }

  /** One starts. */
  take(now: number): void {
    this.starts.push(now)
  }

  /** The one that started then was asked for: the call it was made for needs none of its own. */
  claimed(startedAt: number): void {
    const at = this.starts.lastIndexOf(startedAt)
    if (at >= this.head) this.starts.splice(at, 1)
  }

  /** One that started at `startedAt` was refused for the rate. Those that were under way together lower the budget once. */
  refused(startedAt: number, now: number): void {
    if (startedAt <= this.loweredAt) return
    this.loweredAt = now
    // With one left it finds out when it may be more.
    this.allowed = Math.min(this.calls, Math.max(1, this.allowed / 2))
  }

  gotThrough(): void {
    this.allowed = Math.min(this.calls, this.allowed + recovery)
  }

  private forget(now: number): void {
    const { starts } = this
    while (this.head < starts.length && starts[this.head]! <= now - this.windowMillis) this.head++
    if (this.head < 1024 && this.head < starts.length) return
    this.starts = starts.slice(this.head)
    this.head = 0
  }
}
