/** The engine under `Limiter.layer`: who waits for what, and that limits hold over a whole run. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { mostIn } from "../limiter.ts"
import { scripted } from "../model.ts"
import { failureOf, settle, Stage, statuses } from "../stage.ts"

const Id = Schema.Struct({ id: Schema.String })

const many = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}${i}`)

describe("a run under limits", () => {
  it.effect("of 200 calls over three services keeps every limit and every place, and wastes neither", () => {
    const starts: Record<string, Array<number>> = { fast: [], slow: [], few: [] }
    const running = { all: 0, few: 0, peak: 0, fewPeak: 0 }
    const tool = (service: string) =>
      ToolPolicy.tool({
        annotations: { service },
        handler: () =>
          Effect.gen(function*() {
            starts[service]!.push(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
            running.peak = Math.max(running.peak, ++running.all)
            if (service === "few") running.fewPeak = Math.max(running.fewPeak, ++running.few)
            yield* Effect.sleep(100)
            running.all--
            if (service === "few") running.few--
          })
      })
    const { layer, toolkit } = ToolPolicy.define({ fast: tool("fast"), slow: tool("slow"), few: tool("few") })
    const limits = Limiter.layer({
      global: Limiter.slidingWindow({ limit: 60, window: "1 second" }),
      services: {
        fast: Limiter.slidingWindow({ limit: 40, window: "1 second" }),
        slow: Limiter.tokenBucket({ capacity: 5, refill: 5, every: "1 second" }),
        few: Limiter.permits(2)
      }
    })
    const wanted = [...many("fast", 120), ...many("slow", 40), ...many("few", 40)]
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 10 }))
      for (let i = 0; i < 2000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(10)
      const { report } = yield* Fiber.join(fiber)
      assert.strictEqual(report.calls.filter(({ status }) => status === "success").length, 200)
      const all = Object.values(starts).flat()
      assert.isAtMost(mostIn(1000, starts["fast"]!), 40)
      assert.isAtMost(mostIn(1000, starts["slow"]!), 10)
      assert.isAtMost(mostIn(1000, all), 60)
      assert.isAtMost(running.fewPeak, 2)
      assert.isAtMost(running.peak, 10)
      // 40 calls at 5 a second behind a burst of 5 take 7 s; nothing else takes as long.
      assert.isAtLeast(report.totalMillis, 7000)
      assert.isAtMost(report.totalMillis, 7500)
      const last = report.calls.findLast(({ name }) => name === "slow")!
      assert.isAtLeast(last.limiterMillis, 5000)
      assert.isAtMost(last.queuedMillis, 2000)
      const segment = report.criticalPath.find(({ kind }) => kind === "limiter")
      assert.strictEqual(segment?.name, "slow")
    }).pipe(Effect.provide([
      layer,
      limits,
      scripted(wanted.map((id) => ToolCall(id.replace(/\d+$/, ""), {}, { id })))
    ]))
  })

  it.effect("gives places to who may start, whoever came first", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ api: stage.tool({ service: "api" }), free: stage.tool() })
    const limits = Limiter.layer({ services: { api: Limiter.slidingWindow({ limit: 1, window: "10 seconds" }) } })
    const script = [
      ...["a", "b", "c"].map((id) => ToolCall("api", { id }, { id })),
      ...["x", "y"].map((id) => ToolCall("free", { id }, { id }))
    ]
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 2 }))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a", "x"])
      yield* stage.open("a")
      assert.deepStrictEqual([...stage.running], ["x", "y"])
      // The limit has room again, and there is no place: b takes nothing of it yet.
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([...stage.running], ["x", "y"])
      yield* TestClock.adjust("5 seconds")
      yield* stage.open("x")
      assert.deepStrictEqual([...stage.running], ["y", "b"])
      yield* stage.open("b")
      yield* TestClock.adjust("9999 millis")
      assert.deepStrictEqual([...stage.running], ["y"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual([...stage.running], ["y", "c"])
      yield* stage.open("y", "c")
      const { report } = yield* Fiber.join(fiber)
      assert.deepInclude(report.calls[1], { limiterMillis: 10_000, queuedMillis: 5000 })
    }).pipe(Effect.provide([layer, limits, scripted(script)]))
  })

  it.effect("takes nothing for calls that are cancelled while they wait", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ api: stage.tool({ service: "api" }) })
    const limits = Limiter.layer({
      services: { api: [Limiter.permits(1), Limiter.slidingWindow({ limit: 3, window: "1 hour" })] },
      maxWait: "1 day"
    })
    const ids = many("a", 50)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a0"])
      for (const id of ids.slice(1, 49)) {
        yield* Orchestrator.cancel({ runId: "r", callId: id })
        if (id === "a20") yield* settle
      }
      yield* stage.open("a0", "a49")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.started, ["a0", "a49"])
      assert.strictEqual(statuses(toolResults).filter((status) => status.endsWith("Cancelled")).length, 48)
      // Two of three are used, and no permit is held.
      const forecasts = yield* Limiter.explain([{ service: "api" }, { service: "api" }])
      assert.deepStrictEqual(forecasts.map(({ startMillis }) => startMillis === 0), [true, false])
    }).pipe(Effect.provide([layer, limits, scripted(ids.map((id) => ToolCall("api", { id }, { id })))]))
  })

  it.effect("starts nobody for what a cancelled run gives back", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ api: stage.tool({ service: "api" }) })
    const limits = Limiter.layer({ services: { api: Limiter.permits(2) } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.exit(Orchestrator.run({ prompt: "go", toolkit, runId: "r" })))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r" })
      yield* settle
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.started, ["a0", "a1"])
      const [forecast] = yield* Limiter.explain([{ service: "api" }])
      assert.strictEqual(forecast?.startMillis, 0)
    }).pipe(Effect.provide([layer, limits, scripted(many("a", 20).map((id) => ToolCall("api", { id }, { id })))]))
  })

  it.effect("keeps the permit of an abandoned handler until it has really ended", () => {
    const released = Deferred.makeUnsafe<void>()
    const { layer, toolkit } = ToolPolicy.define({
      deaf: ToolPolicy.tool({
        annotations: { service: "api", timeout: "1 second" },
        handler: () => Effect.uninterruptible(Deferred.await(released))
      }),
      next: ToolPolicy.tool({ annotations: { service: "api" }, handler: () => Effect.void })
    })
    const limits = Limiter.layer({ services: { api: Limiter.permits(1) }, maxWait: "10 seconds" })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("11 seconds")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut", "b Rejected"])
      assert.include(failureOf(toolResults, "b")["limit"], "api")
      const held = yield* Limiter.explain([{ service: "api" }])
      assert.strictEqual(held[0]?.startMillis, Infinity)
      yield* Deferred.succeed(released, undefined)
      yield* settle
      const free = yield* Limiter.explain([{ service: "api" }])
      assert.strictEqual(free[0]?.startMillis, 0)
    }).pipe(
      Effect.provide([layer, limits, scripted([ToolCall("deaf", {}, { id: "a" }), ToolCall("next", {}, { id: "b" })])])
    )
  })

  it.effect("rejects at once what would start after its deadline, and what the limit never holds", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      api: stage.tool({ service: "api", deadline: "5 seconds" }),
      big: ToolPolicy.tool({
        parameters: Id,
        annotations: { service: "ai", cost: () => 101 },
        handler: () => Effect.void
      })
    })
    const limits = Limiter.layer({
      services: {
        api: Limiter.slidingWindow({ limit: 1, window: "1 minute" }),
        ai: Limiter.slidingWindow({ limit: 100, window: "1 minute", unit: "tokens" })
      }
    })
    const script = [
      ToolCall("api", { id: "a" }, { id: "a" }),
      ToolCall("api", { id: "b" }, { id: "b" }),
      ToolCall("big", { id: "c" }, { id: "c" })
    ]
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      yield* stage.open("a")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a ok", "b Rejected", "c Rejected"])
      assert.deepInclude(failureOf(toolResults, "b"), { isRetryable: true, retryAfterMillis: 60_000 })
      assert.deepInclude(failureOf(toolResults, "c"), { isRetryable: false })
    }).pipe(Effect.provide([layer, limits, scripted(script)]))
  })

  it.effect("settles tokens to what calls and turns really used", () => {
    const { layer, toolkit } = ToolPolicy.define({
      embed: ToolPolicy.tool({
        success: Schema.Finite,
        annotations: { service: "ai", cost: { estimate: () => 80, actual: (tokens) => tokens } },
        handler: () => Effect.succeed(10)
      })
    })
    const limits = Limiter.layer({
      services: { ai: Limiter.slidingWindow({ limit: 100, window: "1 minute", unit: "tokens" }) }
    })
    return Effect.gen(function*() {
      for (const _ of many("call", 2)) yield* Executor.call(toolkit.tools.embed, {})
      const free = yield* Limiter.explain([{ service: "ai", tokens: 80 }, { service: "ai", tokens: 1 }])
      assert.deepStrictEqual(free.map(({ startMillis }) => startMillis === 0), [true, false])
    }).pipe(Effect.provide([layer, limits]))
  })

  it.effect("runs 10,000 calls under a single permit without overflowing the stack", () => {
    let ran = 0
    const { layer, toolkit } = ToolPolicy.define({
      api: ToolPolicy.tool({ annotations: { service: "api" }, handler: () => Effect.sync(() => void ran++) })
    })
    const limits = Limiter.layer({ services: { api: Limiter.permits(1) } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      for (let i = 0; i < 100_000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(0)
      yield* Fiber.join(fiber)
      assert.strictEqual(ran, 10_000)
    }).pipe(Effect.provide([layer, limits, scripted(many("a", 10_000).map((id) => ToolCall("api", {}, { id })))]))
  }, 60_000)

  it.effect("rejects a call that waits for its own ancestor's permit when it has waited too long", () => {
    const self: { call?: Effect.Effect<unknown, unknown> } = {}
    const { layer, toolkit } = ToolPolicy.define({
      outer: ToolPolicy.tool({
        success: Schema.Unknown,
        annotations: { service: "api" },
        handler: () =>
          Effect.suspend(() => self.call!).pipe(Effect.match({ onFailure: (error) => error, onSuccess: () => "ran" }))
      }),
      inner: ToolPolicy.tool({ annotations: { service: "api" }, handler: () => Effect.void })
    })
    const limits = Limiter.layer({ services: { api: Limiter.permits(1) }, maxWait: "10 seconds" })
    return Effect.gen(function*() {
      self.call = Effect.provide(
        Executor.call(toolkit.tools.inner, {}),
        yield* Effect.context<Layer.Success<typeof layer> | Limiter.Limiter>()
      )
      const fiber = yield* Effect.forkChild(Executor.call(toolkit.tools.outer, {}))
      yield* TestClock.adjust("11 seconds")
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "Rejected", tool: "inner" })
      const [forecast] = yield* Limiter.explain([{ service: "api" }])
      assert.strictEqual(forecast?.startMillis, 0)
    }).pipe(Effect.provide([layer, limits]))
  })
})
