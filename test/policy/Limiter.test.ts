import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as LimiterStore from "../../src/policy/LimiterStore.ts"
import { layerAsked } from "./askedStore.ts"

const perSecond = (limit: number) => Limiter.slidingWindow({ limit, window: "1 second" })
const now = Effect.clockWith((clock) => Effect.sync(() => clock.currentTimeMillisUnsafe()))

const settled = Effect.yieldNow.pipe(Effect.repeat({ times: 10 }))

/** Starts requests in order; answers with when each began (or why not), by name. */
const starts = (log: Map<string, number | string>) => (name: string, request: Limiter.Request) =>
  Limiter.withAdmission(request)(Effect.flatMap(now, (at) => Effect.sync(() => log.set(name, at)))).pipe(
    Effect.catch((rejected) => Effect.sync(() => log.set(name, rejected.reason))),
    Effect.forkChild({ startImmediately: true }),
    Effect.tap(settled)
  )

const stores = [
  ["in memory", Limiter.layer],
  [
    "in a store that is asked",
    (options: Limiter.Options) => Layer.orDie(Layer.provide(Limiter.layerStore(options), layerAsked()))
  ]
] as const

for (const [store, layer] of stores) {
  describe(`Limiter.withAdmission, ${store}`, () => {
    it.effect("runs the effect when every limit has room", () =>
      Effect.gen(function*() {
        const result = yield* Limiter.withAdmission({ service: "a" })(Effect.succeed(7))
        assert.strictEqual(result, 7)
      }).pipe(Effect.provide(layer({ global: perSecond(1), services: { a: perSecond(1) } }))))

    it.effect("lets those that do not fit wait, first come, first served", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        for (let i = 0; i < 5; i++) yield* starts(log)(`${i}`, { service: "a" })
        assert.deepStrictEqual([...log], [["0", 0], ["1", 0]])
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(log.size, 2)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([...log], [["0", 0], ["1", 0], ["2", 1000], ["3", 1000]])
        yield* TestClock.adjust("1 second")
        assert.strictEqual(log.get("4"), 2000)
      }).pipe(Effect.provide(layer({ services: { a: perSecond(2) } }))))

    it.effect("passes a request without a service through the global limits only", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("a", { service: "a" })
        yield* starts(log)("b", { service: "a" })
        yield* starts(log)("c", {})
        yield* starts(log)("d", {})
        assert.deepStrictEqual([...log], [["a", 0], ["c", 0]])
      }).pipe(Effect.provide(layer({ global: perSecond(2), services: { a: perSecond(1) } }))))

    it.effect("gives each tenant its own limits, by name or by default", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        for (const tenant of ["big", "big", "small", "small", "tiny"]) {
          yield* starts(log)(`${tenant}${log.size}`, { tenant })
        }
        assert.deepStrictEqual([...log.keys()], ["big0", "big1", "small2", "tiny3"])
        yield* Effect.provideService(starts(log)("reference", {}), Limiter.Tenant, "small")
        assert.isFalse(log.has("reference"))
      }).pipe(
        Effect.provide(layer({ tenants: { big: perSecond(2), default: perSecond(1) } }))
      ))

    it.effect("counts tokens where a request has them", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("80", { service: "a", tokens: 80 })
        yield* starts(log)("30", { service: "a", tokens: 30 })
        yield* starts(log)("none", { service: "a" })
        assert.deepStrictEqual([...log.keys()], ["80", "none"])
      }).pipe(
        Effect.provide(
          layer({
            services: { a: Limiter.tokenBucket({ unit: "tokens", capacity: 100, refill: 10, every: 1000 }) }
          })
        )
      ))

    it.effect("settles an estimate: the last word counts", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* Limiter.withAdmission({ tokens: 90 })((lease) =>
          Effect.forEach([50, 0, 20], (tokens) => lease.settle({ tokens }))
        )
        yield* starts(log)("81", { tokens: 81, maxWait: 0 })
        assert.strictEqual(log.get("81"), "MaxWait")
        log.clear()
        yield* starts(log)("80", { tokens: 80 })
        yield* starts(log)("1", { tokens: 1 })
        assert.deepStrictEqual([...log.keys()], ["80"])
        const bad = yield* Effect.exit(
          Limiter.withAdmission({ service: "x" })((lease) => lease.settle({ tokens: -1 }))
        )
        assert.include(String(bad), "-1")
      }).pipe(
        Effect.provide(
          layer({ global: Limiter.slidingWindow({ unit: "tokens", limit: 100, window: "30 seconds" }) })
        )
      ))

    it.effect("tells how long the limits made it wait", () =>
      Effect.gen(function*() {
        const waited = Limiter.withAdmission({})((lease) => Effect.sync(() => lease.waitedMillis))
        assert.strictEqual(yield* waited, 0)
        const second = yield* Effect.tap(Effect.forkChild(waited), settled)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(second), 1000)
      }).pipe(Effect.provide(layer({ global: perSecond(1) }))))

    it.effect("holds a permit until the effect ends, however it ends", () =>
      Effect.gen(function*() {
        const held = Limiter.withAdmission({ service: "a" })
        const gate = yield* Deferred.make<void>()
        const first = yield* Effect.forkChild(held(Deferred.await(gate)), { startImmediately: true })
        const log = new Map<string, number | string>()
        yield* starts(log)("second", { service: "a" })
        yield* settled
        assert.strictEqual(log.size, 0)
        yield* Fiber.interrupt(first)
        yield* settled
        assert.deepStrictEqual([...log.keys()], ["second"])
        yield* Effect.exit(held(Effect.fail("no")))
        yield* Effect.exit(held(Effect.die("no")))
        yield* Effect.exit(held((): Effect.Effect<never> => {
          throw new Error("no")
        }))
        assert.strictEqual(yield* held(Effect.succeed(1)), 1)
      }).pipe(Effect.provide(layer({ services: { a: Limiter.permits(1) } }))))
  })

  describe(`Limiter: what may not wait, ${store}`, () => {
    it.effect("rejects at once under onExceeded fail, with the time to wait", () =>
      Effect.gen(function*() {
        yield* Limiter.withAdmission({ service: "a" })(Effect.void)
        const rejected = yield* Effect.flip(Limiter.withAdmission({ service: "a" })(Effect.void))
        assert.strictEqual(rejected.reason, "Exceeded")
        assert.strictEqual(rejected.retryAfterMillis, 1000)
        assert.include(rejected.limit, `service "a"`)
        yield* TestClock.adjust("1 second")
        yield* Limiter.withAdmission({ service: "a" })(Effect.void)
      }).pipe(Effect.provide(layer({ services: { a: perSecond(1) }, onExceeded: "fail" }))))

    it.effect("lets a speculative request pass now or not at all, and never before those that wait", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("first", { service: "a", speculative: true })
        yield* starts(log)("guess", { service: "a", speculative: true })
        yield* starts(log)("large", { calls: 2 })
        // There is room for one call, but somebody waits for two.
        yield* starts(log)("small", { speculative: true })
        assert.deepStrictEqual([...log], [["first", 0], ["guess", "Exceeded"], ["small", "Exceeded"]])
      }).pipe(Effect.provide(layer({ global: perSecond(2), services: { a: perSecond(1) } }))))

    it.effect("lets a guess with slack pass only where that much stays free, and a hedge take the last", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        for (const name of ["guess 1", "guess 2", "guess 3"]) {
          yield* starts(log)(name, { service: "a", speculative: true, slack: 0.5 })
        }
        yield* starts(log)("hedge", { service: "a", speculative: true })
        yield* starts(log)("real", { service: "a" })
        yield* starts(log)("late", { service: "a", speculative: true })
        assert.deepStrictEqual([...log], [
          ["guess 1", 0],
          ["guess 2", 0],
          ["guess 3", "Exceeded"],
          ["hedge", 0],
          ["real", 0],
          ["late", "Exceeded"]
        ])
      }).pipe(Effect.provide(layer({ services: { a: perSecond(4) } }))))

    it.effect("does not let a refused guess hold up the requests that come with it", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("first", { service: "a" })
        const guess = Effect.exit(Limiter.withAdmission({ service: "a", speculative: true, slack: 0.5 })(Effect.void))
        yield* Effect.all([guess, starts(log)("second", { service: "a" }), guess], { concurrency: "unbounded" })
        yield* starts(log)("third", { service: "a" })
        assert.deepStrictEqual([...log], [["first", 0], ["second", 0], ["third", 0]])
      }).pipe(Effect.provide(layer({ services: { a: perSecond(3) } }))))

    it.effect("asks guesses that hold permits to give way, no more of them than are needed", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        const asked: Array<string> = []
        const guess = (name: string, says: boolean) =>
          Effect.gen(function*() {
            const stop = yield* Deferred.make<void>()
            const giveWay = () => {
              asked.push(name)
              if (says) Deferred.doneUnsafe(stop, Effect.void)
              return says
            }
            const request = { service: "a", speculative: true, slack: 0.5, giveWay }
            yield* Effect.forkChild(Limiter.withAdmission(request)(Deferred.await(stop)), { startImmediately: true })
            yield* settled
          })
        const hold = Effect.forkChild(Limiter.withAdmission({ service: "a" })(Effect.never), { startImmediately: true })
        for (const [name, says] of [["claimed", false], ["first", true], ["second", true]] as const) {
          yield* guess(name, says)
        }
        yield* Effect.repeat(hold, { times: 2 })
        yield* settled
        assert.deepStrictEqual(asked, [])
        yield* starts(log)("real", { service: "a" })
        yield* settled
        assert.deepStrictEqual(asked, ["claimed", "first"])
        assert.deepStrictEqual([...log], [["real", 0]])
        // "real" has ended: there is a permit for one.
        yield* hold
        yield* starts(log)("another", { service: "a" })
        yield* settled
        assert.deepStrictEqual(asked, ["claimed", "first", "second"])
        assert.strictEqual(log.get("another"), 0)
      }).pipe(Effect.provide(layer({ global: Limiter.permits(100), services: { a: Limiter.permits(6) } }))))

    it.effect("asks one more guess to give way for each that joins a line", () =>
      Effect.gen(function*() {
        let asked = 0
        // They say that they will end, and take their time.
        const guess = { service: "a", speculative: true, slack: 0.5, giveWay: () => ++asked > 0 }
        for (const request of [guess, guess, guess, { service: "a" }, { service: "a" }, { service: "a" }]) {
          yield* Effect.forkChild(Limiter.withAdmission(request)(Effect.never), { startImmediately: true })
          yield* settled
        }
        for (const told of [1, 2, 3, 3]) {
          yield* Effect.forkChild(Limiter.withAdmission({ service: "a" })(Effect.void), { startImmediately: true })
          yield* settled
          assert.strictEqual(asked, told)
        }
      }).pipe(Effect.provide(layer({ services: { a: Limiter.permits(6) } }))))

    it.effect("asks no guess that has ended, or waits for itself", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        let asked = 0
        const giveWay = () => ++asked > 0
        const request = { service: "a", speculative: true, slack: 0.5, giveWay }
        yield* Limiter.withAdmission(request)(Effect.void)
        const hold = Effect.forkChild(Limiter.withAdmission({ service: "a" })(Effect.never), { startImmediately: true })
        yield* Effect.repeat(hold, { times: 1 })
        yield* settled
        assert.strictEqual((yield* Effect.flip(Limiter.withAdmission(request)(Effect.void))).reason, "Exceeded")
        yield* starts(log)("real", { service: "a" })
        yield* settled
        assert.strictEqual(asked, 0)
        assert.strictEqual(log.size, 0)
      }).pipe(Effect.provide(layer({ services: { a: Limiter.permits(2) } }))))

    it.effect("refuses slack that is no share, or of a request that would queue", () =>
      Effect.gen(function*() {
        for (
          const request of [
            { speculative: true, slack: Number.NaN },
            { speculative: true, slack: -0.1 },
            { speculative: true, slack: 1.1 },
            { slack: 0.5 }
          ]
        ) {
          const { message, reason } = yield* Effect.flip(Limiter.withAdmission(request)(Effect.void))
          assert.strictEqual(reason, "InvalidRequest")
          assert.match(message, /^slack is /)
        }
      }).pipe(Effect.provide(layer({}))))

    it.effect("rejects at once what could only start after its maxWait, and lets the rest wait", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        for (let i = 0; i < 10; i++) yield* starts(log)(`${i}`, { service: "a", maxWait: "3 seconds" })
        assert.deepStrictEqual([...log].map(([, at]) => at), [0, ...Array.from({ length: 6 }, () => "MaxWait")])
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual([1, 2, 3].map((name) => log.get(`${name}`)), [1000, 2000, 3000])
      }).pipe(
        Effect.provide(
          layer({ services: { a: Limiter.tokenBucket({ capacity: 1, refill: 1, every: "1 second" }) } })
        )
      ))

    it.effect("knows that a window may come free at once", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        for (let i = 0; i < 10; i++) yield* starts(log)(`${i}`, { service: "a", maxWait: "1 second" })
        assert.strictEqual([...log.values()].filter((at) => at === "MaxWait").length, 0)
        yield* starts(log)("10", { service: "a", maxWait: "1 second" })
        assert.strictEqual(log.get("10"), "MaxWait")
        yield* TestClock.adjust("1 second")
        assert.strictEqual([...log.values()].filter((at) => at === 1000).length, 5)
      }).pipe(Effect.provide(layer({ services: { a: perSecond(5) } }))))

    it.effect("names the deadline where that is the shorter", () =>
      Effect.gen(function*() {
        yield* Limiter.withAdmission({ service: "a" })(Effect.void)
        const rejected = yield* Effect.flip(
          Limiter.withAdmission({ service: "a", deadline: "500 millis" })(Effect.void)
        )
        assert.strictEqual(rejected.reason, "Deadline")
        assert.strictEqual(rejected.retryAfterMillis, 1000)
      }).pipe(Effect.provide(layer({ services: { a: perSecond(1) } }))))

    it.effect("turns a waiter for a permit away when its maxWait has passed", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        const holder = yield* Limiter.withAdmission({ service: "a" })(Effect.never).pipe(
          Effect.forkChild({ startImmediately: true })
        )
        yield* starts(log)("short", { service: "a", maxWait: "1 second" })
        yield* starts(log)("long", { service: "a" })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([...log], [["short", "MaxWait"]])
        yield* Fiber.interrupt(holder)
        yield* settled
        assert.strictEqual(log.get("long"), 1000)
      }).pipe(Effect.provide(layer({ services: { a: Limiter.permits(1) } }))))
  })

  describe(`Limiter: turns, ${store}`, () => {
    it.effect("asks for a higher priority first", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        for (const [name, priority] of [["first", 0], ["low", -1], ["normal", 0], ["high", 5]] as const) {
          yield* starts(log)(name, { service: "a", priority })
        }
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual([...log.keys()], ["first", "high", "normal", "low"])
      }).pipe(Effect.provide(layer({ services: { a: perSecond(1) } }))))

    it.effect("gives tenants turns, and runs turns within a tenant", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("first", { service: "a" })
        for (const i of [1, 2, 3]) yield* starts(log)(`a1.${i}`, { service: "a", tenant: "a", run: "1" })
        yield* starts(log)("a2.1", { service: "a", tenant: "a", run: "2" })
        for (const i of [1, 2]) yield* starts(log)(`b.${i}`, { service: "a", tenant: "b" })
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([...log.keys()], ["first", "a1.1", "b.1", "a2.1", "b.2", "a1.2", "a1.3"])
      }).pipe(Effect.provide(layer({ services: { a: perSecond(1) } }))))

    it.effect("does not let small requests starve a large one, in its lane or in others", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("first", { calls: 3 })
        yield* starts(log)("large", { calls: 4 })
        for (let i = 0; i < 3; i++) yield* starts(log)(`other ${i}`, { service: "a" })
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual([...log], [["first", 0], ["large", 3000]])
        yield* TestClock.adjust("1 second")
        assert.strictEqual(log.get("other 0"), 4000)
      }).pipe(
        Effect.provide(
          layer({
            global: Limiter.tokenBucket({ capacity: 4, refill: 1, every: "1 second" }),
            services: { a: perSecond(100) }
          })
        )
      ))

    it.effect("does not let a lane that waits for itself take from under a large request, again and again", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        for (let i = 0; i < 20; i++) yield* starts(log)(`small ${i}`, { service: "a" })
        yield* starts(log)("large", { calls: 4 })
        yield* TestClock.adjust("10 seconds")
        assert.isAtMost(Number(log.get("large")), 3000)
      }).pipe(
        Effect.provide(
          layer({
            global: Limiter.tokenBucket({ capacity: 4, refill: 1, every: "1 second" }),
            services: { a: Limiter.slidingWindow({ limit: 1, window: "900 millis" }) }
          })
        )
      ))

    it.effect("tries who is next at once when a large request leaves", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("first", { calls: 2 })
        const large = yield* starts(log)("large", { calls: 4 })
        const larger = yield* starts(log)("larger", { calls: 3 })
        yield* starts(log)("same lane", {})
        yield* starts(log)("other lane", { service: "a" })
        yield* Fiber.interrupt(large)
        yield* settled
        assert.deepStrictEqual([...log.keys()], ["first"])
        yield* Fiber.interrupt(larger)
        yield* settled
        assert.deepStrictEqual([...log], [["first", 0], ["same lane", 0], ["other lane", 0]])
      }).pipe(
        Effect.provide(
          layer({
            global: Limiter.tokenBucket({ capacity: 4, refill: 1, every: "1 second" }),
            services: { a: perSecond(100) }
          })
        )
      ))

    it.effect("tries a small request of higher priority at once, whatever a large one was told", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        const start = starts(log)
        yield* start("first", { service: "a", calls: 3 })
        yield* start("large", { service: "a", calls: 4 })
        yield* start("small", { service: "a", priority: 1, maxWait: 100 })
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(Object.fromEntries(log), { first: 0, small: 0 })
      }).pipe(Effect.provide(layer({ services: { a: perSecond(4) } }))))

    it.effect("tries another lane at once when a lane with a large request empties", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        yield* starts(log)("first", { calls: 2 })
        const large = yield* starts(log)("large", { calls: 4 })
        yield* starts(log)("other lane", { service: "a" })
        yield* Fiber.interrupt(large)
        yield* settled
        assert.deepStrictEqual([...log], [["first", 0], ["other lane", 0]])
      }).pipe(
        Effect.provide(
          layer({
            global: Limiter.tokenBucket({ capacity: 4, refill: 1, every: "1 second" }),
            services: { a: perSecond(100) }
          })
        )
      ))

    it.effect("counts the wait for limits only: who waits for its place is not turned away", () =>
      Effect.gen(function*() {
        let free = 0
        const wakes: Array<() => void> = []
        const gate: Limiter.Gate = {
          flow: {},
          tryTake: () => free > 0 && free-- > 0,
          release: () => void free++,
          onFree: (wake) => void wakes.push(wake)
        }
        const log = new Map<string, number | string>()
        const waited: Array<number> = []
        for (const name of ["first", "second"]) {
          yield* Limiter.withAdmission({ service: "a", gate })((lease) =>
            Effect.flatMap(now, (at) => Effect.sync(() => log.set(name, at) && waited.push(lease.waitedMillis)))
          ).pipe(
            Effect.catch((rejected) => Effect.sync(() => log.set(name, rejected.reason))),
            Effect.forkChild({ startImmediately: true })
          )
        }
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual(log.size, 0)
        free = 2
        for (const wake of wakes.splice(0)) wake()
        yield* settled
        assert.deepStrictEqual([...log], [["first", 600_000]])
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual([log.get("second"), waited], [630_000, [0, 30_000]])
      }).pipe(
        Effect.provide(layer({ services: { a: Limiter.slidingWindow({ limit: 1, window: "30 seconds" }) } }))
      ))

    it.effect("turns away who waits for limits too long, once it had its place", () =>
      Effect.gen(function*() {
        let free = 0
        const wakes: Array<() => void> = []
        const gate: Limiter.Gate = {
          flow: {},
          tryTake: () => free > 0 && free-- > 0,
          release: () => void free++,
          onFree: (wake) => void wakes.push(wake)
        }
        const log = new Map<string, number | string>()
        const holder = yield* Effect.forkChild(Limiter.withAdmission({ service: "a" })(Effect.never))
        yield* starts(log)("gated", { service: "a", gate })
        yield* TestClock.adjust("10 minutes")
        free = 1
        for (const wake of wakes.splice(0)) wake()
        yield* settled
        yield* TestClock.adjust("58 seconds")
        assert.strictEqual(log.size, 0)
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual([...log], [["gated", "MaxWait"]])
        yield* Fiber.interrupt(holder)
      }).pipe(Effect.provide(layer({ services: { a: Limiter.permits(1) } }))))

    it.effect("holds no place while it waits for a limit", () =>
      Effect.gen(function*() {
        let free = 1
        const gate: Limiter.Gate = {
          flow: {},
          tryTake: () => free > 0 && free-- > 0,
          release: () => void free++,
          onFree: () => {}
        }
        const log = new Map<string, number | string>()
        yield* starts(log)("first", { service: "a" })
        yield* starts(log)("gated", { service: "a", gate })
        assert.strictEqual(free, 1)
        const left = yield* starts(log)("gated too", { service: "a", gate })
        yield* Fiber.interrupt(left)
        assert.strictEqual(free, 1)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([free, log.get("gated")], [0, 1000])
      }).pipe(Effect.provide(layer({ services: { a: perSecond(1) } }))))

    it.effect("skips whoever has no place, and goes on when it is free", () =>
      Effect.gen(function*() {
        let free = 1
        const wakes: Array<() => void> = []
        const gate: Limiter.Gate = {
          flow: {},
          tryTake: () => free > 0 && free-- > 0,
          release: () => void free++,
          onFree: (wake) => void wakes.push(wake)
        }
        const log = new Map<string, number | string>()
        for (const i of [1, 2, 3]) yield* starts(log)(`gated ${i}`, { service: "a", gate })
        yield* starts(log)("open", { service: "a" })
        assert.deepStrictEqual([...log.keys()], ["gated 1", "open"])
        free = 1
        for (const wake of wakes.splice(0)) wake()
        yield* settled
        assert.deepStrictEqual([...log.keys()], ["gated 1", "open", "gated 2"])
        free = 1
        for (const wake of wakes.splice(0)) wake()
        yield* settled
        // The limit is used up: the place was given back.
        assert.strictEqual(free, 1)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([...log.keys()], ["gated 1", "open", "gated 2", "gated 3"])
        assert.strictEqual(free, 0)
      }).pipe(Effect.provide(layer({ services: { a: perSecond(3) } }))))
  })

  describe(`Limiter.add, ${store}`, () => {
    it.effect("adds a rule for later requests and for those that wait", () =>
      Effect.gen(function*() {
        const log = new Map<string, number | string>()
        const reused = Limiter.withAdmission({ service: "b" })(Effect.void)
        yield* reused
        yield* starts(log)("first", { service: "a", calls: 2 })
        yield* starts(log)("second", { service: "a" })
        yield* starts(log)("too many", { service: "a", calls: 2 })
        yield* Limiter.add("a", Limiter.fixedWindow({ limit: 1, window: "1 minute" }))
        yield* Limiter.add("b", perSecond(1))
        yield* settled
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual([...log], [["first", 0], ["too many", "OverCapacity"], ["second", 1000]])
        yield* starts(log)("third", { service: "a", maxWait: "1 hour" })
        yield* reused
        const second = yield* Effect.forkChild(reused, { startImmediately: true })
        assert.isUndefined(second.pollUnsafe())
        yield* TestClock.adjust("58 seconds")
        assert.isFalse(log.has("third"))
        yield* TestClock.adjust("1 seconds")
        assert.strictEqual(log.get("third"), 61_000)
      }).pipe(Effect.provide(layer({ services: { a: perSecond(2) } }))))
  })

  describe(`Limiter.admit, ${store}`, () => {
    it.effect("holds the lease until the scope closes", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const lease = yield* Scope.provide(Limiter.admit({ service: "a" }), scope)
        assert.strictEqual(lease.waitedMillis, 0)
        const log = new Map<string, number | string>()
        yield* starts(log)("second", { service: "a" })
        yield* settled
        assert.strictEqual(log.size, 0)
        yield* Scope.close(scope, Exit.void)
        yield* settled
        assert.strictEqual(log.get("second"), 0)
        const rejected = yield* Effect.flip(Effect.scoped(Limiter.admit({ service: "a", calls: 2 })))
        assert.strictEqual(rejected.reason, "OverCapacity")
      }).pipe(Effect.provide(layer({ services: { a: Limiter.permits(1) } }))))

    it.effect("takes nothing when its caller leaves", () =>
      Effect.gen(function*() {
        const holder = yield* Effect.forkChild(Limiter.withAdmission({ service: "a" })(Effect.never))
        yield* settled
        const waiting = yield* Effect.forkChild(Effect.scoped(Limiter.admit({ service: "a" })))
        yield* settled
        yield* Fiber.interrupt(waiting)
        yield* Fiber.interrupt(holder)
        yield* Limiter.withAdmission({ service: "a" })(Effect.void)
      }).pipe(Effect.provide(layer({ services: { a: Limiter.permits(1) } }))))
  })

  describe(`Limiter: its end, ${store}`, () => {
    it.effect("turns away those that wait, and those that come later", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(layer({ services: { a: perSecond(1) } }), scope)
        const limiter = Context.get(context, Limiter.Limiter)
        const call = limiter.withAdmission({ service: "a" })(Effect.void)
        yield* call
        const waiting = yield* Effect.forkChild(Effect.flip(call), { startImmediately: true })
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(waiting)).reason, "StoreUnavailable")
        assert.strictEqual((yield* Effect.flip(call)).reason, "StoreUnavailable")
      }))
  })
}

describe("Limiter: two in one program", () => {
  const options: Limiter.Options = {
    services: { a: Limiter.slidingWindow({ limit: 1, window: "1 hour" }) },
    onExceeded: "fail"
  }
  const call = Effect.map(Effect.result(Limiter.withAdmission({ service: "a" })(Effect.void)), ({ _tag }) => _tag)
  const both = <E, R>(outer: Layer.Layer<Limiter.Limiter, E, R>, inner: Layer.Layer<Limiter.Limiter, E, R>) =>
    Effect.provide(Effect.all([call, Effect.provide(call, inner), call]), outer)

  it.effect("share nothing", () =>
    Effect.gen(function*() {
      const seen = yield* both(Limiter.layer(options), Limiter.layer(options))
      assert.deepStrictEqual(seen, ["Success", "Success", "Failure"])
    }))

  it.effect("share limits of one name and rule where they are given one store", () =>
    Effect.gen(function*() {
      const seen = yield* both(Limiter.layerStore(options), Limiter.layerStore(options)).pipe(
        Effect.provide(LimiterStore.layerMemory)
      )
      assert.deepStrictEqual(seen, ["Success", "Failure", "Failure"])
    }))
})

describe("Limiter: bad input", () => {
  const nonsense: ReadonlyArray<readonly [string, () => unknown, string]> = [
    ["a limit of 0", () => perSecond(0), "limit is 0"],
    ["a negative window", () => Limiter.slidingWindow({ limit: 1, window: -5 }), "window is -5"],
    ["a limit that is no number", () => perSecond(Number.NaN), "limit is NaN"],
    ["an unknown onExceeded", () => Limiter.layer({ onExceeded: "queue" as never }), "onExceeded is queue"],
    ["a negative maxWait", () => Limiter.layer({ maxWait: "-1 seconds" }), "maxWait is -1 seconds"],
    ["a maxWait that is no number", () => Limiter.layer({ maxWait: Number.NaN }), "maxWait is NaN"],
    [
      "a unit that is none",
      () => Limiter.slidingWindow({ limit: 1, window: 5, unit: "token" as never }),
      "unit is token"
    ],
    ["an option that is none", () => Limiter.layer({ service: {} } as never), "an option is service"],
    ["a rule that is none", () => Limiter.layer({ services: { a: { limit: 5 } as never } }), "services.a is"],
    ["a rule of no service", () => Limiter.layer({ services: Limiter.permits(1) as never }), "services is"],
    ["rules of no service", () => Limiter.layer({ services: [Limiter.permits(1)] as never }), "services is"],
    ["services that are none", () => Limiter.layer({ services: null as never }), "services is null"],
    ["tenants that are none", () => Limiter.layer({ tenants: null as never }), "tenants is null"]
  ]
  it.each(nonsense)("dies at construction of %s, naming it", (_name, make, message) => {
    assert.throws(make, RangeError, message)
  })
})

describe("Limiter.make", () => {
  it.effect("makes a limiter of its own from withAdmission alone", () =>
    Effect.gen(function*() {
      let admitted = 0
      const lease: Limiter.Lease = { settle: () => Effect.void, waitedMillis: 0, lost: Effect.never }
      const own = Limiter.make({
        withAdmission: () => (use: unknown) =>
          Effect.suspend(() => {
            admitted++
            return (Effect.isEffect(use)
              ? use
              : (use as (lease: Limiter.Lease) => Effect.Effect<never>)(lease)) as never
          })
      })
      const program = Effect.gen(function*() {
        assert.strictEqual(yield* Limiter.withAdmission({})(Effect.succeed(1)), 1)
        assert.strictEqual((yield* Effect.scoped(Limiter.admit({}))).waitedMillis, 0)
        assert.strictEqual((yield* Effect.flip(Limiter.explain([{}]))).reason, "InvalidRequest")
        yield* Limiter.feedback("a", { congested: true })
        assert.isTrue(Exit.hasDies(yield* Effect.exit(Limiter.add("a", perSecond(1)))))
      })
      yield* Effect.provideService(program, Limiter.Limiter, own)
      assert.strictEqual(admitted, 2)
    }))
})
