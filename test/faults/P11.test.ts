import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, statuses } from "../stage.ts"

const setUp = () => {
  const got: Array<unknown> = []
  const tool = () =>
    ToolPolicy.tool({
      parameters: Schema.Record(Schema.String, Schema.Unknown),
      handler: (params) => Effect.sync(() => void got.push(params))
    })
  return { got, ...ToolPolicy.define({ web_search: tool(), read_file: tool(), getWeather: tool() }) }
}

const misnamed: ReadonlyArray<readonly [name: string, near: ReadonlyArray<string>]> = [
  ["Web_Search", ["web_search"]],
  ["web_search ", ["web_search"]],
  ["web-search", ["web_search"]],
  ["websearch", ["web_search"]],
  ["functions.web_search", ["web_search"]],
  ["default_api:read_file", ["read_file"]],
  ["get_weather", ["getWeather"]],
  ["web_serach", ["web_search"]],
  ["read_fil", ["read_file"]],
  ["book_flight", []],
  ["parallel", []],
  ["multi_tool_use.parallel", []]
]

describe("P11: a name that is not offered", () => {
  it.effect.each(misnamed)("P11: %j is an error result that lists near names %j; its sibling runs", ([name, near]) => {
    const { got, layer, toolkit } = setUp()
    const model = scripted([ToolCall(name, { a: 1 }, { id: "bad" }), ToolCall("read_file", { b: 2 }, { id: "good" })])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["bad UnknownTool", "good ok"])
      assert.deepStrictEqual(got, [{ b: 2 }])
      const failure = failureOf(result.toolResults, "bad")
      assert.deepStrictEqual(failure["near"], near)
      assert.deepStrictEqual(failure["available"], ["web_search", "read_file", "getWeather"])
      assert.include(String(failure["message"]), "Tools: web_search, read_file, getWeather.")
      near.forEach((name) => assert.include(String(failure["message"]), `Did you mean ${name}`))
      assert.strictEqual(failure["isRetryable"], true)
      // The model is told, and goes on.
      assert.strictEqual((yield* TestModel.requests).length, 2)
      assert.strictEqual(result.text, "done")
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P11: a wrapped parallel call is reported as the call it is, nothing inside it runs", () => {
    const { got, layer, toolkit } = setUp()
    const wrapped = { tool_uses: [{ recipient_name: "functions.web_search", parameters: { a: 1 } }] }
    const model = scripted([ToolCall("multi_tool_use.parallel", wrapped, { id: "p" })])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["p UnknownTool"])
      assert.deepStrictEqual(got, [])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P11: a decision of nothing but unknown names is answered call by call", () => {
    const { layer, toolkit } = setUp()
    const names = Array.from({ length: 200 }, (_, i) => `tool_${i}`)
    const model = scripted(names.map((name) => ToolCall(name, {}, { id: name })))
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), names.map((name) => `${name} UnknownTool`))
    }).pipe(Effect.provide([layer, model]))
  })
})
