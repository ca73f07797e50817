/**
 * The fewest decisions with which a run still fails: one of them alone, from the last on, as it is often enough; else halves,
 * quarters, ... are left out as long as it does (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, IEEE TSE
 * 2002), and of what is left two alone. Bounded; the best found so far when it is over.
 */
import * as Effect from "effect/Effect"

export interface Found<D, A> {
  readonly decisions: ReadonlyArray<D>
  readonly run: A
}

/** `attempt`: the run with these decisions where it fails alike, else `undefined`. */
export const simplify = <D, A, E, R>(
  start: Found<D, A>,
  attempt: (decisions: ReadonlyArray<D>) => Effect.Effect<A | undefined, E, R>,
  bounds: {
    readonly mayGoOn: () => boolean
    /** How many are tried alone, and which may be enough. */
    readonly singles: number
    readonly isStop: (decision: D) => boolean
    readonly pairsOf: number
  }
): Effect.Effect<Found<D, A>, E, R> =>
  Effect.gen(function*() {
    const first = (candidates: Iterable<ReadonlyArray<D>>) => firstOf(candidates, attempt, bounds.mayGoOn)
    const stops = start.decisions.filter(bounds.isStop).slice(-bounds.singles).toReversed()
    const single = yield* first(stops.map((decision) => [decision]))
    if (single !== undefined) return single
    const best = yield* halve(start, attempt, bounds.mayGoOn)
    const isShort = best.decisions.length > 2 && best.decisions.length <= bounds.pairsOf
    return (isShort ? yield* first(pairs(best.decisions)) : undefined) ?? best
  })

const firstOf = <D, A, E, R>(
  candidates: Iterable<ReadonlyArray<D>>,
  attempt: (decisions: ReadonlyArray<D>) => Effect.Effect<A | undefined, E, R>,
  mayGoOn: () => boolean
) =>
  Effect.gen(function*() {
    for (const decisions of candidates) {
      if (!mayGoOn()) return undefined
      const run = yield* attempt(decisions)
      if (run !== undefined) return { decisions, run }
    }
    return undefined
  })

const pairs = function*<D>(decisions: ReadonlyArray<D>) {
  for (const [i, one] of decisions.entries()) for (const other of decisions.slice(i + 1)) yield [one, other]
}

const halve = <D, A, E, R>(
  start: Found<D, A>,
  attempt: (decisions: ReadonlyArray<D>) => Effect.Effect<A | undefined, E, R>,
  mayGoOn: () => boolean
) =>
  Effect.gen(function*() {
    let best = start
    let parts = 2
    while (best.decisions.length > 0) {
      const size = Math.ceil(best.decisions.length / parts)
      const isFinest = size === 1
      let isSmaller = false
      for (let from = 0; from < best.decisions.length;) {
        if (!mayGoOn()) return best
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
