/** A program that speculates: where its predictor is found, what its runs share, and how it ends. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { SpeculationReport } from "../../../src/domain/Report.ts"
import { Orchestrator, Predictor, Speculation, ToolPolicy } from "../../../src/index.ts"
import { TestModel, ToolCall } from "../../../src/testing/index.ts"

const { layer: handlers, toolkit } = ToolPolicy.define({
  weather: ToolPolicy.tool({
    parameters: Schema.Struct({ city: Schema.String }),
    success: Schema.String,
    annotations: { readonly: true },
    handler: ({ city }) => Effect.as(Effect.sleep("500 millis"), `sunny in ${city}`)
  })
})

/** The model takes a second to ask for Rome, and then answers. */
const model = () =>
  TestModel.script([[TestModel.wait("1 second"), ToolCall("weather", { city: "Rome" })], "It is sunny."])

const run = Effect.suspend(() =>
  Orchestrator.run({ prompt: "How is Rome?", toolkit }).pipe(Effect.provide(Layer.merge(handlers, model())))
)

/** The same, on until nothing of it waits for time. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust("1 minute")
    return yield* Fiber.join(fiber)
  })

const foresees = (city: string, name = "custom", learn?: Predictor.Options["learn"]) =>
  Predictor.make({
    name,
    predict: ({ step }) =>
      step === 1 ? Stream.make({ tool: "weather", params: { city }, confidence: 0.9 }) : Stream.empty,
    learn
  })

/** What came of what the predictor said; what the engine reads off unfinished arguments has entries of its own. */
const foreseen = (report: SpeculationReport | undefined) =>
  report?.entries.filter(({ predictor }) => predictor !== "arguments")

describe("Speculation.layer", () => {
  const places = {
    "in the context of the run": Layer.merge(Speculation.layer(), foresees("Rome")),
    "in the context it is built in": Layer.provide(Speculation.layer(), foresees("Rome")),
    "in that of the run, rather than in its own": Layer.merge(
      Layer.provide(Speculation.layer(), foresees("Oslo")),
      foresees("Rome")
    )
  }
  for (const [place, layer] of Object.entries(places)) {
    it.effect(`finds its predictor ${place}`, () =>
      Effect.gen(function*() {
        const { report, toolResults } = yield* inTime(Effect.provide(run, layer))
        assert.deepStrictEqual(toolResults.map(({ result }) => result), ["sunny in Rome"])
        assert.deepStrictEqual(foreseen(report.speculation)?.map(({ hit, started }) => [started, hit]), [[1, 1]])
        assert.strictEqual(report.totalMillis, 1000)
      }))
  }

  it.effect("needs no predictor, and then guesses nothing that the model has not written", () =>
    Effect.gen(function*() {
      const { report, toolResults } = yield* inTime(Effect.provide(run, Speculation.layer()))
      assert.deepStrictEqual(toolResults.map(({ result }) => result), ["sunny in Rome"])
      assert.deepStrictEqual(foreseen(report.speculation), [])
      assert.strictEqual(report.totalMillis, 1500)
    }))

  it.effect("leaves a program without it as it is", () =>
    Effect.gen(function*() {
      const { report } = yield* inTime(Effect.provide(run, foresees("Rome")))
      assert.notProperty(report, "speculation")
      assert.strictEqual(report.totalMillis, 1500)
    }))

  it.effect("has one ledger for all runs, and one for each", () =>
    Effect.gen(function*() {
      const all = Effect.gen(function*() {
        const first = yield* run
        const second = yield* Effect.provide(run, foresees("Oslo"))
        return { runs: [first.report.speculation, second.report.speculation], all: yield* Speculation.ledger }
      })
      const told = yield* inTime(Effect.provide(all, Layer.merge(Speculation.layer(), foresees("Rome"))))
      const counts = (report: SpeculationReport | undefined) =>
        foreseen(report)?.map(({ hit, miss, started }) => ({ started, hit, miss }))
      assert.deepStrictEqual(told.runs.map(counts), [[{ started: 1, hit: 1, miss: 0 }], [{
        started: 1,
        hit: 0,
        miss: 1
      }]])
      assert.deepStrictEqual(counts(told.all), [{ started: 2, hit: 1, miss: 1 }])
    }))

  it.effect("holds its options: a threshold, no places, nothing a turn, no budget", () =>
    Effect.gen(function*() {
      const options: ReadonlyArray<Speculation.Options> = [
        { confidenceThreshold: 0.95 },
        { maxConcurrent: 0 },
        { maxPerTurn: 0 },
        { budget: { calls: 0 } }
      ]
      for (const each of options) {
        const layer = Layer.merge(Speculation.layer(each), foresees("Rome"))
        const { report } = yield* inTime(Effect.provide(run, layer))
        const entries = foreseen(report.speculation)?.map(({ passed, right, started }) => ({ started, passed, right }))
        assert.deepStrictEqual(entries, [{ started: 0, passed: 1, right: 1 }], JSON.stringify(each))
      }
    }))

  it.effect("does not claim what is older than maxAge", () =>
    Effect.gen(function*() {
      const layer = Layer.merge(Speculation.layer({ maxAge: "900 millis" }), foresees("Rome"))
      const { report } = yield* inTime(Effect.provide(run, layer))
      assert.deepStrictEqual(foreseen(report.speculation)?.map(({ hit, miss }) => [hit, miss]), [[0, 1]])
      assert.strictEqual(report.totalMillis, 1500)
    }))

  it.effect("lets predictors learn after the run, holds up nobody, and learns on at its end", () =>
    Effect.gen(function*() {
      const learned: Array<string> = []
      const slow = foresees(
        "Rome",
        "slow",
        ({ runId }) => Effect.andThen(Effect.sleep("3 seconds"), Effect.sync(() => void learned.push(runId)))
      )
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Layer.merge(Speculation.layer(), slow), scope)
      const fiber = yield* Effect.forkChild(Effect.provide(run, context))
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(learned, [])
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(closing)
      assert.lengthOf(learned, 1)
    }))

  it.effect("is harmed by no predictor that dies or hangs while it learns, and ends in time", () =>
    Effect.gen(function*() {
      const ways: ReadonlyArray<Effect.Effect<void, unknown>> = [
        Effect.fail("no store"),
        Effect.die("bug"),
        Effect.never,
        Effect.uninterruptible(Effect.never)
      ]
      for (const learn of ways) {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(
          Layer.merge(Speculation.layer(), foresees("Rome", "broken", () => learn)),
          scope
        )
        const { report } = yield* inTime(Effect.provide(run, context))
        assert.strictEqual(report.totalMillis, 1000)
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(Exit.isSuccess(closing.pollUnsafe()!))
      }
    }))
})
