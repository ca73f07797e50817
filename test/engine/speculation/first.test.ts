/** What speculation is for, in the smallest program: when a turn ends with a guess and without. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Predictor, Retry, Speculation, ToolPolicy } from "../../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../../src/testing/index.ts"

const { toolkit } = ToolPolicy.define({
  look_up: ToolPolicy.tool({
    parameters: Schema.Struct({ id: Schema.NumberFromString }),
    success: Schema.String,
    failure: Schema.Struct({ status: Schema.Int }),
    annotations: { readonly: true },
    handler: () => Effect.succeed("x")
  })
})

const guess = (id: string) => ({ tool: "look_up", params: { id }, confidence: 0.9 })

const tools = TestTools.layer(toolkit, { look_up: TestTools.succeed("found", { after: 800 }) })

const run = (
  guesses: ReadonlyArray<Predictor.Guess>,
  wait: number,
  handlers: Layer.Layer<Layer.Success<typeof tools>> = tools,
  policies: Layer.Layer<Speculation.Speculation | Retry.Retry> = Speculation.layer() as never
) =>
  MockOrchestrator.execute("go").pipe(
    Effect.provide(
      MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge(Layer.mergeAll(
        TestModel.script([[TestModel.wait(wait), ToolCall("look_up", { id: "1" })], "done"]),
        handlers,
        policies,
        Predictor.make({ predict: () => Stream.fromIterable(guesses) })
      )))
    )
  )

describe("a turn whose call was foreseen", () => {
  it.effect("takes as long as the model, where the guess has ended", () =>
    Effect.gen(function*() {
      const { result, totalDuration } = yield* run([guess("1")], 1000)
      assert.strictEqual(result.toolResults[0]?.result, "found")
      assert.strictEqual(Duration.toMillis(totalDuration), 1000)
    }))

  it.effect("takes as long as the tool, where the guess still runs", () =>
    Effect.gen(function*() {
      const { result, totalDuration } = yield* run([guess("1")], 100)
      assert.strictEqual(result.toolResults[0]?.result, "found")
      assert.strictEqual(Duration.toMillis(totalDuration), 800)
    }))

  it.effect("takes both, where the guess was another", () =>
    Effect.gen(function*() {
      const { result, totalDuration } = yield* run([guess("2")], 100)
      assert.strictEqual(result.toolResults[0]?.result, "found")
      assert.strictEqual(Duration.toMillis(totalDuration), 900)
    }))
})

describe("a call that fails, with nobody who foresees", () => {
  const failing = TestTools.layer(toolkit, { look_up: TestTools.fail({ status: 404 }, { after: 400 }) })

  it.effect("is made once, as without speculation: its own arguments were no guess", () =>
    Effect.gen(function*() {
      const { calls, result, totalDuration } = yield* run([], 100, failing)
      assert.deepEqual(result.toolResults[0]?.result, { status: 404 })
      assert.strictEqual(result.toolResults[0]?.isFailure, true)
      assert.strictEqual(Duration.toMillis(totalDuration), 500)
      assert.strictEqual(calls.length, 1)
      assert.strictEqual(result.report.calls[0]?.status, "failure")
    }))

  it.effect("has all its attempts where it is tried again", () =>
    Effect.gen(function*() {
      const passing = TestTools.layer(toolkit, {
        look_up: (_: unknown, nth: number) =>
          nth < 3 ? TestTools.fail({ status: 503 }, { after: 400 }) : TestTools.succeed("found", { after: 400 })
      })
      const policies = Layer.mergeAll(Speculation.layer(), Retry.layer({ attempts: 2, base: "1 millis" }))
      const { result } = yield* run([], 100, passing, policies)
      assert.strictEqual(result.toolResults[0]?.result, "found")
    }))
})
