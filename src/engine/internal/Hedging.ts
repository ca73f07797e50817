/**
 * What a tool's calls share for hedging: how long its attempts took, and how many further attempts may still be made. Kept with
 * the compiled tool, for the process. Pure state.
 *
 * The budget is a purse: every call puts in its share (`budget`), every further attempt takes 1. It starts with 1 and never
 * holds more than 100, so of `n` calls at most `1 + budget * n` get a further attempt, and a long quiet time does not pay for a
 * storm.
 */
import * as Duration from "effect/Duration"
import type { HedgeOptions } from "../../domain/ToolPolicy.ts"

const sampleCount = 128
const samplesNeeded = 20
const purseLimit = 100
/** How many new samples make the percentile worth computing again. */
const staleAfter = 8

export class Hedging {
  /** Further attempts of one call, at most. */
  readonly max: number
  private readonly fixed: number | undefined
  private readonly budget: number
  private purse = 1
  private readonly samples: Array<number> = []
  private seenCount = 0
  private percentile = Number.NaN
  private percentileAt = -Infinity

  constructor({ after, budget, max }: HedgeOptions) {
    this.max = max ?? 1
    this.budget = budget ?? 0.1
    this.fixed = after === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(after))
  }

  /** A call was made. */
  called(): void {
    this.purse = Math.min(this.purse + this.budget, purseLimit)
  }

  /** Takes what a further attempt costs, if it is there. */
  take(): boolean {
    // Shares such as 0.1 do not add up exactly.
    if (this.purse < 1 - 1e-9) return false
    this.purse -= 1
    return true
  }

  /** The further attempt found no room. */
  putBack(): void {
    this.purse += 1
  }

  /** An attempt succeeded after so long. */
  seen(millis: number): void {
    this.samples[this.seenCount++ % sampleCount] = millis
  }

  /** Whether that time is always the same. */
  get isFixed(): boolean {
    return this.fixed !== undefined
  }

  /** How long an attempt may take before it counts as slow; `undefined` while too little is known. */
  afterMillis(): number | undefined {
    if (this.fixed !== undefined) return this.fixed
    if (this.seenCount < samplesNeeded) return undefined
    if (this.seenCount - this.percentileAt >= staleAfter) {
      this.percentileAt = this.seenCount
      this.percentile = p95(this.samples)
    }
    return this.percentile
  }
}

/** The smallest sample that at least 95 % of all do not exceed. */
export const p95 = (samples: ReadonlyArray<number>): number =>
  [...samples].sort((a, b) => a - b)[Math.ceil(samples.length * 0.95) - 1]!
