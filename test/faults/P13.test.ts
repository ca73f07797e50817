import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { results, statuses } from "../stage.ts"

const setUp = () => {
  const ran: Array<unknown> = []
  const tool = () =>
    ToolPolicy.tool({
      parameters: Schema.Record(Schema.String, Schema.Unknown),
      handler: (params) => Effect.sync(() => void ran.push(params))
    })
  return { ran, ...ToolPolicy.define({ search: tool(), read: tool() }) }
}

const turns = (count: number, turn: (n: number) => ReadonlyArray<readonly [name: string, params: unknown]>) =>
  Array.from(
    { length: count },
    (_, n): TestModel.Turn => turn(n).map(([name, params], i) => ToolCall(name, params, { id: `c${n}_${i}` }))
  )

const loop = (error: unknown): unknown => error instanceof Orchestrator.OrchestratorError ? error.reason : error

describe("P13: a model that goes round in circles", () => {
  it.effect("P13: the same call in a sixth turn ends the run; it has run five times", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(...turns(50, () => [["search", { q: "x" }]]))
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.deepStrictEqual(loop(error), { _tag: "LoopDetected", tool: "search", callId: "c5_0", times: 5 })
      assert.include(error.message, "more than 5 turns")
      assert.strictEqual(ran.length, 5)
      assert.strictEqual((yield* TestModel.requests).length, 6)
      if (!(error instanceof Orchestrator.OrchestratorError)) return
      assert.isFalse(error.isRetryable)
      const answered = error.prompt.content.flatMap((message) => message.role === "tool" ? [...message.content] : [])
      assert.deepStrictEqual(statuses(answered as never).at(-1), "c5_0 NotStarted")
      assert.strictEqual(answered.length, 6)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P13: arguments are compared by value: key order does not hide the loop", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(
      ...turns(50, (n) => [["search", n % 2 === 0 ? { a: 1, b: [{ c: 1, d: 2 }] } : { b: [{ d: 2, c: 1 }], a: 1 }]])
    )
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.include(error.message, "same call of search")
      assert.strictEqual(ran.length, 5)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P13: A-B-A-B is seen too: each is made five times", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(...turns(50, (n) => [[n % 2 === 0 ? "search" : "read", { q: "x" }]]))
    return Effect.gen(function*() {
      yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.strictEqual(ran.length, 10)
      assert.strictEqual((yield* TestModel.requests).length, 11)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P13: the calls beside the repeated one get their results before the failure", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(...turns(50, (n) => [["read", { n }], ["search", { q: "x" }], ["read", { m: n }]]))
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const error = yield* Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip
      )
      assert.include(error.message, "same call of search")
      assert.deepStrictEqual(statuses(results(parts)).slice(-3), ["c5_0 ok", "c5_1 NotStarted", "c5_2 NotStarted"])
      assert.strictEqual(ran.length, 5 * 3 + 1)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P13: several equal calls of one turn are not a loop", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(Array.from({ length: 50 }, (_, i) => ToolCall("search", { q: "x" }, { id: `c${i}` })))
    return Effect.gen(function*() {
      assert.strictEqual((yield* Orchestrator.run({ prompt: "go", toolkit })).text, "done")
      assert.strictEqual(ran.length, 50)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P13: maxRepeats in Config sets the count, Infinity switches the detector off", () => {
    const run = (maxRepeats: number) => {
      const { layer, ran, toolkit } = setUp()
      const model = scripted(...turns(50, () => [["search", { q: "x" }]]))
      return Effect.flatMap(
        Orchestrator.Config,
        (config) =>
          Effect.exit(Orchestrator.run({ prompt: "go", toolkit })).pipe(
            Effect.map(({ _tag }) => [_tag, ran.length]),
            Effect.provideService(Orchestrator.Config, { ...config, maxRepeats })
          )
      ).pipe(Effect.provide([layer, model]))
    }
    return Effect.gen(function*() {
      assert.deepStrictEqual(yield* run(1), ["Failure", 1])
      assert.deepStrictEqual(yield* run(Infinity), ["Success", 20])
    })
  })

  it.effect("P13: ever growing arguments end at maxSteps", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(...turns(50, (n) => [["search", { q: "x".repeat(n) }]]))
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.strictEqual(ran.length, 20)
      assert.strictEqual((yield* TestModel.requests).length, 20)
      assert.strictEqual(result.finishReason, "tool-calls")
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P13: more calls in one turn than maxToolCalls are Rejected, not run", () => {
    const { layer, ran, toolkit } = setUp()
    const model = scripted(Array.from({ length: 5 }, (_, i) => ToolCall("search", { i }, { id: `c${i}` })))
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit, maxToolCalls: 3 })
      assert.deepStrictEqual(statuses(toolResults), ["c0 ok", "c1 ok", "c2 ok", "c3 Rejected", "c4 Rejected"])
      assert.strictEqual(ran.length, 3)
    }).pipe(Effect.provide([layer, model]))
  })
})
