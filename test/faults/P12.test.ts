import { afterEach, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Orchestrator, ToolCall, ToolPolicy } from "../../src/index.ts"
import * as Testing from "../../src/testing/index.ts"
import { describeData } from "../data.ts"
import { scripted } from "../model.ts"
import { failureOf, settle, Stage, statuses } from "../stage.ts"

const hostile = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "valueOf",
  "hasOwnProperty",
  "__defineGetter__",
  "then",
  "",
  " ",
  "x".repeat(10_240),
  "🙈🙉🙊",
  "two\nlines",
  "tab\tand\0nul",
  "‮right to left",
  "../../etc/passwd",
  "a b;rm -rf /",
  "\ud800"
]

const original = Reflect.ownKeys(Object.prototype).map(String).sort()

// A prototype that was reached stays polluted for every later test; say it where it happened.
afterEach(() => {
  assert.deepStrictEqual(Reflect.ownKeys(Object.prototype).map(String).sort(), original)
  assert.isUndefined(({} as { readonly polluted?: unknown }).polluted)
  assert.strictEqual(({}).constructor, Object)
})

const setUp = () => {
  const got: Array<Record<string, unknown>> = []
  return {
    got,
    ...ToolPolicy.define({
      echo: ToolPolicy.tool({
        parameters: Schema.Record(Schema.String, Schema.Unknown),
        success: Schema.Record(Schema.String, Schema.Unknown),
        handler: (params) => Effect.sync(() => got.push(params)).pipe(Effect.as(params))
      })
    })
  }
}

const onceEach = (names: ReadonlyArray<string>) => {
  const { got, layer, toolkit } = setUp()
  const model = scripted(
    names.flatMap((
      name,
      i
    ) => [Testing.ToolCall(name, {}, { id: `bad${i}` }), Testing.ToolCall("echo", { i }, { id: `good${i}` })])
  )
  return Effect.gen(function*() {
    const { prompt, toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
    assert.deepStrictEqual(
      statuses(toolResults),
      names.flatMap((name, i) => [`bad${i} ${name === "echo" ? "ok" : "UnknownTool"}`, `good${i} ok`])
    )
    assert.strictEqual(got.length, names.length)
    for (const [i] of names.entries()) {
      assert.isAtMost(String(failureOf(toolResults, `bad${i}`)["message"]).length, 8192)
    }
    assert.isString(JSON.stringify(prompt))
  }).pipe(Effect.provide([layer, model]))
}

const asIds = (ids: ReadonlyArray<string>) => {
  const { layer, toolkit } = setUp()
  return Effect.gen(function*() {
    const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
    assert.strictEqual(toolResults.length, ids.length)
    assert.strictEqual(new Set(toolResults.map(({ id }) => id)).size, ids.length)
    assert.deepStrictEqual(toolResults.map(({ result }) => result), ids.map((_, i) => ({ i })))
  }).pipe(Effect.provide([layer, scripted(ids.map((id, i) => Testing.ToolCall("echo", { i }, { id })))]))
}

const asKeys = (keys: ReadonlyArray<string>) => {
  const { got, layer, toolkit } = setUp()
  const texts = keys.map((key) => `{${JSON.stringify(key)}:{"polluted":true}}`)
  const model = scripted(
    texts.map((text, i) => Testing.ToolCall("echo", ToolCall.parseArguments(text), { id: `c${i}` }))
  )
  return Effect.gen(function*() {
    const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
    assert.deepStrictEqual(statuses(toolResults), keys.map((_, i) => `c${i} ok`))
    got.forEach((params) => assert.strictEqual(Object.getPrototypeOf(params), Object.prototype))
    got.forEach((params) => assert.isUndefined(params["polluted"]))
  }).pipe(Effect.provide([layer, model]))
}

const asPaths = (keys: ReadonlyArray<string>) => {
  const stage = new Stage()
  const { layer, toolkit } = ToolPolicy.define({
    write: ToolPolicy.tool({
      parameters: Schema.Struct({ id: Schema.String, key: Schema.String }),
      success: Schema.String,
      annotations: { resources: ({ key }) => [{ write: key }] },
      handler: ({ id }) => stage.play(id)
    })
  })
  const twice = keys.flatMap((key, i) =>
    ["a", "b"].map((turn) => Testing.ToolCall("write", { id: `${turn}${i}`, key }, { id: `${turn}${i}` }))
  )
  return Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 10_000 }))
    yield* settle
    assert.deepStrictEqual([...stage.running], keys.map((_, i) => `a${i}`))
    yield* stage.open(...keys.flatMap((_, i) => [`a${i}`, `b${i}`]))
    assert.strictEqual((yield* Fiber.join(fiber)).toolResults.length, 2 * keys.length)
  }).pipe(Effect.provide([layer, scripted(twice)]))
}

const uses = {
  "names are unknown tools, siblings run": onceEach,
  "ids give one result per call": asIds,
  "argument keys never reach a prototype": asKeys,
  "resource keys lock what they name": asPaths
}

describe("P12: hostile strings", () => {
  for (const [promise, test] of Object.entries(uses)) {
    it.effect(`P12: as ${promise}`, () => test(hostile))
  }

  it.effect("P12: as runId and group name what they name and nothing else", () =>
    Effect.gen(function*() {
      for (const name of hostile) {
        const stage = new Stage()
        const { layer, toolkit } = ToolPolicy.define({ work: stage.tool({ group: name }), other: stage.tool() })
        const model = scripted([
          Testing.ToolCall("work", { id: "a" }, { id: "a" }),
          Testing.ToolCall("other", { id: "b" }, { id: "b" })
        ])
        const fiber = yield* Effect.forkChild(
          Orchestrator.run({ prompt: "go", toolkit, runId: name }).pipe(Effect.provide([layer, model]))
        )
        yield* settle
        assert.strictEqual(yield* Orchestrator.cancel({ runId: `${name}?` }), 0)
        assert.strictEqual(yield* Orchestrator.cancel({ runId: name, group: name }), 1)
        yield* stage.open("b")
        assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a Cancelled", "b ok"])
      }
    }))

  it.effect("P12: a __proto__ of arguments is an own property at any depth, and no key of a strict tool", () => {
    const { layer, toolkit } = ToolPolicy.define({
      strict: ToolPolicy.tool({
        parameters: Schema.Struct({ a: Schema.Finite }),
        success: Schema.Boolean,
        handler: (params) => Effect.succeed("polluted" in params)
      })
    })
    const text = "{\"a\":1,\"__proto__\":{\"polluted\":true,\"__proto__\":{\"polluted\":true}}}"
    const parsed = ToolCall.parseArguments(text) as object
    assert.isTrue(Object.hasOwn(parsed, "__proto__"))
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(toolResults.map(({ result }) => result), [false])
    }).pipe(Effect.provide([layer, scripted([Testing.ToolCall("strict", parsed, { id: "a" })])]))
  })

  it.effect("P12: a toolkit may have tools of such names, each its own", () => {
    const names = ["constructor", "toString", "then", "hasOwnProperty"]
    const { layer, toolkit } = ToolPolicy.define(Object.fromEntries(
      names.map((name) => [name, ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed(name) })])
    ))
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual<unknown>(toolResults.map(({ result }) => result), names)
    }).pipe(Effect.provide([layer, scripted(names.map((name) => Testing.ToolCall(name, {}, { id: name })))]))
  })
})

describeData("naughty-strings", "P12: the Big List of Naughty Strings", (folder) => {
  const list = JSON.parse(readFileSync(join(folder, "blns.json"), "utf8")) as ReadonlyArray<string>
  for (const [promise, test] of Object.entries(uses)) {
    it.effect(`P12: as ${promise}`, () => {
      assert.isAbove(list.length, 0)
      return test([...new Set(list)])
    })
  }
})
