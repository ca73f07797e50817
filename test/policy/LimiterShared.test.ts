/** The limiter on a store that is asked: sharing between processes, and what happens when the store does not answer. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import { random } from "../random.ts"
import { mostWithin, processOn, sharedStore, Wire } from "./askedStore.ts"

const perSecond = (limit: number) => Limiter.slidingWindow({ limit, window: "1 second" })
const settled = Effect.yieldNow.pipe(Effect.repeat({ times: 20 }))
const now = Effect.clockWith((clock) => Effect.sync(() => clock.currentTimeMillisUnsafe()))
const forked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), settled)

/** One process on a store of its own. */
const one = (options: Limiter.Options & Limiter.StoreOptions, wire = new Wire()) =>
  Effect.gen(function*() {
    const store = yield* sharedStore
    return { limiter: yield* processOn(store, wire, options), store, wire }
  })

describe("Limiter: several processes on one store", () => {
  const fleet = (seed: number, rule: Limiter.Rule, perProcess: number, seconds: number) =>
    Effect.gen(function*() {
      const { next } = random(seed)
      const store = yield* sharedStore
      const admitted: Array<number> = []
      const wires: Array<Wire> = []
      for (let process = 0; process < 4; process++) {
        const wire = new Wire()
        wire.delay = () => 0.5 + next() * 4
        wires.push(wire)
        const limiter = yield* processOn(store, wire, { services: { a: rule }, maxWait: "1 hour" })
        admitted[process] = 0
        const call = limiter.withAdmission({ service: "a" })(Effect.sync(() => admitted[process]!++))
        yield* Effect.forkScoped(
          Effect.gen(function*() {
            for (;;) {
              yield* Effect.sleep(2 * next() * 1000 / perProcess)
              yield* Effect.forkChild(call)
            }
          })
        )
      }
      yield* TestClock.adjust(`${seconds} seconds`)
      const total = admitted.reduce((sum, count) => sum + count, 0)
      const scripts = wires.reduce((sum, { asks }) => sum + asks.length, 0)
      return { admitted, total, scripts, grants: wires.flatMap(({ grants }) => grants) }
    })

  it.effect("never passes the limit of a window, uses it, shares it evenly, and asks less than twice a call", () =>
    Effect.gen(function*() {
      const seed = 20_261
      const { admitted, grants, scripts, total } = yield* fleet(seed, perSecond(100), 50, 10)
      const seen = `seed ${seed}: ${JSON.stringify({ admitted, scripts, total })}`
      assert.isAtMost(mostWithin(grants, 1000), 100, seen)
      assert.isAtLeast(total, 970, seen)
      assert.isAtMost(scripts, 2 * total, seen)
      for (const count of admitted) assert.isAtMost(Math.abs(count - total / 4), total / 40, seen)
    }))

  it.effect("keeps a bucket's bound, and wastes nothing of it", () =>
    Effect.gen(function*() {
      const seed = 31
      const bucket = Limiter.tokenBucket({ capacity: 20, refill: 100, every: "1 second" })
      const { grants, scripts, total } = yield* fleet(seed, bucket, 50, 10)
      const seen = `seed ${seed}: ${JSON.stringify({ scripts, total })}`
      for (const millis of [10, 100, 1000, 5000]) {
        assert.isAtMost(mostWithin(grants, millis), 20 + Math.ceil(millis / 10), seen)
      }
      assert.isAtLeast(total, 980, seen)
      assert.isAtMost(scripts, 2 * total, seen)
    }))

  it.effect("rejects at once only what would have started too late, with others waiting elsewhere", () =>
    Effect.gen(function*() {
      const run = (maxWait: number, mine: number, others: number) =>
        Effect.gen(function*() {
          const store = yield* sharedStore
          const rule = { services: { a: perSecond(50) } }
          const other = yield* processOn(store, new Wire(), { ...rule, maxWait: "1 hour" })
          for (let i = 0; i < others; i++) yield* Effect.forkScoped(other.withAdmission({ service: "a" })(Effect.void))
          yield* settled
          yield* TestClock.adjust("3 seconds")
          const limiter = yield* processOn(store, new Wire(), { ...rule, maxWait })
          const begun = yield* now
          const waits = new Map<number, number>()
          const rejected: Array<number> = []
          for (let i = 0; i < mine; i++) {
            yield* limiter.withAdmission({ service: "a" })(
              Effect.flatMap(now, (at) => Effect.sync(() => waits.set(i, at - begun)))
            ).pipe(
              Effect.catch(() => Effect.flatMap(now, (at) => Effect.sync(() => at < begun + 1500 && rejected.push(i)))),
              Effect.forkChild
            )
            if (i % 10 === 0) yield* settled
          }
          yield* settled
          yield* TestClock.adjust("1 minute")
          return { rejected, waits }
          // Its processes close while the clock goes on; the next run begins after that.
        }).pipe(Effect.scoped, Effect.tap(Effect.andThen(settled, TestClock.adjust("1 second"))))
      const cases = [[400, 20, 2000], [400, 400, 2000], [400, 4000, 2000], [20, 4000, 6000]] as const
      for (const [mine, others, maxWaitMillis] of cases) {
        const free = yield* run(3_600_000, mine, others)
        const bound = yield* run(maxWaitMillis, mine, others)
        const wrong = bound.rejected.filter((i) => free.waits.get(i)! <= maxWaitMillis)
        const seen =
          `${mine} here, ${others} elsewhere: ${bound.rejected.length} rejected at once, ${bound.waits.size} started`
        assert.isAtMost(wrong.length, 2, seen)
        // What one process alone could not pass in time is told so.
        assert.isAtLeast(bound.rejected.length, mine - (maxWaitMillis / 1000 + 1) * 50, seen)
      }
    }))

  it.effect("does not let a large cost starve behind another process's small ones", () =>
    Effect.gen(function*() {
      const store = yield* sharedStore
      const options = {
        global: Limiter.tokenBucket({ capacity: 4, refill: 4, every: "1 second" }),
        maxWait: "1 hour"
      } as const
      const small = yield* processOn(store, new Wire(), options)
      const large = yield* processOn(store, new Wire(), options)
      for (let i = 0; i < 100; i++) yield* Effect.forkScoped(small.withAdmission({})(Effect.void))
      yield* settled
      const started = yield* forked(large.withAdmission({ calls: 4 })(now))
      yield* TestClock.adjust("4 seconds")
      assert.isDefined(started.pollUnsafe(), "the large one has not started after 4 s")
    }))

  it.effect("wakes who waits for a permit when another process gives it back", () =>
    Effect.gen(function*() {
      const store = yield* sharedStore
      const options = { services: { a: Limiter.permits(1) } }
      const first = yield* processOn(store, new Wire(), options)
      const second = yield* processOn(store, new Wire(), options)
      const holder = yield* forked(first.withAdmission({ service: "a" })(Effect.never))
      const waiter = yield* forked(second.withAdmission({ service: "a" })(now))
      assert.isUndefined(waiter.pollUnsafe())
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(holder)
      yield* settled
      assert.strictEqual(yield* Fiber.join(waiter), 100)
    }))
})

describe("Limiter: asking", () => {
  it.effect("asks for all that came in one turn at once, and for those that came meanwhile next", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: perSecond(100), b: perSecond(100) } })
      wire.delay = () => 10
      let started = 0
      const call = (service: string) => limiter.withAdmission({ service })(Effect.sync(() => started++))
      for (let i = 0; i < 10; i++) yield* Effect.forkChild(call(i % 2 === 0 ? "a" : "b"))
      yield* settled
      for (let i = 0; i < 10; i++) yield* forked(call("a"))
      assert.strictEqual(wire.asks.length, 1)
      yield* TestClock.adjust("10 millis")
      assert.strictEqual(started, 10)
      yield* TestClock.adjust("10 millis")
      assert.strictEqual(started, 20)
      assert.deepStrictEqual(wire.asks.map((asks) => asks.map(({ heads }) => heads.length)), [[5, 5], [10]])
    }))

  it.effect("sends few heads while there is room for few", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: perSecond(10) }, maxWait: "1 hour" })
      for (let i = 0; i < 1000; i++) yield* Effect.forkScoped(limiter.withAdmission({ service: "a" })(Effect.void))
      yield* settled
      yield* TestClock.adjust("20 seconds")
      const heads = wire.asks.flat().reduce((sum, ask) => sum + ask.heads.length, 0)
      assert.isAtLeast(wire.grants.length, 200)
      assert.isAtMost(heads, 6 * wire.grants.length)
    }))

  it.effect("gives the grant of one that left to the lane's next", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: perSecond(1) } })
      wire.delay = () => 100
      const first = yield* forked(limiter.withAdmission({ service: "a" })(Effect.void))
      const second = yield* forked(limiter.withAdmission({ service: "a" })(now))
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(second), 100)
      assert.strictEqual(wire.grants.length, 1)
      assert.strictEqual(wire.changes.length, 0)
    }))

  it.effect("gives it back when nobody can use it", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: [perSecond(1), Limiter.permits(1)] } })
      wire.delay = () => 100
      const first = yield* forked(limiter.withAdmission({ service: "a" })(Effect.void))
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("300 millis")
      assert.deepStrictEqual(wire.changes.map(({ _tag }) => _tag), ["Return"])
      const second = yield* forked(limiter.withAdmission({ service: "a" })(now))
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(second), 400)
    }))

  it.effect("tells the store when nobody waits any more", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: perSecond(1) } })
      yield* forked(limiter.withAdmission({ service: "a" })(Effect.void))
      const waiting = yield* forked(limiter.withAdmission({ service: "a" })(Effect.void))
      assert.strictEqual(wire.asks.at(-1)![0]!.waiting, 1)
      yield* Fiber.interrupt(waiting)
      yield* settled
      assert.deepStrictEqual(wire.asks.at(-1)!.map(({ heads, waiting }) => [heads.length, waiting]), [[0, 0]])
      const asks = wire.asks.length
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(wire.asks.length, asks)
    }))

  it.effect("answers everybody at once under onExceeded fail", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: perSecond(5) }, onExceeded: "fail" })
      const call = Effect.exit(limiter.withAdmission({ service: "a" })(Effect.void))
      const exits = yield* Effect.all(Array.from({ length: 20 }, () => call), { concurrency: "unbounded" })
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 5)
      assert.isAtMost(wire.asks.length, 3)
    }))

  it.effect("lets a guess pass or go in the same ask as those that wait behind nobody", () =>
    Effect.gen(function*() {
      const { limiter } = yield* one({ services: { a: perSecond(3) } })
      const guess = limiter.withAdmission({ service: "a", speculative: true })(Effect.void)
      const exits = yield* Effect.all(Array.from({ length: 5 }, () => Effect.exit(guess)), { concurrency: "unbounded" })
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 3)
    }))

  it.effect("lets no guess wait behind a request that was refused", () =>
    Effect.gen(function*() {
      const { limiter } = yield* one({ services: { a: perSecond(3) } })
      yield* limiter.withAdmission({ service: "a", calls: 2 })(Effect.void)
      const large = yield* Effect.forkChild(limiter.withAdmission({ service: "a", calls: 2 })(now))
      const guess = yield* Effect.forkChild(
        Effect.flip(limiter.withAdmission({ service: "a", speculative: true })(Effect.void))
      )
      yield* settled
      assert.strictEqual((yield* Fiber.join(guess)).reason, "Exceeded")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(large), 1000)
    }))

  it.effect("asks for a guess with slack once, tells nobody to wait for what it was refused, and counts it nowhere", () =>
    Effect.gen(function*() {
      const wire = new Wire()
      wire.delay = () => 10
      const { limiter } = yield* one({ services: { a: perSecond(4) } }, wire)
      const call = limiter.withAdmission({ service: "a" })
      const first = yield* forked(Effect.all([call(now), call(now)], { concurrency: 2 }))
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(first)
      const request = { service: "a", speculative: true, slack: 0.5 }
      const guess = yield* forked(Effect.flip(limiter.withAdmission(request)(Effect.void)))
      yield* TestClock.adjust("5 millis")
      // It comes while the guess is asked for, and there is room for it.
      const real = yield* forked(call(now))
      yield* TestClock.adjust("15 millis")
      assert.strictEqual((yield* Fiber.join(guess)).reason, "Exceeded")
      assert.strictEqual(yield* Fiber.join(real), 30)
      assert.deepStrictEqual(wire.asks.map((asks) => asks.map(({ heads, waiting }) => [heads.length, waiting])), [
        [[2, 2]],
        [[1, 0]],
        [[1, 1]]
      ])
    }))

  it.effect("asks for a hedge before the guesses that came with it: what they are refused is not refused to it", () =>
    Effect.gen(function*() {
      const { limiter } = yield* one({ services: { a: perSecond(2) } })
      yield* limiter.withAdmission({ service: "a" })(Effect.void)
      const guess = Effect.exit(limiter.withAdmission({ service: "a", speculative: true, slack: 0.5 })(Effect.void))
      const hedge = Effect.exit(limiter.withAdmission({ service: "a", speculative: true })(Effect.void))
      const exits = yield* Effect.all([guess, hedge], { concurrency: 2 })
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [false, true])
    }))

  for (const onStoreError of ["open", "closed", "local"] as const) {
    it.effect(`while the store is away, under onStoreError ${onStoreError}, lets no guess pass that nobody counts`, () =>
      Effect.gen(function*() {
        const { limiter, wire } = yield* one({ services: { a: Limiter.permits(2) }, onStoreError })
        wire.state = "down"
        const guess = limiter.withAdmission({ service: "a", speculative: true, slack: 0.5 })
        const outcomes: Array<string> = []
        for (let i = 0; i < 2; i++) {
          const fiber = yield* forked(guess(Effect.never).pipe(Effect.catch(({ reason }) => Effect.succeed(reason))))
          yield* TestClock.adjust("1 second")
          outcomes.push(fiber.pollUnsafe() === undefined ? "runs" : yield* Fiber.join(fiber))
        }
        const expected = { open: ["StoreUnavailable", "StoreUnavailable"], local: ["runs", "Exceeded"] }
        assert.deepStrictEqual(outcomes, onStoreError === "closed" ? expected.open : expected[onStoreError])
      }))
  }

  it.effect("lets one wait for a permit for less than a second", () =>
    Effect.gen(function*() {
      const { limiter } = yield* one({ services: { a: Limiter.permits(1) }, maxWait: "500 millis" })
      const call = limiter.withAdmission({ service: "a" })
      const holder = yield* forked(call(Effect.never))
      const first = yield* forked(call(now))
      const second = yield* forked(call(now))
      const third = yield* forked(Effect.flip(call(Effect.sleep("1 second"))))
      yield* TestClock.adjust("200 millis")
      yield* Fiber.interrupt(holder)
      yield* settled
      assert.deepStrictEqual([yield* Fiber.join(first), yield* Fiber.join(second)], [200, 200])
      yield* Fiber.interrupt(third)
    }))

  it.effect("renews the leases it holds, and tells who lost one", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: Limiter.permits(2, { lease: "3 seconds" }) } })
      const lost = yield* Deferred.make<void>()
      const holder = yield* forked(
        limiter.withAdmission({ service: "a" })((lease) =>
          Effect.andThen(Effect.andThen(lease.lost, Deferred.succeed(lost, undefined)), Effect.never)
        )
      )
      yield* TestClock.adjust("2500 millis")
      assert.strictEqual(wire.renewals.length, 2)
      assert.isFalse(yield* Deferred.isDone(lost))
      wire.lost.add(wire.renewals[0]![0]!.head.id)
      yield* TestClock.adjust("500 millis")
      assert.isTrue(yield* Deferred.isDone(lost))
      yield* Fiber.interrupt(holder)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(wire.renewals.length, 3)
    }))

  for (const state of ["down", "blackhole"] as const) {
    it.effect(`tells who holds a lease that could not be renewed for as long as it lasts (${state})`, () =>
      Effect.gen(function*() {
        const { limiter, wire } = yield* one({ services: { a: Limiter.permits(2, { lease: "3 seconds" }) } })
        const lost = yield* Deferred.make<void>()
        const holder = yield* forked(
          limiter.withAdmission({ service: "a" })((lease) =>
            Effect.andThen(Effect.andThen(lease.lost, Deferred.succeed(lost, undefined)), Effect.never)
          )
        )
        yield* TestClock.adjust("1500 millis")
        wire.state = state
        yield* TestClock.adjust("2 seconds")
        assert.isFalse(yield* Deferred.isDone(lost))
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* Deferred.isDone(lost))
        yield* Fiber.interrupt(holder)
      }))
  }

  it.effect("gives back what is held when it closes, and asks no more", () =>
    Effect.gen(function*() {
      const store = yield* sharedStore
      const wire = new Wire()
      wire.delay = () => 20
      const scope = yield* Scope.make()
      const limiter = yield* Scope.provide(processOn(store, wire, { services: { a: Limiter.permits(2) } }), scope)
      const call = limiter.withAdmission({ service: "a" })
      const holder = yield* forked(call(Effect.never))
      yield* TestClock.adjust("100 millis")
      // The ask under way is slower than anything that comes after it.
      wire.delay = () => {
        wire.delay = () => 20
        return 150
      }
      const inFlight = yield* forked(Effect.flip(call(Effect.never)))
      const waiting = yield* forked(Effect.flip(call(Effect.never)))
      const closing = yield* forked(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("200 millis")
      yield* Fiber.join(closing)
      assert.strictEqual((yield* Fiber.join(inFlight)).reason, "StoreUnavailable")
      assert.strictEqual((yield* Fiber.join(waiting)).reason, "StoreUnavailable")
      assert.strictEqual((yield* Effect.flip(call(Effect.void))).reason, "StoreUnavailable")
      wire.delay = () => Number.POSITIVE_INFINITY
      assert.strictEqual((yield* Effect.flip(limiter.explain([{ service: "a" }]))).reason, "StoreUnavailable")
      assert.deepStrictEqual(wire.changes.map(({ _tag }) => _tag).sort(), ["Release", "Return"])
      yield* Fiber.interrupt(holder)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(wire.changes.length, 2)
      const state = yield* store.peek(wire.asks[0]![0]!.lane.limits)
      assert.deepStrictEqual(state, [{ _tag: "Permits", held: 0 }])
    }))
})

describe("Limiter: a store that does not answer", () => {
  const outage = (onStoreError: "open" | "closed" | "local", state: "down" | "blackhole") =>
    Effect.gen(function*() {
      const setup = yield* one({ services: { a: perSecond(2), b: perSecond(2) }, maxWait: "1 hour", onStoreError })
      const log: Array<readonly [at: number, what: string]> = []
      const call = (name: string) =>
        setup.limiter.withAdmission({ service: "a" })(
          Effect.flatMap(now, (at) => Effect.sync(() => log.push([at, name])))
        )
          .pipe(
            Effect.catch((rejected) => Effect.flatMap(now, (at) => Effect.sync(() => log.push([at, rejected.reason])))),
            Effect.forkChild
          )
      setup.wire.state = state
      return { ...setup, call, log }
    })

  for (const state of ["down", "blackhole"] as const) {
    const bound = state === "down" ? 0 : 250

    it.effect(`rejects within the command timeout under "closed" (${state})`, () =>
      Effect.gen(function*() {
        const { call, log } = yield* outage("closed", state)
        for (let i = 0; i < 200; i++) yield* call(`${i}`)
        yield* settled
        yield* TestClock.adjust("300 millis")
        assert.strictEqual(log.length, 200)
        for (const [at, what] of log) assert.deepStrictEqual([at <= bound, what], [true, "StoreUnavailable"])
      }))

    it.effect(`starts them under "open" (${state})`, () =>
      Effect.gen(function*() {
        const { call, log } = yield* outage("open", state)
        for (let i = 0; i < 200; i++) yield* call("started")
        yield* settled
        yield* TestClock.adjust("300 millis")
        assert.strictEqual(log.length, 200)
        for (const [at, what] of log) assert.deepStrictEqual([at <= bound, what], [true, "started"])
      }))

    it.effect(`keeps the same rules by itself under "local" (${state})`, () =>
      Effect.gen(function*() {
        const { call, log } = yield* outage("local", state)
        for (let i = 0; i < 6; i++) yield* call("started")
        yield* settled
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(log.length, 6)
        assert.isAtMost(mostWithin(log.map(([at]) => at), 1000), 2)
        assert.isAtMost(log.at(-1)![0], 2000 + 3 * bound + 200)
      }))
  }

  it.effect(`keeps their order under "local", many of one ask or few`, () =>
    Effect.gen(function*() {
      const { call, log, wire } = yield* outage("local", "down")
      for (const name of ["0", "1", "2", "3", "4", "5", "6"]) yield* call(name)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(log.map(([, name]) => name), ["0", "1", "2", "3", "4", "5", "6"])
      assert.isFalse(wire.asks.every((asks) => asks.every(({ heads }) => heads.length < 3)))
    }))

  it.effect(`starts under "open" what it would turn away by what the store said last`, () =>
    Effect.gen(function*() {
      const options = {
        services: { a: perSecond(1), b: perSecond(100) },
        maxWait: "1 hour",
        onStoreError: "open"
      } as const
      const { limiter, wire } = yield* one(options)
      const call = limiter.withAdmission({ service: "a" })(Effect.void)
      for (let i = 0; i < 50; i++) yield* forked(call)
      yield* TestClock.adjust("100 millis")
      wire.state = "down"
      for (let i = 0; i < 3; i++) {
        yield* limiter.withAdmission({ service: "b" })(Effect.void)
        yield* TestClock.adjust("1 millis")
      }
      for (const maxWait of [0, 500]) {
        const hasty = yield* forked(limiter.withAdmission({ service: "a", maxWait })(Effect.succeed("started")))
        yield* TestClock.adjust("501 millis")
        assert.strictEqual(yield* Fiber.join(hasty), "started")
      }
    }))

  it.effect("counts no wait for its place against one whose time ends while it is asked for", () =>
    Effect.gen(function*() {
      const wire = new Wire()
      wire.delay = () => 100
      const { limiter } = yield* one({ services: { a: perSecond(1) } }, wire)
      let isFree = false
      let wake = () => {}
      const gate: Limiter.Gate = {
        flow: {},
        tryTake: () => isFree,
        release: () => {},
        onFree: (opened) => void (wake = opened)
      }
      const waiting = yield* forked(limiter.withAdmission({ service: "a", maxWait: "1 second", gate })(now))
      yield* TestClock.adjust("750 millis")
      yield* forked(limiter.withAdmission({ service: "a" })(Effect.void))
      yield* TestClock.adjust("200 millis")
      isFree = true
      wake()
      yield* TestClock.adjust("2 seconds")
      assert.isAtMost(yield* Fiber.join(waiting), 2100)
    }))

  it.effect("stops asking after three failures, probes, and goes on when the store is back", () =>
    Effect.gen(function*() {
      const { call, log, wire } = yield* outage("closed", "blackhole")
      for (let i = 0; i < 3; i++) {
        yield* call("early")
        yield* settled
        yield* TestClock.adjust("250 millis")
      }
      assert.strictEqual(wire.asks.length, 3)
      for (let i = 0; i < 50; i++) {
        yield* call("during")
        yield* settled
        yield* TestClock.adjust("100 millis")
      }
      yield* TestClock.adjust("250 millis")
      assert.strictEqual(log.length, 53)
      // 5 seconds, a probe each second, each given up after 250 ms.
      const probes = wire.asks.length - 3 + wire.peeks
      assert.isAtMost(probes, 5)
      assert.isAtLeast(probes, 3)
      wire.state = "up"
      yield* TestClock.adjust("1500 millis")
      // Nobody waited, so nobody probed: the next request does.
      yield* call("after")
      yield* settled
      assert.strictEqual(log.at(-1)![1], "after")
    }))

  it.effect("answers those who came while it waited for an answer", () =>
    Effect.gen(function*() {
      const { call, limiter, log } = yield* outage("closed", "blackhole")
      yield* call("first")
      yield* settled
      yield* TestClock.adjust("100 millis")
      yield* call("same lane")
      const other = yield* forked(Effect.flip(limiter.withAdmission({ service: "b" })(Effect.void)))
      yield* TestClock.adjust("150 millis")
      assert.deepStrictEqual(log.map(([at]) => at), [250, 250])
      assert.isDefined(other.pollUnsafe())
    }))

  it.effect("probes by itself while it has something to say", () =>
    Effect.gen(function*() {
      const { limiter, store, wire } = yield* one({ services: { a: Limiter.permits(1) } })
      const call = Effect.flip(limiter.withAdmission({ service: "a" })(Effect.void))
      for (const state of ["cut", "blackhole", "blackhole"] as const) {
        wire.state = state
        const rejected = yield* forked(call)
        wire.state = "blackhole"
        yield* TestClock.adjust("250 millis")
        yield* Fiber.join(rejected)
      }
      const { limits } = wire.asks[0]![0]!.lane
      assert.deepStrictEqual(yield* store.peek(limits), [{ _tag: "Permits", held: 1 }])
      yield* TestClock.adjust("10 seconds")
      wire.state = "up"
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* store.peek(limits), [{ _tag: "Permits", held: 0 }])
      assert.isAtMost(wire.asks.length, 3)
    }))

  it.effect("hands on permits of its own under local as soon as they are free", () =>
    Effect.gen(function*() {
      const { limiter, wire } = yield* one({ services: { a: Limiter.permits(1) }, onStoreError: "local" })
      wire.state = "down"
      const call = limiter.withAdmission({ service: "a" })
      const holder = yield* forked(call(Effect.never))
      const waiter = yield* forked(call(now))
      yield* TestClock.adjust("300 millis")
      assert.isUndefined(waiter.pollUnsafe())
      yield* Fiber.interrupt(holder)
      yield* settled
      assert.strictEqual(yield* Fiber.join(waiter), 300)
    }))

  it.effect("lets those wait on who know their time, and serves them when the store is back", () =>
    Effect.gen(function*() {
      const { call, log, wire } = yield* outage("closed", "down")
      wire.state = "up"
      for (let i = 0; i < 6; i++) yield* call("started")
      yield* settled
      assert.strictEqual(log.length, 2)
      wire.state = "down"
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(log.length, 2)
      wire.state = "up"
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(log.map(([at, what]) => [Math.floor(at / 1000), what]), [
        [0, "started"],
        [0, "started"],
        [1, "started"],
        [1, "started"],
        [2, "started"],
        [2, "started"]
      ])
    }))

  it.effect("turns away under closed only those whose time has come", () =>
    Effect.gen(function*() {
      const bucket = Limiter.tokenBucket({ capacity: 10, refill: 10, every: "1 second" })
      const { limiter, wire } = yield* one({ services: { a: bucket }, maxWait: "1 hour" })
      const log: Array<string> = []
      for (let i = 0; i < 210; i++) {
        yield* limiter.withAdmission({ service: "a" })(Effect.sync(() => log.push("started"))).pipe(
          Effect.catch(({ reason }) => Effect.sync(() => log.push(reason))),
          Effect.forkScoped
        )
      }
      yield* settled
      wire.state = "down"
      yield* TestClock.adjust("5 seconds")
      const away = log.filter((what) => what === "StoreUnavailable").length
      assert.isAtLeast(away, 40)
      assert.isAtMost(away, 80)
      wire.state = "up"
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(log.length, 210)
      assert.isAtMost(log.filter((what) => what === "StoreUnavailable").length, 90)
    }))

  it.effect("gives back permits that a script without an answer may have taken", () =>
    Effect.gen(function*() {
      const { limiter, store, wire } = yield* one({ services: { a: Limiter.permits(1) } })
      wire.state = "cut"
      const rejected = yield* forked(Effect.flip(limiter.withAdmission({ service: "a" })(Effect.void)))
      wire.state = "blackhole"
      yield* TestClock.adjust("250 millis")
      assert.strictEqual((yield* Fiber.join(rejected)).reason, "StoreUnavailable")
      const { limits } = wire.asks[0]![0]!.lane
      assert.deepStrictEqual(yield* store.peek(limits), [{ _tag: "Permits", held: 1 }])
      assert.strictEqual(wire.asks.length, 1)
      wire.state = "up"
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* store.peek(limits), [{ _tag: "Permits", held: 0 }])
      assert.strictEqual(wire.asks.length, 1)
    }))
})
