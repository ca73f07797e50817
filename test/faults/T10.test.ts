import { assert, describe, it } from "@effect/vitest"
import type * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Executor, Orchestrator, ToolFailure, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { statuses } from "../stage.ts"

/** Two tools that call each other until `left` is used up; without one, for ever. */
const circle = () => {
  let started = 0
  const failures: Array<unknown> = []
  const one = (other: string) =>
    ToolPolicy.tool({
      parameters: Schema.Struct({ left: Schema.optionalKey(Schema.Int) }),
      success: Schema.String,
      failure: Schema.Unknown,
      handler: ({ left }): Effect.Effect<string, unknown> => {
        started++
        if (left === 0) return Effect.succeed("bottom")
        const inner = Executor.call(tools[other]!, left === undefined ? {} : { left: left - 1 })
        return Effect.tapError(inner as Effect.Effect<string, unknown>, (failure) =>
          Effect.sync(() => void failures.push(failure)))
      }
    })
  const { layer, toolkit } = ToolPolicy.define({ ping: one("pong"), pong: one("ping") })
  const tools: Readonly<Record<string, Tool.Any>> = toolkit.tools
  const run = Effect.map(Orchestrator.run({ prompt: "go", toolkit }), ({ toolResults }) => statuses(toolResults))
  return { failures, started: () => started, run, layer }
}

const ping = (params: object = {}) => scripted([ToolCall("ping", params, { id: "a" })])

describe("T10: tools that call each other in a circle", () => {
  it.effect("T10: end in a typed failure that names the chain", () => {
    const { failures, layer, run, started } = circle()
    return Effect.gen(function*() {
      assert.deepStrictEqual(yield* run, ["a Rejected"])
      assert.strictEqual(started(), 16)
      const first = failures[0]
      assert.isTrue(ToolFailure.is(first) && first._tag === "Rejected" && !first.isRetryable)
      assert.include((first as ToolFailure.ToolFailure).message, "more than 16 deep: ping > pong > ping")
    }).pipe(Effect.provide([layer, ping()]))
  })

  it.effect("T10: may go as deep as the setting says", () => {
    const { layer, run, started } = circle()
    return Effect.gen(function*() {
      assert.deepStrictEqual(yield* run, ["a ok"])
      assert.strictEqual(started(), 40)
    }).pipe(Effect.provide([layer, ping({ left: 39 }), Layer.succeed(Executor.MaxDepth, 40)]))
  })
})
