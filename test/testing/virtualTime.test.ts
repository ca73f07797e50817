/** Time that moves by itself: `advancing` alone, beside others, nested, and around real runs. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Logger, Ref } from "effect"
import { TestClock } from "effect/testing"
import { explore } from "../../src/testing/index.ts"
import { advancing, SelfMoving, Stuck } from "../../src/testing/internal/virtualTime.ts"

const now = Clock.currentTimeMillis
const after = (duration: Duration.Input) => Effect.andThen(Effect.sleep(duration), now)
const realTime = (millis: number) => Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, millis)))

/** Nothing real is awaited where the test says that nothing comes. */
const impatient = { patience: "20 millis" } as const

describe("advancing", () => {
  it.effect("goes from sleep to sleep until the effect is over, each at its own time", () =>
    Effect.gen(function*() {
      const times = yield* advancing(Effect.all(
        [after(500), after(20), Effect.andThen(after(20), after("1 hour"))],
        { concurrency: "unbounded" }
      ))
      assert.deepStrictEqual(times, [500, 20, 3_600_020])
      assert.strictEqual(yield* now, 3_600_020)
    }))

  it.effect("leaves the clock alone when nothing sleeps", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust(7)
      assert.strictEqual(yield* advancing(Effect.andThen(Effect.yieldNow, now)), 7)
      assert.strictEqual(yield* now, 7)
    }))

  it.live("makes a clock of its own where time is real", () =>
    Effect.gen(function*() {
      const before = yield* now
      const times = yield* advancing(Effect.all([after("10 days"), after("1 day")], { concurrency: 2 }), {
        limit: "20 days"
      })
      assert.deepStrictEqual(times, [864_000_000, 86_400_000])
      assert.isBelow((yield* now) - before, 86_400_000)
    }))

  it.effect("lets promises that need only microtasks come home before time moves", () =>
    Effect.gen(function*() {
      const many = async () => {
        for (let turn = 0; turn < 1000; turn++) await Promise.resolve()
        return new Response(new Blob(["body"]).stream().pipeThrough(new TextDecoderStream() as never)).status
      }
      const [at] = yield* advancing(Effect.all(
        [Effect.andThen(Effect.promise(many), now), Effect.sleep("1 minute")],
        { concurrency: 2 }
      ))
      assert.strictEqual(at, 0)
    }))

  it.effect("lets long work end before time moves, however often it yields", () =>
    Effect.gen(function*() {
      const work = Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 500 }), now)
      const [at] = yield* advancing(Effect.all([work, Effect.sleep(1)], { concurrency: 2 }))
      assert.strictEqual(at, 0)
    }))

  it.effect("waits a moment of real time for something from outside", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* advancing(Effect.andThen(realTime(30), now)), 0)
    }))

  it.effect("lets the effect move the clock itself", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(after("90 minutes"))
        yield* TestClock.adjust("1 hour")
        const between = yield* now
        return [between, yield* Fiber.join(fiber)]
      })
      const times = yield* advancing(program)
      assert.isAtLeast(times[0]!, 3_600_000)
      assert.strictEqual(times[1], 5_400_000)
    }))

  it.effect("hands on what the effect ends with", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(advancing(Effect.andThen(Effect.sleep(5), Effect.fail("no")))), "no")
      const died = yield* Effect.exit(advancing(Effect.andThen(Effect.sleep(5), Effect.die("broken"))))
      assert.deepStrictEqual(died, Exit.die("broken"))
      const interrupted = yield* Effect.exit(advancing(Effect.andThen(Effect.sleep(5), Effect.interrupt)))
      assert.isTrue(Exit.hasInterrupts(interrupted))
    }))

  it.effect("keeps the effect's context, whatever it changes", () =>
    Effect.gen(function*() {
      const Word = Context.Reference<string>("test/Word", { defaultValue: () => "unset" })
      const word = advancing(Effect.andThen(Effect.sleep(1), Effect.map(Word, (word) => word)))
      assert.strictEqual(yield* Effect.provideService(word, Word, "set"), "set")
    }))
})

describe("advancing an effect that does not end", () => {
  it.effect("fails where nothing sleeps, saying so", () =>
    Effect.gen(function*() {
      const program = Effect.andThen(Effect.sleep("3 seconds"), Effect.never)
      const error = yield* Effect.flip(advancing(program, impatient))
      assert.instanceOf(error, Stuck)
      assert.strictEqual(error.why, "nothing-sleeps")
      assert.strictEqual(
        error.message,
        "nothing happens any more at 3000 ms of virtual time: what is not over waits for something that no clock moves"
      )
    }))

  it.effect("fails on a sleep without end, and on one of more than the limit", () =>
    Effect.gen(function*() {
      const endless = yield* Effect.flip(advancing(Effect.sleep(Duration.infinity), impatient))
      assert.match(endless.message, /no clock moves \(a sleep without end\)$/)
      const long = yield* Effect.flip(advancing(Effect.sleep("2 days"), impatient))
      assert.match(long.message, /the next sleep is over at 172800000 ms, later than the limit of 86400000 ms$/)
      const huge = yield* Effect.flip(
        advancing(Effect.sleep(Number.MAX_SAFE_INTEGER), { ...impatient, limit: "Infinity" })
      )
      assert.strictEqual(huge.why, "beyond-the-limit")
    }))

  it.effect("goes as far as it is told to", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* advancing(after(2 ** 33), { limit: "Infinity" }), 2 ** 33)
    }))

  it.effect("fails on one that sleeps again and again", () =>
    Effect.gen(function*() {
      const program = Effect.forever(Effect.sleep(10))
      const far = yield* Effect.flip(advancing(program, { ...impatient, limit: "1 second" }))
      assert.strictEqual(far.why, "beyond-the-limit")
      const often = yield* Effect.flip(advancing(program, { ...impatient, maxMoves: 100 }))
      assert.strictEqual(
        often.message,
        "not over at 1000 ms of virtual time, after 100 steps of the clock: something sleeps again and again (next until 1010 ms)"
      )
    }))

  it.effect("stops it, and lets time go on for its clean-up", () =>
    Effect.gen(function*() {
      const cleaned = yield* Ref.make(0)
      const cleanUp = Effect.flatMap(after("2 seconds"), (at) => Ref.set(cleaned, at))
      const start = yield* now
      yield* Effect.flip(advancing(Effect.onInterrupt(Effect.never, () => cleanUp), impatient))
      assert.isAtLeast(yield* Ref.get(cleaned), start + 2000)
    }))

  it.effect("gives up on one that does not stop either", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(advancing(Effect.uninterruptible(Effect.never), impatient))
      assert.strictEqual(error._tag, "Stuck")
    }))
})

describe("advancing, interrupted", () => {
  it.effect("interrupts the effect, and moves time for its end", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const ended = yield* Ref.make(-1)
      const program = Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
        Effect.onInterrupt(() => Effect.flatMap(after("1 minute"), (at) => Ref.set(ended, at)))
      )
      const fiber = yield* Effect.forkChild(advancing(program))
      yield* Deferred.await(started)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* Ref.get(ended), 60_000)
    }))

  it.effect("leaves nobody behind who moves the clock", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(advancing(Effect.never))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      const sleeper = yield* Effect.forkChild(Effect.sleep(10))
      yield* TestClock.withLive(Effect.sleep(30))
      assert.isUndefined(sleeper.pollUnsafe())
      assert.strictEqual(yield* now, 0)
    }))
})

describe("advancing beside others", () => {
  const twice = Effect.all([after("3 seconds"), after("5 seconds")], { concurrency: 2 })

  it.effect("keeps one time for two effects on one clock", () =>
    Effect.gen(function*() {
      const both = yield* Effect.all([
        advancing(Effect.andThen(Effect.sleep(1), twice)),
        advancing(Effect.andThen(after("4 seconds"), after("4 seconds")))
      ], { concurrency: 2 })
      assert.deepStrictEqual(both, [[3001, 5001], 8000])
    }))

  it.effect("keeps one time for an effect inside another", () =>
    Effect.gen(function*() {
      const inner = advancing(Effect.andThen(Effect.sleep("1 second"), twice))
      const outer = Effect.all([Effect.andThen(Effect.sleep(50), inner), after("2 seconds"), after("1 hour")], {
        concurrency: 3
      })
      assert.deepStrictEqual(yield* advancing(outer), [[4050, 6050], 2000, 3_600_000])
    }))

  it.effect("blames the inner one first, and goes on with the outer", () =>
    Effect.gen(function*() {
      const inner = Effect.catchTag(advancing(Effect.never, impatient), "Stuck", () => Effect.void)
      const outer = Effect.andThen(inner, Effect.as(Effect.sleep("1 second"), "went on"))
      for (let run = 0; run < 2; run++) assert.strictEqual(yield* advancing(outer, { patience: 0 }), "went on")
    }))

  it.effect("does not jump over sleeps of fibers outside", () =>
    Effect.gen(function*() {
      const stop = yield* Deferred.make<number>()
      const [at] = yield* Effect.all([
        advancing(Effect.race(Deferred.await(stop), Effect.as(Effect.sleep("30 seconds"), -1))),
        Effect.flatMap(after("3 seconds"), (at) => Deferred.succeed(stop, at))
      ], { concurrency: 2 })
      assert.strictEqual(at, 3000)
      assert.strictEqual(yield* now, 3000)
    }))

  it.effect("stops on the way where a sleep that began before it goes off", () =>
    Effect.gen(function*() {
      const stop = yield* Deferred.make<void>()
      yield* Effect.forkChild(Effect.andThen(Effect.sleep("3 seconds"), Deferred.succeed(stop, undefined)), {
        startImmediately: true
      })
      const stopped = Deferred.await(stop).pipe(
        Effect.andThen(Effect.promise(() => Promise.resolve())),
        Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 20 })),
        Effect.andThen(now)
      )
      const times = yield* advancing(Effect.all([stopped, after("30 seconds")], { concurrency: 2 }))
      assert.deepStrictEqual(times, [3000, 30_000])
    }))

  it.effect("finds a sleep that began before it, where nothing else sleeps", () =>
    Effect.gen(function*() {
      const stop = yield* Deferred.make<void>()
      const sleeper = Effect.andThen(Effect.sleep("3 seconds"), Deferred.succeed(stop, undefined))
      yield* Effect.forkChild(sleeper, { startImmediately: true })
      assert.strictEqual(yield* advancing(Effect.andThen(Deferred.await(stop), now), impatient), 3000)
    }))

  it.effect("waits while somebody else moves the clock", () =>
    Effect.gen(function*() {
      yield* advancing(Effect.void)
      const seen: Array<number> = []
      const look = Effect.repeat(Effect.andThen(Effect.yieldNow, Effect.map(now, (at) => seen.push(at))), {
        times: 200
      })
      const ticks = Effect.repeat(Effect.sleep("5 minutes"), { times: 23 })
      yield* Effect.all([
        look,
        Effect.andThen(Effect.sleep(1), ticks),
        advancing(Effect.andThen(Effect.sleep("30 seconds"), Effect.sleep("2 hours"))),
        TestClock.adjust("1 hour")
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(seen, seen.toSorted((one, other) => one - other))
      assert.strictEqual(seen.at(-1), 7_230_000)
    }))

  it.effect("leaves a clock alone that moves by itself", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.provideService(advancing(after(5)), SelfMoving, true),
        { startImmediately: true }
      )
      yield* TestClock.withLive(Effect.sleep(20))
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(5)
      assert.strictEqual(yield* Fiber.join(fiber), 5)
    }))

  it.effect("leaves the clock to a schedule that is explored", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const times = yield* advancing(Effect.all([after(20), after(10)], { concurrency: 2 }))
        assert.deepStrictEqual(times, [20, 10])
      })
      assert.strictEqual((yield* explore(program, { seeds: 20 })).schedules, 20)
    }))

  it.effect("logs nothing", () =>
    Effect.gen(function*() {
      const lines = yield* Ref.make(0)
      const counting = Logger.layer([Logger.make(() => {
        Effect.runSync(Ref.update(lines, (count) => count + 1))
      })])
      yield* advancing(Effect.andThen(Effect.sleep("1 hour"), realTime(50))).pipe(Effect.provide(counting))
      const slow = TestClock.layer({ warningDelay: "5 millis" })
      const program = Effect.flip(advancing(Effect.sleep(Duration.infinity), impatient))
      yield* program.pipe(Effect.provide(slow), Effect.provide(counting))
      assert.strictEqual(yield* Ref.get(lines), 0)
    }))
})

describe("the timeline", () => {
  // Random-looking, always the same: sleeps, yields, promises and forks of many fibers.
  const busy = (log: Array<string>, seed: number) => {
    const worker = (id: number): Effect.Effect<void> =>
      Effect.gen(function*() {
        for (let step = 0; step < 6; step++) {
          const dice = (seed * 31 + id * 17 + step * 7) % 5
          if (dice === 0) yield* Effect.promise(() => Promise.resolve().then(() => undefined))
          else if (dice === 1) yield* Effect.yieldNow
          else yield* Effect.sleep(dice * 3 * ((id + step) % 4))
          log.push(`${id}.${step}@${yield* now}`)
        }
      })
    return Effect.forEach(Array.from({ length: 20 }, (_, id) => id), worker, { concurrency: 7, discard: true })
  }

  it.live("is the same in a hundred runs", () =>
    Effect.gen(function*() {
      const logs: Array<string> = []
      for (let run = 0; run < 100; run++) {
        const log: Array<string> = []
        yield* advancing(busy(log, 3))
        logs.push(log.join(" "))
      }
      assert.isAbove(logs[0]!.length, 500)
      assert.strictEqual(new Set(logs).size, 1)
    }))
})
