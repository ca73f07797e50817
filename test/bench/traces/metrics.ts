/**
 * The figures of a replay, from what stood before each turn: what was guessed and started, and what the turn then did. Pure.
 *
 * A step is a recorded call, a turn any turn of the model, replies included. Where nothing is divided by nothing the figure is 0.
 */
import * as Schema from "effect/Schema"

/** A guess as it was stated. `key` is equal for equal calls. */
export interface Stated {
  readonly tool: string
  readonly key: string
  readonly confidence: number
  readonly ifCalling: number
}

export interface Asked {
  /** What the turn did; nothing where it was a reply. */
  readonly calls: ReadonlyArray<{ readonly name: string; readonly key: string }>
  /** The likeliest first. */
  readonly guesses: ReadonlyArray<Stated>
  /** What the engine started before the turn, whatever its confidence. */
  readonly started: ReadonlyArray<string>
  /** What it started where starts below 0.05 are not made. */
  readonly startedAbove: ReadonlyArray<string>
  readonly writesStarted: number
}

const Point = Schema.Struct({ threshold: Schema.Finite, precision: Schema.Finite, coverage: Schema.Finite })
export type Point = typeof Point.Type

/** One line of `--json`. */
export const Figures = Schema.Struct({
  set: Schema.String,
  predictor: Schema.String,
  steps: Schema.Int,
  turns: Schema.Int,
  toolFirst: Schema.Finite,
  wholeFirst: Schema.Finite,
  anyStarted: Schema.Finite,
  startsPerTurn: Schema.Finite,
  maxStartsInATurn: Schema.Int,
  turnPrecision: Schema.Finite,
  gated: Point,
  curve: Schema.Array(Point),
  writesStarted: Schema.Int,
  ece: Schema.Finite
})
export type Figures = typeof Figures.Type

/** The other readings of the same words, so that nothing is hidden. */
export interface Besides {
  /** As `anyStarted`, where starts below 0.05 are not made. */
  readonly anyStartedAbove: number
  /** As `startsPerTurn` and `turnPrecision`, with starts below 0.05. */
  readonly startsPerTurnAll: number
  readonly turnPrecisionAll: number
  /** As `gated`, on the confidence over all turns. */
  readonly gatedOnTurn: Point
  /** Of the turns that `gated` lets through, how many are right where a reply is wrong. */
  readonly gatedOverTurns: number
  /** The precision at a third of the steps, the likeliest first, whatever their confidence. */
  readonly atThird: Point
  /** As `ece`, of `ifCalling` over the turns that call. */
  readonly eceIfCalling: number
}

export const gate = 0.6

const thresholds = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]

const share = (part: number, whole: number): number => whole === 0 ? 0 : part / whole

const total = <A>(items: ReadonlyArray<A>, of: (item: A) => number): number =>
  items.reduce((sum, item) => sum + of(item), 0)

type Confidence = "confidence" | "ifCalling"

/** A step and the guess that came first before its turn. */
interface Step {
  readonly top: Stated | undefined
  readonly name: string
  readonly key: string
}

const stepsOf = (turns: ReadonlyArray<Asked>): ReadonlyArray<Step> =>
  turns.flatMap(({ calls, guesses: [top] }) => calls.map(({ key, name }) => ({ top, name, key })))

const isRight = ({ key, top }: Step): boolean => top?.key === key

const pointOf = (steps: ReadonlyArray<Step>, passed: ReadonlyArray<Step>, threshold: number): Point => ({
  threshold,
  precision: share(passed.filter(isRight).length, passed.length),
  coverage: share(passed.length, steps.length)
})

const pointAt = (steps: ReadonlyArray<Step>, on: Confidence, threshold: number): Point =>
  pointOf(steps, steps.filter(({ top }) => top !== undefined && top[on] >= threshold), threshold)

const third = (steps: ReadonlyArray<Step>): Point => {
  const sorted = steps.filter(({ top }) => top !== undefined).sort((a, b) => b.top!.ifCalling - a.top!.ifCalling)
  const passed = sorted.slice(0, Math.ceil(steps.length / 3))
  return pointOf(steps, passed, passed.at(-1)?.top?.ifCalling ?? 0)
}

/** The expected calibration error in 10 bins of equal width: how far what was stated is from what came, on average. */
const calibration = (
  stated: ReadonlyArray<{ readonly confidence: number; readonly right: boolean }>
): number => {
  const bins = Array.from({ length: 10 }, () => ({ stated: 0, right: 0 }))
  for (const { confidence, right } of stated) {
    const bin = bins[Math.max(0, Math.min(9, Math.floor(confidence * 10)))]!
    bin.stated += confidence
    bin.right += right ? 1 : 0
  }
  return share(total(bins, ({ right, stated }) => Math.abs(stated - right)), stated.length)
}

const calls = (turn: Asked, key: string | undefined): boolean => turn.calls.some((call) => call.key === key)

const topOf = (turn: Asked, on: Confidence) => ({
  confidence: turn.guesses[0]?.[on] ?? 0,
  right: turn.guesses.length > 0 && calls(turn, turn.guesses[0]?.key)
})

type Starts = "started" | "startedAbove"

const anyOf = (turns: ReadonlyArray<Asked>, steps: number, which: Starts): number =>
  share(total(turns, (turn) => turn.calls.filter(({ key }) => turn[which].includes(key)).length), steps)

const precisionOf = (turns: ReadonlyArray<Asked>, which: Starts): number =>
  share(
    total(turns, (turn) => turn[which].filter((key) => calls(turn, key)).length),
    total(turns, (turn) => turn[which].length)
  )

const startsPerTurn = (turns: ReadonlyArray<Asked>, which: Starts): number =>
  share(total(turns, (turn) => turn[which].length), turns.length)

export const figuresOf = (set: string, predictor: string, turns: ReadonlyArray<Asked>): Figures => {
  const steps = stepsOf(turns)
  return {
    set,
    predictor,
    steps: steps.length,
    turns: turns.length,
    toolFirst: share(steps.filter(({ name, top }) => top?.tool === name).length, steps.length),
    wholeFirst: share(steps.filter(isRight).length, steps.length),
    anyStarted: anyOf(turns, steps.length, "started"),
    startsPerTurn: startsPerTurn(turns, "startedAbove"),
    maxStartsInATurn: turns.reduce(
      (most, { started, startedAbove }) => Math.max(most, started.length, startedAbove.length),
      0
    ),
    turnPrecision: precisionOf(turns, "startedAbove"),
    gated: pointAt(steps, "ifCalling", gate),
    curve: thresholds.map((threshold) => pointAt(steps, "ifCalling", threshold)),
    writesStarted: total(turns, ({ writesStarted }) => writesStarted),
    ece: calibration(turns.map((turn) => topOf(turn, "confidence")))
  }
}

export const besidesOf = (turns: ReadonlyArray<Asked>): Besides => {
  const steps = stepsOf(turns)
  const passed = turns.map((turn) => topOf(turn, "ifCalling")).filter(({ confidence }) => confidence >= gate)
  return {
    anyStartedAbove: anyOf(turns, steps.length, "startedAbove"),
    startsPerTurnAll: startsPerTurn(turns, "started"),
    turnPrecisionAll: precisionOf(turns, "started"),
    gatedOnTurn: pointAt(steps, "confidence", gate),
    gatedOverTurns: share(passed.filter(({ right }) => right).length, passed.length),
    atThird: third(steps),
    eceIfCalling: calibration(
      turns.filter((turn) => turn.calls.length > 0).map((turn) => topOf(turn, "ifCalling"))
    )
  }
}
