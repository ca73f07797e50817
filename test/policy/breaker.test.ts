import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"
import { Breaker, CancelReason, Limiter, Retry, ToolFailure } from "../../src/index.ts"

const down = { status: 503 }
const fails = (failure: unknown, times: number, service = "s") =>
  Effect.repeat(Effect.exit(Effect.fail(failure).pipe(Breaker.withBreaker(service))), { times: times - 1 })
// In a fiber of its own, which may be interrupted.
const alone = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.flatMap(Effect.forkChild(effect), Fiber.await)
const tag = (service = "s") => Effect.map(Effect.orDie(Breaker.state(service)), ({ _tag }) => _tag)
const reasonOf = (exit: Exit.Exit<unknown, unknown>): CircuitBreaker.CircuitBreakerErrorReason => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : assert.fail("it succeeded")
  assert.instanceOf(error, CircuitBreaker.CircuitBreakerError)
  return error.reason
}

describe("Breaker", () => {
  it.effect("opens after five failures in a row, turns away without running, probes after 30 seconds, and closes", () =>
    Effect.gen(function*() {
      let runs = 0
      let healthy = false
      const ask = Effect.suspend(() => (runs++, healthy ? Effect.succeed("ok") : Effect.fail(down))).pipe(
        Breaker.withBreaker("s"),
        Effect.exit
      )
      yield* Effect.repeat(ask, { times: 3 })
      assert.strictEqual(yield* tag(), "Closed")
      yield* ask
      assert.strictEqual(yield* tag(), "Open")
      yield* TestClock.adjust("29 seconds")
      const turnedAway = yield* ask
      const reason = reasonOf(turnedAway)
      assert.deepInclude(reason, { _tag: "CircuitOpen", key: "s", retryAfter: Duration.seconds(1) })
      assert.strictEqual(runs, 5)
      assert.strictEqual(yield* tag("other"), "Closed")
      yield* TestClock.adjust("1 second")
      healthy = true
      assert.deepStrictEqual(yield* ask, Exit.succeed("ok"))
      assert.strictEqual(yield* tag(), "Closed")
      assert.strictEqual(runs, 6)
    }).pipe(Effect.provide(Breaker.layer())))

  it.effect("lets one probe pass, and a failed one opens it again", () =>
    Effect.gen(function*() {
      yield* fails(down, 2)
      yield* TestClock.adjust("30 seconds")
      const probe = yield* Effect.forkChild(
        Effect.exit(Effect.andThen(Effect.sleep(1000), Effect.fail(down)).pipe(Breaker.withBreaker("s")))
      )
      yield* TestClock.adjust(500)
      assert.strictEqual(
        reasonOf(yield* Effect.exit(Effect.void.pipe(Breaker.withBreaker("s"))))._tag,
        "CircuitHalfOpen"
      )
      yield* TestClock.adjust(500)
      yield* Fiber.join(probe)
      assert.deepInclude(yield* Breaker.state("s"), { _tag: "Open", consecutiveOpenings: 2 })
    }).pipe(Effect.provide(Breaker.layer({ failures: 2 }))))

  const counts: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
    ["a status of 500", Effect.fail({ status: 500 })],
    ["a lost connection", Effect.fail<unknown>(new TypeError("fetch failed", { cause: { code: "ECONNRESET" } }))],
    ["a time-out inside", Effect.timeout(Effect.never, 10)],
    ["a refusal for the rate", Effect.fail({ status: 429 })],
    ["a rejected promise that is a defect", Effect.promise(() => Promise.reject(Object.assign(new Error(), down)))],
    ["a call's own time-out", Effect.fail(stopped("attempt"))],
    ["an attempt that its clock interrupts", interrupted(CancelReason.timeout("attempt", 5))]
  ]
  it.effect.each(counts)("counts as the service's failure: %s", ([, effect]) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(effect.pipe(Breaker.withBreaker("s")))
      yield* TestClock.adjust(10)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit))
      assert.strictEqual(yield* tag(), "Open")
    }).pipe(Effect.provide(Breaker.layer({ failures: 1 }))))

  const answers: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
    ["a success", Effect.succeed(1)],
    ["a status of 404", Effect.fail({ status: 404 })],
    ["a tool's own not found", Effect.fail({ _tag: "NotFound" })],
    ["a spent quota", Effect.fail({ status: 429, error: { code: "insufficient_quota" } })]
  ]
  it.effect.each(answers)(
    "takes for an answer, which ends a row of failures and closes after a probe: %s",
    ([, effect]) =>
      Effect.gen(function*() {
        const ask = Effect.exit(effect.pipe(Breaker.withBreaker("s")))
        yield* fails(down, 1)
        yield* ask
        yield* fails(down, 1)
        assert.strictEqual(yield* tag(), "Closed")
        yield* fails(down, 1)
        assert.strictEqual(yield* tag(), "Open")
        yield* TestClock.adjust("30 seconds")
        yield* ask
        assert.strictEqual(yield* tag(), "Closed")
      }).pipe(Effect.provide(Breaker.layer({ failures: 2 })))
  )

  const silent: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
    ["an interruption", Effect.interrupt],
    ["a branch that was cancelled", interrupted(CancelReason.branchCancelled())],
    ["the run's clock", interrupted(CancelReason.timeout("total", 5))],
    ["a bug of the handler", Effect.die(new Error("x is not a function"))],
    ["a limiter's no", Effect.fail(new Limiter.Rejected({ reason: "MaxWait", limit: "l", message: "m" }))],
    ["a rejected call", Effect.fail(ToolFailure.rejected("t", "c", "l"))],
    ["arguments that do not fit", Effect.fail(ToolFailure.invalidInput("t", "c", "i", [], []))],
    [
      "another open circuit",
      Effect.fail(
        new CircuitBreaker.CircuitBreakerError({ reason: new CircuitBreaker.CircuitHalfOpen({ key: "k" }) })
      )
    ]
  ]
  it.effect.each(silent)("hears nothing about the service: %s", ([, effect]) =>
    Effect.gen(function*() {
      const ask = alone(effect.pipe(Breaker.withBreaker("s")))
      yield* fails(down, 1)
      yield* Effect.repeat(ask, { times: 5 })
      assert.strictEqual(yield* tag(), "Closed")
      yield* fails(down, 1)
      assert.strictEqual(yield* tag(), "Open")
      yield* TestClock.adjust("30 seconds")
      // As a probe it says nothing, either: the next one is.
      yield* ask
      assert.strictEqual(yield* tag(), "HalfOpen")
    }).pipe(Effect.provide(Breaker.layer({ failures: 2 }))))

  it.effect("hands on a failure that throws where it is looked at", () => {
    const hostile = new Proxy({}, {
      get: () => {
        throw new Error("hostile")
      },
      has: () => {
        throw new Error("hostile")
      }
    })
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.fail(hostile).pipe(Breaker.withBreaker("s")))
      assert.deepStrictEqual(exit._tag === "Failure" ? exit.cause.reasons.map(({ _tag }) => _tag) : [], ["Fail"])
    }).pipe(Effect.provide(Breaker.layer()))
  })

  it.effect("hands on how the effect ended, as it was", () =>
    Effect.gen(function*() {
      const reason = CancelReason.timeout("attempt", 5)
      const exit = yield* alone(interrupted(reason).pipe(Breaker.withBreaker("s")))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.deepStrictEqual(Exit.isFailure(exit) ? CancelReason.fromCause(exit.cause) : undefined, reason)
      assert.deepStrictEqual(yield* Effect.exit(Effect.fail(down).pipe(Breaker.withBreaker("s"))), Exit.fail(down))
    }).pipe(Effect.provide(Breaker.layer())))

  it.effect("is interrupted where its effect is, at once", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.never.pipe(Breaker.withBreaker("s")))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      assert.strictEqual(yield* tag(), "Closed")
    }).pipe(Effect.provide(Breaker.layer({ failures: 1 }))))

  it.effect("stays open for as long as the service asks, up to maxOpenDuration", () =>
    Effect.gen(function*() {
      yield* fails({ status: 503, headers: { "retry-after": "45" } }, 1)
      assert.deepInclude(yield* Breaker.state("s"), { _tag: "Open", retryAfter: Duration.seconds(45) })
      yield* fails({ status: 503, headers: { "retry-after": "Thu, 01 Jan 1970 00:00:50 GMT" } }, 1, "date")
      assert.deepInclude(yield* Breaker.state("date"), { _tag: "Open", retryAfter: Duration.seconds(50) })
      yield* fails({ status: 503, headers: { "retry-after": "86400" } }, 1, "day")
      assert.deepInclude(yield* Breaker.state("day"), { _tag: "Open", retryAfter: Duration.minutes(2) })
      yield* fails({ status: 503, headers: { "retry-after": "1" } }, 1, "short")
      assert.deepInclude(yield* Breaker.state("short"), { _tag: "Open", retryAfter: Duration.seconds(30) })
    }).pipe(Effect.provide(Breaker.layer({ failures: 1, maxOpenDuration: "2 minutes" }))))

  it.effect("opens for longer with each opening in a row, where a schedule says so", () =>
    Effect.gen(function*() {
      for (const seconds of [1, 2, 4]) {
        yield* fails(down, 1)
        assert.deepInclude(yield* Breaker.state("s"), { _tag: "Open", retryAfter: Duration.seconds(seconds) })
        yield* TestClock.adjust(seconds * 1000)
      }
    }).pipe(Effect.provide(Breaker.layer({ failures: 1, openDuration: Schedule.exponential("1 second") }))))

  it.effect("opens at a share of the last calls, where that is asked for", () =>
    Effect.gen(function*() {
      const good = Effect.exit(Effect.void.pipe(Breaker.withBreaker("s")))
      yield* Effect.repeat(Effect.andThen(good, fails(down, 1)), { times: 3 })
      assert.strictEqual(yield* tag(), "Closed")
      yield* good
      yield* fails(down, 1)
      assert.strictEqual(yield* tag(), "Open")
    }).pipe(Effect.provide(Breaker.layer({ rate: { threshold: 0.5, size: 20, minimumCalls: 10 } }))))

  it.effect("keeps the circuits of two layers apart", () =>
    Effect.gen(function*() {
      const opened = Effect.andThen(fails(down, 1), tag())
      assert.strictEqual(yield* Effect.provide(opened, Breaker.layer({ failures: 1 })), "Open")
      assert.strictEqual(yield* Effect.provide(tag(), Breaker.layer({ failures: 1 })), "Closed")
      const both = Effect.gen(function*() {
        const [one, two] = [yield* Effect.service(One), yield* Effect.service(Two)]
        yield* Effect.exit(one.execute("s")(Effect.fail(down)))
        return [(yield* one.state("s"))._tag, (yield* two.state("s"))._tag]
      })
      const states = yield* Effect.provide(both, [
        Layer.effect(One, Effect.service(Breaker.Breaker)).pipe(Layer.provide(Breaker.layer({ failures: 1 }))),
        Layer.effect(Two, Effect.service(Breaker.Breaker)).pipe(Layer.provide(Breaker.layer({ failures: 1 })))
      ])
      assert.deepStrictEqual(states, ["Open", "Closed"])
    }))

  it.effect("inside a retry sees every attempt, and a retry waits for an open circuit", () =>
    Effect.gen(function*() {
      let runs = 0
      const ask = Effect.suspend(() => (runs++, runs <= 2 ? Effect.fail(down) : Effect.succeed("ok"))).pipe(
        Breaker.withBreaker("s"),
        Retry.withRetry({ service: "s", attempts: 5 })
      )
      const fiber = yield* Effect.forkChild(ask)
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(runs, 2)
      assert.strictEqual(yield* tag(), "Open")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "ok")
      assert.strictEqual(yield* tag(), "Closed")
    }).pipe(Effect.provide([Breaker.layer({ failures: 2 }), Retry.layer()])))
})

class One extends Context.Service<One, Breaker.Breaker["Service"]>()("test/One") {}
class Two extends Context.Service<Two, Breaker.Breaker["Service"]>()("test/Two") {}

describe("Breaker.layer", () => {
  const wrong: ReadonlyArray<readonly [object, string]> = [
    [{ failures: 0 }, "Breaker.layer: failures is 0; it must be an integer of at least 1"],
    [{ failures: 1.5 }, "failures is 1.5"],
    [{ failures: 5, rate: {} }, "rate is given beside failures"],
    [{ rate: { threshold: 0 } }, "rate.threshold is 0"],
    [{ rate: { threshold: 1.1 } }, "rate.threshold is 1.1"],
    [{ rate: { size: 0 } }, "rate.size is 0"],
    [{ rate: { size: 5, minimumCalls: 6 } }, "rate.minimumCalls is 6"],
    [{ rate: { treshold: 1 } }, "rate's option is treshold"],
    [{ openDuration: 0 }, "openDuration is 0; it must be a finite duration above 0, or a Schedule"],
    [{ openDuration: "soon" }, "openDuration is soon"],
    [{ maxOpenDuration: -1 }, "maxOpenDuration is -1"],
    [{ maxOpenDuration: Number.POSITIVE_INFINITY }, "maxOpenDuration is Infinity"],
    [{ onStoreError: "open" }, "onStoreError is open"],
    [{ failure: 5 }, "an option is failure; it must be one of failures"]
  ]
  it.each(wrong)("dies for %j", (options, message) => {
    assert.throws(() => Breaker.layer(options), RangeError, message)
    assert.throws(() => Breaker.layerStore(options), RangeError, message)
  })

  const away = CircuitBreaker.CircuitBreakerStore.of({
    admit: () => Effect.fail(lost),
    record: () => Effect.fail(lost),
    state: () => Effect.fail(lost)
  })
  const lost = new CircuitBreaker.CircuitBreakerError({
    reason: new CircuitBreaker.CircuitBreakerStoreError({ message: "away" })
  })
  it.effect("runs calls whose store is away, or turns them away, as it is told", () =>
    Effect.gen(function*() {
      const ask = Effect.succeed("ok").pipe(Breaker.withBreaker("s"), Effect.exit)
      const store = Effect.provideService(CircuitBreaker.CircuitBreakerStore, away)
      assert.deepStrictEqual(yield* ask.pipe(Effect.provide(Breaker.layerStore()), store), Exit.succeed("ok"))
      const exit = yield* ask.pipe(Effect.provide(Breaker.layerStore({ onStoreError: "fail" })), store)
      assert.strictEqual(reasonOf(exit)._tag, "CircuitBreakerStoreError")
    }))
})

function stopped(clock: CancelReason.Clock) {
  return ToolFailure.stopped("t", "c", CancelReason.timeout(clock, 5), true, false)
}

/** Interrupted from outside, with a reason, as the engine does it. */
function interrupted(reason: CancelReason.CancelReason): Effect.Effect<never> {
  return Effect.withFiber((fiber) => {
    queueMicrotask(() => fiber.interruptUnsafe(undefined, Context.make(CancelReason.CancelReason, reason)))
    return Effect.never
  })
}
