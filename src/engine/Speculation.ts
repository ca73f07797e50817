/**
 * Likely calls start before the model asks for them, and are claimed when it does: predict, pre-run, claim. Off unless provided.
 * Never wrong in a way anyone can see: only calls that may be made in vain are started, on room nobody needs; a guess that is
 * not claimed leaves no trace in the results, and one that failed is run afresh.
 */
import type * as Duration from "effect/Duration"

export { Speculation } from "./internal/speculating.ts"

/**
 * How a program speculates.
 *
 * - `confidenceThreshold`: guesses believed less are not started; from 0 to 1, default 0.3.
 * - `maxConcurrent`: guesses at work at once in this process, over all runs; default 4. 0: none is started, and the ledger shows
 *   which would have been right.
 * - `maxPerTurn`: guesses started in one turn; default unlimited.
 * - `budget`: guesses started in any `window` (default 1 minute), over all runs, at most `calls` (default 60). A refusal for the rate
 *   (429) halves it; it recovers as guesses get through again.
 * - `maxAge`: how old a guess may be, from its start, when its call is made; default 10 seconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly confidenceThreshold?: number | undefined
  readonly maxConcurrent?: number | undefined
  readonly maxPerTurn?: number | undefined
  readonly budget?: { readonly calls?: number | undefined; readonly window?: Duration.Input | undefined } | undefined
  readonly maxAge?: Duration.Input | undefined
}
