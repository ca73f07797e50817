import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Executor, Orchestrator, ToolFailure, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"

const trap = (): never => {
  throw new Error("do not look")
}

/** Values that throw when they are looked at. */
const hostile: Readonly<Record<string, () => unknown>> = {
  "a proxy that refuses its keys": () => new Proxy({}, { ownKeys: trap }),
  "a proxy that refuses its values": () => new Proxy({ a: 1 }, { get: trap }),
  "a revoked proxy": () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  },
  "a throwing getter": () => Object.defineProperty({}, "a", { get: trap, enumerable: true }),
  "200,000 levels": () => {
    let value: unknown = {}
    for (let i = 0; i < 200_000; i++) value = { a: value }
    return value
  }
}

const schemas = {
  Unknown: Schema.Unknown,
  Struct: Schema.Struct({ a: Schema.Finite }),
  Record: Schema.Record(Schema.String, Schema.Unknown),
  Array: Schema.Array(Schema.Unknown)
}

describe("T7: values that throw when they are looked at", () => {
  for (const [name, schema] of Object.entries<Schema.Codec<unknown>>(schemas as never)) {
    it.effect(`T7: as results, failures and progress of ${name} are that call's failure, and the siblings run`, () =>
      Effect.gen(function*() {
        const params = Schema.Struct({ what: Schema.String })
        const { layer, toolkit } = ToolPolicy.define({
          gives: ToolPolicy.tool({
            parameters: params,
            success: schema,
            handler: ({ what }, { preliminary }) =>
              Effect.as(preliminary(hostile[what]!() as never), hostile[what]!() as never)
          }),
          fails: ToolPolicy.tool({
            parameters: params,
            failure: schema,
            handler: ({ what }) => Effect.fail(hostile[what]!() as never)
          }),
          fine: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("fine") })
        })
        const whats = Object.keys(hostile)
        const decision = whats.flatMap((what, i) => [
          ToolCall("gives", { what }, { id: `g${i}` }),
          ToolCall("fails", { what }, { id: `f${i}` }),
          ToolCall("fine", {}, { id: `s${i}` })
        ])
        const { toolResults } = yield* Effect.provide(
          Orchestrator.run({ prompt: "go", toolkit }),
          [layer, scripted(decision, "ok")]
        )
        assert.strictEqual(toolResults.length, decision.length)
        for (const { id, isFailure, result } of toolResults) {
          if (id.startsWith("s")) assert.strictEqual<unknown>(result, "fine")
          else {
            assert.isTrue(isFailure && ToolFailure.is(result), id)
            assert.strictEqual(
              (result as ToolFailure.ToolFailure)._tag,
              id.startsWith("g") ? "InvalidOutput" : "HandlerFailed"
            )
          }
        }
      }))
  }

  it.effect("T7: as typed parameters of a call from code are its failure", () =>
    Effect.gen(function*() {
      const { layer, toolkit } = ToolPolicy.define({
        takes: ToolPolicy.tool({
          parameters: Schema.Struct({ a: Schema.Finite }),
          handler: () => Effect.void
        })
      })
      for (const make of Object.values(hostile)) {
        const failure = yield* Effect.flip(Effect.provide(Executor.call(toolkit.tools.takes, make() as never), layer))
        assert.isTrue(ToolFailure.is(failure))
      }
    }))
})
