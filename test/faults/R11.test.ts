/** R11: a waiter that is cancelled has taken nothing, wherever it is cancelled. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import { layerMemory, LimiterStore } from "../../src/policy/LimiterStore.ts"
import type { Limit, LimitState } from "../../src/policy/LimiterStore.ts"
import { processOn, sharedStore, Wire } from "../policy/askedStore.ts"
import { Steps } from "../policy/steps.ts"
import { random } from "../random.ts"

const rules = {
  permits: Limiter.permits(1),
  window: Limiter.slidingWindow({ limit: 2, window: "1 second" }),
  bucket: Limiter.tokenBucket({ capacity: 3, refill: 1, every: "100 millis" })
}

const limitsOf = (service: string, all: ReadonlyArray<Limiter.Rule>): ReadonlyArray<Limit> =>
  all.map((rule, index) => ({ key: `service/${service}/${index}`, name: "", group: `service/${service}`, rule }))

const entriesOf = (state: LimitState | undefined): number =>
  state?._tag === "Window" ? state.entries.reduce((sum, [, amount]) => sum + amount, 0) : Number.NaN
const heldOf = (state: LimitState | undefined): number => state?._tag === "Permits" ? state.held : Number.NaN

describe("R11: interruption at every step of the scheduler", () => {
  // Three calls for one permit and three places of a window; the one in the middle is interrupted before step `at`.
  const scenario = (
    isAsked: boolean,
    service: ReadonlyArray<Limiter.Rule>,
    opsBeforeYield: number,
    at: number,
    yields?: () => boolean
  ) => {
    const steps = new Steps(opsBeforeYield, yields)
    const run = Effect.runForkWith(steps.context)
    const started: Array<string> = []
    const ended: Array<string> = []
    const scope = Scope.makeUnsafe()
    const setup = run(Effect.gen(function*() {
      const store = Context.get(yield* Layer.buildWithScope(Layer.fresh(layerMemory), scope), LimiterStore)
      const provided = isAsked ? new Wire().over(store) : store
      const limiter = yield* Layer.buildWithScope(
        Layer.fresh(Limiter.layerStore({ services: { a: service } })),
        scope
      ).pipe(Effect.provideService(LimiterStore, provided))
      return { limiter: Context.get(limiter, Limiter.Limiter), store }
    }))
    steps.finish()
    const exit = setup.pollUnsafe()
    if (exit?._tag !== "Success") throw new Error(`not built: ${String(exit)}`)
    const { limiter, store } = exit.value
    const call = (name: string) =>
      run(
        limiter.withAdmission({ service: "a" })(Effect.gen(function*() {
          started.push(name)
          yield* Effect.yieldNow
          yield* Effect.sleep(10)
        })).pipe(Effect.onExit(() => Effect.sync(() => ended.push(name))))
      )
    const fibers = ["a", "b", "c"].map(call)
    const first = steps.taken
    while (steps.taken - first < at && steps.take());
    const isReached = fibers.some((fiber) => fiber.pollUnsafe() === undefined)
    fibers[1]!.interruptUnsafe()
    steps.finish()
    const peek = run(store.peek(limitsOf("a", service)))
    steps.finish()
    const states = peek.pollUnsafe()
    return {
      isReached,
      started,
      ended,
      sleepers: steps.sleepers,
      states: states?._tag === "Success" ? states.value : []
    }
  }

  for (const isAsked of [false, true]) {
    for (
      const [name, service] of Object.entries({
        "a permit and a window": [rules.permits, Limiter.slidingWindow({ limit: 3, window: "1 hour" })],
        "a window alone": [Limiter.slidingWindow({ limit: 1, window: "1 second" })]
      })
    ) {
      for (const opsBeforeYield of [3, 2048]) {
        const where = `${name}, ${isAsked ? "asked" : "in memory"}, a yield every ${opsBeforeYield} operations`
        it(`loses and doubles nothing: ${where}`, () => {
          let at = 0
          let isReached = true
          for (; isReached; at++) {
            const result = scenario(isAsked, service, opsBeforeYield, at)
            isReached = result.isReached
            const seen = `interrupted before step ${at} (${where}): ${JSON.stringify(result)}`
            const { started, ended, sleepers, states } = result
            const others = started.filter((each) => each !== "b")
            assert.deepStrictEqual(others.toSorted(), ["a", "c"], seen)
            assert.strictEqual(new Set(started).size, started.length, seen)
            assert.deepStrictEqual(ended.toSorted(), ["a", "b", "c"], seen)
            assert.strictEqual(sleepers, 0, seen)
            if (service.length === 2) assert.strictEqual(heldOf(states[0]), 0, seen)
          }
          assert.isAbove(at, 5, where)
        })
      }
    }

    it(`loses and doubles nothing where a fiber may yield before any operation (${isAsked ? "asked" : "in memory"})`, () => {
      let returned = 0
      for (let seed = 0; seed < 12; seed++) {
        let isReached = true
        for (let at = 0; isReached; at++) {
          const { chance } = random(seed)
          const service = [rules.permits, Limiter.slidingWindow({ limit: 3, window: "1 hour" })]
          const result = scenario(isAsked, service, 2048, at, () => chance(0.4))
          isReached = result.isReached
          const seen = `seed ${seed}, interrupted before step ${at}: ${JSON.stringify(result)}`
          const { ended, sleepers, started, states } = result
          assert.deepStrictEqual(started.filter((each) => each !== "b").toSorted(), ["a", "c"], seen)
          assert.deepStrictEqual(ended.filter((each) => each !== "b").toSorted(), ["a", "c"], seen)
          assert.deepStrictEqual([sleepers, heldOf(states[0])], [0, 0], seen)
          // Who was admitted counts as started, though its fiber yields before the effect's first operation.
          assert.include([started.length, started.length + 1], entriesOf(states[1]), seen)
          if (entriesOf(states[1]) === 2) returned++
        }
      }
      assert.isAbove(returned, 10)
    })

    it(`counts in a window exactly those that started (${isAsked ? "asked" : "in memory"})`, () => {
      let isReached = true
      for (let at = 0; isReached; at++) {
        const window = Limiter.slidingWindow({ limit: 100, window: "1 hour" })
        const result = scenario(isAsked, [rules.permits, window], 2048, at)
        isReached = result.isReached
        const seen = `interrupted before step ${at}: ${JSON.stringify(result)}`
        assert.strictEqual(entriesOf(result.states[1]), result.started.length, seen)
      }
    })
  }
})

describe("R11: nobody waits any more", () => {
  for (const isAsked of [false, true]) {
    it(`no timer and no fiber is left (${isAsked ? "asked" : "in memory"})`, () => {
      const steps = new Steps(2048)
      const run = Effect.runForkWith(steps.context)
      const held: Array<Fiber.Fiber<unknown, unknown>> = []
      const program = Effect.gen(function*() {
        const store = yield* sharedStore
        const provided = isAsked ? new Wire().over(store) : store
        const options = { services: { a: rules.window, b: rules.permits } }
        const context = yield* Effect.provideService(Layer.build(Limiter.layerStore(options)), LimiterStore, provided)
        const { withAdmission } = Context.get(context, Limiter.Limiter)
        for (let i = 0; i < 2; i++) yield* withAdmission({ service: "a" })(Effect.void)
        const holder = yield* Effect.forkChild(withAdmission({ service: "b" })(Effect.never))
        const fibers = yield* Effect.forEach(
          ["a", "b", "a", "b"],
          (service) => Effect.forkChild(withAdmission({ service })(Effect.never))
        )
        return { holder, fibers }
      })
      const setup = run(Effect.scoped(Effect.flatMap(program, (made) => {
        held.push(made.holder, ...made.fibers)
        return Effect.never
      })))
      steps.settle()
      assert.strictEqual(held.length, 5)
      assert.isAbove(steps.sleepers, 0)
      for (const fiber of held) fiber.interruptUnsafe()
      steps.settle()
      assert.strictEqual(steps.sleepers, 0)
      assert.isUndefined(setup.pollUnsafe())
    })
  }
})

describe("R11: between the grant and the first step", () => {
  it("nothing yields, wherever the fiber's budget ends", () => {
    const steps = new Steps(64)
    const run = Effect.runForkWith(steps.context)
    let takenAt = -1
    let checked = 0
    const program = Effect.gen(function*() {
      const store = yield* sharedStore
      const synchronous = store.synchronous!
      const watched = LimiterStore.of({
        ...store,
        synchronous: {
          ...synchronous,
          takeUnsafe: (lane, calls, tokens) => {
            takenAt = steps.taken
            return synchronous.takeUnsafe(lane, calls, tokens)
          }
        }
      })
      const options = { services: { a: Limiter.slidingWindow({ limit: 1e6, window: 1 }), b: Limiter.permits(1e6) } }
      const context = yield* Effect.provideService(Layer.build(Limiter.layerStore(options)), LimiterStore, watched)
      const limiter = Context.get(context, Limiter.Limiter)
      const step = Effect.sync(() => {
        checked++
        assert.strictEqual(steps.taken, takenAt, `admission ${checked}`)
      })
      for (let i = 0; i < 300; i++) {
        const call = limiter.withAdmission({ service: i % 2 === 0 ? "a" : "b" })
        yield* i % 3 === 0 ? call(() => step) : call(step)
        for (let j = 0; j < i % 5; j++) yield* Effect.sync(() => {})
      }
    })
    const fiber = run(Effect.scoped(program))
    steps.finish()
    assert.deepStrictEqual([fiber.pollUnsafe()?._tag, checked], ["Success", 300])
    assert.isAbove(steps.taken, 20)
  })
})

describe("R11: random interruptions", () => {
  const interruptions = 10_000

  for (const isAsked of [false, true]) {
    it.effect(
      `leaves ${interruptions} times what was there before (${isAsked ? "a store that is asked" : "in memory"})`,
      () =>
        Effect.gen(function*() {
          const seed = isAsked ? 7 : 11
          const { chance, int, next, pick } = random(seed)
          const service = [Limiter.permits(5), Limiter.slidingWindow({ limit: 40, window: "1 second" }), rules.bucket]
          const store = yield* sharedStore
          const wire = new Wire()
          wire.delay = () => next() * 8
          const options = { services: { a: service, b: [Limiter.permits(2)] }, maxWait: "2 seconds" } as const
          const limiter = isAsked
            ? yield* processOn(store, wire, options)
            : Context.get(
              yield* Layer.build(Layer.fresh(Limiter.layerStore(options))).pipe(
                Effect.provideService(LimiterStore, store)
              ),
              Limiter.Limiter
            )
          const running = { a: 0, b: 0 }
          let interrupted = 0
          let started = 0
          const startsOfA: Array<number> = []
          const live = new Set<Fiber.Fiber<unknown, unknown>>()
          const call = (name: "a" | "b") =>
            limiter.withAdmission({ service: name, run: `${int(1, 3)}` })(Effect.acquireUseRelease(
              Effect.clockWith((clock) =>
                Effect.sync(() => {
                  started++
                  running[name]++
                  if (name === "a") startsOfA.push(clock.currentTimeMillisUnsafe())
                })
              ),
              () => Effect.sleep(next() * 60),
              () => Effect.sync(() => running[name]--)
            ))
          const limits = [...limitsOf("a", service), ...limitsOf("b", [Limiter.permits(2)])]
          while (interrupted < interruptions) {
            for (let i = int(1, 12); i > 0; i--) {
              const fiber = yield* Effect.forkDetach(call(chance(0.8) ? "a" : "b"), { startImmediately: chance(0.5) })
              live.add(fiber)
              fiber.addObserver(() => live.delete(fiber))
            }
            yield* TestClock.adjust(next() * 40)
            for (let i = int(1, 14); i > 0 && live.size > 0; i--) {
              pick([...live]).interruptUnsafe()
              interrupted++
            }
            const [permits, window, bucket, other] = yield* store.peek(limits)
            const seen = `seed ${seed}, after ${interrupted}: ${
              JSON.stringify({ permits, window, bucket, other, running })
            }`
            assert.isAtMost(heldOf(permits), 5, seen)
            assert.isAtMost(running.a, heldOf(permits), seen)
            assert.isAtMost(running.b, heldOf(other), seen)
            assert.isAtMost(entriesOf(window), 40, seen)
            if (isAsked) continue
            const at = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
            assert.strictEqual(entriesOf(window), startsOfA.filter((start) => start > at - 1000).length, seen)
          }
          for (const fiber of live) fiber.interruptUnsafe()
          yield* TestClock.adjust("200 millis")
          const [permits, window, , other] = yield* store.peek(limits)
          const seen = `seed ${seed}: ${JSON.stringify({ permits, window, other, started })}`
          assert.deepStrictEqual([running.a, running.b, heldOf(permits), heldOf(other)], [0, 0, 0, 0], seen)
          assert.isAbove(started, 1000, seen)
          // Every grant was started, or given back.
          const returned = wire.changes.filter(({ _tag }) => _tag === "Return").length
          if (isAsked) assert.strictEqual(wire.grants.length - returned, started, `${seen}, ${returned} returned`)
          if (isAsked) assert.isAbove(returned, 0, seen)
          yield* TestClock.adjust("2 seconds")
          assert.deepStrictEqual((yield* store.peek(limits)).slice(0, 3), [
            { _tag: "Permits", held: 0 },
            { _tag: "Window", entries: [] },
            { _tag: "Bucket", fullInMillis: 0 }
          ])
        }),
      60_000
    )
  }
})
