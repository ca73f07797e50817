/** The options of speculation, given and from the environment. */
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { settings } from "../../../src/engine/internal/speculationSettings.ts"
import { Speculation } from "../../../src/index.ts"

const given = <A, E, R>(read: Effect.Effect<A, E, R>, env: Record<string, string>) =>
  Effect.provideService(read, ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))

describe("Speculation.layer", () => {
  it("has the documented defaults", () => {
    const defaults = {
      confidenceThreshold: 0.3,
      maxConcurrent: 4,
      maxPerTurn: Infinity,
      budget: { calls: 60, windowMillis: 60_000 },
      maxAgeMillis: 10_000
    }
    assert.deepStrictEqual(settings({}), defaults)
    assert.deepStrictEqual(settings({ budget: {}, maxAge: undefined }), defaults)
  })

  it("takes the ends of each range", () => {
    const least = {
      confidenceThreshold: 0,
      maxConcurrent: 0,
      maxPerTurn: 0,
      budget: { calls: 0, window: 1 },
      maxAge: 1
    }
    assert.deepStrictEqual(settings(least), {
      confidenceThreshold: 0,
      maxConcurrent: 0,
      maxPerTurn: 0,
      budget: { calls: 0, windowMillis: 1 },
      maxAgeMillis: 1
    })
    const most = settings({ confidenceThreshold: 1, maxConcurrent: Infinity, maxAge: "Infinity" })
    assert.deepStrictEqual([most.confidenceThreshold, most.maxConcurrent, most.maxAgeMillis], [1, Infinity, Infinity])
  })

  it.each<readonly [string, unknown, string]>([
    ["confidenceThreshold", 1.01, "confidenceThreshold is 1.01; it must be a number from 0 to 1"],
    ["confidenceThreshold", -0.1, "confidenceThreshold is -0.1"],
    ["confidenceThreshold", Number.NaN, "confidenceThreshold is NaN"],
    ["confidenceThreshold", "0.5", "confidenceThreshold is 0.5"],
    ["maxConcurrent", 1.5, "maxConcurrent is 1.5; it must be an integer of at least 0"],
    ["maxConcurrent", -1, "maxConcurrent is -1"],
    ["maxConcurrent", null, "maxConcurrent is null"],
    ["maxPerTurn", Number.NaN, "maxPerTurn is NaN"],
    ["maxAge", "soon", "maxAge is soon; it must be a duration above 0"],
    ["maxAge", -1, "maxAge is -1"],
    ["maxAge", Number.NaN, "maxAge is NaN"],
    ["budget", 60, "budget is 60; it must be an object of options"],
    ["budget", null, "budget is null; it must be an object of options"],
    ["budget", { calls: 1.5 }, "budget.calls is 1.5; it must be an integer of at least 0"],
    ["budget", { calls: Infinity }, "budget.calls is Infinity"],
    ["budget", { window: 0 }, "budget.window is 0; it must be a finite duration above 0"],
    ["budget", { window: "Infinity" }, "budget.window is Infinity"],
    ["budget", { per: 60 }, "budget's option is per; it must be one of calls, window"],
    ["threshold", 0.5, "an option is threshold; it must be one of confidenceThreshold"]
  ])("dies where it is made, naming what makes no sense: %s %j", (name, value, message) => {
    assert.throws(() => Speculation.layer({ [name]: value }), RangeError, `Speculation.layer: ${message}`)
  })
})

describe("Speculation.optionsConfig", () => {
  it.effect("reads every setting, and leaves alone what is not its own", () =>
    Effect.gen(function*() {
      const options = yield* given(Speculation.optionsConfig, {
        PATH: "/bin",
        TOOLFORMER_RETRY_ATTEMPTS: "5",
        TOOLFORMER_SPECULATION_CONFIDENCE_THRESHOLD: "0.5",
        TOOLFORMER_SPECULATION_MAX_CONCURRENT: "2",
        TOOLFORMER_SPECULATION_MAX_PER_TURN: "1",
        TOOLFORMER_SPECULATION_BUDGET_CALLS: "10",
        TOOLFORMER_SPECULATION_BUDGET_WINDOW: "30 seconds",
        TOOLFORMER_SPECULATION_MAX_AGE: "5 seconds"
      })
      assert.deepStrictEqual(options, {
        confidenceThreshold: 0.5,
        maxConcurrent: 2,
        maxPerTurn: 1,
        budget: { calls: 10, window: Duration.seconds(30) },
        maxAge: Duration.seconds(5)
      })
    }))

  it.effect("of nothing are the defaults", () =>
    Effect.map(given(Speculation.optionsConfig, {}), (options) => {
      assert.deepStrictEqual(settings(options), settings({}))
    }))

  it.effect("makes a layer, which fails with the name of what makes no sense", () =>
    Effect.gen(function*() {
      const ledger = Effect.provide(Speculation.ledger, Speculation.layerConfig)
      assert.deepStrictEqual(yield* given(ledger, {}), { entries: [], predictors: [] })
      const error = yield* Effect.flip(given(ledger, { TOOLFORMER_SPECULATION_MAX_AGE: "soon" }))
      assert.include(error.message, "TOOLFORMER_SPECULATION_MAX_AGE")
    }))

  const wrong: ReadonlyArray<readonly [string, string, ReadonlyArray<string>]> = [
    ["_MAX_CONCURENT", "5", ["MAX_CONCURENT", "no such setting", "TOOLFORMER_SPECULATION_MAX_CONCURRENT"]],
    ["_BUDGET", "5", ["TOOLFORMER_SPECULATION_BUDGET:", "no such setting"]],
    ["", "on", ["TOOLFORMER_SPECULATION:", "no such setting"]],
    ["_CONFIDENCE_THRESHOLD", "2", ["\"2\"", "a number from 0 to 1"]],
    ["_CONFIDENCE_THRESHOLD", " ", ["\" \""]],
    ["_MAX_CONCURRENT", "-1", ["\"-1\"", "an integer of at least 0"]],
    ["_MAX_PER_TURN", "few", ["\"few\"", "or Infinity"]],
    ["_BUDGET_CALLS", "1.5", ["\"1.5\"", "an integer of at least 0"]],
    ["_BUDGET_WINDOW", "0 seconds", ["a finite duration above 0"]],
    ["_MAX_AGE", "long", ["long", "a duration of at least 0"]]
  ]
  it.effect.each(wrong)(
    "names the variable and what is wrong with it: TOOLFORMER_SPECULATION%s=%j",
    ([name, value, parts]) =>
      Effect.gen(function*() {
        const variable = `TOOLFORMER_SPECULATION${name}`
        const error = yield* Effect.flip(given(Speculation.optionsConfig, { [variable]: value }))
        for (const part of [variable, ...parts]) assert.include(error.message, part)
      })
  )
})
