import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, scripted } from "../model.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

/** One tool of each trust: look is read-only, save writes, drop waits for the end of the turn. */
const tools = () => {
  const stage = new Stage()
  return {
    stage,
    ...ToolPolicy.define({
      look: stage.tool({ readonly: true }),
      put: stage.tool({ idempotent: true }),
      save: stage.tool(),
      drop: stage.tool({ destructive: true }),
      late: stage.tool({ eager: "after-finish" }),
      soon: stage.tool({ destructive: true, eager: "sealed" })
    })
  }
}

const work = (name: string) => ToolCall(name, { id: name }, { id: name })

describe("the end of a turn", () => {
  it.effect("starts after-finish calls only when the turn has ended well", () => {
    const { layer, stage, toolkit } = tools()
    const all = ["look", "save", "drop", "late", "soon"]
    const model = scripted([
      ...all.map(work),
      TestModel.wait(stage.gate("model").await),
      TestModel.finish("tool-calls")
    ])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      assert.deepStrictEqual(stage.started, ["look", "save", "soon"])
      yield* stage.open("model")
      assert.deepStrictEqual(stage.started, ["look", "save", "soon", "drop", "late"])
      yield* stage.open(...all)
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), all.map((name) => `${name} ok`))
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect.each(["stop", "tool-calls", "pause"] as const)("%s is a good end: after-finish calls run", (reason) => {
    const { layer, stage, toolkit } = tools()
    const model = scripted([work("drop"), TestModel.finish(reason)])
    return Effect.gen(function*() {
      yield* stage.open("drop")
      assert.deepStrictEqual(statuses((yield* Orchestrator.run({ prompt: "go", toolkit })).toolResults), ["drop ok"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect.each(["length", "unknown", "other"] as const)(
    "%s keeps sealed calls, does not start after-finish ones, and goes on",
    (reason) => {
      const { layer, stage, toolkit } = tools()
      const model = scripted([work("look"), work("save"), work("drop"), TestModel.finish(reason)])
      return Effect.gen(function*() {
        yield* stage.open("look", "save", "drop")
        const result = yield* Orchestrator.run({ prompt: "go", toolkit })
        assert.deepStrictEqual(statuses(result.toolResults), ["look ok", "save ok", "drop NotStarted"])
        assert.include(String(failureOf(result.toolResults, "drop")["message"]), reason)
        assert.strictEqual((yield* TestModel.requests).length, 2)
        assert.strictEqual(result.text, "done")
      }).pipe(Effect.provide([layer, model]))
    }
  )

  it.effect("length answers the call open at the cut Truncated, never runs it, and the loop goes on", () => {
    const { layer, stage, toolkit } = tools()
    const model = scripted([
      work("save"),
      TestModel.call(ToolCall("look", {}, { id: "cut" }), { open: true, chunks: ["{\"id\":"] })
    ])
    return Effect.gen(function*() {
      yield* stage.open("save", "look")
      const parts = yield* Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit }))
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["cut Truncated", "save ok"])
      assert.deepStrictEqual(stage.started, ["save"])
      const made = parts.find((part) => part.type === "tool-call" && part.id === "cut")
      assert.deepStrictEqual(made?.type === "tool-call" ? made.metadata : {}, { toolformer: { truncated: true } })
      // The history names the cut call and its answer, so the next turn is a legal one.
      const [, assistant, tool] = (yield* TestModel.requests)[1]!.prompt.content
      const ids = (message: typeof assistant) =>
        typeof message?.content === "string" ? [] : message?.content.map((part) => "id" in part ? part.id : "")
      assert.deepStrictEqual(ids(assistant), ["save", "cut"])
      assert.deepStrictEqual(ids(tool), ["save", "cut"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("pause asks the model again although it made no call", () => {
    const { layer, toolkit } = tools()
    const model = scripted(TestModel.finish("pause"), "now")
    return Effect.gen(function*() {
      assert.strictEqual((yield* Orchestrator.run({ prompt: "go", toolkit })).text, "now")
      assert.strictEqual((yield* TestModel.requests).length, 2)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect.each(["content-filter", "error"] as const)(
    "%s interrupts read-only and idempotent calls, lets others finish, starts nothing, and ends the loop",
    (reason) => {
      const { layer, stage, toolkit } = tools()
      const started = ["look", "put", "save"]
      const model = scripted([
        ...[...started, "drop"].map(work),
        TestModel.wait(stage.gate("model").await),
        TestModel.call(ToolCall("save", {}, { id: "cut" }), { open: true, chunks: ["{\"id\":"] }),
        TestModel.finish(reason)
      ])
      return Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
        yield* settle
        yield* stage.open("model")
        assert.deepStrictEqual(stage.interrupted, ["look", "put"])
        assert.isUndefined(fiber.pollUnsafe())
        yield* stage.open("save", "drop")
        const result = yield* Fiber.join(fiber)
        assert.strictEqual(result.finishReason, reason)
        assert.deepStrictEqual(statuses(result.toolResults), [
          "look Cancelled",
          "put Cancelled",
          "save ok",
          "drop NotStarted"
        ])
        assert.strictEqual(failureOf(result.toolResults, "look")["executionStarted"], true)
        assert.deepStrictEqual(stage.started, started)
        assert.strictEqual((yield* TestModel.requests).length, 1)
      }).pipe(Effect.provide([layer, model]))
    }
  )
})

describe("a turn that breaks", () => {
  const broken = (
    stage: Stage
  ): TestModel.Turn => [
    work("look"),
    work("save"),
    work("drop"),
    TestModel.call(ToolCall("look", {}, { id: "cut" }), { open: true, chunks: ["{\"id\":"] }),
    TestModel.wait(stage.gate("model").await),
    TestModel.fail(aiError)
  ]

  it.effect("interrupts read-only calls, lets the others finish, and fails with what was done", () => {
    const { layer, stage, toolkit } = tools()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      yield* stage.open("model")
      assert.deepStrictEqual(stage.interrupted, ["look"])
      assert.isUndefined(fiber.pollUnsafe())
      yield* stage.open("save", "drop")
      const error = yield* Fiber.join(fiber)
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "TurnBroken")
      if (error._tag !== "OrchestratorError" || error.reason._tag !== "TurnBroken") return
      assert.deepStrictEqual(error.reason.completed, ["look", "save", "drop"])
      assert.deepStrictEqual(error.reason.incomplete, ["cut"])
      assert.strictEqual(error.reason.error, aiError)
      assert.strictEqual(error.isRetryable, true)
      assert.include(error.message, "cut off and not run: cut")
      const tool = error.prompt.content.find(({ role }) => role === "tool")
      assert.deepStrictEqual(statuses(tool?.content as never), ["look Cancelled", "save ok", "drop NotStarted"])
      assert.deepStrictEqual(stage.started, ["look", "save"])
    }).pipe(Effect.provide([layer, scripted(broken(stage))]))
  })

  it.effect("sends every result before the failure", () => {
    const { layer, stage, toolkit } = tools()
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip,
        Effect.forkChild
      )
      yield* settle
      yield* stage.open("model")
      yield* stage.open("save")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "OrchestratorError")
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["drop NotStarted", "look Cancelled", "save ok"])
      assert.isUndefined(parts.find(({ type }) => type === "run-finish"))
    }).pipe(Effect.provide([layer, scripted(broken(stage))]))
  })

  it.effect("goes on from the error's prompt without running anything again", () => {
    const { layer, stage, toolkit } = tools()
    const model = scripted([work("save"), TestModel.fail(aiError)], "all done")
    return Effect.gen(function*() {
      yield* stage.open("save")
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.strictEqual(error._tag, "OrchestratorError")
      if (error._tag !== "OrchestratorError") return
      const result = yield* Orchestrator.run({ prompt: error.prompt, toolkit })
      assert.strictEqual(result.text, "all done")
      assert.deepStrictEqual(stage.started, ["save"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("is an OrchestratorError in a later turn too, so that earlier results are not lost", () => {
    const { layer, stage, toolkit } = tools()
    const model = scripted([work("save")], TestModel.fail(aiError))
    return Effect.gen(function*() {
      yield* stage.open("save")
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.strictEqual(error._tag === "OrchestratorError" ? error.reason._tag : "", "TurnBroken")
      if (error._tag !== "OrchestratorError") return
      assert.deepStrictEqual(error.prompt.content.map(({ role }) => role), ["user", "assistant", "tool"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("lets a defect of the model through as the defect it is", () => {
    const { layer, toolkit } = tools()
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(Orchestrator.run({ prompt: "go", toolkit }))
      assert.include(String(exit), "a bug in the adapter")
    }).pipe(
      Effect.provide([
        layer,
        scripted([TestModel.wait(Effect.die(new Error("a bug in the adapter"))), TestModel.unfinished])
      ])
    )
  })
})
