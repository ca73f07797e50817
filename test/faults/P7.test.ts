import { assert, describe, it } from "@effect/vitest"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { aiError, call, finish, opened, recording } from "../model.ts"
import type { Chunk } from "../model.ts"
import { statuses } from "../stage.ts"

const setUp = () => {
  const ran: Array<string> = []
  return {
    ran,
    ...ToolPolicy.define({
      save: ToolPolicy.tool({
        parameters: Schema.Struct({ id: Schema.String }),
        success: Schema.String,
        handler: ({ id }) => Effect.sync(() => ran.push(id)).pipe(Effect.as(id))
      })
    })
  }
}

const whole = call("whole", "save", { id: "whole" })
const half = opened("half", "save", "{\"id\":\"ha")

describe("P7: a turn that ends badly", () => {
  const ends: ReadonlyArray<readonly [reason: Response.FinishReason, turns: number, answers: ReadonlyArray<string>]> = [
    ["length", 2, ["whole ok", "half Truncated"]],
    ["other", 2, ["whole ok", "half Truncated"]],
    ["content-filter", 1, ["whole ok"]],
    ["error", 1, ["whole ok"]]
  ]
  it.effect.each(ends)("P7: with %s never runs the call it cut in half", ([reason, turns, answers]) => {
    const { layer, ran, toolkit } = setUp()
    const model = recording([[...whole, ...half, ...finish(reason)]])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(ran, ["whole"])
      assert.deepStrictEqual(statuses(result.toolResults), answers)
      assert.strictEqual(model.requests.length, turns)
      assert.strictEqual(result.steps[0]?.finishReason, reason)
    }).pipe(Effect.provide([layer, model.layer]))
  })

  it.effect("P7: with a half call whose text happens to be whole JSON still does not run it", () => {
    const { layer, ran, toolkit } = setUp()
    const model = recording([[...opened("a", "save", "{\"id\":\"a\"}"), ...finish("length")]])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(ran, [])
      assert.deepStrictEqual(statuses(result.toolResults), ["a Truncated"])
    }).pipe(Effect.provide([layer, model.layer]))
  })

  const breaks: ReadonlyArray<readonly [what: string, chunks: ReadonlyArray<Chunk>]> = [
    ["an error after a whole call", [whole, half, { fail: aiError }]],
    ["an error in the same breath", [[...whole, ...half], { fail: aiError }]]
  ]
  it.effect.each(breaks)("P7: %s is a typed error that names both calls", ([, chunks]) => {
    const { layer, ran, toolkit } = setUp()
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.deepStrictEqual<unknown>(error._tag === "OrchestratorError" ? error.reason : error, {
        _tag: "TurnBroken",
        error: aiError,
        completed: ["whole"],
        incomplete: ["half"]
      })
      assert.deepStrictEqual(ran, ["whole"])
    }).pipe(Effect.provide([layer, recording(chunks).layer]))
  })

  it.effect("P7: an error before anything came is the model's own typed error", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit })), aiError)
    }).pipe(Effect.provide([layer, recording([{ fail: aiError }]).layer]))
  })
})
