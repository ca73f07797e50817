import { assert, describe, it } from "@effect/vitest"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as Tracer from "effect/Tracer"
import { CancelReason, Executor, Limiter, Orchestrator, ToolFailure, ToolPolicy } from "../../src/index.ts"
import type { Retry } from "../../src/index.ts"
import { TestLimiter, ToolCall } from "../../src/testing/index.ts"
import { lease, limiterOf } from "../limiter.ts"
import { scripted } from "../model.ts"
import { failureOf, results, settle, statuses } from "../stage.ts"
import { ScriptedRetry } from "./scriptedRetry.ts"

const Busy = Schema.Struct({ status: Schema.Finite })
const busy = Effect.fail({ status: 503 })
const Params = Schema.Struct({ id: Schema.String })

/** A tool whose nth attempt runs the nth effect, the last one for all after it; it notes when each attempt began. */
const acting = (
  annotations: ToolPolicy.Annotations<{ readonly id: string }>,
  ...acts: ReadonlyArray<Effect.Effect<string, { readonly status: number }>>
) => {
  const starts: Array<number> = []
  const keys: Array<string | undefined> = []
  const tool = ToolPolicy.tool({
    parameters: Params,
    success: Schema.String,
    failure: Busy,
    annotations,
    handler: (_params, { toolCallId }) =>
      Effect.clockWith((clock) => {
        keys.push(toolCallId)
        starts.push(clock.currentTimeMillisUnsafe())
        return acts[Math.min(starts.length, acts.length) - 1]!
      })
  })
  return { starts, keys, ...ToolPolicy.define({ work: tool }) }
}

type Acting = ReturnType<typeof acting>

const oneCall = () => scripted([ToolCall("work", { id: "a" }, { id: "a" })])

/** A run of one call, all its parts collected. */
const streamed = ({ layer, toolkit }: Acting, extra: Layer.Layer<never> | Layer.Layer<Retry.Retry> = Layer.empty) =>
  Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit, runId: "r" })).pipe(
    Effect.provide(Layer.mergeAll(oneCall(), layer, extra as Layer.Layer<never>))
  )

const ofCall = (parts: ReadonlyArray<{ readonly type: string }>) =>
  parts.map(({ type }) => type).filter((type) => type.startsWith("tool-") && !type.startsWith("tool-params"))

const reportOf = (parts: ReadonlyArray<{ readonly type: string }>) =>
  (parts.find((part) => part.type === "run-finish") as unknown as {
    readonly report: Orchestrator.RunResult<{}>["report"]
  })
    .report

describe("attempts of a call", () => {
  it.effect("are made again after a failure that may pass, and the call has one result", () => {
    const work = acting({ readonly: true }, busy, busy, Effect.succeed("fine"))
    const retry = new ScriptedRetry([100, 250])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(streamed(work, retry.layer))
      yield* TestClock.adjust("10 seconds")
      const parts = yield* Fiber.join(fiber)
      assert.deepStrictEqual(ofCall(parts), [
        "tool-call",
        "tool-queued",
        "tool-started",
        "tool-retry",
        "tool-started",
        "tool-retry",
        "tool-started",
        "tool-result"
      ])
      assert.deepStrictEqual(
        parts.flatMap((part) => part.type === "tool-started" ? [part.attempt] : []),
        [1, 2, 3]
      )
      assert.deepStrictEqual(
        parts.flatMap((part) => part.type === "tool-retry" ? [[part.attempt, part.delayMillis, part.message]] : []),
        [[1, 100, "{\"status\":503}"], [2, 250, "{\"status\":503}"]]
      )
      assert.deepStrictEqual(work.starts, [0, 100, 350])
      assert.deepStrictEqual(work.keys, ["a", "a", "a"])
      assert.deepStrictEqual(retry.failures, [{ status: 503 }, { status: 503 }])
      assert.strictEqual(retry.successes, 1)
      assert.deepStrictEqual(retry.asked.map(({ service }) => service), ["work"])
      const [report] = reportOf(parts).calls
      assert.deepInclude(report, { status: "success", attempts: 3, runMillis: 350, queuedMillis: 0, abandoned: false })
    })
  })

  it.effect("end with the tool's own last failure when the policy lets it stand", () => {
    const work = acting({ idempotent: true }, busy, Effect.fail({ status: 404 }))
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(streamed(work, new ScriptedRetry([5]).layer))
      yield* TestClock.adjust("1 seconds")
      const parts = yield* Fiber.join(fiber)
      assert.deepStrictEqual(results(parts).map(({ result }) => result), [{ status: 404 }])
    })
  })

  it.effect("are one for a tool that may not be repeated, that says false, or where nobody retries", () => {
    const write = acting({}, busy)
    const never = acting({ readonly: true, retry: false }, busy)
    const plain = acting({ readonly: true }, busy)
    const retry = new ScriptedRetry([1, 1, 1])
    return Effect.gen(function*() {
      const parts = [
        yield* streamed(write, retry.layer),
        yield* streamed(never, retry.layer),
        yield* streamed(plain)
      ]
      assert.deepStrictEqual(parts.map((each) => statuses(results(each))), [0, 1, 2].map(() => ["a {\"status\":503}"]))
      assert.deepStrictEqual([write, never, plain].map(({ starts }) => starts.length), [1, 1, 1])
      assert.deepStrictEqual(retry.asked, [])
    })
  })

  it.effect("of an annotated tool are made without a program's policy, under the default one", () => {
    const work = acting({ readonly: true, retry: { schedule: Schedule.spaced("2 seconds") } }, busy, busy, busy, busy)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(streamed(work))
      yield* TestClock.adjust("1 minutes")
      const parts = yield* Fiber.join(fiber)
      assert.deepStrictEqual(work.starts, [0, 2000, 4000])
      assert.deepStrictEqual(statuses(results(parts)), ["a {\"status\":503}"])
    })
  })

  it.effect("take the tool's own options over the program's, and its service's name", () => {
    const options = { attempts: 2 }
    const work = acting({ readonly: true, service: "maps", retry: options }, busy)
    const retry = new ScriptedRetry([])
    return Effect.gen(function*() {
      yield* streamed(work, retry.layer)
      assert.deepStrictEqual(retry.asked, [{ service: "maps", options }])
    })
  })

  it.effect("are made again after a time-out of one, with the time-out as the failure", () => {
    const work = acting({ readonly: true, timeout: "1 seconds" }, Effect.never, Effect.succeed("fine"))
    const retry = new ScriptedRetry([500])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(streamed(work, retry.layer))
      yield* TestClock.adjust("5 seconds")
      const parts = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(results(parts)), ["a ok"])
      assert.deepStrictEqual(work.starts, [0, 1500])
      assert.isTrue(ToolFailure.is(retry.failures[0]) && retry.failures[0]._tag === "TimedOut")
      // The attempt was stopped, not the call.
      assert.notInclude(ofCall(parts), "tool-cancelled")
    })
  })

  it.effect("are not made again after a defect, nor beside a handler that did not stop", () => {
    const broken = acting({ readonly: true }, Effect.die(new Error("a bug")))
    const deaf = acting(
      { readonly: true, timeout: "1 seconds", grace: "100 millis" },
      Effect.uninterruptible(Effect.never)
    )
    const retry = new ScriptedRetry([1, 1, 1])
    return Effect.gen(function*() {
      assert.deepStrictEqual(statuses(results(yield* streamed(broken, retry.layer))), ["a HandlerFailed"])
      const fiber = yield* Effect.forkChild(streamed(deaf, retry.layer))
      yield* TestClock.adjust("5 seconds")
      const parts = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(results(parts)), ["a TimedOut"])
      assert.deepStrictEqual(retry.failures, [])
      assert.deepStrictEqual(ofCall(parts).slice(-2), ["tool-abandoned", "tool-result"])
      assert.deepStrictEqual(reportOf(parts).abandoned.map(({ callId }) => callId), ["a"])
      assert.isTrue(reportOf(parts).calls[0]!.abandoned)
    })
  })

  it.effect("do not begin a wait that would pass the deadline", () => {
    const work = acting({ readonly: true, deadline: "1 seconds" }, busy)
    return Effect.gen(function*() {
      const fits = yield* Effect.forkChild(streamed(work, new ScriptedRetry([999, 1]).layer))
      yield* TestClock.adjust("999 millis")
      const parts = yield* Fiber.join(fits)
      assert.deepStrictEqual(work.starts, [0, 999])
      assert.deepStrictEqual(statuses(results(parts)), ["a {\"status\":503}"])
      assert.deepStrictEqual(reportOf(parts).totalMillis, 999)
    })
  })

  it.effect("are all bounded by the deadline, which counts their waits", () => {
    const work = acting({ readonly: true, deadline: "1 seconds" }, busy, Effect.never)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(streamed(work, new ScriptedRetry([400]).layer))
      yield* TestClock.adjust("1 seconds")
      const parts = yield* Fiber.join(fiber)
      assert.deepInclude(failureOf(results(parts), "a"), {
        _tag: "TimedOut",
        clock: "deadline",
        executionStarted: true
      })
      assert.strictEqual(reportOf(parts).totalMillis, 1000)
      assert.strictEqual(ofCall(parts).filter((type) => type === "tool-cancelled").length, 1)
    })
  })

  it.effect("wait until the service wants to be asked, the first one too, and hold no place meanwhile", () => {
    const work = acting({ readonly: true }, Effect.succeed("fine"))
    const retry = new ScriptedRetry([])
    retry.pauses = [300, 50]
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(streamed(work, retry.layer))
      yield* TestClock.adjust("1 seconds")
      const parts = yield* Fiber.join(fiber)
      assert.deepStrictEqual(work.starts, [350])
      assert.deepInclude(reportOf(parts).calls[0], { queuedMillis: 350, runMillis: 0, attempts: 1 })
    })
  })

  it.effect("are not begun where the service wants to be left alone for longer than the call may wait", () => {
    const work = acting({ readonly: true, deadline: "1 seconds" }, Effect.succeed("fine"))
    const paused = new ScriptedRetry([])
    paused.pauses = [2500]
    const refusing = new ScriptedRetry([])
    refusing.refused = 7200
    return Effect.gen(function*() {
      const rejected = failureOf(results(yield* streamed(work, paused.layer)), "a")
      assert.deepInclude(rejected, { _tag: "Rejected", retryAfterMillis: 2500, isRetryable: true })
      assert.deepInclude(failureOf(results(yield* streamed(work, refusing.layer)), "a"), {
        _tag: "Rejected",
        limit: "work has asked to be left alone",
        retryAfterMillis: 7200
      })
      assert.deepStrictEqual(work.starts, [])
    })
  })

  it.effect("give place, permit and limit back between two attempts, and keep the resources", () => {
    const limiter = TestLimiter.makeUnsafe({ permits: { work: 1 } })
    const seen: Array<string> = []
    const annotations = { readonly: true, service: "work", concurrency: 1, deadline: "1 seconds" } as const
    const first = acting(annotations, busy, Effect.succeed("fine"))
    const tools = ToolPolicy.define({
      keeper: ToolPolicy.tool({
        parameters: Params,
        success: Schema.String,
        failure: Busy,
        annotations: { readonly: true, resources: () => [{ write: "file" }] },
        handler: ({ id }) => {
          seen.push(id)
          return seen.length === 1 ? busy : Effect.succeed(id)
        }
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        streamed(first, Layer.mergeAll(new ScriptedRetry([100]).layer, limiter.layer) as never)
      )
      yield* settle
      const asked = () => limiter.admissions.filter(({ service }) => service === "work").length
      assert.deepStrictEqual([asked(), limiter.held.length], [1, 0])
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual([asked(), limiter.held.length], [2, 0])
      // What is left of the call's deadline bounds the wait of each attempt.
      const deadlines = limiter.admissions.map(({ request }) => request).flatMap(({ deadline, service }) =>
        service === "work" ? [deadline] : []
      )
      assert.deepStrictEqual(deadlines, [1000, 900])
      const run = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit: tools.toolkit }).pipe(Effect.provide([
          tools.layer,
          scripted([ToolCall("keeper", { id: "a" }, { id: "a" }), ToolCall("keeper", { id: "b" }, { id: "b" })]),
          new ScriptedRetry([100]).layer
        ]))
      )
      yield* settle
      assert.deepStrictEqual(seen, ["a"])
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(run)
      assert.deepStrictEqual(seen, ["a", "a", "b"])
    })
  })

  it.effect("that the limiter turns away are not made again", () => {
    const work = acting({ readonly: true, service: "work" }, Effect.succeed("fine"))
    const retry = new ScriptedRetry([1, 1])
    const rejected = new Limiter.Rejected({ reason: "RateLimited", limit: "l", message: "no" })
    const closed = limiterOf(({ service }, use) => service === "work" ? Effect.fail(rejected) : use(lease))
    return Effect.gen(function*() {
      const parts = yield* streamed(work, Layer.merge(retry.layer, closed) as never)
      assert.deepStrictEqual(statuses(results(parts)), ["a Rejected"])
      assert.deepStrictEqual([retry.failures, work.starts], [[], []])
    })
  })
})

describe("what is told of attempts", () => {
  it.effect("is one span a call, with how many there were, under which every handler works", () => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    const work = acting(
      { readonly: true },
      Effect.withSpan(busy, "try"),
      Effect.withSpan(Effect.succeed("fine"), "try")
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.withTracer(streamed(work, new ScriptedRetry([1]).layer), tracer))
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(fiber)
      const own = spans.filter(({ name }) => name === "execute_tool work")
      assert.strictEqual(own.length, 1)
      assert.strictEqual(own[0]!.attributes.get("toolformer.attempts"), 2)
      assert.strictEqual(own[0]!.status._tag, "Ended")
      const tries = spans.filter(({ name }) => name === "try")
      assert.deepStrictEqual(
        tries.map(({ parent }) => Option.getOrThrow(parent).spanId),
        [0, 1].map(() => own[0]!.spanId)
      )
    })
  })

  it.effect("its handler: the number of the attempt and a key that all share, and no other call has", () => {
    const seen: Array<Executor.CallInfo> = []
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        success: Schema.String,
        failure: Busy,
        annotations: { idempotent: true },
        handler: () =>
          Effect.flatMap(Executor.currentCall, (info) => {
            seen.push(Option.getOrThrow(info))
            return seen.length === 1 ? busy : Effect.succeed("fine")
          })
      })
    })
    return Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* Executor.currentCall))
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(fiber)
      const plain = seen.map(({ attempt, callId, name, runId }) => ({ callId, name, attempt, runId }))
      assert.deepStrictEqual(plain, [
        { callId: "a", name: "work", attempt: 1, runId: "r" },
        { callId: "b", name: "work", attempt: 1, runId: "r" },
        { callId: "a", name: "work", attempt: 2, runId: "r" }
      ])
      const [a1, b, a2] = seen.map(({ idempotencyKey }) => idempotencyKey)
      assert.strictEqual(a1, a2)
      assert.notStrictEqual(a1, b)
    }).pipe(Effect.provide([
      layer,
      new ScriptedRetry([10]).layer,
      scripted([ToolCall("work", {}, { id: "a" }), ToolCall("work", {}, { id: "b" })])
    ]))
  })
})

describe("a stop", () => {
  const stopped = (work: Acting, retry: ScriptedRetry, at: string) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(streamed(work, retry.layer))
      yield* TestClock.adjust(at as never)
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "a" }), 1)
      yield* settle
      const parts = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(results(parts)), ["a Cancelled"])
      assert.strictEqual(ofCall(parts).filter((type) => type === "tool-cancelled").length, 1)
      return failureOf(results(parts), "a")
    })

  it.effect("ends the wait before an attempt", () => {
    const work = acting({ readonly: true }, busy)
    return Effect.gen(function*() {
      assert.isTrue((yield* stopped(work, new ScriptedRetry([60_000]), "1 seconds"))["executionStarted"])
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(work.starts, [0])
    })
  })

  it.effect("ends the wait of one call while its run goes on", () => {
    const work = acting({ readonly: true }, busy)
    const other = ToolPolicy.define({ other: ToolPolicy.tool({ handler: () => Effect.sleep("5 minutes") }) })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit: Toolkit.merge(work.toolkit, other.toolkit), runId: "r" })
      )
      yield* TestClock.adjust("1 seconds")
      yield* Orchestrator.cancel({ runId: "r", callId: "a" })
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a Cancelled", "b ok"])
      assert.deepStrictEqual(work.starts, [0])
    }).pipe(Effect.provide([
      work.layer,
      other.layer,
      new ScriptedRetry([60_000, 60_000]).layer,
      scripted([ToolCall("work", { id: "a" }, { id: "a" }), ToolCall("other", {}, { id: "b" })])
    ]))
  })

  it.effect("ends the pause before the first attempt", () => {
    const work = acting({ readonly: true }, busy)
    const retry = new ScriptedRetry([])
    retry.pauses = [60_000]
    return Effect.gen(function*() {
      assert.isFalse((yield* stopped(work, retry, "1 seconds"))["executionStarted"])
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(work.starts, [])
    })
  })

  it.effect("ends a policy that takes its time", () => {
    const latch = Latch.makeUnsafe(false)
    const work = acting({ readonly: true }, busy)
    let isInterrupted = false
    const deciding = Effect.onInterrupt(latch.await, () =>
      Effect.sync(() => {
        isInterrupted = true
      }))
    return Effect.gen(function*() {
      yield* stopped(work, new ScriptedRetry([1], deciding), "1 seconds")
      assert.isTrue(isInterrupted)
      yield* Effect.sync(() => latch.openUnsafe())
      yield* TestClock.adjust("1 minutes")
      assert.deepStrictEqual(work.starts, [0])
    })
  })

  it.effect("ends a running attempt, which is told the reason", () => {
    const seen: Array<unknown> = []
    const told = Effect.onExit(
      Effect.never,
      (exit) =>
        Effect.sync(() =>
          void seen.push(exit._tag === "Failure" ? CancelReason.fromCause(exit.cause)?._tag : undefined)
        )
    )
    return Effect.gen(function*() {
      yield* stopped(acting({ readonly: true }, busy, told), new ScriptedRetry([500, 500]), "1 seconds")
      assert.deepStrictEqual(seen, ["BranchCancelled"])
    })
  })
})

describe("Executor and attempts", () => {
  it.effect("call makes them too", () => {
    const work = acting({ readonly: true }, busy, Effect.succeed("fine"))
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Executor.call(work.toolkit.tools.work, { id: "a" }))
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "fine")
      assert.deepStrictEqual(work.starts, [0, 70])
    }).pipe(Effect.provide([work.layer, new ScriptedRetry([70]).layer]))
  })

  it.effect("govern makes them too", () => {
    const work = acting({ readonly: true }, busy, Effect.succeed("fine"))
    return Effect.gen(function*() {
      const governed = yield* Executor.govern(work.toolkit)
      const fiber = yield* Effect.forkChild(
        Stream.runCollect(Stream.unwrap(governed.handle("work", { id: "a" }) as never)) as Effect.Effect<
          ReadonlyArray<unknown>
        >
      )
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual((yield* Fiber.join(fiber)).length, 1)
      assert.deepStrictEqual(work.starts, [0, 70])
    }).pipe(Effect.provide([work.layer, new ScriptedRetry([70]).layer]))
  })
})
