import { assert, describe, it } from "@effect/vitest"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { encoded, scripted } from "../model.ts"

const setUp = () => {
  const got: Array<string> = []
  return {
    got,
    ...ToolPolicy.define({
      echo: ToolPolicy.tool({
        parameters: Schema.Struct({ say: Schema.String }),
        success: Schema.String,
        handler: ({ say }, { toolCallId }) => Effect.sync(() => got.push(`${toolCallId} ${say}`)).pipe(Effect.as(say))
      })
    })
  }
}

type Parts = ReadonlyArray<Response.StreamPartEncoded>

const echo = (id: string, say: string): Parts => encoded(ToolCall("echo", { say }, { id }))

/** Parts dealt out in turn, each call's own order kept. */
const dealt = (...all: ReadonlyArray<Parts>): Parts => {
  const rounds = Math.max(...all.map(({ length }) => length))
  return Array.from({ length: rounds }, (_, i) => all.flatMap((parts) => parts[i] === undefined ? [] : [parts[i]]))
    .flat()
}

const orders: ReadonlyArray<readonly [what: string, parts: Parts, expected: ReadonlyArray<string>]> = [
  ["interleaved fragments", dealt(echo("a", "1"), echo("b", "2"), echo("c", "3")), ["a 1", "b 2", "c 3"]],
  ["calls sealed in the other order", [
    ...echo("a", "1").slice(0, 2),
    ...echo("b", "2"),
    ...echo("a", "1").slice(2)
  ], ["b 2", "a 1"]],
  ["a call that ends twice", [
    ...echo("a", "1").slice(0, 3),
    { type: "tool-params-end", id: "a" },
    ...echo("a", "1").slice(3)
  ], ["a 1"]],
  ["fragments of a call nobody opened", [
    { type: "tool-params-delta", id: "ghost", delta: "{}" },
    { type: "tool-params-end", id: "ghost" },
    ...echo("a", "1")
  ], ["a 1"]],
  ["the seal before the fragments' end", [
    ...echo("a", "1").slice(0, 2),
    ...echo("a", "1").slice(3),
    { type: "tool-params-end", id: "a" }
  ], ["a 1"]]
]

describe("P10: fragments of parallel calls", () => {
  it.effect.each(orders)("P10: %s: each call keeps its own arguments and runs once", ([, parts, expected]) => {
    const { got, layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const seen = yield* Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit }))
      assert.deepStrictEqual(got, expected)
      const answered = seen.flatMap((part) =>
        part.type === "tool-result" ? [`${part.id} ${part.isFailure ? "failed" : part.result}`] : []
      )
      assert.deepStrictEqual(answered, expected)
    }).pipe(Effect.provide([layer, scripted(parts.map((part) => TestModel.chunk(part)))]))
  })

  it.effect("P10: in one chunk or in one chunk a part, the same calls run in the same order", () =>
    Effect.gen(function*() {
      const parts = [
        ...dealt(echo("a", "1"), echo("b", "2"), echo("a", "3"), echo("", "4")),
        ...encoded(TestModel.finish("tool-calls"))
      ]
      const run = (chunks: ReadonlyArray<Parts>) => {
        const { got, layer, toolkit } = setUp()
        return Orchestrator.run({ prompt: "go", toolkit }).pipe(
          Effect.map(({ prompt }) => ({ got, prompt })),
          Effect.provide([layer, scripted(chunks.map((parts) => TestModel.chunk(...parts)))])
        )
      }
      const whole = yield* run([parts])
      for (let size = 1; size < parts.length; size++) {
        const chunks = Array.from(
          { length: Math.ceil(parts.length / size) },
          (_, i) => parts.slice(i * size, (i + 1) * size)
        )
        assert.deepStrictEqual(yield* run(chunks), whole)
      }
      assert.deepStrictEqual(whole.got, ["a 1", "b 2", "a_2 3", "call_1 4"])
    }))
})
