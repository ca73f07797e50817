import { assert, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { CancelReason, Executor, Orchestrator, ToolFailure, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { settle, Stage, statuses } from "../stage.ts"

const Odd = Schema.Struct({ _tag: Schema.tag("Odd"), of: Schema.Finite })

const setUp = () => {
  const stage = new Stage()
  return {
    stage,
    ...ToolPolicy.define({
      half: ToolPolicy.tool({
        parameters: Schema.Struct({ of: Schema.Finite }),
        success: Schema.Finite,
        failure: Odd,
        handler: ({ of }) => of % 2 === 0 ? Effect.succeed(of / 2) : Effect.fail({ _tag: "Odd" as const, of })
      }),
      broken: ToolPolicy.tool({ handler: () => Effect.die(new Error("no luck")) }),
      work: stage.tool({ timeout: "2 seconds" }),
      single: stage.tool({ concurrency: 1 })
    })
  }
}

describe("Executor.decode", () => {
  const Wait = Tool.make("wait", { parameters: Schema.Struct({ seconds: Schema.NumberFromString }) })
  const Raw = Tool.dynamic("raw", {
    parameters: { type: "object", properties: { n: { type: "integer" } }, required: ["n"], additionalProperties: false }
  })

  it.effect("gives what a handler would get", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Executor.decode(Wait, { seconds: "3", more: true }), { seconds: 3 })
      assert.deepStrictEqual(yield* Executor.decode(Raw, { n: 1 }), { n: 1 })
    }))

  it.effect("answers as a call would where the arguments do not fit", () =>
    Effect.gen(function*() {
      for (const [tool, params] of [[Wait, { seconds: 3 }], [Wait, "3"], [Wait, []], [Raw, { n: "1" }]] as const) {
        const { callId: _, ...failure } = yield* Effect.flip(Executor.decode(tool, params))
        const toolkit = Toolkit.make(tool)
        const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(
          Effect.provide([TestModel.script([ToolCall(tool.name, params), "done"]), toolkit.toLayer({} as never)])
        )
        const { callId, ...answer } = toolResults[0]!.result as typeof failure & { readonly callId: string }
        assert.deepStrictEqual(answer, failure)
        assert.deepStrictEqual([failure._tag, callId], ["InvalidInput", "call-1"])
      }
    }))
})

describe("Executor.call", () => {
  it.effect("gives the tool's success, its own failure, or a ToolFailure", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      assert.strictEqual(yield* Executor.call(toolkit.tools.half, { of: 4 }), 2)
      assert.deepStrictEqual<unknown>(yield* Effect.flip(Executor.call(toolkit.tools.half, { of: 3 })), {
        _tag: "Odd",
        of: 3
      })
      const broken = yield* Effect.flip(Executor.call(toolkit.tools.broken, {}))
      assert.isTrue(ToolFailure.is(broken) && broken._tag === "HandlerFailed")
      const wrong = yield* Effect.flip(Executor.call(toolkit.tools.half, { of: "4" } as never))
      assert.isTrue(ToolFailure.is(wrong) && wrong._tag === "InvalidInput")
    }).pipe(Effect.provide(layer))
  })

  it.effect("keeps the tool's timeout", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Executor.call(toolkit.tools.work, { id: "a" })))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "TimedOut")
    }).pipe(Effect.provide(layer))
  })

  it.effect("shares the tool's cap with every other call of it", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const one = (id: string) => Effect.forkChild(Executor.call(toolkit.tools.single, { id }))
      const fibers = [yield* one("a"), yield* one("b")]
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a"])
      yield* Fiber.interrupt(fibers[0]!)
      yield* settle
      assert.deepStrictEqual([...stage.running], ["b"])
      yield* stage.open("b")
      assert.strictEqual(yield* Fiber.join(fibers[1]!), "b")
    }).pipe(Effect.provide(layer))
  })

  it.effect("is stopped for CallerGone when its fiber is interrupted, and waits for the clean-up at most the grace", () => {
    const seen: Array<unknown> = []
    const { layer, toolkit } = ToolPolicy.define({
      slow: ToolPolicy.tool({
        annotations: { grace: "1 seconds" },
        handler: () =>
          Effect.never.pipe(Effect.onExit((exit) => {
            seen.push(Exit.isFailure(exit) ? CancelReason.fromCause(exit.cause) : exit)
            return Effect.never
          }))
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Executor.call(toolkit.tools.slow, {}))
      yield* settle
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(seen, [CancelReason.callerGone])
      assert.isUndefined(interruption.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interruption)
    }).pipe(Effect.provide(layer))
  })

  it.effect("inside a handler is stopped with it", () => {
    const stage = new Stage()
    const inner = ToolPolicy.define({ inner: stage.tool() })
    const outer = ToolPolicy.define({
      outer: ToolPolicy.tool({
        success: Schema.String,
        failure: Schema.Unknown,
        annotations: { timeout: "1 seconds" },
        handler: () => Executor.call(inner.toolkit.tools.inner, { id: "a" })
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit: outer.toolkit }))
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["o TimedOut"])
      assert.deepStrictEqual(stage.interrupted, ["a"])
    }).pipe(Effect.provide([Layer.provide(outer.layer, inner.layer), scripted([ToolCall("outer", {}, { id: "o" })])]))
  })
})

describe("Executor.forget", () => {
  it.effect("begins what retries and hedges of a tool may spend anew, and takes no permit from who holds one", () =>
    Effect.gen(function*() {
      const attempts: Array<number> = []
      const count = (query: string) =>
        Effect.flatMap(Executor.currentCall, (call) => {
          attempts.push(Option.getOrThrow(call).attempt)
          return query === "slow" ? Effect.never : Effect.fail("no")
        })
      const { layer, toolkit } = ToolPolicy.define({
        flaky: ToolPolicy.tool({
          parameters: Schema.Struct({ query: Schema.String }),
          failure: Schema.String,
          annotations: {
            readonly: true,
            concurrency: 2,
            retry: { attempts: 2, base: "1 millis", while: () => true },
            hedge: { after: "1 millis", budget: 0.001 }
          },
          handler: ({ query }) => count(query)
        })
      })
      const flaky = toolkit.tools.flaky
      const once = (query: string) =>
        Effect.gen(function*() {
          attempts.length = 0
          const fiber = yield* Effect.forkChild(Effect.exit(Executor.call(flaky, { query })), {
            startImmediately: true
          })
          yield* TestClock.adjust("20 millis")
          yield* Fiber.interrupt(fiber)
          yield* settle
          return attempts.length
        })
      const held = Effect.map(Executor.occupancy(flaky), (flaky) => Option.getOrThrow(flaky).held)
      const several = Effect.forEach(Array.from({ length: 12 }), () => once("fast"))
      yield* Effect.gen(function*() {
        assert.deepStrictEqual([yield* once("slow"), yield* once("slow")], [2, 1])
        assert.strictEqual((yield* several).at(-1), 1)
        const holder = yield* Effect.forkChild(Executor.call(flaky, { query: "slow" }), { startImmediately: true })
        assert.strictEqual(yield* held, 1)
        yield* Executor.forget(flaky)
        assert.strictEqual(yield* held, 1)
        assert.strictEqual(yield* once("fast"), 2)
        yield* Fiber.interrupt(holder)
        yield* settle
        assert.strictEqual(yield* held, 0)
        assert.strictEqual(yield* once("slow"), 2)
      }).pipe(Effect.provide(layer))
    }))
})

describe("Executor.govern", () => {
  it.effect("isolates a defect, a timeout and a failure from the siblings in stock effect/ai", () => {
    const { layer, stage, toolkit } = setUp()
    const model = TestModel.script([[
      ToolCall("broken", {}, { id: "a" }),
      ToolCall("half", { of: 4 }, { id: "b" }),
      ToolCall("half", { of: 3 }, { id: "c" }),
      ToolCall("work", { id: "d" }, { id: "d" })
    ]])
    return Effect.gen(function*() {
      const governed = yield* Executor.govern(toolkit)
      const fiber = yield* Effect.forkChild(
        LanguageModel.generateText({ prompt: "go", toolkit: governed, concurrency: "unbounded" })
      )
      yield* settle
      assert.deepStrictEqual(stage.started, ["d"])
      yield* TestClock.adjust("2 seconds")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([...statuses(toolResults)].sort(), ["a HandlerFailed", "b ok", "c Odd", "d TimedOut"])
      assert.deepStrictEqual(stage.interrupted, ["d"])
      yield* TestModel.assertComplete
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("hands on progress before the result and answers a name that is not there", () => {
    const { layer, toolkit } = ToolPolicy.define({
      count: ToolPolicy.tool({
        success: Schema.Finite,
        handler: (_, { preliminary }) => Effect.as(Effect.andThen(preliminary(1), preliminary(2)), 3)
      })
    })
    return Effect.gen(function*() {
      const governed = yield* Executor.govern(toolkit)
      const of = (name: string) => Stream.runCollect(Stream.unwrap(governed.handle(name as "count", {})))
      assert.deepStrictEqual((yield* of("count")).map(({ preliminary, result }) => [preliminary, result]), [
        [true, 1],
        [true, 2],
        [false, 3]
      ])
      assert.deepStrictEqual((yield* of("__proto__")).map(({ isFailure }) => isFailure), [true])
    }).pipe(Effect.provide(layer))
  })

  it.effect("stops the handler when the reader of its stream leaves", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const governed = yield* Executor.govern(toolkit)
      const fiber = yield* Effect.forkChild(
        Stream.runDrain(Stream.unwrap(governed.handle("single", { id: "a" })))
      )
      yield* settle
      assert.deepStrictEqual(stage.started, ["a"])
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(stage.interrupted, ["a"])
    }).pipe(Effect.provide(layer))
  })
})

describe("Executor.promise", () => {
  const within = (handler: () => Effect.Effect<unknown, unknown>, annotations: ToolPolicy.Annotations<unknown> = {}) =>
    ToolPolicy.define({
      work: ToolPolicy.tool({ success: Schema.Unknown, failure: Schema.Unknown, annotations, handler })
    })

  it.effect("gives the signal the typed reason of the stop", () => {
    const reasons: Array<unknown> = []
    const { layer, toolkit } = within(
      () =>
        Executor.promise((signal) =>
          new Promise((_, reject) =>
            signal.addEventListener("abort", () => {
              reasons.push(signal.reason)
              reject(signal.reason)
            })
          )
        ),
      { timeout: "1 seconds" }
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "a" }, CancelReason.superseded("b"))
      yield* TestClock.adjust("1 seconds")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a Cancelled", "b TimedOut"])
      assert.deepStrictEqual(reasons, [CancelReason.superseded("b"), CancelReason.timeout("attempt", 1000)])
      assert.deepStrictEqual(report.abandoned, [])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" }), ToolCall("work", {}, { id: "b" })])]))
  })

  it.effect("is told to stop also where its fiber cannot be interrupted", () => {
    const { layer, toolkit } = within(
      () =>
        Effect.uninterruptible(
          Executor.promise((signal) =>
            new Promise((resolve) => signal.addEventListener("abort", () => resolve("stopped")))
          )
        ),
      { timeout: "1 seconds" }
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1 seconds")
      yield* Effect.promise(() => Promise.resolve())
      yield* settle
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut"])
      assert.deepStrictEqual(report.abandoned, [])
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })

  it.effect("aborts for CallerGone outside of any call", () => {
    let reason: unknown
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Executor.promise((signal) =>
          new Promise(() => signal.addEventListener("abort", () => (reason = signal.reason)))
        )
      )
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(reason, CancelReason.callerGone)
    })
  })

  it.effect("fails with UnknownError, or with what catch makes of it; a throw counts as a rejection", () =>
    Effect.gen(function*() {
      const rejected = yield* Effect.flip(Executor.promise(() => Promise.reject(new Error("no"))))
      assert.isTrue(Cause.isUnknownError(rejected))
      const thrown = yield* Effect.flip(Executor.promise({
        try: () => {
          throw "thrown"
        },
        catch: (error) => ({ error })
      }))
      assert.deepStrictEqual(thrown, { error: "thrown" })
      const exit = yield* Effect.exit(Executor.promise({
        try: () => Promise.reject(1),
        catch: () => {
          throw new Error("catch is broken")
        }
      }))
      assert.include(String(exit), "catch is broken")
    }))

  it.effect("keeps the permit of a call that was answered while its promise still ran", () => {
    let settlePromise = (): void => {}
    const { layer, toolkit } = within(
      () => Executor.promise(() => new Promise((resolve) => (settlePromise = () => resolve("late")))),
      { timeout: "1 seconds", grace: 0, concurrency: 1 }
    )
    const run = () =>
      Orchestrator.run({ prompt: "go", toolkit }).pipe(Effect.provide(scripted([ToolCall("work", {}, { id: "a" })])))
    return Effect.gen(function*() {
      const first = yield* Effect.forkChild(run())
      yield* TestClock.adjust("1 seconds")
      const { report, toolResults } = yield* Fiber.join(first)
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut"])
      assert.deepStrictEqual(report.abandoned.map(({ callId }) => callId), ["a"])
      assert.deepStrictEqual(statuses((yield* run()).toolResults), ["a Rejected"])
      settlePromise()
      yield* Effect.promise(() => Promise.resolve())
      const third = yield* Effect.forkChild(run())
      yield* settle
      settlePromise()
      assert.deepStrictEqual(statuses((yield* Fiber.join(third)).toolResults), ["a ok"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("left behind by a handler that has ended keeps the permit, not the answer", () => {
    const open: Array<() => void> = []
    const { layer, toolkit } = within(
      () =>
        Executor.promise(() => new Promise<void>((resolve) => open.push(resolve))).pipe(
          Effect.forkDetach({ startImmediately: true }),
          Effect.as("done")
        ),
      { concurrency: 1 }
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      assert.strictEqual(open.length, 1)
      assert.isUndefined(fiber.pollUnsafe())
      open[0]!()
      yield* Effect.promise(() => Promise.resolve())
      yield* settle
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a ok", "b ok"])
      open[1]?.()
    }).pipe(Effect.provide([layer, scripted([ToolCall("work", {}, { id: "a" }), ToolCall("work", {}, { id: "b" })])]))
  })
})
