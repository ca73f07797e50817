/**
 * Calling handlers directly (decision 0002) must look to a handler, and to the model, as stock `Toolkit.handle` does.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Orchestrator } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"

class AtBuild extends Context.Service<AtBuild, string>()("test/AtBuild") {}
const Setting = Context.Reference<string>("test/Setting", { defaultValue: () => "default" })

const Echo = Tool.make("echo", {
  parameters: Schema.Struct({ n: Schema.NumberFromString, tag: Schema.optionalKey(Schema.String) }),
  success: Schema.Struct({
    n: Schema.Finite,
    built: Schema.String,
    setting: Schema.String,
    id: Schema.optionalKey(Schema.String)
  }),
  failure: Schema.Struct({ why: Schema.String }),
  failureMode: "return"
})
const Same = Tool.make("same", { success: Schema.Array(Schema.String) })
const toolkit = Toolkit.make(Echo, Same)

const layer = toolkit.toLayer(Effect.gen(function*() {
  const built = yield* AtBuild
  return toolkit.of({
    echo: Effect.fnUntraced(function*({ n }, context) {
      const setting = yield* Setting
      if (n < 0) return yield* Effect.fail({ why: `no ${n}` })
      return { n, built, setting, ...(context.toolCallId === undefined ? undefined : { id: context.toolCallId }) }
    }),
    same: () => Effect.succeed(["a", "b"])
  })
})).pipe(Layer.provide(Layer.succeed(AtBuild, "at build")))

const cases: ReadonlyArray<readonly [name: "echo" | "same", params: object]> = [
  ["echo", { n: "1" }],
  ["echo", { n: "2", tag: "x", extra: true }],
  ["echo", { n: "-1" }],
  ["same", {}]
]

describe("calling handlers directly", () => {
  it.effect("gives what Toolkit.handle gives: decoded parameters, context, results and typed failures", () =>
    Effect.gen(function*() {
      const stock = yield* toolkit
      const expected = yield* Effect.forEach(cases, ([name, params], i) =>
        Effect.map(
          Stream.runCollect(Stream.unwrap(stock.handle(name, params as never, `c${i}`))),
          (results) => results.at(-1)!
        ))
      const { toolResults } = yield* Effect.provide(
        Orchestrator.run({ prompt: "go", toolkit }),
        scripted(cases.map(([name, params], i) => ToolCall(name, params, { id: `c${i}` })), "ok")
      )
      assert.deepStrictEqual(
        toolResults.map(({ encodedResult, isFailure, result }): unknown => ({ encodedResult, isFailure, result })),
        expected.map(({ encodedResult, isFailure, result }): unknown => ({ encodedResult, isFailure, result }))
      )
    }).pipe(Effect.provide(layer), Effect.provideService(Setting, "the caller's")))
})
