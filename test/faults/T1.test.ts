import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { CancelReason, Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestTools, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, settle, Stage, statuses } from "../stage.ts"
import { runProgram } from "./child.ts"

const kinds = ["uninterruptible", "finalizer", "promise"] as const

/** A tool with a cap of 1 whose handler ignores every request to stop, in one of three ways, until its gate opens. */
const deafTool = (kind: typeof kinds[number]) => {
  const stage = new Stage()
  const gate = Latch.makeUnsafe(false)
  const deaf = {
    uninterruptible: Effect.uninterruptible(gate.await),
    finalizer: Effect.ensuring(Effect.never, gate.await),
    promise: Executor.promise(() => Effect.runPromise(gate.await))
  }
  return {
    stage,
    gate,
    ...ToolPolicy.define({
      deaf: ToolPolicy.tool({
        parameters: Schema.Struct({ id: Schema.String }),
        failure: Schema.Unknown,
        annotations: { timeout: "2 seconds", grace: "500 millis", concurrency: 1 },
        handler: stage.tools.handler("deaf", TestTools.effect(deaf[kind]))
      }),
      good: stage.tool()
    })
  }
}

const deaf = (id: string) => ToolCall("deaf", { id }, { id })
const good = (id: string) => ToolCall("good", { id }, { id })

const abandonedHandlers = Effect.map(
  Metric.snapshot,
  (all) =>
    all.flatMap(({ id, state }) =>
      id === "async_orchestrator_abandoned_handlers" && "value" in state ? [Number(state.value)] : []
    )
)

describe.each(kinds)("T1: a handler that will not stop (%s)", (kind) => {
  it.effect("T1: is answered TimedOut when its grace is over, reported abandoned, and the run ends then", () => {
    const { layer, stage, toolkit } = deafTool(kind)
    return Effect.gen(function*() {
      yield* stage.open("b")
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("2499 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { report, text, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut", "b ok"])
      assert.include(String(failureOf(toolResults, "a")["message"]), "did not stop when asked")
      assert.deepStrictEqual(report.abandoned, [
        { callId: "a", name: "deaf", reason: CancelReason.timeout("attempt", 2000) }
      ])
      assert.deepInclude(report.calls[0], { runMillis: 2500, abandoned: true })
      assert.strictEqual(report.totalMillis, 2500)
      assert.strictEqual(text, "done")
    }).pipe(Effect.provide([layer, scripted([deaf("a"), good("b")])]))
  })

  it.effect("T1: says so in the stream: cancelled, abandoned, then its one result", () => {
    const { gate, layer, toolkit } = deafTool(kind)
    return Effect.gen(function*() {
      const parts: Array<string> = []
      const fiber = yield* Effect.forkChild(Stream.runForEach(
        Orchestrator.stream({ prompt: "go", toolkit }),
        (part) => Effect.sync(() => parts.push(part.type))
      ))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(fiber)
      gate.openUnsafe()
      yield* settle
      assert.deepStrictEqual(parts.filter((type) => type.startsWith("tool-") && !type.startsWith("tool-params")), [
        "tool-call",
        "tool-queued",
        "tool-started",
        "tool-cancelled",
        "tool-abandoned",
        "tool-result"
      ])
    }).pipe(Effect.provide([layer, scripted([deaf("a")])]))
  })

  it.effect("T1: keeps its permit until it really ends, and is counted while it lives", () => {
    const { gate, layer, stage, toolkit } = deafTool(kind)
    const run = (id: string) => Orchestrator.run({ prompt: "go", toolkit }).pipe(Effect.provide(scripted([deaf(id)])))
    return Effect.gen(function*() {
      const first = yield* Effect.forkChild(run("a"))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(first)
      assert.deepStrictEqual(yield* abandonedHandlers, [1])
      assert.deepStrictEqual(statuses((yield* run("b")).toolResults), ["b Rejected"])
      gate.openUnsafe()
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      yield* settle
      assert.deepStrictEqual(yield* abandonedHandlers, [0])
      const third = yield* Effect.forkChild(run("c"))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(third)
      assert.deepStrictEqual(stage.started, ["a", "c"])
    }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map()))
  })

  it.effect("T1: does not keep an interrupted run longer than its grace", () => {
    const { layer, toolkit } = deafTool(kind)
    const run = Orchestrator.run({ prompt: "go", toolkit, runId: "r" })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(run)
      yield* settle
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust("499 millis")
      assert.isUndefined(interruption.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interruption)
    }).pipe(Effect.provide([layer, scripted([deaf("a")])]))
  })
})

describe("T1: handlers that will not stop", () => {
  it("T1: leave nothing that keeps the process alive", { timeout: 30_000 }, async () => {
    const { code, stderr, stdout } = await runProgram("neverEnds")
    assert.strictEqual(stderr, "")
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(JSON.parse(stdout), {
      text: "done",
      abandoned: ["uninterruptible", "finalizer", "deaf"],
      statuses: ["uninterruptible TimedOut", "finalizer TimedOut", "deaf TimedOut", "fine success"]
    })
  })
})
