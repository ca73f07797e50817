import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { CancelReason, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, settle, Stage, statuses } from "../stage.ts"

const setUp = (annotations: ToolPolicy.Annotations<{ readonly id: string }> = {}) => {
  const stage = new Stage()
  return { stage, ...ToolPolicy.define({ work: stage.tool(annotations), other: stage.tool() }) }
}

const work = (id: string) => ToolCall("work", { id }, { id })

describe("ToolPolicy.Timeout", () => {
  it.effect("counts from the handler's start, not from the seal, and answers TimedOut", () => {
    const { layer, stage, toolkit } = setUp({ timeout: "2 seconds" })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }))
      yield* TestClock.adjust("1500 millis")
      yield* stage.open("a")
      yield* TestClock.adjust("1500 millis")
      assert.deepStrictEqual([...stage.running], ["b"])
      yield* TestClock.adjust("500 millis")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b TimedOut"])
      const failure = failureOf(result.toolResults, "b")
      assert.deepInclude(failure, { clock: "attempt", afterMillis: 2000, executionStarted: true, isRetryable: true })
    }).pipe(Effect.provide([layer, scripted([work("a"), work("b")])]))
  })

  it.effect("wins over the run's timeout.tool, which holds for tools without one", () => {
    const { layer, toolkit } = setUp({ timeout: "2 seconds" })
    const model = scripted([work("a"), ToolCall("other", { id: "b" }, { id: "b" })])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, timeout: { tool: "5 seconds" } })
      )
      yield* TestClock.adjust("5 seconds")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut", "b TimedOut"])
      assert.deepStrictEqual(report.calls.map(({ runMillis }) => runMillis), [2000, 5000])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("covers the encoding of a result whose schema is effectful", () => {
    const Slow = Schema.String.pipe(Schema.decodeTo(
      Schema.String,
      { decode: SchemaGetter.passthrough(), encode: SchemaGetter.transformEffect(() => Effect.never) }
    ))
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        success: Slow,
        annotations: { timeout: "2 seconds" },
        handler: () => Effect.succeed("quick")
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("3 seconds")
      const exit = fiber.pollUnsafe()
      yield* Fiber.interrupt(fiber)
      assert.isDefined(exit)
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a TimedOut"])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })

  it.effect("leaves no timer behind when its call ends in time", () => {
    const { layer, stage, toolkit } = setUp({ timeout: "2 seconds" })
    const model = scripted([work("a")], [work("b")])
    return Effect.gen(function*() {
      yield* stage.open("a")
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1 seconds")
      yield* TestClock.adjust("1500 millis")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b TimedOut"])
      assert.deepStrictEqual(result.report.totalMillis, 2000)
    }).pipe(Effect.provide([layer, model]))
  })
})

describe("ToolPolicy.Deadline", () => {
  it.effect("counts from the seal, waiting included: a call that never started is answered", () => {
    const { layer, stage, toolkit } = setUp({ deadline: "2 seconds" })
    const model = scripted([ToolCall("other", { id: "a" }, { id: "a" }), work("b")])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }))
      yield* TestClock.adjust("2 seconds")
      yield* stage.open("a")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b TimedOut"])
      assert.deepInclude(failureOf(result.toolResults, "b"), { clock: "deadline", executionStarted: false })
      assert.deepStrictEqual(stage.started, ["a"])
      assert.deepInclude(result.report.calls[1], { queuedMillis: 2000, runMillis: 0, attempts: 0 })
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("stops a running handler when it is over", () => {
    const { layer, stage, toolkit } = setUp({ deadline: "2 seconds", timeout: "3 seconds" })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("2 seconds")
      const result = yield* Fiber.join(fiber)
      assert.deepInclude(failureOf(result.toolResults, "a"), { clock: "deadline", executionStarted: true })
      assert.deepStrictEqual(stage.interrupted, ["a"])
    }).pipe(Effect.provide([layer, scripted([work("a")])]))
  })

  it.effect("counts the time a call is held back for the end of the turn", () => {
    const { layer, stage, toolkit } = setUp({ deadline: "2 seconds", eager: "after-finish" })
    const model = scripted([work("a"), TestModel.wait("5 seconds")])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("5 seconds")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a TimedOut"])
      assert.deepStrictEqual(stage.started, [])
    }).pipe(Effect.provide([layer, model]))
  })
})

describe("timeout.model", () => {
  it.effect("fails a turn that takes too long; read-only calls are interrupted, the others finish first", () => {
    const { layer, stage, toolkit } = setUp({ readonly: true })
    const model = scripted([
      work("a"),
      ToolCall("other", { id: "b" }, { id: "b" }),
      TestModel.wait(Effect.never),
      TestModel.unfinished
    ])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "3 seconds" } }))
      )
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(stage.interrupted, ["a"])
      assert.isUndefined(fiber.pollUnsafe())
      yield* stage.open("b")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual<unknown>(error._tag === "OrchestratorError" ? error.reason : error, {
        _tag: "TimedOut",
        clock: "model",
        afterMillis: 3000
      })
      assert.isTrue(error.isRetryable)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("counts each turn by itself and no time of a tool", () => {
    const { layer, toolkit } = setUp({ timeout: "1 minute" })
    const turn = (id: string) => [TestModel.wait("2 seconds"), work(id)] as const
    const model = scripted(turn("a"), turn("b"))
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "3 seconds" } })
      )
      yield* TestClock.adjust("5 minutes")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a TimedOut", "b TimedOut"])
      assert.strictEqual(result.text, "done")
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("does not count the time in which nobody read the stream", () => {
    const { layer, stage, toolkit } = setUp()
    const many = Array.from({ length: 300 }, () => ({ type: "text-delta" as const, id: "t", delta: "x" }))
    const model = scripted([{ type: "text-start", id: "t" }, ...many, TestModel.wait("1 seconds"), {
      type: "text-end",
      id: "t"
    }, TestModel.finish("stop")])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Stream.runForEach(
        Orchestrator.stream({ prompt: "go", toolkit, timeout: { model: "2 seconds" } }),
        () => stage.gate("reader").await
      ))
      yield* TestClock.adjust("1 minute")
      yield* stage.open("reader")
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide([layer, model]))
  })
})

describe("timeout.total", () => {
  it.effect("stops every call and fails the run with its history", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(
          Orchestrator.run({ prompt: "go", toolkit, timeout: { total: "10 seconds" }, toolCallConcurrency: 1 })
        )
      )
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag === "OrchestratorError" ? error.reason._tag : "", "TimedOut")
      assert.include(error.message, "timeout.total (10000 ms)")
      assert.deepStrictEqual(stage.interrupted, ["a"])
      assert.deepStrictEqual(stage.started, ["a"])
      if (error._tag !== "OrchestratorError") return
      const tool = error.prompt.content.find(({ role }) => role === "tool")
      assert.deepStrictEqual(statuses(tool?.content as never), ["a TimedOut", "b TimedOut"])
    }).pipe(Effect.provide([layer, scripted([work("a"), work("b")])]))
  })

  it.effect("ends a run whose model does not answer", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(Orchestrator.run({ prompt: "go", toolkit, timeout: { total: "10 seconds" } }))
      )
      yield* TestClock.adjust("10 seconds")
      assert.include((yield* Fiber.join(fiber)).message, "timeout.total")
    }).pipe(Effect.provide([layer, scripted([TestModel.wait(Effect.never), TestModel.unfinished])]))
  })
})

describe("ToolPolicy.Grace", () => {
  it.effect("is the time a stopped handler gets to clean up before its call is answered", () => {
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        annotations: { timeout: "1 seconds", grace: "500 millis" },
        handler: () => Effect.never.pipe(Effect.onInterrupt(() => Effect.sleep("300 millis")))
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1299 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut"])
      assert.deepStrictEqual(report.abandoned, [])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })

  it.effect("of zero answers at once and does not wait for the handler", () => {
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        annotations: { timeout: "1 seconds", grace: 0 },
        handler: () => Effect.uninterruptible(Effect.never)
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1 seconds")
      const { report } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(report.abandoned, [
        { callId: "a", name: "work", reason: CancelReason.timeout("attempt", 1000) }
      ])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })
})

describe("interruption of the run", () => {
  it.effect("stops every call for CallerGone, which the handler reads, and waits for its clean-up", () => {
    const seen: Array<string> = []
    return Effect.gen(function*() {
      const cleaned = yield* Deferred.make<void>()
      const { layer, toolkit } = ToolPolicy.define({
        work: ToolPolicy.tool({
          handler: () =>
            Effect.never.pipe(Effect.onExit((exit) =>
              Effect.andThen(
                Effect.sync(() =>
                  seen.push(exit._tag === "Failure" ? CancelReason.fromCause(exit.cause)?._tag ?? "?" : "")
                ),
                Deferred.await(cleaned)
              )
            ))
        })
      })
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit }).pipe(
          Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])])
        )
      )
      yield* settle
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* settle
      assert.deepStrictEqual(seen, ["CallerGone"])
      assert.isUndefined(interruption.pollUnsafe())
      yield* Deferred.succeed(cleaned, undefined)
      yield* Fiber.join(interruption)
    })
  })
})
