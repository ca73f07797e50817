import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Predictor, Speculation, ToolPolicy } from "../../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../../src/testing/index.ts"

const { toolkit } = ToolPolicy.define({
  look_up: ToolPolicy.tool({
    parameters: Schema.Struct({ id: Schema.NumberFromString }),
    success: Schema.String,
    annotations: { readonly: true },
    handler: () => Effect.succeed("x")
  })
})

const guess = (id: string) => ({ tool: "look_up", params: { id }, confidence: 0.9 })

const run = (guesses: ReadonlyArray<Predictor.Guess>, wait = 1000) =>
  MockOrchestrator.execute("go").pipe(
    Effect.provide(
      MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge(Layer.mergeAll(
        TestModel.script([[TestModel.wait(wait), ToolCall("look_up", { id: "1" })], "done"]),
        TestTools.layer(toolkit, { look_up: TestTools.succeed("found", { after: 800 }) }),
        Speculation.layer(),
        Predictor.make({ predict: () => Stream.fromIterable(guesses) })
      )))
    )
  )

describe("speculation", () => {
  it.effect("claims a finished guess", () =>
    Effect.gen(function*() {
      const { result, totalDuration } = yield* run([guess("1")])
      assert.strictEqual(result.toolResults[0]?.result, "found")
      assert.strictEqual(Duration.toMillis(totalDuration), 1000)
    }))
  it.effect("joins", () =>
    Effect.gen(function*() {
      const { result, totalDuration } = yield* run([guess("1")], 100)
      assert.strictEqual(Duration.toMillis(totalDuration), 800)
      assert.strictEqual(result.toolResults[0]?.result, "found")
    }))
  it.effect("wrong", () =>
    Effect.gen(function*() {
      const { result, totalDuration } = yield* run([guess("2")], 100)
      assert.strictEqual(Duration.toMillis(totalDuration), 900)
      assert.strictEqual(result.toolResults[0]?.result, "found")
    }))
})
