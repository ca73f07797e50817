import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as Tracer from "effect/Tracer"
import { CancelReason, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, settle, Stage, statuses } from "../stage.ts"

const why = CancelReason.branchCancelled("not needed")

// A handler with three clean-ups, innermost first; the middle one is the broken one.
const around = (body: Effect.Effect<string, string>, broken: Effect.Effect<unknown>, log: Array<string>) => {
  const note = (name: string) => Effect.sync(() => void log.push(name))
  return body.pipe(Effect.ensuring(note("inner")), Effect.ensuring(broken), Effect.ensuring(note("outer")))
}

const setUp = (body: Effect.Effect<string, string>, broken: Effect.Effect<unknown>) => {
  const log: Array<string> = []
  const stage = new Stage()
  return {
    log,
    stage,
    ...ToolPolicy.define({
      work: ToolPolicy.tool({
        success: Schema.String,
        failure: Schema.String,
        annotations: { grace: "2 seconds", timeout: "1 minute", concurrency: 1 },
        handler: () => around(body, broken, log)
      }),
      good: stage.tool()
    })
  }
}

const both = [ToolCall("work", {}, { id: "a" }), ToolCall("good", { id: "b" }, { id: "b" })]

describe("T13: a clean-up that dies", () => {
  const thrown = Effect.sync(() => {
    throw new Error("the socket is gone")
  })

  it.effect("T13: of a stopped call stands beside its reason; the other clean-ups run, and the permit comes back", () => {
    const { layer, log, stage, toolkit } = setUp(Effect.never, thrown)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "a" }, why)
      yield* stage.open("b")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(log, ["inner", "outer"])
      assert.deepStrictEqual(statuses(toolResults), ["a Cancelled", "b ok"])
      assert.deepInclude(failureOf(toolResults, "a"), { reason: why, executionStarted: true })
      const message = String(failureOf(toolResults, "a")["message"])
      assert.include(message, "work was cancelled: not needed")
      assert.include(message, "Its clean-up failed: Error: the socket is gone")
      assert.deepStrictEqual(report.abandoned, [])
      const again = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, runId: "r2" }).pipe(Effect.provide(scripted(both)))
      )
      yield* settle
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r2", callId: "a" }, why), 1)
      assert.deepStrictEqual(statuses((yield* Fiber.join(again)).toolResults), ["a Cancelled", "b ok"])
      assert.deepStrictEqual(log, ["inner", "outer", "inner", "outer"])
    }).pipe(Effect.provide([layer, scripted(both)]))
  })

  it.effect("T13: is in the span of the stopped call, with the interruption", () => {
    const { layer, stage, toolkit } = setUp(Effect.never, thrown)
    const ended: Record<string, Exit.Exit<unknown, unknown>> = {}
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        const end = span.end.bind(span)
        span.end = (time, exit) => {
          ended[options.name] = exit
          end(time, exit)
        }
        return span
      }
    })
    return Effect.gen(function*() {
      yield* stage.open("b")
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "a" }, why)
      yield* Fiber.join(fiber)
      const exit = ended["execute_tool work"]
      const tags = exit !== undefined && Exit.isFailure(exit) ? exit.cause.reasons.map(({ _tag }) => _tag) : []
      assert.deepStrictEqual([...tags].sort(), ["Die", "Interrupt"])
    }).pipe(Effect.provide([layer, scripted(both)]), Effect.provideService(Tracer.Tracer, tracer))
  })

  it.effect("T13: does not hide the tool's own failure", () => {
    const { layer, log, stage, toolkit } = setUp(Effect.fail("no such page"), thrown)
    return Effect.gen(function*() {
      yield* stage.open("b")
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      // Effect makes a defect of a failure whose clean-up dies, so the two are no longer the tool's own typed failure.
      assert.deepStrictEqual(statuses(toolResults), ["a HandlerFailed", "b ok"])
      assert.include(String(failureOf(toolResults, "a")["message"]), "no such page")
      assert.deepStrictEqual(log, ["inner", "outer"])
    }).pipe(Effect.provide([layer, scripted(both)]))
  })

  it.effect("T13: makes a call that had succeeded a failed one, in words", () => {
    const { layer, stage, toolkit } = setUp(Effect.succeed("done"), thrown)
    return Effect.gen(function*() {
      yield* stage.open("b")
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(toolResults), ["a HandlerFailed", "b ok"])
      assert.include(String(failureOf(toolResults, "a")["message"]), "the socket is gone")
    }).pipe(Effect.provide([layer, scripted(both)]))
  })
})

describe("T13: a clean-up that hangs", () => {
  it.effect.each(
    [
      ["a cancel", Orchestrator.cancel({ runId: "r", callId: "a" }, why), "Cancelled"],
      ["its timeout", TestClock.adjust("1 minute"), "TimedOut"]
    ] as const
  )("T13: after %s is left behind when the grace is over, and its siblings are not kept", ([, stop, tag]) => {
    const { layer, log, stage, toolkit } = setUp(Effect.never, Effect.never)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* stop
      yield* stage.open("b")
      assert.deepStrictEqual(stage.ended, ["b"])
      assert.deepStrictEqual(log, ["inner"])
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), [`a ${tag}`, "b ok"])
      assert.include(String(failureOf(toolResults, "a")["message"]), "did not stop when asked")
      assert.deepStrictEqual(report.abandoned.map(({ callId }) => callId), ["a"])
    }).pipe(Effect.provide([layer, scripted(both)]))
  })

  it.effect("T13: does not keep a drain longer than the two graces", () => {
    const { layer, stage, toolkit } = setUp(Effect.never, Effect.never)
    return Effect.gen(function*() {
      yield* stage.open("b")
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(drain.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(drain)
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "OrchestratorError")
    }).pipe(Effect.provide([layer, scripted(both), Orchestrator.layerRuns()]))
  })
})
