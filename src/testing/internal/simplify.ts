/**
 * The fewest decisions with which a run still fails: halves, quarters, ... of them are left out as long as it does (Zeller,
 * Hildebrandt: Simplifying and Isolating Failure-Inducing Input, IEEE TSE 2002). Bounded; best found so far when it is over.
 */
import * as Effect from "effect/Effect"

export const simplify = <D, A, E, R>(
  start: { readonly decisions: ReadonlyArray<D>; readonly run: A },
  /** The run with these decisions where it fails alike, else `undefined`. */
  attempt: (decisions: ReadonlyArray<D>) => Effect.Effect<A | undefined, E, R>,
  mayGoOn: (attempts: number) => boolean
) =>
  Effect.gen(function*() {
    let best = start
    let parts = 2
    let attempts = 0
    while (best.decisions.length > 0) {
      const size = Math.ceil(best.decisions.length / parts)
      const isFinest = size === 1
      let isSmaller = false
      for (let from = 0; from < best.decisions.length;) {
        if (!mayGoOn(attempts++)) return best
        const decisions = [...best.decisions.slice(0, from), ...best.decisions.slice(from + size)]
        const run = yield* attempt(decisions)
        if (run === undefined) from += size
        else {
          best = { decisions, run }
          isSmaller = true
        }
      }
      if (isFinest && !isSmaller) return best
      parts = isFinest ? best.decisions.length : parts * 2
    }
    return best
  })
