/**
 * How long to wait: exponential backoff with full jitter, and the pause a service asks for. Pure: `random` is a number from 0
 * to 1, times are milliseconds.
 */

export interface BackoffSettings {
  readonly baseMillis: number
  readonly factor: number
  readonly maxDelayMillis: number
}

/** The wait after the nth failure (from 1): anything up to `base * factor^(n-1)`, at most `maxDelay`. */
export const backoffMillis = (settings: BackoffSettings, failures: number, random: number): number =>
  // The power may be infinite, and 0 times that is no number.
  settings.baseMillis === 0
    ? 0
    : random * Math.min(settings.maxDelayMillis, settings.baseMillis * settings.factor ** (failures - 1))

/** Over how long those come back who waited for the same pause: a tenth of it, at least `base`. */
export const spreadOf = (askedMillis: number, baseMillis: number): number => Math.max(baseMillis, askedMillis / 10)

/** The longest pause a service is left alone for; whoever asks for more is asked again then. */
export const longestPauseMillis = 3_600_000

/** The pause of one service: nobody asks it before. Only ever moved to a later time. */
export class Pause {
  private until = Number.NEGATIVE_INFINITY
  private spread = 0

  /** The service wants to be left alone for so long from now. */
  ask(now: number, askedMillis: number, baseMillis: number): void {
    const asked = Math.min(askedMillis, longestPauseMillis)
    if (now + asked <= this.until) return
    this.until = now + asked
    this.spread = spreadOf(asked, baseMillis)
  }

  /** What is left of it; 0 where nothing is. */
  leftMillis(now: number): number {
    return Math.max(0, this.until - now)
  }

  /** How long one of many waits for its end: not less than what is left, but not all until the same instant. */
  waitMillis(now: number, random: number): number {
    const left = this.leftMillis(now)
    return left === 0 ? 0 : left + random * this.spread
  }
}
