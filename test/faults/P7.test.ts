import { assert, describe, it } from "@effect/vitest"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, scripted } from "../model.ts"
import { utf8 } from "../replay/server.ts"
import type { Answer } from "../replay/server.ts"
import { results, statuses } from "../stage.ts"
import { callOf, ends, halfOf, mount, observe, says as saying, server, streams, tools } from "./provider.ts"

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

const whole = ToolCall("save", { id: "whole" }, { id: "whole" })
const half = TestModel.call(ToolCall("save", {}, { id: "half" }), { open: true, chunks: ["{\"id\":\"ha"] })

describe("P7: a turn that ends badly", () => {
  const ends: ReadonlyArray<readonly [reason: Response.FinishReason, turns: number, answers: ReadonlyArray<string>]> = [
    ["length", 2, ["whole ok", "half Truncated"]],
    ["other", 2, ["whole ok", "half Truncated"]],
    ["content-filter", 1, ["whole ok"]],
    ["error", 1, ["whole ok"]]
  ]
  it.effect.each(ends)("P7: with %s never runs the call it cut in half", ([reason, turns, answers]) => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted([whole, half, TestModel.finish(reason)])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(ran, ["whole"])
      assert.deepStrictEqual(statuses(result.toolResults), answers)
      assert.strictEqual((yield* TestModel.requests).length, turns)
      assert.strictEqual(result.steps[0]?.finishReason, reason)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P7: with a half call whose text happens to be whole JSON still does not run it", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(
      TestModel.call(ToolCall("save", {}, { id: "a" }), { open: true, chunks: ["{\"id\":\"a\"}"] })
    )
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(ran, [])
      assert.deepStrictEqual(statuses(result.toolResults), ["a Truncated"])
    }).pipe(Effect.provide([layer, model]))
  })

  const breaks: ReadonlyArray<readonly [what: string, chunks: ReadonlyArray<TestModel.Item>]> = [
    ["an error after a whole call", [TestModel.chunk(whole), half, TestModel.fail(aiError)]],
    ["an error in the same breath", [whole, half, TestModel.fail(aiError)]]
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
    }).pipe(Effect.provide([layer, scripted(chunks)]))
  })

  it.effect("P7: an error before anything came is the model's own typed error", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit })), aiError)
    }).pipe(Effect.provide([layer, scripted(TestModel.fail(aiError))]))
  })
})

// ---- over HTTP, asked again, and at the next provider ---------------------------------------------------------------------

const event = (data: unknown): string => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`
const html = "<!doctype html><html><body>502 Bad Gateway</body></html>"
const plain = (body: string, type: string): Answer => ({
  status: 200,
  headers: { "content-type": type },
  chunks: [utf8(body)]
})
const errorBody = { error: { message: "The server had an error", type: "server_error" } }

// What came before each of them: a whole call and a half.
const before = callOf("a") + halfOf("b", "look", 1)
const bad: ReadonlyArray<readonly [what: string, answer: Answer, mayPass: boolean, ran: ReadonlyArray<string>]> = [
  ["an error event in mid-stream", streams(before, event(errorBody)), true, ["a"]],
  ["an event that is no JSON in mid-stream", streams(before, event("{\"choices\": [{")), false, ["a"]],
  ["a stream that ends inside an event", streams(before, "data: {\"choices\": [{"), true, ["a"]],
  ["a stream without its end mark", streams(before), true, ["a"]],
  ["status 200 with an error body", plain(JSON.stringify(errorBody), "application/json"), true, []],
  [
    "status 200 with an error body about the request",
    plain(
      JSON.stringify({ error: { message: "no such model", type: "invalid_request_error" } }),
      "application/json"
    ),
    false,
    []
  ],
  ["status 200 with a page", plain(html, "text/html"), false, []],
  ["status 200 with nothing", plain("", "text/event-stream"), false, []]
]
const wholeAnswer = streams(callOf("a"), callOf("b", "look", 1), ends("tool_calls"))
const doneAnswer = streams(saying("done"), ends("stop"))

describe("P7: an answer over HTTP that is none", () => {
  it.live.each(bad)("P7: %s is typed; half a call is not run", ([, answer, , ran]) =>
    Effect.gen(function*() {
      const at = mount(yield* server, answer)
      const used = tools()
      const { error, parts } = yield* observe({}, used, at.model)
      assert.include(["AiError", "OrchestratorError"], (error as { readonly _tag: string })._tag)
      assert.deepStrictEqual(used.ran, ran)
      assert.deepStrictEqual(statuses(results(parts)), ran.map((id) => `${id} ok`))
      assert.lengthOf(at.seen, 1)
    }).pipe(Effect.scoped))

  it.live.each(bad)(
    "P7: %s is asked again where it may pass, and nothing is run twice",
    ([, answer, mayPass, ran]) =>
      Effect.gen(function*() {
        const at = mount(yield* server, answer, wholeAnswer, doneAnswer)
        const used = tools()
        const { error } = yield* observe({}, used, Layer.merge(at.model, Retry.layer({ base: 1 })))
        assert.strictEqual(error === undefined, mayPass)
        assert.lengthOf(at.seen, mayPass ? 3 : 1)
        assert.deepStrictEqual([...used.ran].sort(), mayPass ? ["a", "b"] : ran)
      }).pipe(Effect.scoped)
  )

  it.live.each(bad)(
    "P7: %s is left for the next provider, and nothing is run twice",
    ([, answer]) =>
      Effect.gen(function*() {
        const running = yield* server
        const [one, two] = [mount(running, answer), mount(running, wholeAnswer, doneAnswer)]
        const used = tools()
        const { error, parts } = yield* observe(
          { failover: ExecutionPlan.make({ provide: two.model }) },
          used,
          one.model
        )
        assert.isUndefined(error)
        assert.deepStrictEqual([one.seen.length, two.seen.length], [1, 2])
        assert.deepStrictEqual([...used.ran].sort(), ["a", "b"])
        const ids = parts.flatMap((part) => part.type === "tool-result" ? [part.id] : [])
        assert.lengthOf(new Set(ids), ids.length)
      }).pipe(Effect.scoped)
  )

  it.live.each<readonly [string, ReadonlyArray<string>, number]>([
    ["length", ["a ok", "b Truncated"], 2],
    ["content_filter", ["a ok"], 1]
  ])(
    "P7: %s with half a call is an answer: not asked again, nor of another",
    ([reason, answers, asked]) =>
      Effect.gen(function*() {
        const running = yield* server
        const [one, two] = [mount(running, streams(before, ends(reason)), doneAnswer), mount(running, doneAnswer)]
        const used = tools()
        const { error, parts } = yield* observe(
          { failover: ExecutionPlan.make({ provide: two.model }) },
          used,
          Layer.merge(one.model, Retry.layer({ base: 1 }))
        )
        assert.isUndefined(error)
        assert.deepStrictEqual([one.seen.length, two.seen.length], [asked, 0])
        assert.deepStrictEqual(used.ran, ["a"])
        assert.deepStrictEqual([...statuses(results(parts))].sort(), answers)
      }).pipe(Effect.scoped)
  )
})
