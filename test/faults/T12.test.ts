import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { CancelReason, Executor, Limiter, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { retrying } from "../retry.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

const why = CancelReason.branchCancelled("not needed")

interface Setting {
  /** What keeps the call `b` in its state. `a` and `c` are its siblings. */
  readonly annotations?: ToolPolicy.Annotations<{ readonly id: string }>
  readonly needsApproval?: (params: { readonly id: string }) => Effect.Effect<boolean>
  readonly parameters?: Schema.Codec<string>
  readonly success?: Schema.Codec<string>
  readonly limits?: Layer.Layer<never>
  readonly places?: number
  readonly script?: (stage: Stage) => TestModel.Turn
  /** Whether the handler of `b` runs when it is stopped. */
  readonly running?: boolean
  /** Whether `b` had started. */
  readonly started?: boolean
}

const all = [
  ToolCall("work", { id: "a" }, { id: "a" }),
  ToolCall("work", { id: "b" }, { id: "b" }),
  ToolCall("work", { id: "c" }, { id: "c" })
]

// Waits at a gate of its own for `b`, and is nothing for the others.
const slowFor = (stage: Stage, gate: string, side: "decode" | "encode") => {
  const slow = SchemaGetter.transformEffect((id: string) =>
    Effect.as(id === "b" ? stage.gate(gate).await : Effect.void, id)
  )
  return Schema.String.pipe(Schema.decodeTo(Schema.String, {
    decode: side === "decode" ? slow : SchemaGetter.passthrough(),
    encode: side === "encode" ? slow : SchemaGetter.passthrough()
  }))
}

const settings: Readonly<Record<string, (stage: Stage) => Setting>> = {
  "whose parameters are being read": (stage) => ({ parameters: slowFor(stage, "decode", "decode") }),
  "whose parameters are being read, ahead of others for its resource": () => ({
    // Deaf to the stop: those behind it must not wait for it.
    parameters: Schema.String.pipe(Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transformEffect((id: string) =>
        id === "b" ? Effect.uninterruptible(Effect.never) : Effect.succeed(id)
      ),
      encode: SchemaGetter.passthrough()
    })),
    annotations: { resources: ({ id }) => [{ write: id === "a" ? "other" : "x" }] }
  }),
  "that is asked whether it needs an approval": () => ({
    needsApproval: ({ id }) => id === "b" ? Effect.never : Effect.succeed(false)
  }),
  "held back until the turn has ended": (stage) => ({
    annotations: { eager: "after-finish" },
    script: () => [...all, TestModel.wait(stage.gate("turn").await)]
  }),
  "behind another for its resource": () => ({ annotations: { resources: () => [{ write: "x" }] } }),
  "that waits for a place": () => ({ places: 1 }),
  "that waits for its tool's cap": () => ({ annotations: { concurrency: 1 } }),
  "at a limit": () => ({
    annotations: { service: "api" },
    limits: Limiter.layer({ services: { api: Limiter.permits(1) } })
  }),
  "at a limit, for a place": () => ({ places: 1, limits: Limiter.layer({ global: Limiter.permits(5) }) }),
  "that runs": () => ({ running: true, started: true }),
  "that runs under a limit, a cap, a resource": () => ({
    annotations: { service: "api", concurrency: 3, resources: ({ id }) => [{ write: id }] },
    limits: Limiter.layer({ services: { api: Limiter.permits(3) } }),
    running: true,
    started: true
  }),
  "whose result is being encoded": (stage) => ({ success: slowFor(stage, "encode", "encode"), started: true })
}

const setUp = (name: string) => {
  const stage = new Stage()
  const setting = settings[name]!(stage)
  const finalised: Array<string> = []
  const { layer, toolkit } = ToolPolicy.define({
    work: ToolPolicy.tool({
      parameters: Schema.Struct({ id: setting.parameters ?? Schema.String }),
      success: setting.success ?? Schema.String,
      annotations: setting.annotations ?? {},
      needsApproval: setting.needsApproval ?? false,
      handler: ({ id }) => Effect.ensuring(stage.play(id), Effect.sync(() => finalised.push(id)))
    })
  })
  return { stage, setting, finalised, layer, toolkit }
}

describe.each(Object.keys(settings))("T12: a call %s", (name) => {
  it.effect("T12: is stopped alone, once, and gives back what it held", () => {
    const { finalised, layer, setting, stage, toolkit } = setUp(name)
    const script = setting.script?.(stage) ?? all
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Effect.forkChild(Stream.runForEach(
        Orchestrator.stream({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: setting.places ?? 30 }),
        (part) => Effect.sync(() => parts.push(part))
      ))
      yield* settle
      if (name === "whose result is being encoded") yield* stage.open("b")
      const stop = Orchestrator.cancel({ runId: "r", callId: "b" }, why)
      assert.deepStrictEqual(yield* Effect.all([stop, stop], { concurrency: 2 }), [1, 0])
      assert.strictEqual(yield* stop, 0)
      yield* settle
      const told = parts.flatMap((part) => part.type === "tool-cancelled" ? [part] : [])
      assert.deepStrictEqual(told.map((part) => "callId" in part && part.callId), ["b"])
      assert.deepStrictEqual(statuses(results(parts)), ["b Cancelled"])
      assert.deepInclude(failureOf(results(parts), "b"), { reason: why, executionStarted: setting.started === true })
      yield* stage.open("turn", "a", "c")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["a ok", "b Cancelled", "c ok"])
      assert.deepStrictEqual(stage.interrupted, setting.running === true ? ["b"] : [])
      assert.deepStrictEqual(finalised.toSorted(), setting.started === true ? ["a", "b", "c"] : ["a", "c"])
      assert.strictEqual(yield* stop, 0)
      // Nothing is held any more: three calls of the same tool pass as at first.
      yield* stage.open("x", "y", "z")
      const again = scripted(["x", "y", "z"].map((id) => ToolCall("work", { id }, { id })))
      const second = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(Effect.provide(again))
      assert.deepStrictEqual(statuses(second.toolResults), ["x ok", "y ok", "z ok"])
    }).pipe(Effect.provide([layer, scripted(script), setting.limits ?? Layer.empty]))
  })

  it.effect("T12: is answered with its siblings when the whole run is stopped, and nothing starts after it", () => {
    const { finalised, layer, setting, stage, toolkit } = setUp(name)
    const script = setting.script?.(stage) ?? all
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(
          Orchestrator.run({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: setting.places ?? 30 })
        )
      )
      yield* settle
      if (name === "whose result is being encoded") yield* stage.open("b")
      const started = [...stage.started]
      const stop = Orchestrator.cancel({ runId: "r" }, why)
      assert.deepStrictEqual(yield* Effect.all([stop, stop], { concurrency: 2 }), [3, 0])
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual<unknown>(error._tag === "OrchestratorError" ? error.reason : error, {
        _tag: "Cancelled",
        reason: why
      })
      const answered = error._tag === "OrchestratorError" ? error.prompt.content.at(-1)?.content : undefined
      assert.deepStrictEqual(
        Array.isArray(answered) ? answered.map((part: { readonly id?: string }) => part.id) : answered,
        ["a", "b", "c"]
      )
      yield* stage.open("a", "b", "c", "turn")
      assert.deepStrictEqual(stage.started, started)
      assert.deepStrictEqual(finalised.toSorted(), started.toSorted())
    }).pipe(Effect.provide([layer, scripted(script), setting.limits ?? Layer.empty]))
  })
})

describe("T12: a cancel", () => {
  it.effect("T12: of a call in its grace changes nothing, not even the reason", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        annotations: { grace: "2 seconds" },
        handler: () => Effect.uninterruptible(stage.gate("deaf").await)
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "a" }, CancelReason.superseded("x")), 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "a" }, why), 0)
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepInclude(failureOf(toolResults, "a"), { reason: CancelReason.superseded("x") })
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })

  it.effect("T12: of the run reaches the calls of one that was ending already, and its own reason stands", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ work: stage.tool() })
    const work = (id: string, what = id) => ToolCall("work", { id: what }, { id })
    const model = scripted([work("x")], [work("a"), work("y", "x")])
    return Effect.gen(function*() {
      yield* stage.open("x")
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit, runId: "r" })))
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r" }, why), 1)
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag === "OrchestratorError" ? error.reason._tag : "", "LoopDetected")
      assert.deepStrictEqual(stage.interrupted, ["a"])
    }).pipe(
      Effect.provide([layer, model]),
      Effect.provideService(Orchestrator.Config, { ...Orchestrator.Config.defaultValue(), maxRepeats: 1 })
    )
  })

  it.effect("T12: of a call that waits for its next attempt is answered at once, and none follows", () => {
    const stage = new Stage()
    const busy = stage.tools.handler("busy", TestTools.fail("busy", { after: 0 }))
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        parameters: Schema.Struct({ id: Schema.String }),
        success: Schema.String,
        failure: Schema.String,
        annotations: { readonly: true, concurrency: 2 },
        handler: (params, context) => params.id === "b" ? busy(params, context) : stage.play(params.id)
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      const stop = Orchestrator.cancel({ runId: "r", callId: "b" }, why)
      assert.deepStrictEqual(yield* Effect.all([stop, stop], { concurrency: 2 }), [1, 0])
      yield* TestClock.adjust("1 hour")
      yield* stage.open("a", "c")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a ok", "b Cancelled", "c ok"])
      assert.deepInclude(failureOf(toolResults, "b"), { reason: why, executionStarted: true })
      assert.deepStrictEqual(stage.started.toSorted(), ["a", "b", "c"])
      assert.strictEqual(report.calls[1]?.attempts, 1)
    }).pipe(Effect.provide([layer, scripted(all), retrying([60_000, 0]).layer]))
  })

  it.effect("T12: of a hedged call stops both of its attempts, each once", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      work: stage.tool({ readonly: true, hedge: { after: "1 second", max: 1 }, concurrency: 4 })
    })
    return Effect.gen(function*() {
      yield* stage.open("a", "c")
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Effect.forkChild(Stream.runForEach(
        Orchestrator.stream({ prompt: "go", toolkit, runId: "r" }),
        (part) => Effect.sync(() => parts.push(part))
      ))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(stage.started.filter((id) => id === "b"), ["b", "b"])
      const stop = Orchestrator.cancel({ runId: "r", callId: "b" }, why)
      assert.deepStrictEqual(yield* Effect.all([stop, stop], { concurrency: 2 }), [1, 0])
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.interrupted, ["b", "b"])
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["a ok", "b Cancelled", "c ok"])
      assert.strictEqual(parts.filter(({ type }) => type === "tool-cancelled").length, 1)
      const second = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(Effect.provide(scripted([all[0]!])))
      assert.deepStrictEqual(statuses(second.toolResults), ["a ok"])
    }).pipe(Effect.provide([layer, scripted(all)]))
  })

  it.effect("T12: of a call stops what its handler has called in turn, each once", () => {
    const stage = new Stage()
    const inner = ToolPolicy.define({ inner: stage.tool() })
    const outer = ToolPolicy.define({
      outer: ToolPolicy.tool({
        handler: () =>
          Effect.all(["x", "y"].map((id) => Executor.call(inner.toolkit.tools.inner, { id })), {
            concurrency: "unbounded"
          }).pipe(Effect.provide(inner.layer), Effect.exit, Effect.asVoid)
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit: outer.toolkit, runId: "r" }))
      yield* settle
      assert.deepStrictEqual(stage.started, ["x", "y"])
      yield* Orchestrator.cancel({ runId: "r", callId: "a" }, why)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(stage.interrupted, ["x", "y"])
      assert.deepStrictEqual(stage.ended, ["x", "y"])
    }).pipe(Effect.provide([outer.layer, scripted([ToolCall("outer", {}, { id: "a" })])]))
  })
})
