/**
 * The words of the benchmark: a scenario has peers and sizes, each measured in its own process; a child hands back
 * readings, the parent folds the readings of all repetitions into figures, and bounds are questions asked of the
 * figures.
 */

/** What a value counts. Time is wall time. */
export type Unit =
  | "us/call"
  | "ms"
  | "MB"
  | "calls"
  | "calls/s"
  | "calls in 1 s"
  | "starts in 1 s"
  | "calls over"
  | "scripts/call"
  | "% off the mean"
  | "% saved"
  | "hits"
  | "ms late"
  | "ms from the wire"
  | "x"

/** One value from one child process. `ideal`: what nothing could beat, where that is known. */
export interface Reading {
  readonly unit: Unit
  readonly value: number
  readonly ideal: number | null
  /** How readings of several repetitions become one figure. A promise that must always hold takes the worst one. */
  readonly fold: "median" | "max" | "min"
}

/** One value of the report: the readings of every repetition, folded. */
export interface Figure {
  readonly scenario: string
  readonly peer: string
  readonly n: number
  readonly value: number
  readonly unit: Unit
  readonly ideal: number | null
}

/** Finds a figure of the scenario that asks. */
type Find = (peer: string, n: number, unit: Unit) => Figure | undefined

/** A promise about the figures: `measure` is compared with `limit`. */
export interface Bound {
  readonly what: string
  readonly compare: "at most" | "at least"
  readonly limit: number
  readonly unit: Unit
  readonly measure: (find: Find) => number | undefined
}

/** Measures one peer at size `n`, inside a process of its own. */
export type Measure = (n: number) => Promise<ReadonlyArray<Reading>>

/** One thing that is measured, for several peers and sizes. */
export interface Scenario {
  readonly name: string
  readonly about: string
  readonly sizes: ReadonlyArray<number>
  readonly repetitions: number
  readonly peers: Readonly<Record<string, Measure>>
  readonly bounds: ReadonlyArray<Bound>
  /** What the machine lacks for this scenario and how to get it; absent: nothing can be lacking. */
  readonly lacks?: () => string | undefined
}

/** A bound on one figure. */
export const absolute = (
  what: string,
  figure: { readonly peer: string; readonly n: number; readonly unit: Unit },
  compare: Bound["compare"],
  limit: number
): Bound => ({
  what,
  compare,
  limit,
  unit: figure.unit,
  measure: (find) => find(figure.peer, figure.n, figure.unit)?.value
})

/** A bound on how one figure relates to another of the same scenario. */
export const ratio = (
  what: string,
  unit: Unit,
  figure: readonly [peer: string, n: number],
  reference: readonly [peer: string, n: number],
  limit: number
): Bound => ({
  what,
  compare: "at most",
  limit,
  unit: "x",
  measure: (find) => quotient(find(...figure, unit)?.value, find(...reference, unit)?.value)
})

/** A bound on how far a figure is from its own ideal. */
export const toIdeal = (
  what: string,
  figure: { readonly peer: string; readonly n: number; readonly unit: Unit },
  limit: number
): Bound => ({
  what,
  compare: "at most",
  limit,
  unit: "x",
  measure: (find) => {
    const found = find(figure.peer, figure.n, figure.unit)
    return quotient(found?.value, found?.ideal ?? undefined)
  }
})

/** `above / below`, when both are known. */
const quotient = (above: number | undefined, below: number | undefined): number | undefined =>
  above === undefined || below === undefined || below === 0 ? undefined : above / below
