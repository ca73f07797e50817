import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Breaker, Executor, Limiter, Orchestrator, Retry, ToolFailure, ToolPolicy } from "../../src/index.ts"
import { TestLimiter, ToolCall } from "../../src/testing/index.ts"
import { limiterOf } from "../limiter.ts"
import { scripted } from "../model.ts"
import { settle, statuses } from "../stage.ts"

const Failure = Schema.Struct({ status: Schema.Finite })
type Act = Effect.Effect<string, { readonly status: number }>

/** A tool that does what its parameter says. */
const acting = (annotations: ToolPolicy.Annotations<{ readonly act: string }>) => {
  const acts: Record<string, Act> = {
    fine: Effect.succeed("fine"),
    down: Effect.fail({ status: 503 }),
    missing: Effect.fail({ status: 404 }),
    bug: Effect.die(new Error("a bug")),
    hang: Effect.never
  }
  const started: Array<string> = []
  const made = ToolPolicy.define({
    work: ToolPolicy.tool({
      parameters: Schema.Struct({ act: Schema.String }),
      success: Schema.String,
      failure: Failure,
      annotations: { readonly: true, service: "crm", timeout: "1 seconds", ...annotations },
      handler: ({ act }) => {
        started.push(act)
        return acts[act]!
      }
    })
  })
  const one = (act: string) => Effect.exit(Executor.call(made.toolkit.tools.work, { act }))
  return { ...made, acts, one, started }
}

const stateOf = Effect.map(Breaker.state("crm"), ({ _tag }) => _tag)

const twice = Breaker.layer({ failures: 2, openDuration: "30 seconds" })

/** The failure of a call whose circuit is open. */
const isRefusal = (failure: unknown): boolean =>
  ToolFailure.is(failure) && failure._tag === "Rejected" && failure.limit === "the circuit of crm is open"

describe("a call through a circuit breaker", () => {
  it.effect("opens the circuit of its service by failures in a row, and is then answered without asking", () => {
    const work = acting({})
    return Effect.gen(function*() {
      yield* work.one("down")
      yield* work.one("down")
      assert.strictEqual(yield* stateOf, "Open")
      yield* TestClock.adjust("10 seconds")
      const failure = yield* Effect.flip(Executor.call(work.toolkit.tools.work, { act: "fine" }))
      assert.isTrue(isRefusal(failure))
      assert.deepInclude(failure, { _tag: "Rejected", retryAfterMillis: 20_000, isRetryable: true, tool: "work" })
      assert.deepStrictEqual(work.started, ["down", "down"])
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* work.one("fine"))._tag, "Success")
      assert.strictEqual(yield* stateOf, "Closed")
    }).pipe(Effect.provide([work.layer, twice]))
  })

  it.effect("counts a time-out of an attempt, and neither an answer, a bug nor a stop", () => {
    const work = acting({})
    const timedOut = Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(work.one("hang"))
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(fiber)
    })
    return Effect.gen(function*() {
      for (const act of ["missing", "bug", "missing"]) yield* work.one(act)
      const stopped = yield* Effect.forkChild(work.one("hang"))
      yield* settle
      yield* Fiber.interrupt(stopped)
      assert.strictEqual(yield* stateOf, "Closed")
      yield* timedOut
      assert.strictEqual(yield* stateOf, "Closed")
      yield* timedOut
      assert.strictEqual(yield* stateOf, "Open")
    }).pipe(Effect.provide([work.layer, twice]))
  })

  it.effect("does not count a deadline that ran out, before the handler ran or while it did", () => {
    const work = acting({ deadline: "500 millis" })
    const limiter = TestLimiter.makeUnsafe({ permits: { crm: 0 } })
    const hangs = Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(work.one("hang"))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.join(fiber)
    })
    return Effect.gen(function*() {
      for (let i = 0; i < 3; i++) yield* hangs
      yield* limiter.allow("crm", 1)
      yield* work.one("down")
      for (let i = 0; i < 3; i++) yield* hangs
      assert.deepStrictEqual(work.started, ["down", "hang", "hang", "hang"])
      assert.strictEqual(yield* stateOf, "Closed")
      // Nor does it end a row of failures.
      yield* work.one("down")
      assert.strictEqual(yield* stateOf, "Open")
    }).pipe(Effect.provide([work.layer, twice, limiter.layer]))
  })

  it.effect("takes no limit while the circuit is open", () => {
    const work = acting({})
    const limiter = TestLimiter.makeUnsafe()
    return Effect.gen(function*() {
      yield* work.one("down")
      yield* work.one("down")
      assert.strictEqual(limiter.admissions.length, 2)
      yield* work.one("fine")
      assert.strictEqual(limiter.admissions.length, 2)
      assert.deepStrictEqual(limiter.held, [])
    }).pipe(Effect.provide([work.layer, twice, limiter.layer]))
  })

  it.effect("probes alone when the circuit is half open", () => {
    const work = acting({})
    const latch = Latch.makeUnsafe(false)
    work.acts["slow"] = Effect.as(latch.await, "fine")
    return Effect.gen(function*() {
      yield* work.one("down")
      yield* work.one("down")
      yield* TestClock.adjust("30 seconds")
      const probe = yield* Effect.forkChild(work.one("slow"))
      yield* settle
      assert.isTrue(isRefusal(yield* Effect.flip(Executor.call(work.toolkit.tools.work, { act: "fine" }))))
      latch.openUnsafe()
      assert.strictEqual((yield* Fiber.join(probe))._tag, "Success")
      assert.strictEqual((yield* work.one("fine"))._tag, "Success")
    }).pipe(Effect.provide([work.layer, twice]))
  })

  it.effect("frees the probe's slot when the probe is stopped", () => {
    const work = acting({})
    return Effect.gen(function*() {
      yield* work.one("down")
      yield* work.one("down")
      yield* TestClock.adjust("30 seconds")
      const probe = yield* Effect.forkChild(work.one("hang"))
      yield* settle
      yield* Fiber.interrupt(probe)
      assert.strictEqual((yield* work.one("fine"))._tag, "Success")
    }).pipe(Effect.provide([work.layer, twice]))
  })

  it.effect("sees every attempt of a call that is retried; an open circuit ends it, with the failure of its last attempt", () => {
    const work = acting({})
    const judged: Array<unknown> = []
    const mayPass = (failure: unknown) => judged.push(failure) > 0
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Executor.call(work.toolkit.tools.work, { act: "down" })))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), { status: 503 })
      assert.deepStrictEqual(work.started, ["down", "down"])
      assert.lengthOf(judged, 2)
      assert.isTrue(isRefusal(yield* Effect.flip(Executor.call(work.toolkit.tools.work, { act: "fine" }))))
    }).pipe(Effect.provide([work.layer, twice, Retry.layer({ attempts: 5, while: mayPass })]))
  })

  it.effect("keeps the calls of a run apart by service, and a tool without one by its name", () => {
    const work = acting({})
    const other = ToolPolicy.define({
      other: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("fine") })
    })
    return Effect.gen(function*() {
      yield* work.one("down")
      yield* work.one("down")
      const toolkit = { ...work.toolkit, tools: { ...work.toolkit.tools, ...other.toolkit.tools } } as never
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(
        Effect.provide(scripted([ToolCall("work", { act: "fine" }, { id: "a" }), ToolCall("other", {}, { id: "b" })]))
      )
      assert.deepStrictEqual(statuses(toolResults), ["a Rejected", "b ok"])
    }).pipe(Effect.provide([work.layer, other.layer, twice])) as Effect.Effect<void, unknown>
  })

  it.effect("answers a call that is stopped while the store is still being asked, and starts nothing", () => {
    const work = acting({})
    const latch = Latch.makeUnsafe(false)
    let isInterrupted = false
    const asked = Effect.onInterrupt(latch.await, () =>
      Effect.sync(() => {
        isInterrupted = true
      }))
    const asking = Layer.succeed(Breaker.Breaker, {
      execute: () => (effect) => Effect.andThen(asked, effect),
      state: () => Effect.die("not asked")
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(work.one("fine"))
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.isTrue(isInterrupted)
      latch.openUnsafe()
      yield* settle
      assert.deepStrictEqual(work.started, [])
    }).pipe(Effect.provide([work.layer, asking]))
  })

  it.effect("tells the breaker how each attempt ended: as it did, or interrupted where the service has no part in it", () => {
    const work = acting({ deadline: "5 seconds" })
    const limiter = TestLimiter.makeUnsafe()
    const seen: Array<string> = []
    const noting = Layer.succeed(Breaker.Breaker, {
      execute: () => (effect: Effect.Effect<unknown, unknown>) =>
        Effect.onExit(effect, (exit) =>
          Effect.sync(() => {
            const [reason] = Exit.isSuccess(exit) ? [] : exit.cause.reasons
            seen.push(
              reason === undefined
                ? "Success"
                : Cause.isFailReason(reason)
                ? JSON.stringify(reason.error).slice(0, 18)
                : reason._tag
            )
          })),
      state: () => Effect.die("not asked")
    } as never)
    const one = (act: string) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(work.one(act))
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(fiber)
      })
    return Effect.gen(function*() {
      for (const act of ["fine", "down", "bug", "hang"]) yield* one(act)
      yield* limiter.allow("crm", 0)
      yield* one("fine")
      assert.deepStrictEqual(seen, ["Success", "{\"status\":503}", "Die", "{\"_tag\":\"TimedOut\"", "Interrupt"])
    }).pipe(Effect.provide([work.layer, noting, limiter.layer]))
  })

  it.effect("tells the breaker nothing of a call that its limit turned away", () => {
    const work = acting({})
    const seen: Array<boolean> = []
    const noting = Layer.succeed(Breaker.Breaker, {
      execute: () => (effect: Effect.Effect<unknown, unknown>) =>
        Effect.onExit(effect, (exit) => Effect.sync(() => void seen.push(Exit.hasInterrupts(exit as never)))),
      state: () => Effect.die("not asked")
    } as never)
    const rejected = new Limiter.Rejected({ reason: "RateLimited", limit: "l", message: "no" })
    return Effect.gen(function*() {
      assert.strictEqual((yield* work.one("fine"))._tag, "Failure")
      assert.deepStrictEqual(seen, [true])
    }).pipe(Effect.provide([work.layer, noting, limiterOf(() => Effect.fail(rejected))]))
  })

  it.effect("stops a call that its breaker interrupts", () => {
    const work = acting({ timeout: "1 minutes" })
    const impatient = Layer.succeed(Breaker.Breaker, {
      execute: () => (effect: Effect.Effect<unknown>) => Effect.raceFirst(effect, Effect.sleep("1 seconds")),
      state: () => Effect.die("not asked")
    } as never)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Executor.call(work.toolkit.tools.work, { act: "hang" })))
      yield* TestClock.adjust("1 seconds")
      const failure = yield* Fiber.join(fiber)
      assert.isTrue(ToolFailure.is(failure) && failure._tag === "Cancelled")
    }).pipe(Effect.provide([work.layer, impatient]))
  })

  it.effect("answers a call whose breaker fails, never asks, or runs it twice, once", () => {
    const work = acting({})
    const breakerOf = (execute: (effect: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>) =>
      Layer.succeed(Breaker.Breaker, { execute: () => execute, state: () => Effect.die("not asked") } as never)
    const away = new CircuitBreaker.CircuitBreakerError({
      reason: new CircuitBreaker.CircuitBreakerStoreError({ message: "away" })
    })
    return Effect.gen(function*() {
      const tags: Array<string> = []
      for (const execute of [() => Effect.die("a bug"), () => Effect.void, () => Effect.fail(away)]) {
        const exit = yield* Effect.provide(
          Effect.flip(Executor.call(work.toolkit.tools.work, { act: "fine" })),
          breakerOf(execute)
        )
        tags.push(ToolFailure.is(exit) ? exit._tag : "other")
      }
      assert.deepStrictEqual(tags, ["HandlerFailed", "HandlerFailed", "Rejected"])
      assert.deepStrictEqual(work.started, [])
      let ended = ""
      const twiceRun = breakerOf((effect) =>
        Effect.onExit(Effect.andThen(effect, effect), ({ _tag }) =>
          Effect.sync(() => {
            ended = _tag
          }))
      )
      const result = yield* Effect.provide(Executor.call(work.toolkit.tools.work, { act: "fine" }), twiceRun)
      assert.strictEqual(result, "fine")
      assert.deepStrictEqual(work.started, ["fine"])
      assert.strictEqual(ended, "Failure")
    }).pipe(Effect.provide(work.layer))
  })
})
