/** The figures as tables for a person. */
import type { Timed } from "./contest.ts"
import type { Asked, Besides, Figures, Point } from "./metrics.ts"
import { besidesOf, figuresOf } from "./metrics.ts"

/** What one predictor did on one set: all folds together, and each. */
export interface Result {
  readonly predictor: string
  readonly folds: ReadonlyArray<{ readonly name: string; readonly turns: ReadonlyArray<Asked> }>
  readonly differences: ReadonlyArray<string>
}

export interface TimeRow extends Timed {
  readonly toolSeconds: number
}

const all = ({ folds }: Result): ReadonlyArray<Asked> => folds.flatMap(({ turns }) => turns)

/** The line of `--json`. */
export const lineOf = (set: string, result: Result): Figures => figuresOf(set, result.predictor, all(result))

const number = (value: number): string => value.toFixed(3)

const point = ({ coverage, precision }: Point): string => `${number(precision)} at ${number(coverage)}`

type Row = readonly [name: string, of: (figures: Figures, besides: Besides) => string]

const rows: ReadonlyArray<Row> = [
  ["steps / turns", ({ steps, turns }) => `${steps} / ${turns}`],
  ["first guess: tool right, of steps", ({ toolFirst }) => number(toolFirst)],
  ["first guess: whole call right, of steps", ({ wholeFirst }) => number(wholeFirst)],
  ["a started guess is the call, of steps", ({ anyStarted }) => number(anyStarted)],
  ["  where starts below 0.05 are not made", (_, { anyStartedAbove }) => number(anyStartedAbove)],
  ["starts a turn, none below 0.05", ({ startsPerTurn }) => number(startsPerTurn)],
  ["  with those below 0.05", (_, { startsPerTurnAll }) => number(startsPerTurnAll)],
  ["most starts in a turn", ({ maxStartsInATurn }) => String(maxStartsInATurn)],
  ["starts that were right, none below 0.05", ({ turnPrecision }) => number(turnPrecision)],
  ["  with those below 0.05", (_, { turnPrecisionAll }) => number(turnPrecisionAll)],
  ["ifCalling >= 0.6, of steps: precision at coverage", ({ gated }) => point(gated)],
  ["  precision over turns, a reply is a miss", (_, { gatedOverTurns }) => number(gatedOverTurns)],
  ["  the likeliest third of the steps instead", (_, { atThird }) => point(atThird)],
  ["    where ifCalling is at least", (_, { atThird }) => number(atThird.threshold)],
  ["  confidence >= 0.6 instead", (_, { gatedOnTurn }) => point(gatedOnTurn)],
  ["calibration error of confidence, over turns", ({ ece }) => number(ece)],
  ["  of ifCalling, over turns that call", (_, { eceIfCalling }) => number(eceIfCalling)],
  ["writes started", ({ writesStarted }) => String(writesStarted)]
]

/** Lines with every column as wide as its widest cell; the first is to the left. */
const aligned = (lines: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  return lines.map((line) =>
    line.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join("  ")
      .trimEnd()
  )
}

/** All predictors of a set side by side: all folds together, then each. */
export const figureTable = (set: string, results: ReadonlyArray<Result>): string => {
  const columns = results.flatMap((result) => [
    { title: result.predictor, turns: all(result) },
    ...(result.folds.length > 1
      ? result.folds.map(({ turns }, index) => ({ title: `(${index + 1})`, turns }))
      : [])
  ])
  const measured = columns.map(({ title, turns }) => [figuresOf(set, title, turns), besidesOf(turns)] as const)
  const lines = [
    [set, ...columns.map(({ title }) => title)],
    ...rows.map(([name, of]) => [name, ...measured.map(([figures, besides]) => of(figures, besides))])
  ]
  return aligned(lines).join("\n")
}

/** Precision at coverage of each predictor as the gate rises. */
export const curveTable = (set: string, results: ReadonlyArray<Result>): string => {
  const curves = results.map((result) => lineOf(set, result).curve)
  const lines = [
    ["gate on ifCalling: precision at coverage", ...results.map(({ predictor }) => predictor)],
    ...(curves[0] ?? []).map(({ threshold }, index) => [
      `  >= ${threshold.toFixed(1)}`,
      ...curves.map((curve) => point(curve[index]!))
    ])
  ]
  return aligned(lines).join("\n")
}

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** What speculation saved of what its hits allow. */
export const share = ({ bound, with: guessing, without }: Timed): number =>
  bound === 0 ? 1 : (without - guessing) / bound

export const timeTable = (predictor: string, from: string, rows: ReadonlyArray<TimeRow>): string =>
  aligned([
    [`time with ${predictor}`, "hits", "without", "with", "saved", "bound", "saved / bound"],
    ...rows.map((row) => [
      `  tools of ${row.toolSeconds} s`,
      String(row.hits),
      seconds(row.without),
      seconds(row.with),
      `${seconds(row.without - row.with)} (${
        (100 * (row.without - row.with) / Math.max(1, row.without)).toFixed(1)
      } %)`,
      seconds(row.bound),
      `${(100 * share(row)).toFixed(1)} %${share(row) >= 0.9 ? "" : " BELOW 90 %"}`
    ])
  ]).join("\n") + `\n  (${from})`
