import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Executor, Orchestrator, ToolFailure, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, statuses } from "../stage.ts"

const throwingGetter = new Error("never read")
Object.defineProperty(throwingGetter, "message", {
  get: () => {
    throw new Error("the getter throws")
  }
})
const circular = new Error("round and round")
circular.cause = { circular }
const cycle: Record<string, unknown> = {}
cycle["self"] = cycle

const hostile: ReadonlyArray<readonly [what: string, thrown: unknown]> = [
  ["a string", "plain"],
  ["null", null],
  ["undefined", undefined],
  ["a symbol", Symbol("sign")],
  ["a bigint", 10n],
  ["NaN", Number.NaN],
  ["a frozen object", Object.freeze({ a: 1 })],
  ["an object without a prototype", Object.create(null)],
  ["a cycle", cycle],
  ["a function", () => "f"],
  ["an error with a throwing getter", throwingGetter],
  ["an error whose cause is circular", circular],
  ["an error with a huge message", new Error("x".repeat(5_000_000))],
  ["an error whose name is no string", Object.assign(new Error("m"), { name: 7 })],
  ["an object whose toJSON throws", { toJSON: () => assert.fail("toJSON throws") }],
  [
    "a proxy that throws on everything",
    new Proxy({}, {
      get: () => {
        throw new Error("get")
      },
      getPrototypeOf: () => {
        throw new Error("getPrototypeOf")
      },
      ownKeys: () => {
        throw new Error("ownKeys")
      }
    })
  ],
  ["a revoked proxy", revoked()]
]

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** The ways in which a handler can fail with a value. */
const ways: Readonly<Record<string, (value: unknown) => Effect.Effect<string, unknown>>> = {
  throws: (value) => {
    throw value
  },
  dies: Effect.die,
  "throws in an effect": (value) =>
    Effect.sync(() => {
      throw value
    }),
  "rejects in Effect.promise": (value) => Effect.promise(() => Promise.reject(value)),
  "fails with what its schema does not know": Effect.fail
}

describe.each(Object.keys(ways))("T3: a handler that %s", (way) => {
  it.effect.each(hostile)("T3: with %s gives one failed result, in words, and its sibling runs", ([, thrown]) => {
    const { layer, toolkit } = ToolPolicy.define({
      bad: ToolPolicy.tool({ success: Schema.String, handler: () => ways[way]!(thrown) as Effect.Effect<string> }),
      good: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("fine") })
    })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a HandlerFailed", "b ok"])
      const { message } = failureOf(result.toolResults, "a")
      assert.isString(message)
      assert.isAtMost(String(message).length, ToolFailure.maxMessageLength + 64)
      assert.notInclude(String(message), ".test.ts:")
      assert.isString(JSON.stringify(result.toolResults[0]?.encodedResult))
      assert.strictEqual(result.text, "done")
    }).pipe(Effect.provide([layer, scripted([ToolCall("bad", {}, { id: "a" }), ToolCall("good", {}, { id: "b" })])]))
  })
})

describe("T3: a handler that returns no effect", () => {
  it.effect.each([["undefined", undefined], ["a promise", Promise.resolve(1)], ["a number", 1], ["a string", "x"]])(
    "T3: but %s is that call's failure",
    ([, value]) => {
      const { layer, toolkit } = ToolPolicy.define({
        bad: ToolPolicy.tool({ success: Schema.Unknown, handler: (): Effect.Effect<unknown> => value as never }),
        good: ToolPolicy.tool({ handler: () => Effect.void })
      })
      return Effect.gen(function*() {
        const result = yield* Orchestrator.run({ prompt: "go", toolkit })
        assert.deepStrictEqual(statuses(result.toolResults), ["a HandlerFailed", "b ok"])
      }).pipe(Effect.provide([layer, scripted([ToolCall("bad", {}, { id: "a" }), ToolCall("good", {}, { id: "b" })])]))
    }
  )
})

describe("T3: a thenable", () => {
  const then: Readonly<Record<string, (resolve: (value: unknown) => void, reject: (error: unknown) => void) => void>> =
    {
      "that calls back twice": (resolve) => {
        resolve("first")
        resolve("second")
      },
      "that resolves and then rejects": (resolve, reject) => {
        resolve("first")
        reject(new Error("second"))
      },
      "that resolves and then throws": (resolve) => {
        resolve("first")
        throw new Error("second")
      }
    }
  it.effect.each(Object.keys(then))("T3: %s counts once", (name) => {
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        success: Schema.Unknown,
        failure: Schema.Unknown,
        handler: () => Executor.promise(() => ({ then: then[name]! }) as unknown as PromiseLike<unknown>)
      })
    })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(result.toolResults.map(({ encodedResult }) => encodedResult), ["first"])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })
})
