import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as LimiterStore from "../../src/policy/LimiterStore.ts"
import { start } from "../replay/server.ts"
import { count } from "./internal/simulatedApi.ts"

/** A service that admits `limit(now)` calls in any second and says after how long the next one would pass. */
const service = (limit: (now: number) => number) => {
  const window: Array<number> = []
  const good: Array<number> = []
  const refused: Array<number> = []
  const call = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    while (window.length > 0 && window[0]! <= now - 1000) window.shift()
    if (window.length < limit(now)) {
      window.push(now)
      good.push(now)
      yield* Effect.sleep(100)
      return
    }
    refused.push(now)
    const wait = window[window.length - limit(now)]! + 1000 - now
    yield* Effect.sleep(20)
    return yield* Effect.fail({ status: 429, headers: { "retry-after-ms": String(wait) } })
  })
  return { call, good, refused }
}

const pass = (millis: number, step = 5): Effect.Effect<void> =>
  Effect.forEach(Array.from({ length: millis / step }), () => TestClock.adjust(step), { discard: true })

// One for each limiter; all on one store.
const limiters = (total: number, options?: Partial<Limiter.Options>) =>
  Effect.gen(function*() {
    const store = yield* Layer.build(LimiterStore.layerMemory)
    const all = yield* Effect.forEach(
      Array.from({ length: total }),
      () => Layer.build(Layer.fresh(Limiter.layerStore({ onExceeded: "adaptive", maxWait: "1 hour", ...options })))
    ).pipe(Effect.provideContext(store))
    return {
      limiters: all.map((context) => Context.get(context, Limiter.Limiter)),
      store: Context.get(store, LimiterStore.LimiterStore)
    }
  })

const repeat = { service: "api", repeat: true } as const

describe("onExceeded: adaptive", () => {
  it.effect(
    "finds the limit of a service with few refusals, and follows it when it doubles",
    () =>
      Effect.gen(function*() {
        const { call, good, refused } = service((now) => now < 60_000 ? 10 : 20)
        const { limiters: [limiter] } = yield* limiters(1)
        const worker = Effect.forever(limiter!.withAdmission(repeat)(call))
        const fibers = yield* Effect.forEach(Array.from({ length: 30 }), () => Effect.forkChild(worker))
        yield* pass(180_000, 10)
        yield* Fiber.interruptAll(fibers)
        assert.isAtLeast(count(good, 15_000, 60_000), 0.8 * 450)
        assert.isAtMost(count(refused, 15_000, 60_000), 20)
        assert.isAtLeast(count(good, 130_000, 180_000), 0.8 * 1000)
        assert.isAtMost(count(refused, 60_000, 180_000), 40)
      }),
    60_000
  )

  it.effect("shares what it has learnt between limiters of one store", () =>
    Effect.gen(function*() {
      const { call, good, refused } = service(() => 10)
      const { limiters: both } = yield* limiters(2)
      const ran = [0, 0]
      const fibers = yield* Effect.forEach(Array.from({ length: 40 }), (_, index) => {
        const counted = Effect.andThen(Effect.sync(() => void ran[index % 2]!++), call)
        return Effect.forkChild(Effect.forever(both[index % 2]!.withAdmission(repeat)(counted)))
      })
      yield* pass(60_000, 10)
      yield* Fiber.interruptAll(fibers)
      assert.isAtLeast(count(good, 15_000, 60_000), 0.8 * 450)
      assert.isAtMost(count(refused, 15_000, 60_000), 30)
      assert.strictEqual(ran[0]! + ran[1]!, good.length + refused.length)
      assert.isAbove(Math.min(...ran), 0)
    }), 60_000)

  it.effect("holds up nobody of another service", () =>
    Effect.gen(function*() {
      const { limiters: [limiter] } = yield* limiters(1)
      const refusal = Effect.fail({ status: 429, headers: { "retry-after": "60" } })
      yield* Effect.exit(limiter!.withAdmission({ service: "jammed" })(refusal))
      const waiting = yield* Effect.forkChild(limiter!.withAdmission({ service: "jammed" })(Effect.void))
      yield* limiter!.withAdmission({ service: "quiet" })(Effect.void)
      yield* limiter!.withAdmission({})(Effect.void)
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(waiting)
    }))

  it.effect("runs an effect again until it is let in: errors, defects and answers, with and without a lease", () =>
    Effect.gen(function*() {
      const { limiters: [limiter] } = yield* limiters(1)
      const refusal = { status: 429, headers: { "retry-after": "1" } }
      for (const refused of [Effect.fail(refusal), Effect.die(refusal), Effect.succeed(new Response(null, refusal))]) {
        let runs = 0
        const effect = Effect.suspend((): Effect.Effect<unknown, unknown> =>
          ++runs < 3 ? refused : Effect.succeed("done")
        )
        for (const use of [effect, () => effect]) {
          runs = 0
          const fiber = yield* Effect.forkChild(limiter!.withAdmission(repeat)(use))
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(yield* Fiber.join(fiber), "done")
          assert.strictEqual(runs, 3)
        }
      }
    }))

  it.effect("runs an effect once that may not be repeated, or is speculative", () =>
    Effect.gen(function*() {
      let runs = 0
      const refusal = Effect.suspend(() => {
        runs++
        return Effect.fail({ status: 429, headers: {} })
      })
      const { limiters: [limiter] } = yield* limiters(1)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(limiter!.withAdmission({ service: "a" })(refusal))))
      const refused = yield* Effect.flip(
        limiter!.withAdmission({ service: "b", repeat: true, speculative: true })(refusal)
      )
      assert.deepStrictEqual(refused, { status: 429, headers: {} })
      assert.strictEqual(runs, 2)
      // Paused: what is speculative does not wait.
      const late = yield* Effect.flip(limiter!.withAdmission({ service: "a", speculative: true })(Effect.void))
      assert.strictEqual(late.reason, "Exceeded")
    }))

  it.effect("starts nothing any more once it is interrupted between two runs", () =>
    Effect.gen(function*() {
      let runs = 0
      const { limiters: [limiter] } = yield* limiters(1)
      const refusal = Effect.suspend(() => {
        runs++
        return Effect.fail({ status: 429, headers: { "retry-after": "5" } })
      })
      const fiber = yield* Effect.forkChild(limiter!.withAdmission(repeat)(refusal))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(runs, 1)
    }))

  it.effect("ends at the caller's deadline, and counts all waits of a call towards maxWait", () =>
    Effect.gen(function*() {
      const { limiters: [limiter] } = yield* limiters(1)
      let runs = 0
      const refusal = Effect.suspend(() => {
        runs++
        return Effect.fail({ status: 429, headers: { "retry-after": "4" } })
      })
      const bounded = yield* Effect.forkChild(
        Effect.flip(limiter!.withAdmission({ ...repeat, maxWait: "10 seconds" })(refusal))
      )
      yield* TestClock.adjust("1 minute")
      const rejected = yield* Fiber.join(bounded)
      assert.deepInclude(rejected, { _tag: "Rejected", reason: "RateLimited", retryAfterMillis: 4000 })
      assert.strictEqual(runs, 3)
      runs = 0
      const dated = yield* Effect.forkChild(
        Effect.flip(limiter!.withAdmission({ service: "other", repeat: true, deadline: "5 seconds" })(refusal))
      )
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* Fiber.join(dated), { _tag: "Rejected", reason: "RateLimited", retryAfterMillis: 4000 })
      assert.strictEqual(runs, 2)
    }))

  it.effect("tells the store of good answers four times a second at most, and of every refusal", () =>
    Effect.gen(function*() {
      const told: Array<boolean> = []
      const store = Layer.build(LimiterStore.layerMemory).pipe(
        Effect.map((context) => Context.get(context, LimiterStore.LimiterStore)),
        Effect.map((store) =>
          LimiterStore.LimiterStore.of({
            ...store,
            feedback: (limit, signal) => {
              told.push(signal.congested)
              return store.feedback(limit, signal)
            }
          })
        )
      )
      const context = yield* Layer.build(
        Layer.provide(Limiter.layerStore({ onExceeded: "adaptive" }), Layer.effect(LimiterStore.LimiterStore, store))
      )
      const { withAdmission } = Context.get(context, Limiter.Limiter)
      for (let i = 0; i < 100; i++) {
        yield* withAdmission({ service: "api" })(Effect.void)
        yield* TestClock.adjust(10)
      }
      assert.deepStrictEqual(told, [false, false, false, false])
      const refused = Effect.andThen(Effect.sleep(10), Effect.fail({ status: 429, headers: { "retry-after": "0" } }))
      for (let i = 0; i < 3; i++) yield* Effect.forkChild(withAdmission({ service: "api" })(refused))
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(told.slice(4), [true, true, true])
      yield* TestClock.adjust("1 hour")
      yield* Effect.exit(withAdmission({ service: "api" })(Effect.fail({ status: 500, headers: {} })))
      assert.lengthOf(told, 7)
    }))

  it.effect("measures what was admitted though nothing was learnt, and answers take long", () =>
    Effect.gen(function*() {
      const { limiters: [limiter], store } = yield* limiters(1)
      const slow = limiter!.withAdmission({ service: "api" })(
        Effect.andThen(Effect.sleep("20 seconds"), Effect.fail({ status: 429, headers: { "retry-after": "1" } }))
      )
      for (let i = 0; i < 1990; i++) {
        // Others keep the store busy: it sweeps.
        yield* limiter!.withAdmission({ service: `other ${i % 50}` })(Effect.void)
        if (i < 500) yield* Effect.forkChild(slow)
        yield* TestClock.adjust(10)
      }
      yield* TestClock.adjust("100 millis")
      const rule = { _tag: "Adaptive", unit: "calls" } as const
      const [state] = yield* store.peek([{ key: "service/api/adaptive", name: "", group: "service/api", rule }])
      assert.approximately(state?._tag === "Adaptive" ? state.callsPerSecond : 0, 50, 2)
    }))

  it.effect("learns nothing from effects that fail for reasons of their own", () =>
    Effect.gen(function*() {
      const { limiters: [limiter], store } = yield* limiters(1)
      for (const error of ["boom", new Error("boom"), { status: 500, headers: {} }, { status: 404, headers: {} }]) {
        yield* Effect.exit(limiter!.withAdmission(repeat)(Effect.fail(error)))
      }
      const rule = { _tag: "Adaptive", unit: "calls" } as const
      const [state] = yield* store.peek([{ key: "service/api/adaptive", name: "", group: "service/api", rule }])
      assert.deepInclude(state, { callsPerSecond: Number.POSITIVE_INFINITY, pausedMillis: 0 })
    }))
})

describe("Limiter.feedback", () => {
  it.effect("is told on four times a second at most, unless it says that there is no room", () =>
    Effect.gen(function*() {
      let told = 0
      const context = yield* Layer.build(LimiterStore.layerMemory)
      const store = Context.get(context, LimiterStore.LimiterStore)
      const counting = LimiterStore.LimiterStore.of({
        ...store,
        feedback: (limit, signal) => Effect.andThen(Effect.sync(() => void told++), store.feedback(limit, signal))
      })
      const limiter = Context.get(
        yield* Layer.build(
          Layer.provide(
            Limiter.layerStore({ onExceeded: "adaptive" }),
            Layer.succeed(LimiterStore.LimiterStore, counting)
          )
        ),
        Limiter.Limiter
      )
      for (let i = 0; i < 100; i++) {
        yield* limiter.feedback("api", { congested: false, latencyMillis: 5 })
        yield* TestClock.adjust(10)
      }
      assert.strictEqual(told, 4)
      yield* limiter.feedback("api", { congested: false, remaining: 0, resetMillis: 5 })
      yield* limiter.feedback("api", { congested: true })
      assert.strictEqual(told, 6)
    }))
})

describe("Limiter.withFeedback", () => {
  it.live("teaches the limit what the answers of a tool's HTTP client say, over a real connection", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(Effect.promise(start), (server) => Effect.promise(server.close))
      const { baseURL, seen } = server.mount((_, turn) => ({
        status: turn === 0 ? 429 : 200,
        headers: { "retry-after": "600" },
        chunks: []
      }))
      const { limiters: [limiter], store } = yield* limiters(1, { maxWait: "1 second" })
      const program = Effect.gen(function*() {
        const client = HttpClient.transformResponse(yield* HttpClient.HttpClient, Limiter.withFeedback("search"))
        // The tool swallows the refusal: nothing of it is to be seen in its exit.
        const tool = Effect.as(client.get(baseURL), "nothing found")
        assert.strictEqual(yield* limiter!.withAdmission({ service: "search" })(tool), "nothing found")
        const rejected = yield* Effect.flip(limiter!.withAdmission({ service: "search" })(Effect.as(tool, "")))
        assert.deepInclude(rejected, { _tag: "Rejected", reason: "RateLimited" })
      })
      yield* program.pipe(Effect.provideService(Limiter.Limiter, limiter!), Effect.provide(FetchHttpClient.layer))
      assert.lengthOf(seen, 1)
      const rule = { _tag: "Adaptive", unit: "calls" } as const
      const [state] = yield* store.peek([{ key: "service/search/adaptive", name: "", group: "service/search", rule }])
      assert.isAbove(state?._tag === "Adaptive" ? state.pausedMillis : 0, 500_000)
    }))

  it.effect("runs the effect as it is where there is no limiter, or one that does not learn", () =>
    Effect.gen(function*() {
      const answer = Limiter.withFeedback("api")(Effect.succeed({ status: 429, headers: {} }))
      assert.strictEqual((yield* answer).status, 429)
      assert.strictEqual((yield* Effect.provide(answer, Limiter.layer({}))).status, 429)
    }))
})
