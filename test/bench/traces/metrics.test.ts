import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { type Asked, besidesOf, Figures, figuresOf, type Stated } from "./metrics.ts"

const guess = (tool: string, params: string, confidence: number, ifCalling = confidence): Stated => ({
  tool,
  key: `${tool} ${params}`,
  confidence,
  ifCalling
})

const call = (name: string, params: string) => ({ name, key: `${name} ${params}` })

const turn = (calls: Asked["calls"], guesses: ReadonlyArray<Stated>): Asked => {
  const keys = guesses.slice(0, 2).map(({ key }) => key)
  const above = guesses.slice(0, 2).filter(({ confidence }) => confidence >= 0.05).map(({ key }) => key)
  return { calls, guesses, started: keys, startedAbove: above, writesStarted: 0 }
}

// Four steps and a reply. Right first, right second, right tool with other arguments, nothing guessed; the reply was guessed at twice.
const turns: ReadonlyArray<Asked> = [
  turn([call("get", "1")], [guess("get", "1", 0.85, 0.95), guess("find", "a", 0.1)]),
  turn([call("find", "b")], [guess("get", "2", 0.35, 0.65), guess("find", "b", 0.04, 0.2)]),
  turn([call("get", "4")], [guess("get", "3", 0.45, 0.55)]),
  turn([call("pay", "9")], []),
  turn([], [guess("get", "5", 0.75, 0.95), guess("find", "c", 0.25)])
]

const near = (actual: number, expected: number): void => assert.approximately(actual, expected, 1e-12)

describe("figures of a replay", () => {
  const figures = figuresOf("made", "by hand", turns)
  const besides = besidesOf(turns)

  it("counts first guesses over steps", () => {
    assert.deepStrictEqual([figures.steps, figures.turns], [4, 5])
    near(figures.toolFirst, 2 / 4)
    near(figures.wholeFirst, 1 / 4)
  })

  it("counts started calls over steps, and starts over turns", () => {
    near(figures.anyStarted, 2 / 4)
    near(besides.anyStartedAbove, 1 / 4)
    near(figures.startsPerTurn, 6 / 5)
    near(besides.startsPerTurnAll, 7 / 5)
    near(figures.turnPrecision, 1 / 6)
    near(besides.turnPrecisionAll, 2 / 7)
    assert.strictEqual(figures.maxStartsInATurn, 2)
  })

  it("gates on the confidence given a call, over steps; a reply is no step", () => {
    assert.deepStrictEqual(figures.gated, { threshold: 0.6, precision: 1 / 2, coverage: 2 / 4 })
    assert.deepStrictEqual(figures.curve.map(({ coverage }) => coverage), [
      0.75,
      0.75,
      0.75,
      0.75,
      0.75,
      0.5,
      0.25,
      0.25,
      0.25
    ])
    assert.deepStrictEqual(figures.curve.at(-1), { threshold: 0.9, precision: 1, coverage: 1 / 4 })
    near(besides.gatedOverTurns, 1 / 3)
    assert.deepStrictEqual(besides.gatedOnTurn, { threshold: 0.6, precision: 1, coverage: 1 / 4 })
    assert.deepStrictEqual(besides.atThird, { threshold: 0.65, precision: 1 / 2, coverage: 2 / 4 })
  })

  it("measures calibration over turns, where a reply makes every guess wrong", () => {
    // Bins of 0 (the turn without a guess), 0.35, 0.45, 0.75 and 0.85: one turn each.
    near(figures.ece, (0 + 0.35 + 0.45 + 0.75 + 0.15) / 5)
    // Of 0 (nothing guessed), 0.55, 0.65, 0.95.
    near(besides.eceIfCalling, (0 + 0.55 + 0.65 + 0.05) / 4)
  })

  it("lets what is stated too high and too low in one bin cancel out", () => {
    const pair = [turn([call("get", "1")], [guess("get", "1", 0.5)]), turn([], [guess("get", "1", 0.52)])]
    near(figuresOf("made", "by hand", pair).ece, 0.02 / 2)
  })

  it("keeps what is stated 0.06 apart in bins of its own", () => {
    const pair = [turn([call("get", "1")], [guess("get", "1", 0.15)]), turn([], [guess("get", "1", 0.21)])]
    near(figuresOf("made", "by hand", pair).ece, (0.85 + 0.21) / 2)
  })

  it("counts each call of a turn as a step", () => {
    const both = [turn([call("get", "1"), call("find", "a")], [guess("get", "1", 0.9), guess("find", "a", 0.8)])]
    const { anyStarted, steps, toolFirst, turnPrecision } = figuresOf("made", "by hand", both)
    assert.deepStrictEqual([steps, toolFirst, anyStarted, turnPrecision], [2, 0.5, 1, 1])
  })

  it("sums up the writes that were started", () => {
    assert.strictEqual(
      figuresOf("made", "by hand", turns.map((turn) => ({ ...turn, writesStarted: 1 }))).writesStarted,
      5
    )
  })

  it("is finite also where nothing happened", () => {
    const empty = figuresOf("made", "by hand", [])
    assert.deepStrictEqual(Schema.decodeUnknownSync(Figures)(JSON.parse(JSON.stringify(empty))), empty)
    assert.deepStrictEqual([empty.wholeFirst, empty.turnPrecision, empty.ece], [0, 0, 0])
  })
})
