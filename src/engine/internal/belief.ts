/**
 * How far a predictor's word is taken. What it stated is held against what came: only where it was right less often than chance
 * explains of an honest one is it believed less, in proportion. Old guesses count less and less, by number and by time.
 */

/** After so many guesses an old one counts 1/e. */
const memory = 200
/** After so long an old one counts half. */
const halfLifeMillis = 30 * 60_000
/** Shortfalls of so many standard deviations are chance; from the second number on they are none. */
const [chance, certainty] = [4, 6]

const keep = 1 - 1 / memory

export class Belief {
  private expected = 0
  private hits = 0
  private variance = 0
  private at = Number.NaN

  /** A guess was right or wrong. `stated` from 0 to 1. */
  judged(stated: number, right: boolean, now: number): void {
    const passed = now - this.at
    const kept = passed > 0 ? keep * 0.5 ** (passed / halfLifeMillis) : keep
    this.at = now
    this.expected = this.expected * kept + stated
    this.hits = this.hits * kept + (right ? 1 : 0)
    this.variance = this.variance * kept * kept + stated * (1 - stated)
  }

  /** What a stated confidence is multiplied with: 1 for an honest predictor. */
  get factor(): number {
    // One hit more than there was: the first guesses prove nothing.
    const missing = this.expected - this.hits - 1
    if (missing <= 0) return 1
    const deviations = missing / Math.sqrt(this.variance)
    const doubt = Math.min(1, Math.max(0, (deviations - chance) / (certainty - chance)))
    return 1 - doubt * (missing + 1) / (this.expected + 1)
  }
}
