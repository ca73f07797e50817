import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { CancelReason, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

const setUp = () => {
  const stage = new Stage()
  return {
    stage,
    ...ToolPolicy.define({
      work: stage.tool(),
      web: stage.tool({ group: "search" }),
      files: stage.tool({ group: "search" })
    })
  }
}

const work = (id: string, name = "work") => ToolCall(name, { id }, { id })
const why = CancelReason.branchCancelled("not needed")

describe("Orchestrator.cancel", () => {
  it.effect("stops one running call by its id, once, and no sibling", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "a" }, why), 1)
      yield* settle
      assert.deepStrictEqual(stage.interrupted, ["a"])
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "a" }, why), 0)
      yield* stage.open("b")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a Cancelled", "b ok"])
      assert.deepInclude(failureOf(result.toolResults, "a"), {
        reason: why,
        executionStarted: true,
        isRetryable: false
      })
      assert.include(String(failureOf(result.toolResults, "a")["message"]), "cancelled: not needed")
      assert.strictEqual(result.text, "done")
    }).pipe(Effect.provide([layer, scripted([work("a"), work("b")])]))
  })

  it.effect("answers a waiting call at once, which then never starts", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: 1 })
      )
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "b" }, why)
      yield* stage.open("a", "b", "c")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.started, ["a", "c"])
      assert.deepStrictEqual(statuses(toolResults), ["a ok", "b Cancelled", "c ok"])
      assert.strictEqual(failureOf(toolResults, "b")["executionStarted"], false)
    }).pipe(Effect.provide([layer, scripted([work("a"), work("b"), work("c")])]))
  })

  it.effect("stops the calls of a group, across tools", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted([work("a"), work("b", "web"), work("c", "files")])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", group: "search" }, CancelReason.superseded("a")), 2)
      yield* stage.open("a")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a ok", "b Cancelled", "c Cancelled"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("ends the whole run with its reason and its history; nothing starts after it", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: 2 }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip,
        Effect.forkChild
      )
      yield* settle
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r" }, why), 3)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual<unknown>(error._tag === "OrchestratorError" ? error.reason : error, {
        _tag: "Cancelled",
        reason: why
      })
      assert.deepStrictEqual(stage.started, ["a", "b"])
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["a Cancelled", "b Cancelled", "c Cancelled"])
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r" }, why), 0)
    }).pipe(Effect.provide([layer, scripted([work("a"), work("b"), work("c")])]))
  })

  it.effect("ends the whole run without handing a stopped call's permit, place or resource to a sibling", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      capped: stage.tool({ concurrency: 1 }),
      touch: stage.tool({ resources: () => [{ write: "x" }] })
    })
    const model = scripted([work("a", "capped"), work("b", "capped"), work("c", "touch"), work("d", "touch")])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit, runId: "r" })))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r" }, why)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.started, ["a", "c"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("of a run, call or group that is not there counts nothing", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "nobody" }), 0)
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "z" }), 0)
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "a", group: "search" }), 0)
      yield* stage.open("a")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a ok"])
    }).pipe(Effect.provide([layer, scripted([work("a")])]))
  })

  it.effect("tells the handler its reason through the cause of its interruption", () => {
    const seen: Array<unknown> = []
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        handler: () =>
          Effect.never.pipe(
            Effect.onExit((exit) =>
              Effect.sync(() => seen.push(Exit.isFailure(exit) ? CancelReason.fromCause(exit.cause) : exit))
            )
          )
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "a" }, CancelReason.superseded("b"))
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(seen, [CancelReason.superseded("b")])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })

  it.effect("by a handler of its own call, in its first step, ends that call", () => {
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        handler: () => Effect.andThen(Orchestrator.cancel({ runId: "r", callId: "a" }, why), Effect.never)
      })
    })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit, runId: "r" })
      assert.deepStrictEqual(statuses(result.toolResults), ["a Cancelled"])
      assert.deepStrictEqual(result.report.abandoned, [])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })

  it.effect("says so in the stream: tool-cancelled, then the result", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: 1 }))
      )
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "b" }, why)
      yield* Orchestrator.cancel({ runId: "r", callId: "a" }, why)
      const parts = yield* Fiber.join(fiber)
      const life = parts.flatMap((part) =>
        part.type === "tool-cancelled"
          ? [`${part.callId} cancelled ${part.executionStarted}`]
          : part.type === "tool-result"
          ? [`${part.id} result`]
          : []
      )
      assert.deepStrictEqual(life, ["b cancelled false", "b result", "a cancelled true", "a result"])
    }).pipe(Effect.provide([layer, scripted([work("a"), work("b")])]))
  })
})
