import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Branch, Limiter, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { explore, ExploreError, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import type { ExploreOptions } from "../../src/testing/index.ts"
import { runUnder } from "../../src/testing/internal/exploredRun.ts"
import { seededSchedule } from "../../src/testing/internal/schedule.ts"
import { races, repaired } from "./races.ts"

/** The error of an exploration that has to fail. */
const failureOf = <E, R>(program: Effect.Effect<unknown, E, R>, options?: ExploreOptions) =>
  Effect.flip(explore(program, options))

const both = <A, E, R>(fibers: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.all(fibers, { concurrency: "unbounded" })

/** What three fibers do, in their order, with promises, timers of one instant and chance. */
const traced = (trace: Array<string>) =>
  Effect.gen(function*() {
    const own: Array<string> = []
    const fiber = (name: string) =>
      Effect.gen(function*() {
        for (let i = 0; i < 3; i++) yield* Effect.sync(() => own.push(`${name}${i}`))
        yield* Effect.promise(() => Promise.resolve().then(() => undefined))
        own.push(`${name} promised`)
        yield* Effect.sleep(10)
        own.push(`${name} slept ${yield* Clock.currentTimeMillis} ${(yield* Random.nextInt) % 1000}`)
      })
    yield* both(["a", "b", "c"].map(fiber))
    trace.push(own.join(" "))
  })

/** A promise that needs so many turns of the event loop. */
const inTurns = (turns: number): Effect.Effect<void> =>
  Effect.promise(async () => {
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
  })

describe("explore", () => {
  it.effect("tries as many schedules as it was told, and tells how many differed", () =>
    Effect.gen(function*() {
      const trace: Array<string> = []
      const report = yield* explore(traced(trace), { seeds: 80 })
      assert.strictEqual(report.schedules, 80)
      assert.strictEqual(trace.length, 80)
      assert.isAbove(new Set(trace).size, 60)
      assert.isAtLeast(report.interleavings, new Set(trace).size - 10)
      assert.isAbove(report.steps, 80 * 20)
    }))

  it.effect("tries 200 schedules where nothing is said", () =>
    Effect.map(explore(Effect.void), ({ schedules }) => assert.strictEqual(schedules, 200)))

  it.effect("has one interleaving where there is nothing to interleave", () =>
    Effect.map(explore(Effect.sleep(5)), ({ interleavings }) => assert.strictEqual(interleavings, 1)))

  it.effect("runs the same seed the same way, every one of them", () =>
    Effect.gen(function*() {
      const [first, second, third]: [Array<string>, Array<string>, Array<string>] = [[], [], []]
      const one = yield* explore(traced(first), { seeds: 200, hurry: 0.1 })
      const two = yield* explore(traced(second), { seeds: 200, hurry: 0.1 })
      assert.strictEqual(first.length, 200)
      assert.deepStrictEqual(second, first)
      assert.deepStrictEqual(two, one)
      // Nor does it matter which seeds were run before.
      const backwards = Array.from({ length: 200 }, (_, i) => 199 - i)
      yield* explore(traced(third), { seeds: backwards, hurry: 0.1 })
      assert.deepStrictEqual(third.toReversed(), first)
    }))

  it.effect("takes the seeds it is given, and those from a first one on", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const draw = Effect.gen(function*() {
        seen.push([yield* Random.nextInt])
      })
      yield* explore(draw, { seeds: [7, 3] })
      yield* explore(draw, { from: 6, seeds: 2 })
      assert.strictEqual(seen.length, 4)
      assert.deepStrictEqual(seen[2 + 1], seen[0])
      assert.notDeepEqual(seen[2], seen[0])
    }))

  it.effect("explores which of the timers of one instant comes first", () =>
    Effect.gen(function*() {
      const orders = new Set<string>()
      const program = Effect.gen(function*() {
        const order: Array<number> = []
        yield* both([0, 1, 2].map((i) => Effect.andThen(Effect.sleep(5), Effect.sync(() => order.push(i)))))
        orders.add(order.join(""))
      })
      yield* explore(program)
      assert.strictEqual(orders.size, 6)
    }))

  it.effect("moves no time for a sleep that was given up", () =>
    explore(Effect.gen(function*() {
      const sleeper = yield* Effect.forkChild(Effect.sleep("1 hour"), { startImmediately: true })
      yield* Effect.yieldNow
      yield* Fiber.interrupt(sleeper)
      // Longer than the turn after which time may pass.
      for (let i = 0; i < 2; i++) yield* inTurns(4)
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    })))

  it.effect("hurries as seldom as it is told", () =>
    explore(
      Effect.gen(function*() {
        const late = yield* Effect.forkChild(Effect.sleep(1))
        for (let i = 0; i < 20; i++) yield* Effect.yieldNow
        assert.strictEqual(yield* Clock.currentTimeMillis, 0)
        yield* Fiber.interrupt(late)
      }),
      { hurry: Number.MIN_VALUE }
    ))

  it.effect("lets time pass only when nothing else is left to do, and in a hurry now and then before", () =>
    Effect.gen(function*() {
      const late = new Set<boolean>()
      const program = Effect.gen(function*() {
        const timer = yield* Effect.forkChild(Effect.sleep(5))
        yield* Effect.yieldNow
        for (let i = 0; i < 50; i++) yield* Effect.yieldNow
        late.add(timer.pollUnsafe() !== undefined)
      })
      yield* explore(program)
      assert.deepStrictEqual([...late], [false])
      yield* explore(program, { hurry: 0.05 })
      assert.deepStrictEqual([...late], [false, true])
    }))

  it.effect("is over in no time, whatever the program sleeps", () =>
    Effect.gen(function*() {
      const { schedules } = yield* explore(Effect.repeat(Effect.sleep("1 day"), { times: 30 }), { seeds: 20 })
      assert.strictEqual(schedules, 20)
    }))
})

describe("explore: planted races", () => {
  it.effect.each(Object.entries(races))(
    "finds the race and prints the seed that replays it: %s",
    ([name, program]) =>
      Effect.gen(function*() {
        const error = yield* failureOf(program, { seeds: 1500 })
        assert.include(error.message, `Testing.explore(program, { seeds: [${error.seed}] })`)
        assert.include(error.message, `Seed ${error.seed} fails`)
        assert.isTrue(error.isReplayed)
        const again = yield* failureOf(program, { seeds: [error.seed] })
        assert.strictEqual(again.schedules, 1)
        assert.deepStrictEqual(again.reason, error.reason)
        assert.deepStrictEqual(again.switches, error.switches)
        // Where many fibers meet, a short list may not be found.
        if (name === "lostUpdateOfMany") return
        assert.isDefined(error.switches)
        assert.isAtMost(error.switches.length, 6, error.message)
      }),
    60_000
  )

  it.effect.each(Object.entries(repaired))(
    "lets the repaired program pass: %s",
    ([, program]) =>
      Effect.gen(function*() {
        const { schedules } = yield* explore(program, { seeds: 200 })
        assert.strictEqual(schedules, 200)
      }),
    60_000
  )

  // Measured over 600 seeds: one in 6 to 12 finds it.
  it.effect("finds an everyday race with one seed in twenty, at least", () =>
    Effect.gen(function*() {
      for (const name of ["lostUpdate", "checkThenAct", "lostWakeUp", "doubleRelease"]) {
        let failed = 0
        for (let seed = 5000; seed < 5400; seed++) {
          const run = yield* runUnder(races[name]!, seededSchedule(seed, { hurry: 0 }), {
            seed,
            maxSteps: 100_000,
            isImpatient: true
          })
          if (run.ending._tag === "Deadlock" || run.exit?._tag === "Failure") failed++
        }
        assert.isAtLeast(failed, 20, name)
      }
    }), 60_000)
})

describe("explore: what is a failure", () => {
  class Busy extends Schema.TaggedError<Busy>()("Busy", { seconds: Schema.Int }) {}

  it.effect("a typed failure, with its type", () =>
    Effect.gen(function*() {
      const program: Effect.Effect<void, Busy> = Effect.fail(new Busy({ seconds: 3 }))
      const error: ExploreError<Busy> = yield* failureOf(program)
      assert.instanceOf(error, ExploreError)
      assert.deepStrictEqual([error.seed, error.schedules, error.switches], [0, 1, []])
      assert.isTrue(error.reason._tag === "Failed" && Cause.findErrorOption(error.reason.failure)._tag === "Some")
      assert.strictEqual((error.cause as Busy).seconds, 3)
      assert.include(error.message, "Busy")
      assert.include(error.message, "It fails in the plain order, too")
    }))

  it.effect("a defect, and its message", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(Effect.sync(() => assert.strictEqual(1 + 1, 3)))
      assert.isTrue(error.reason._tag === "Failed" && Cause.hasDies(error.reason.failure))
      assert.include(error.message, "expected 2 to equal 3")
    }))

  it.effect("its own interruption", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(Effect.interrupt)
      assert.isTrue(error.reason._tag === "Failed" && Cause.hasInterrupts(error.reason.failure))
    }))

  it.effect("not what the program catches", () =>
    Effect.map(
      explore(Effect.ignore(Effect.fail("no"))),
      ({ schedules }) => assert.strictEqual(schedules, 200)
    ))

  it.effect("a deadlock, and who waits where", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(Effect.withSpan(Effect.never, "waits for nobody"))
      assert.deepStrictEqual(error.reason, { _tag: "Deadlock", fibers: ["#1 (waits for nobody)"] })
      assert.include(error.message, "no timer or promise is left")
    }))

  it.effect("a callback that schedules itself again and again", () =>
    Effect.gen(function*() {
      const spinning = Effect.flatMap(Scheduler.Scheduler, (scheduler) =>
        Effect.callback<void>(() => {
          const dispatcher = scheduler.makeDispatcher()
          const spin = () => dispatcher.scheduleTask(spin, 0)
          spin()
        }))
      const error = yield* failureOf(spinning, { maxSteps: 5000 })
      assert.strictEqual(error.reason._tag, "StillRunning")
    }))

  it.effect("a run that never ends, in turns or at a stretch", () =>
    Effect.gen(function*() {
      for (
        const endless of [Effect.forever(Effect.yieldNow), Effect.forever(Effect.void), Effect.forever(Effect.sleep(1))]
      ) {
        const error = yield* failureOf(endless, { maxSteps: 5000 })
        assert.strictEqual(error.reason._tag, "StillRunning")
        assert.include(error.message, "Still running after 500")
        assert.include(error.replay, "maxSteps: 5000")
      }
    }))

  it.effect("a fiber that is left behind and cannot be ended", () =>
    Effect.gen(function*() {
      const deaf = Effect.withSpan(Effect.uninterruptible(Effect.never), "deaf")
      const error = yield* failureOf(Effect.gen(function*() {
        const latch = yield* Latch.make()
        yield* Effect.forkDetach(Effect.andThen(latch.open, deaf))
        yield* latch.await
      }))
      assert.strictEqual(error.reason._tag, "LeftBehind")
      assert.include(error.message, "could not be interrupted:\n  #2")
    }))

  it.effect("says so when the same seed does not fail again", () =>
    Effect.gen(function*() {
      let runs = 0
      const error = yield* failureOf(Effect.suspend(() => ++runs === 3 ? Effect.fail("third") : Effect.void))
      assert.strictEqual(error.seed, 2)
      assert.isFalse(error.isReplayed)
      assert.include(error.message, "state shared by the runs")
    }))

  it.effect("options that say nothing", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<ExploreOptions> = [
        { seeds: 0 },
        { seeds: [] },
        { seeds: [-1] },
        { seeds: 1.5 },
        { from: -1 },
        { hurry: 2 },
        { hurry: Number.NaN },
        { maxSteps: 0 }
      ]
      for (const options of wrong) {
        const exit = yield* Effect.exit(explore(Effect.void, options))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), JSON.stringify(options))
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", `explore: `)
      }
    }))
})

describe("explore: what runs in it", () => {
  it.effect("promises, short and long, and none of them twice", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const promise = (turns: number) =>
          Effect.promise(async () => {
            for (let i = 0; i < turns; i++) await Promise.resolve()
            return turns
          })
        assert.deepStrictEqual(yield* both([0, 1, 20].map(promise)), [0, 1, 20])
      })
      yield* explore(program)
    }))

  it.effect("promises before and after other fibers", () =>
    Effect.gen(function*() {
      const orders = new Set<string>()
      const program = Effect.gen(function*() {
        const order: Array<string> = []
        const says = (name: string) => Effect.sync(() => void order.push(name))
        const steps = Effect.forEach(Array.from({ length: 8 }), () => Effect.yieldNow)
        yield* both([
          Effect.andThen(Effect.promise(() => Promise.resolve()), says("p")),
          Effect.andThen(steps, says("f")),
          steps
        ])
        orders.add(order.join(""))
      })
      yield* explore(program)
      assert.deepStrictEqual([...orders].toSorted(), ["fp", "pf"])
    }))

  it.effect("a timer of the host, as long as nothing else is to come", () =>
    Effect.map(
      explore(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1))), { seeds: 3 }),
      ({ schedules }) => assert.strictEqual(schedules, 3)
    ))

  it.effect("nested forks, all of them over at the end", () =>
    Effect.gen(function*() {
      let alive = 0
      const watched = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.acquireUseRelease(Effect.sync(() => alive++), () => effect, () => Effect.sync(() => alive--))
      const tree = (depth: number): Effect.Effect<void> =>
        watched(Effect.gen(function*() {
          if (depth === 0) return yield* Effect.sleep(3)
          const left = yield* Effect.forkChild(tree(depth - 1))
          yield* Effect.forkChild(tree(depth - 1), { startImmediately: true })
          yield* Effect.forkDetach(watched(Effect.forever(Effect.sleep(1))))
          yield* Fiber.join(left)
        }))
      const program = Effect.ensuring(tree(4), Effect.void)
      for (let seed = 0; seed < 100; seed++) {
        yield* explore(program, { seeds: [seed] })
        assert.strictEqual(alive, 0, `seed ${seed}`)
      }
    }))

  it.effect("a scope of each run, closed at its end", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const program = Effect.gen(function*() {
        yield* Effect.acquireRelease(Effect.sync(() => events.push("open")), () =>
          Effect.sync(() => events.push("close")))
        yield* Effect.forkScoped(Effect.never)
        yield* Effect.sleep(1)
      })
      const explored: Effect.Effect<unknown, unknown> = explore(program, { seeds: 3 })
      yield* explored
      assert.deepStrictEqual(events, ["open", "close", "open", "close", "open", "close"])
    }))

  it.effect("fibers that were still to begin when the program ended, ended as well", () =>
    Effect.map(
      explore(Effect.forkDetach(Effect.forever(Effect.sleep(1))), { maxSteps: 5000 }),
      ({ schedules }) => assert.strictEqual(schedules, 200)
    ))

  it.effect("finalizers that take time, of fibers left running", () =>
    Effect.gen(function*() {
      let ended = 0
      const slow = Effect.onInterrupt(Effect.never, () =>
        Effect.andThen(Effect.sleep(50), Effect.sync(() => void ended++)))
      yield* explore(Effect.andThen(Effect.forkDetach(slow, { startImmediately: true }), Effect.sleep(1)), {
        seeds: 64
      })
      assert.strictEqual(ended, 64)
    }))

  it.effect("streams, queues and semaphores", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const queue = yield* Queue.bounded<number, Cause.Done>(2)
        const limit = yield* Semaphore.make(2)
        let running = 0
        yield* Effect.forkChild(Effect.andThen(
          Effect.forEach([1, 2, 3, 4, 5, 6], (n) => Queue.offer(queue, n), { concurrency: 3 }),
          Queue.end(queue)
        ))
        const seen = yield* Stream.fromQueue(queue).pipe(
          Stream.mapEffect((n) =>
            limit.withPermit(Effect.gen(function*() {
              assert.isAtMost(++running, 2)
              yield* Effect.sleep(n)
              running--
              return n
            })), { concurrency: 4 }),
          Stream.runCollect
        )
        assert.deepStrictEqual(seen.toSorted((a, b) => a - b), [1, 2, 3, 4, 5, 6])
      })
      yield* explore(program)
    }))

  it.effect("TestClock.adjust and setTime, after all others of that instant", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const fibers = yield* Effect.forEach(
          [1, 2, 2],
          (hours) => Effect.forkChild(Effect.sleep(Duration.hours(hours)))
        )
        const over = () => fibers.filter((fiber) => fiber.pollUnsafe() !== undefined).length
        yield* TestClock.adjust("59 minutes")
        assert.strictEqual(over(), 0)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(over(), 1)
        yield* TestClock.setTime(7_200_000)
        assert.strictEqual(over(), 3)
        assert.strictEqual(yield* Clock.currentTimeMillis, 7_200_000)
        const live = yield* TestClock.withLive(Clock.currentTimeMillis)
        assert.isAbove(live, 1_600_000_000_000)
      })
      yield* explore(program)
    }))

  it.effect("services of the caller, shared by all runs; those of the program, new in each", () =>
    Effect.gen(function*() {
      class Count extends Context.Service<Count, Ref.Ref<number>>()("test/Count") {}
      const add = Effect.flatMap(Count, Ref.updateAndGet((n) => n + 1))
      const layer = Layer.effect(Count, Ref.make(0))
      const seen: Array<number> = []
      const program = Effect.map(add, (n) => void seen.push(n))
      const explored: Effect.Effect<unknown, unknown, Count> = explore(program, { seeds: 3 })
      yield* Effect.provide(explored, layer)
      yield* explore(Effect.provide(program, layer), { seeds: 3 })
      assert.deepStrictEqual(seen, [1, 2, 3, 1, 1, 1])
    }))

  it.effect("priorities of what one fiber has scheduled, in their order", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const order: Array<number> = []
        const { currentDispatcher } = yield* Effect.withFiber(Effect.succeed)
        for (const priority of [2, 0, 1]) currentDispatcher.scheduleTask(() => order.push(priority), priority)
        yield* Effect.sleep(1)
        assert.deepStrictEqual(order, [0, 1, 2])
      })
      yield* explore(program)
    }))
})

describe("explore: interruption", () => {
  it.live("ends the run that goes on, with its finalizers, and begins no other", () =>
    Effect.gen(function*() {
      const began = yield* Deferred.make<void>()
      let runs = 0
      let released = 0
      const program = Effect.gen(function*() {
        runs++
        yield* Effect.addFinalizer(() => Effect.andThen(Effect.sleep("1 hour"), Effect.sync(() => void released++)))
        yield* Effect.forkDetach(Effect.onInterrupt(Effect.never, () => Effect.sync(() => void released++)), {
          startImmediately: true
        })
        yield* Deferred.succeed(began, undefined)
        return yield* Effect.forever(Effect.sleep(1))
      })
      const fiber = yield* Effect.forkChild(explore(program, { maxSteps: Number.MAX_SAFE_INTEGER }))
      yield* Deferred.await(began)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(runs, 1)
      assert.strictEqual(released, 2)
    }))

  it.live("works while the program never lets go", () =>
    Effect.gen(function*() {
      const began = yield* Deferred.make<void>()
      const program = Effect.andThen(Deferred.succeed(began, undefined), Effect.forever(Effect.void))
      const fiber = yield* Effect.forkChild(explore(program, { maxSteps: Number.MAX_SAFE_INTEGER }))
      yield* Deferred.await(began)
      yield* Fiber.interrupt(fiber)
    }))

  it.live("begins no further seed when the budget is spent, and one at least", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* explore(Effect.void, { budget: 0 })).schedules, 1)
      const pause = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))
      const { schedules } = yield* explore(pause, { seeds: 1_000_000, budget: "100 millis" })
      assert.isBelow(schedules, 100)
    }))
})

describe("explore: runs of a model", () => {
  const tool = (annotations: ToolPolicy.Annotations<{ readonly id: string }, string> = {}) =>
    ToolPolicy.tool({
      parameters: Schema.Struct({ id: Schema.String }),
      success: Schema.String,
      annotations,
      handler: ({ id }) => Effect.as(Effect.sleep(5), id)
    })
  const { toolkit } = ToolPolicy.define({
    free: tool(),
    capped: tool({ concurrency: 1 }),
    limited: tool({ service: "a" }),
    raced: tool()
  })
  const calls = ["free", "capped", "limited", "raced", "capped", "limited", "raced", "free"].map((name, i) =>
    ToolCall(name, { id: `c${i}` }, { id: `c${i}` })
  )
  const handler = ({ id }: { readonly id: string }) => TestTools.succeed(id, { after: 5 })
  const layer = Layer.mergeAll(
    TestModel.script([calls, "done"]),
    TestTools.layer(toolkit, { free: handler, capped: handler, limited: handler, raced: handler }),
    Limiter.layer({ services: { a: Limiter.permits(1) } }),
    Orchestrator.layerRuns()
  )

  it.effect("answers every call once, keeps caps and limits, and leaves nothing, in every schedule", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const { finishReason, text, toolResults } = yield* Orchestrator.run({
          prompt: "go",
          toolkit,
          completion: { raced: { tools: ["raced"], policy: Branch.first(1) } }
        })
        assert.deepStrictEqual([text, finishReason], ["done", "stop"])
        assert.deepStrictEqual(toolResults.map(({ id }) => id), calls.map(({ id }) => id))
        const recorded = yield* TestTools.calls
        for (const name of ["capped", "limited"]) {
          const [one, two] = recorded.filter((call) => call.name === name).toSorted((a, b) => a.startedAt - b.startedAt)
          assert.isAtMost(one!.endedAt!, two!.startedAt, name)
        }
        yield* TestModel.assertComplete
      })
      yield* explore(Effect.provide(program, layer), { seeds: 60 })
      yield* explore(Effect.provide(program, layer), { seeds: 30, hurry: 0.02 })
    }))

  it.effect("finds a race between two handlers, each right alone", () =>
    Effect.gen(function*() {
      const budget = (spend: (ref: Ref.Ref<number>) => Effect.Effect<void>) =>
        Effect.gen(function*() {
          const left = yield* Ref.make(10)
          const { layer, toolkit } = ToolPolicy.define({
            buy: ToolPolicy.tool({ parameters: Schema.Struct({}), success: Schema.Void, handler: () => spend(left) })
          })
          const model = TestModel.script([[ToolCall("buy", {}), ToolCall("buy", {})], "done"])
          yield* Effect.provide(Orchestrator.run({ prompt: "go", toolkit }), [layer, model, Orchestrator.layerRuns()])
          assert.strictEqual(yield* Ref.get(left), 8)
        })
      const error = yield* failureOf(budget((ref) => Effect.flatMap(Ref.get(ref), (n) => Ref.set(ref, n - 1))), {
        seeds: 2000
      })
      assert.include(error.message, "expected 9 to equal 8")
      yield* explore(budget(Ref.update((n) => n - 1)), { seeds: 100 })
    }), 60_000)
})

describe("explore: progress", () => {
  it.live("tells how far it is at debug, now and then", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))
      let now = 0
      const real = performance.now.bind(performance)
      // Its watch is the host's: a minute a look.
      performance.now = () => now += 60_000
      yield* explore(Effect.void, { seeds: 5 }).pipe(
        Effect.ensuring(Effect.sync(() => {
          performance.now = real
        })),
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Debug")
      )
      assert.isAtLeast(lines.length, 4)
      assert.match(lines[0]!, /explore: \d of 5 schedules, \d interleavings/)
    }))
})
