import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as RateLimiter from "effect/persistence/RateLimiter"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"

const memory = RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))

type Options = Parameters<typeof Limiter.fromRateLimiter>[0]

const layer = (options: Options) => Limiter.fromRateLimiter(options).pipe(Layer.provide(memory))

const bucket = (capacity: number, unit: Limiter.Unit = "calls") =>
  Limiter.tokenBucket({ capacity, refill: 1, every: "1 second", unit })

/** Admits, and says when. */
const start = (request: Limiter.Request) => Limiter.withAdmission(request)(Clock.currentTimeMillis)

/** All requests made now, in this order; when each began, or why not. */
const starts = (...requests: ReadonlyArray<Limiter.Request>) =>
  Effect.gen(function*() {
    const fibers = yield* Effect.forEach(requests, (request) => Effect.forkChild(Effect.result(start(request))))
    yield* TestClock.adjust("1 hour")
    const results = yield* Effect.forEach(fibers, Fiber.join)
    return results.map((result) => result._tag === "Success" ? result.success : result.failure.reason)
  })

const failure = <A, R>(effect: Effect.Effect<A, Limiter.Rejected, R>) => Effect.flip(effect)

const times = <A>(n: number, value: A): ReadonlyArray<A> => Array.from({ length: n }, () => value)

describe("Limiter.fromRateLimiter", () => {
  it.effect("starts a burst at once and the rest as the bucket refills", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* starts(...times(4, { service: "api" })), [0, 0, 1000, 2000])
    }).pipe(Effect.provide(layer({ services: { api: bucket(2) } }))))

  it.effect("refills several at the rule's own pace", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* starts(...times(3, {})), [0, 200, 400])
    }).pipe(Effect.provide(layer({ global: Limiter.tokenBucket({ capacity: 1, refill: 5, every: "1 second" }) }))))

  it.effect("keeps a fixed window", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* starts(...times(3, {})), [0, 0, 10_000])
    }).pipe(Effect.provide(layer({ global: Limiter.fixedWindow({ limit: 2, window: "10 seconds" }) }))))

  it.effect("passes a request by all of its limits: tenant, service, global", () =>
    Effect.gen(function*() {
      const requests = [{ service: "api", tenant: "a" }, { service: "api", tenant: "b" }, { tenant: "a" }, {}]
      assert.deepStrictEqual(yield* starts(...requests), [0, 1000, 1000, 0])
    }).pipe(Effect.provide(layer({ global: bucket(10), services: { api: bucket(1) }, tenants: bucket(1) }))))

  it.effect("counts tokens where the rule does, and leaves out limits of tokens for a request without any", () =>
    Effect.gen(function*() {
      const requests = [{ service: "api", tokens: 8 }, { service: "api", tokens: 4 }, { service: "api" }]
      assert.deepStrictEqual(yield* starts(...requests), [0, 2000, 0])
    }).pipe(Effect.provide(layer({ services: { api: bucket(10, "tokens") } }))))

  it.effect("looks a tenant up by its name, and else takes default", () =>
    Effect.gen(function*() {
      const requests = ["acme", "acme", "other", "other", "__proto__", "__proto__"].map((tenant) => ({ tenant }))
      assert.deepStrictEqual(yield* starts(...requests), [0, 0, 0, 1000, 0, 1000])
    }).pipe(Effect.provide(layer({ tenants: { acme: bucket(5), default: bucket(1) } }))))

  it.effect("takes the tenant of the context where the request names none", () =>
    Effect.gen(function*() {
      const acme = starts({}, { tenant: "other" }, {}).pipe(Effect.provideService(Limiter.Tenant, "acme"))
      assert.deepStrictEqual(yield* acme, [0, 0, 1000])
    }).pipe(Effect.provide(layer({ tenants: bucket(1) }))))

  it.effect("takes a rule added while it runs", () =>
    Effect.gen(function*() {
      const limiter = yield* Limiter.Limiter
      assert.deepStrictEqual(yield* starts(...times(2, { service: "api" })), [0, 0])
      yield* limiter.add("api", bucket(1))
      assert.deepStrictEqual(yield* starts(...times(2, { service: "api" })), [3_600_000, 3_601_000])
    }).pipe(Effect.provide(layer({}))))

  it.effect("tells the effect how long it waited, and takes what it cost beyond the estimate", () =>
    Effect.gen(function*() {
      const use = (tokens: number) =>
        Limiter.withAdmission({ tokens: 5 })(({ settle, waitedMillis }) => Effect.as(settle({ tokens }), waitedMillis))
      assert.strictEqual(yield* use(15), 0)
      const fiber = yield* Effect.forkChild(use(1))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Fiber.join(fiber), 10_000)
    }).pipe(Effect.provide(layer({ global: bucket(10, "tokens") }))))

  it.effect("rejects at once under onExceeded \"fail\", with the time there is room", () =>
    Effect.gen(function*() {
      yield* start({ service: "api" })
      const { limit, reason, retryAfterMillis } = yield* failure(start({ service: "api" }))
      assert.deepStrictEqual([reason, limit, retryAfterMillis], [
        "Exceeded",
        "service \"api\", 1 call / 1 second bucket",
        1000
      ])
    }).pipe(Effect.provide(layer({ services: { api: bucket(1) }, onExceeded: "fail" }))))

  it.effect("has taken nothing of the global limit for a request its own limit refuses", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* starts({ service: "api" }, { service: "api" }, {}, {}), [
        0,
        "Exceeded",
        0,
        "Exceeded"
      ])
    }).pipe(Effect.provide(layer({ global: bucket(2), services: { api: bucket(1) }, onExceeded: "fail" }))))

  it.effect("never queues a speculative request", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* starts({}, { speculative: true }, {}), [0, "Exceeded", 1000])
    }).pipe(Effect.provide(layer({ global: bucket(1) }))))

  it.effect("rejects a request that would start after maxWait or its deadline", () =>
    Effect.gen(function*() {
      const requests = [{}, { maxWait: "900 millis" }, { deadline: "1 second" }, { maxWait: "3 seconds" }] as const
      assert.deepStrictEqual(yield* starts(...requests), [0, "MaxWait", "Deadline", 3000])
    }).pipe(Effect.provide(layer({ global: bucket(1) }))))

  it.effect("rejects a cost that is no count or can never pass, before anything is taken", () =>
    Effect.gen(function*() {
      const requests = [{ calls: 0 }, { calls: 1.5 }, { tokens: Number.NaN }, { calls: -1 }, { calls: 3 }, { calls: 2 }]
      const invalid = times(4, "InvalidRequest")
      assert.deepStrictEqual(yield* starts(...requests), [...invalid, "OverCapacity", 0])
    }).pipe(Effect.provide(layer({ global: bucket(2) }))))

  it.effect("is StoreUnavailable when the store of the RateLimiter fails", () => {
    const error = new RateLimiter.RateLimiterError({
      reason: new RateLimiter.RateLimitStoreError({ message: "away" })
    })
    const broken = Layer.succeed(RateLimiter.RateLimiter, {
      [RateLimiter.TypeId]: RateLimiter.TypeId,
      consume: () => Effect.fail(error),
      adaptiveConsume: () => Effect.fail(error),
      adaptiveFeedback: () => Effect.fail(error)
    })
    return Effect.gen(function*() {
      assert.strictEqual((yield* failure(start({}))).reason, "StoreUnavailable")
    }).pipe(
      Effect.provide(Limiter.fromRateLimiter({ global: bucket(1) }).pipe(Layer.provide(broken)))
    )
  })

  it.effect("cannot forecast", () =>
    Effect.gen(function*() {
      const limiter = yield* Limiter.Limiter
      assert.strictEqual((yield* failure(limiter.explain([{}]))).reason, "InvalidRequest")
    }).pipe(Effect.provide(layer({}))))

  it.effect("dies on a rule Effect does not have, naming it", () =>
    Effect.gen(function*() {
      for (const rule of [Limiter.permits(3), Limiter.slidingWindow({ limit: 1, window: "1 second" })]) {
        const exit = yield* Effect.exit(Layer.build(layer({ services: { api: rule } })))
        assert.isTrue(Exit.isFailure(exit))
        if (Exit.isFailure(exit)) {
          assert.match(Cause.pretty(exit.cause), new RegExp(`service "api" has a rule ${rule._tag}`))
        }
      }
    }))

  it.effect("dies on adaptive, which needs a store that learns", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Layer.build(layer({ onExceeded: "adaptive" as never })))
      assert.isTrue(Exit.isFailure(exit) && /onExceeded is "adaptive"/.test(Cause.pretty(exit.cause)))
    }))

  it.effect("loses what a cancelled waiter took: the gap it has against Limiter.layer", () =>
    Effect.gen(function*() {
      yield* start({})
      const waiter = yield* Effect.forkChild(start({}))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(waiter)
      assert.deepStrictEqual(yield* starts({}), [2000])
    }).pipe(Effect.provide(layer({ global: bucket(1) }))))
})
