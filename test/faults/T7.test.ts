import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, statuses } from "../stage.ts"

const cycle: Record<string, unknown> = { name: "cycle" }
cycle["self"] = cycle
const deep: Record<string, unknown> = {}
let inner = deep
for (let i = 0; i < 200_000; i++) inner = inner["d"] = {} as Record<string, unknown>

const notJson: ReadonlyArray<readonly [what: string, value: unknown]> = [
  ["a BigInt", 10n],
  ["a cycle", cycle],
  ["undefined", undefined],
  ["a function", () => 1],
  ["a symbol", Symbol("s")],
  ["a Map", new Map([["a", 1]])],
  ["a function inside", { f: () => 1 }],
  ["a BigInt inside", [1, { n: 1n }]],
  ["a toJSON that throws", { toJSON: () => assert.fail("toJSON ran") }],
  ["a getter that throws", {
    get a() {
      throw new Error("the getter throws")
    }
  }],
  [
    "a proxy that throws",
    new Proxy({}, {
      ownKeys: () => {
        throw new Error("ownKeys")
      }
    })
  ],
  ["200,000 levels", deep]
]

const tools = (success: Schema.Top, value: unknown) =>
  ToolPolicy.define({
    bad: ToolPolicy.tool({ success: success as Schema.Codec<unknown>, handler: () => Effect.succeed(value) }),
    good: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("fine") })
  })

const both = () => scripted([ToolCall("bad", {}, { id: "a" }), ToolCall("good", {}, { id: "b" })])

describe("T7: a result that is not JSON", () => {
  it.effect.each(notJson)("T7: %s where anything is allowed is InvalidOutput for that call", ([, value]) => {
    const { layer, toolkit } = tools(Schema.Unknown, value)
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a InvalidOutput", "b ok"])
      assert.isAtMost(String(failureOf(result.toolResults, "a")["message"]).length, 8192)
      assert.isString(JSON.stringify(result.toolResults[0]?.encodedResult))
    }).pipe(Effect.provide([layer, both()]))
  })

  it.effect.each(
    [
      ["a Date", Schema.Date, new Date(0), "1970-01-01T00:00:00.000Z"],
      ["a BigInt", Schema.BigInt, 10n, "10"],
      ["a URL", Schema.URL, new URL("https://example.com/a"), "https://example.com/a"],
      ["NaN", Schema.Number, Number.NaN, "NaN"],
      ["Infinity", Schema.Number, Infinity, "Infinity"],
      ["a Map", Schema.ReadonlyMap(Schema.String, Schema.Finite), new Map([["a", 1]]), [["a", 1]]],
      ["undefined", Schema.Void, undefined, null],
      ["an Option's field", Schema.Struct({ a: Schema.optionalKey(Schema.Finite) }), {}, {}]
    ] as const
  )("T7: %s is encoded by a schema that says so", ([, schema, value, encoded]) => {
    const { layer, toolkit } = tools(schema, value)
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b ok"])
      assert.deepStrictEqual(result.toolResults[0]?.encodedResult, encoded)
    }).pipe(Effect.provide([layer, both()]))
  })

  it.effect("T7: one that does not fit its schema names the path", () => {
    const { layer, toolkit } = tools(Schema.Struct({ a: Schema.Struct({ b: Schema.Finite }) }), { a: { b: "no" } })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a InvalidOutput", "b ok"])
      assert.include(String(failureOf(result.toolResults, "a")["message"]), "[\"a\"][\"b\"]")
    }).pipe(Effect.provide([layer, both()]))
  })

  it.effect("T7: a toModelOutput that throws is InvalidOutput for that call", () => {
    const { layer, toolkit } = ToolPolicy.define({
      bad: ToolPolicy.tool({
        success: Schema.String,
        toModelOutput: () => {
          throw new Error("no picture")
        },
        handler: () => Effect.succeed("x")
      }),
      good: ToolPolicy.tool({ handler: () => Effect.void })
    })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a InvalidOutput", "b ok"])
      assert.include(String(failureOf(result.toolResults, "a")["message"]), "no picture")
    }).pipe(Effect.provide([layer, both()]))
  })

  it.effect("T7: a failure that its own schema cannot encode is HandlerFailed", () => {
    const { layer, toolkit } = ToolPolicy.define({
      bad: ToolPolicy.tool({ success: Schema.String, failure: Schema.Unknown, handler: () => Effect.fail(cycle) }),
      good: ToolPolicy.tool({ handler: () => Effect.void })
    })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a HandlerFailed", "b ok"])
    }).pipe(Effect.provide([layer, both()]))
  })

  it.effect("T7: progress that is not JSON is dropped, and the result stands", () => {
    const { layer, toolkit } = ToolPolicy.define({
      bad: ToolPolicy.tool({
        success: Schema.Unknown,
        handler: (_, { preliminary }) => Effect.as(Effect.andThen(preliminary(cycle), preliminary(1n)), "fine")
      }),
      good: ToolPolicy.tool({ handler: () => Effect.void })
    })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b ok"])
    }).pipe(Effect.provide([layer, both()]))
  })
})
