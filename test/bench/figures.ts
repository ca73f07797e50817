/**
 * From readings to figures: each scenario's peers take turns, repetition by repetition, so that a slow minute of the
 * machine hits them all; then the readings of one peer, size and unit are folded into one figure.
 */
import { median } from "./measure.ts"
import type { Bound, Figure, Reading, Scenario } from "./scenario.ts"

/** One child to run. */
export interface Job {
  readonly scenario: Scenario
  readonly peer: string
  readonly n: number
  readonly repetition: number
}

/** A scenario's children in the order they run: every repetition starts with another peer. */
export const jobs = (scenario: Scenario): ReadonlyArray<Job> => {
  const peers = Object.keys(scenario.peers)
  return scenario.sizes.flatMap((n) =>
    Array.from(
      { length: scenario.repetitions },
      (_, repetition) =>
        peers.map((_, i): Job => ({ scenario, n, repetition, peer: peers[(i + repetition) % peers.length]! }))
    ).flat()
  )
}

const folds = {
  median,
  max: (values: ReadonlyArray<number>) => Math.max(...values),
  min: (values: ReadonlyArray<number>) => Math.min(...values)
}

// Four digits are more than the noise allows.
const rounded = (value: number): number => Number(value.toPrecision(4))

const foldReadings = (readings: ReadonlyArray<Reading>): Pick<Figure, "value" | "unit" | "ideal"> => {
  const { fold, unit } = readings[0]!
  const ideals = readings.map(({ ideal }) => ideal).filter((ideal) => ideal !== null)
  return {
    value: rounded(folds[fold](readings.map(({ value }) => value))),
    unit,
    ideal: ideals.length === 0 ? null : rounded(median(ideals))
  }
}

/** Folds one peer's readings of one size: one figure per unit. */
export const figures = (
  scenario: string,
  peer: string,
  n: number,
  readings: ReadonlyArray<Reading>
): ReadonlyArray<Figure> =>
  [...Map.groupBy(readings, ({ unit }) => unit).values()].map((ofUnit) => ({
    scenario,
    peer,
    n,
    ...foldReadings(ofUnit)
  }))

/** A bound, what was measured for it, and whether it holds. */
export interface Verdict {
  readonly scenario: string
  readonly bound: Bound
  readonly measured: number | undefined
  readonly met: boolean
}

const holds = (bound: Bound, measured: number | undefined): boolean =>
  measured !== undefined && (bound.compare === "at most" ? measured <= bound.limit : measured >= bound.limit)

/** Asks every bound of a scenario. A bound whose figures are missing is not met. */
export const verdicts = (scenario: Scenario, measured: ReadonlyArray<Figure>): ReadonlyArray<Verdict> =>
  scenario.bounds.map((bound) => {
    const value = bound.measure((peer, n, unit) =>
      measured.find((figure) =>
        figure.scenario === scenario.name && figure.peer === peer && figure.n === n && figure.unit === unit
      )
    )
    return { scenario: scenario.name, bound, measured: value, met: holds(bound, value) }
  })
