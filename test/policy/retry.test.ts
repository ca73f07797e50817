import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"
import { type Limiter, Retry, type ToolPolicy } from "../../src/index.ts"
import { always, seeded } from "./chance.ts"

const down = { status: 503 }
const limited = (seconds: number) => ({ status: 429, headers: { "retry-after": String(seconds) } })

/** An effect that ends as told, one word for each attempt (the last one for all further ones), and notes when it was run. */
const service = (...ends: ReadonlyArray<unknown>) => {
  const times: Array<number> = []
  const ask = Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<string, unknown> => {
    const end = ends[Math.min(times.length, ends.length - 1)]
    times.push(now)
    return end === "ok" ? Effect.succeed("ok") : Effect.fail(end)
  })
  return { times, ask }
}

const over = (options: Retry.Options = {}, chance = 0.5) =>
  [
    Retry.layer(options),
    Context.make(Random.Random, always(chance))
  ] as const

const provided = (options?: Retry.Options, chance?: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const [layer, context] = over(options, chance)
  return effect.pipe(Effect.provide(layer), Effect.provideContext(context))
}

/** Runs it to its end, in virtual time. */
const ended = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust("10 hours")
    return yield* Fiber.await(fiber)
  })

describe("Retry.withRetry", () => {
  it.effect("runs what succeeds once", () =>
    Effect.gen(function*() {
      const { ask, times } = service("ok")
      const exit = yield* ended(ask.pipe(Retry.withRetry({ service: "s" }), provided()))
      assert.deepStrictEqual(exit, Exit.succeed("ok"))
      assert.deepStrictEqual(times, [0])
    }))

  it.effect("tries three times by default, with a random share of twice the wait each time, and ends with the last failure", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down, down, { status: 500 })
      const exit = yield* ended(ask.pipe(Retry.withRetry({ service: "s" }), provided({}, 0.5)))
      assert.deepStrictEqual(exit, Exit.fail({ status: 500 }))
      assert.deepStrictEqual(times, [0, 100, 300])
    }))

  it.effect("takes what it is given over the service's, that over the layer's", () =>
    Effect.gen(function*() {
      const options: Retry.Options = { attempts: 2, base: 1000, services: { slow: { base: 4000, factor: 1 } } }
      const run = (own: { readonly service: string } & ToolPolicy.RetryOptions) => {
        const { ask, times } = service(down)
        return Effect.as(ended(ask.pipe(Retry.withRetry(own), provided(options, 1))), times)
      }
      assert.deepStrictEqual(yield* run({ service: "any" }), [0, 1000])
      const first = yield* run({ service: "slow" })
      assert.strictEqual(first[1]! - first[0]!, 4000)
      const own = yield* run({ service: "slow", attempts: 4, maxDelay: 3000 })
      assert.deepStrictEqual(own.map((time) => time - own[0]!), [0, 3000, 6000, 9000])
    }))

  it.effect("follows a schedule, which hears of the failures, and ends with it", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down)
      const inputs: Array<unknown> = []
      const schedule = Schedule.recurs(2).pipe(
        Schedule.addDelay(() => Effect.succeed("7 seconds" as const)),
        Schedule.while(({ input }) => Effect.as(Effect.sync(() => void inputs.push(input)), true))
      )
      const exit = yield* ended(ask.pipe(Retry.withRetry({ service: "s", attempts: 9, schedule }), provided()))
      assert.deepStrictEqual(exit, Exit.fail(down))
      assert.deepStrictEqual(times, [0, 7000, 14_000])
      assert.deepStrictEqual(inputs, [down, down])
    }))

  it.effect("lets attempts end a schedule that goes on, and a part of the backoff take the place of an outer schedule", () =>
    Effect.gen(function*() {
      const one = service(down)
      yield* ended(one.ask.pipe(Retry.withRetry({ service: "s" }), provided({ schedule: Schedule.spaced("1 second") })))
      assert.deepStrictEqual(one.times, [0, 1000, 2000])
      const other = service(down)
      yield* ended(
        other.ask.pipe(
          Retry.withRetry({ service: "s", base: 10 }),
          provided({ schedule: Schedule.spaced("1 second") }, 1)
        )
      )
      assert.deepStrictEqual(other.times.map((time) => time - other.times[0]!), [0, 10, 30])
    }))

  it.effect("does not try again what does not pass, unless while says so, and asks while for each failure", () =>
    Effect.gen(function*() {
      const plain = service({ status: 404 })
      yield* ended(plain.ask.pipe(Retry.withRetry({ service: "s" }), provided()))
      assert.lengthOf(plain.times, 1)
      const heard: Array<unknown> = []
      const willing = service({ status: 404 }, { status: 400 })
      const policy = { service: "s", attempts: 9, while: (failure: unknown) => heard.push(failure) < 2 }
      const exit = yield* ended(willing.ask.pipe(Retry.withRetry(policy), provided()))
      assert.deepStrictEqual(exit, Exit.fail({ status: 400 }))
      assert.deepStrictEqual(heard, [{ status: 404 }, { status: 400 }])
      const unwilling = service(down)
      yield* ended(unwilling.ask.pipe(Retry.withRetry({ service: "s", while: () => false }), provided()))
      assert.lengthOf(unwilling.times, 1)
    }))

  it.effect.each(["while", "schedule"] as const)(
    "ends with the failure where %s throws",
    (what) =>
      Effect.gen(function*() {
        const { ask, times } = service(down)
        const bug = (): never => assert.fail("a bug")
        const options = what === "while"
          ? { while: bug }
          : { schedule: Schedule.addDelay(Schedule.forever, bug) }
        const exit = yield* ended(ask.pipe(Retry.withRetry({ service: "s", ...options }), provided()))
        assert.deepStrictEqual(exit, Exit.fail(down))
        assert.lengthOf(times, 1)
      })
  )

  it.effect("never tries a defect again, also one that a failure comes with", () =>
    Effect.gen(function*() {
      let runs = 0
      const dies = Effect.suspend(() => (runs++, Effect.die({ status: 503 })))
      assert.isTrue(Exit.isFailure(yield* ended(dies.pipe(Retry.withRetry({ service: "s" }), provided()))))
      assert.strictEqual(runs, 1)
      const both = Effect.suspend(() => (runs++, Effect.failCause(Cause.combine(Cause.fail(down), Cause.die("a bug")))))
      assert.isTrue(Exit.isFailure(yield* ended(both.pipe(Retry.withRetry({ service: "s" }), provided()))))
      assert.strictEqual(runs, 2)
    }))

  it.effect("ends at once when it is interrupted, in an attempt, in a wait and in a pause", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down)
      const hanging = yield* Effect.forkChild(Effect.never.pipe(Retry.withRetry({ service: "s" }), provided()))
      const [layer, context] = over({ base: "5 seconds" })
      yield* Effect.gen(function*() {
        const waiting = yield* Effect.forkChild(ask.pipe(Retry.withRetry({ service: "s" })))
        const told = yield* Effect.forkChild(Effect.fail(limited(30)).pipe(Retry.withRetry({ service: "p" })))
        yield* TestClock.adjust(1)
        const pausing = yield* Effect.forkChild(ask.pipe(Retry.withRetry({ service: "p" })))
        yield* TestClock.adjust(1)
        for (const fiber of [hanging, waiting, told, pausing]) {
          assert.isUndefined(fiber.pollUnsafe())
          yield* Fiber.interrupt(fiber)
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        }
        yield* TestClock.adjust("1 hour")
        assert.lengthOf(times, 1)
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it("dies where its options make no sense", () => {
    assert.throws(() => Retry.withRetry({ service: "s", attempts: 0 }), "Retry.withRetry: attempts is 0")
  })
})

describe("the pause a service asks for", () => {
  it.effect("holds for all of its calls, first ones too, and for no other service", () =>
    Effect.gen(function*() {
      const { ask, times } = service(limited(30), "ok")
      const other = service("ok")
      const [layer, context] = over({}, 0)
      yield* Effect.gen(function*() {
        const fibers = [yield* Effect.forkChild(ask.pipe(Retry.withRetry({ service: "s" })))]
        yield* TestClock.adjust(1000)
        fibers.push(yield* Effect.forkChild(ask.pipe(Retry.withRetry({ service: "s" }))))
        fibers.push(yield* Effect.forkChild(other.ask.pipe(Retry.withRetry({ service: "o" }))))
        yield* TestClock.adjust(28_999)
        assert.deepStrictEqual(times, [0])
        assert.deepStrictEqual(other.times, [1000])
        yield* TestClock.adjust(1)
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(times, [0, 30_000, 30_000])
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("is lengthened by who is told later, also for those who wait already, and never shortened", () =>
    Effect.gen(function*() {
      const { ask, times } = service("ok")
      const [layer, context] = over({}, 0)
      yield* Effect.gen(function*() {
        const retry = yield* Retry.Retry
        const told = retry.begin({ service: "s", options: { attempts: 9 } }, yield* Effect.context())
        yield* told.failed(limited(10))
        yield* told.failed(limited(10))
        const fiber = yield* Effect.forkChild(ask.pipe(Retry.withRetry({ service: "s" })))
        yield* TestClock.adjust(5000)
        // Answers of calls that were under way.
        yield* told.failed(limited(20))
        yield* told.failed(limited(1))
        yield* TestClock.adjust(19_999)
        assert.deepStrictEqual(times, [])
        yield* TestClock.adjust(1)
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(times, [25_000])
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("is waited for by who was told, with a share of its tenth, where the backoff is shorter", () =>
    Effect.gen(function*() {
      const { ask, times } = service(limited(30), "ok")
      yield* ended(ask.pipe(Retry.withRetry({ service: "s" }), provided({}, 0.5)))
      assert.deepStrictEqual(times, [0, 31_500])
    }))

  it.effect("does not shorten a longer backoff", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down, limited(1), "ok")
      yield* ended(
        ask.pipe(Retry.withRetry({ service: "s", base: "20 seconds", maxDelay: "1 minute" }), provided({}, 0.5))
      )
      assert.deepStrictEqual(times, [0, 10_000, 30_000])
    }))

  it.effect("is not waited for where it is longer than maxRetryAfter: who was told fails, who comes later is turned away", () =>
    Effect.gen(function*() {
      const { ask, times } = service(limited(61), "ok")
      const [layer, context] = over({}, 0)
      const asked = ask.pipe(Retry.withRetry({ service: "s" }))
      yield* Effect.gen(function*() {
        assert.deepStrictEqual(yield* Effect.flip(asked), limited(61))
        yield* TestClock.adjust(500)
        const rejected = (yield* Effect.flip(asked)) as Limiter.Rejected
        assert.deepInclude(rejected, { _tag: "Rejected", reason: "RateLimited", retryAfterMillis: 60_500 })
        assert.include(rejected.limit, "\"s\"")
        assert.isTrue(Retry.isRetryable(rejected))
        assert.deepStrictEqual(times, [0])
        // A minute is left: that may be waited for.
        yield* TestClock.adjust(500)
        const patient = yield* Effect.forkChild(asked)
        yield* TestClock.adjust(60_000)
        assert.strictEqual(yield* Fiber.join(patient), "ok")
        assert.deepStrictEqual(times, [0, 61_000])
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("ends with its own failure for who waits already, when it becomes too long", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down, "ok")
      const [layer, context] = over({ base: "10 seconds" }, 0.9)
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Effect.flip(ask.pipe(Retry.withRetry({ service: "s" }))))
        yield* TestClock.adjust(1)
        yield* Effect.flip(Effect.fail(limited(86_400)).pipe(Retry.withRetry({ service: "s" })))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* Fiber.join(fiber), down)
        assert.deepStrictEqual(times, [0])
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("is waited for as often as the service asks, before one attempt no longer than maxRetryAfter in all", () =>
    Effect.gen(function*() {
      const { ask, times } = service("ok")
      const [layer, context] = over({ maxRetryAfter: "1 minute" }, 0)
      yield* Effect.gen(function*() {
        const retry = yield* Retry.Retry
        const told = retry.begin({ service: "s", options: { attempts: 99 } }, yield* Effect.context())
        yield* told.failed(limited(25))
        const patient = yield* Effect.forkChild(ask.pipe(Retry.withRetry({ service: "s", maxRetryAfter: "2 minutes" })))
        const ours = yield* Effect.forkChild(Effect.flip(ask.pipe(Retry.withRetry({ service: "s" }))))
        for (let i = 0; i < 2; i++) {
          yield* TestClock.adjust("24 seconds")
          assert.isUndefined(ours.pollUnsafe())
          yield* told.failed(limited(25))
        }
        yield* TestClock.adjust("1 second")
        // 49 seconds have passed, and there are 24 more.
        assert.deepInclude(yield* Fiber.join(ours), { reason: "RateLimited", retryAfterMillis: 24_000 })
        assert.deepStrictEqual(times, [])
        yield* TestClock.adjust("24 seconds")
        assert.strictEqual(yield* Fiber.join(patient), "ok")
        assert.deepStrictEqual(times, [73_000])
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("counts from the failure on for who was refused: several pauses in a row end with the failure", () =>
    Effect.gen(function*() {
      const { ask, times } = service(limited(25), "ok")
      const [layer, context] = over({}, 0)
      yield* Effect.gen(function*() {
        const retry = yield* Retry.Retry
        const told = retry.begin({ service: "s", options: { attempts: 99 } }, yield* Effect.context())
        const ours = yield* Effect.forkChild(Effect.flip(ask.pipe(Retry.withRetry({ service: "s" }))))
        for (let i = 0; i < 2; i++) {
          yield* TestClock.adjust("24 seconds")
          assert.isUndefined(ours.pollUnsafe())
          yield* told.failed(limited(25))
        }
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(ours), limited(25))
        assert.deepStrictEqual(times, [0])
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("is not waited for where it is too long, whatever the failure was", () =>
    Effect.gen(function*() {
      const [layer, context] = over()
      yield* Effect.gen(function*() {
        const retry = yield* Retry.Retry
        const here = yield* Effect.context()
        const [told, other] = [retry.begin({ service: "s" }, here), retry.begin({ service: "s" }, here)]
        assert.isUndefined(yield* told.failed(limited(61)))
        assert.isUndefined(yield* other.failed(down))
        // A limiter's word is too long as well, and for nobody else.
        const turnedAway = { _tag: "Rejected", reason: "Exceeded", retryAfterMillis: 60_001 }
        assert.isUndefined(yield* retry.begin({ service: "o" }, here).failed(turnedAway))
        assert.isNumber(yield* retry.begin({ service: "o" }, here).failed(down))
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("measured by another clock says nothing, nor does its budget: a test begins anew", () =>
    Effect.gen(function*() {
      const retry = Retry.makeUnsafe({ budget: { reserve: 1 } })
      const here = yield* Effect.context()
      // The first clock has gone on for a while, the second begins where that began.
      retry.begin({ service: "s" }, here)
      const ahead: Clock.Clock = Object.assign(Object.create(yield* Clock.Clock) as Clock.Clock, {
        monotonicTimeNanosUnsafe: () => 100_000_000_000n
      })
      const there = Context.add(here, Clock.Clock, ahead)
      yield* retry.begin({ service: "s" }, there).failed(limited(30))
      assert.isAbove(retry.begin({ service: "s" }, there).pauseMillis(), 0)
      const call = retry.begin({ service: "s" }, here)
      assert.strictEqual(call.pauseMillis(), 0)
      assert.isNumber(yield* call.failed(down))
    }))

  it.effect("of a day is an hour: then the service is asked again", () =>
    Effect.gen(function*() {
      const { ask, times } = service(limited(86_400), "ok")
      const [layer, context] = over({}, 0)
      const asked = ask.pipe(Retry.withRetry({ service: "s" }))
      yield* Effect.gen(function*() {
        yield* Effect.flip(asked)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(yield* asked, "ok")
        assert.deepStrictEqual(times, [0, 3_600_000])
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("is asked for by services alone: a limiter's word, a spent quota and what does not pass pause nobody", () =>
    Effect.gen(function*() {
      const [layer, context] = over()
      yield* Effect.gen(function*() {
        const retry = yield* Retry.Retry
        const here = yield* Effect.context()
        for (
          const failure of [
            { _tag: "Rejected", reason: "MaxWait", retryAfterMillis: 5000 },
            { status: 429, headers: { "retry-after": "5" }, error: { code: "insufficient_quota" } },
            { status: 404, headers: { "retry-after": "5" } }
          ]
        ) {
          yield* retry.begin({ service: "s" }, here).failed(failure)
          assert.strictEqual(retry.begin({ service: "s" }, here).pauseMillis(), 0)
        }
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("of a limiter is waited for by the call that it turned away", () =>
    Effect.gen(function*() {
      const { ask, times } = service({ _tag: "Rejected", reason: "Exceeded", retryAfterMillis: 20_000 }, "ok")
      yield* ended(ask.pipe(Retry.withRetry({ service: "s" }), provided({}, 0.5)))
      assert.deepStrictEqual(times, [0, 21_000])
    }))

  it.effect("is measured by the monotonic clock: a jump of the wall clock moves nothing", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let jumped = 0
      const jumpy: Clock.Clock = Object.assign(Object.create(clock) as Clock.Clock, {
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + jumped
      })
      const retry = Retry.makeUnsafe()
      const context = Context.make(Clock.Clock, jumpy).pipe(Context.add(Random.Random, always(0)))
      yield* retry.begin({ service: "s" }, context).failed(limited(30))
      jumped = 3_600_000
      assert.strictEqual(retry.begin({ service: "s" }, context).pauseMillis(), 30_000)
      const date = { status: 503, headers: { "retry-after": "Thu, 01 Jan 1970 01:00:40 GMT" } }
      yield* retry.begin({ service: "d" }, context).failed(date)
      assert.strictEqual(retry.begin({ service: "d" }, context).pauseMillis(), 40_000)
    }))
})

describe("the budget", () => {
  it.effect("bounds the retries of a service over all its calls, and of no other", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down)
      const [layer, context] = over({ base: 0 })
      yield* Effect.gen(function*() {
        const asked = ask.pipe(Retry.withRetry({ service: "s" }), Effect.exit)
        yield* Effect.all(Array.from({ length: 50 }, () => asked), { concurrency: "unbounded" })
        assert.lengthOf(times, 60)
        const other = service(down)
        yield* Effect.exit(other.ask.pipe(Retry.withRetry({ service: "o" })))
        assert.lengthOf(other.times, 3)
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("is full again a window later", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down)
      const [layer, context] = over({ base: 0, budget: { ratio: 0, reserve: 1, window: "10 seconds" } })
      yield* Effect.gen(function*() {
        const asked = ask.pipe(Retry.withRetry({ service: "s" }), Effect.exit)
        yield* asked
        yield* asked
        assert.lengthOf(times, 3)
        yield* TestClock.adjust("11 seconds")
        yield* asked
        assert.lengthOf(times, 5)
      }).pipe(Effect.provide(layer), Effect.provideContext(context))
    }))

  it.effect("is decided when the failure is seen: it is spent by who waits", () =>
    Effect.gen(function*() {
      const context = Context.make(Random.Random, seeded(1)).pipe(Context.add(Clock.Clock, yield* Clock.Clock))
      const retry = Retry.makeUnsafe({ budget: { reserve: 1, ratio: 0 } })
      const [one, two] = [retry.begin({ service: "s" }, context), retry.begin({ service: "s" }, context)]
      assert.isNumber(yield* one.failed(down))
      assert.isUndefined(yield* two.failed(down))
    }))

  it.effect("lets go of idle services, and keeps those that are paused", () =>
    Effect.gen(function*() {
      const context = Context.make(Random.Random, always(0)).pipe(Context.add(Clock.Clock, yield* Clock.Clock))
      const retry = Retry.makeUnsafe({ budget: { reserve: 1 }, maxRetryAfter: "1 hour" })
      yield* retry.begin({ service: "paused" }, context).failed(limited(600))
      yield* retry.begin({ service: "spent" }, context).failed(down)
      yield* TestClock.adjust("2 minutes")
      for (let i = 0; i < 3000; i++) retry.begin({ service: `s${i}` }, context)
      assert.strictEqual(retry.begin({ service: "paused" }, context).pauseMillis(), 480_000)
      assert.isNumber(yield* retry.begin({ service: "spent" }, context).failed(down))
    }))
})

describe("Retry.layer", () => {
  const wrong: ReadonlyArray<readonly [object, string]> = [
    [{ attempts: 0 }, "Retry.layer: attempts is 0; it must be an integer of at least 1"],
    [{ attempts: 1.5 }, "attempts is 1.5"],
    [{ base: -1 }, "base is -1; it must be a duration of at least 0"],
    [{ base: "soon" }, "base is soon"],
    [{ base: Number.POSITIVE_INFINITY }, "base is Infinity; it must be a finite duration of at least 0"],
    [{ factor: 0.5 }, "factor is 0.5; it must be a finite number of at least 1"],
    [{ factor: Number.NaN }, "factor is NaN"],
    [{ maxDelay: -1 }, "maxDelay is -1"],
    [{ maxRetryAfter: "-1 second" }, "maxRetryAfter is -1 second"],
    [{ schedule: "1 second" }, "schedule is 1 second; it must be a Schedule"],
    [{ schedule: Schedule.forever, base: 1 }, "schedule is given beside base"],
    [{ while: true }, "while is true; it must be a function"],
    [{ atempts: 3 }, "an option is atempts; it must be one of attempts, base"],
    [{ budget: { ratio: -0.1 } }, "budget.ratio is -0.1"],
    [{ budget: { reserve: 0.5 } }, "budget.reserve is 0.5; it must be an integer of at least 0"],
    [{ budget: { window: 0 } }, "budget.window is 0; it must be a finite duration above 0"],
    [{ budget: { ration: 1 } }, "budget's option is ration"],
    [{ budget: 5 }, "budget is 5; it must be an object"],
    [{ services: { a: { attempts: 0 } } }, "Retry.layer: services.a: attempts is 0"],
    [{ services: { a: 5 } }, "Retry.layer: services.a: options is 5"],
    [{ services: 5 }, "services is 5"]
  ]
  it.each(wrong)("dies for %j", (options, message) => {
    assert.throws(() => Retry.layer(options), RangeError, message)
    assert.throws(() => Retry.makeUnsafe(options), RangeError, message)
  })

  it.effect("dies for wrong options of a tool where they are first used, naming the service", () =>
    Effect.gen(function*() {
      const retry = Retry.makeUnsafe()
      const context = yield* Effect.context()
      assert.throws(
        () => retry.begin({ service: "crm", options: { attempts: -1 } }, context),
        "Retry of crm: attempts is -1"
      )
    }))

  it.effect("shares a budget among all that use one layer, and between two layers none", () =>
    Effect.gen(function*() {
      const { ask, times } = service(down)
      const asked = Effect.exit(ask.pipe(Retry.withRetry({ service: "s", base: 0 })))
      const budget = { reserve: 1, ratio: 0 }
      yield* Effect.provide(Effect.andThen(asked, asked), Retry.layer({ budget }))
      assert.lengthOf(times, 3)
      yield* Effect.provide(asked, Retry.layer({ budget }))
      assert.lengthOf(times, 5)
    }))
})
