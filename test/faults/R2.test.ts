import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Limiter from "../../src/policy/Limiter.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { lateness, percentile } from "./redisClient.ts"
import { assertOnly, assertWindow, count, limiterOn, request, requests, underLoad } from "./redisLimiter.ts"

describeRedis("R2: Redis restarts in mid-run and has lost its data", () => {
  for (const onStoreError of ["open", "closed", "local"] as const) {
    it.live(`R2: of 200 waiters nobody is stranded, under "${onStoreError}"`, () =>
      Effect.gen(function*() {
        const server = yield* redisServer()
        const limit = 50
        const limiter = yield* limiterOn(server.url, {
          services: { api: Limiter.slidingWindow({ limit, window: "1 second" }) },
          onStoreError,
          probeInterval: 100
        })
        const all = yield* Effect.forkChild(requests(limiter, 200), { startImmediately: true })
        yield* Effect.sleep(1300)
        yield* server.kill
        yield* Effect.sleep(300)
        yield* server.start()
        const outcomes = yield* Fiber.join(all)
        assert.strictEqual(outcomes.length, 200)
        assertOnly(outcomes, "admitted", ...(onStoreError === "closed" ? ["StoreUnavailable"] as const : []))
        // One burst for the data that is lost; and where this process decided by itself, one for its own count.
        const more = { open: 200, closed: limit, local: 2 * limit }[onStoreError]
        assertWindow(outcomes, { limit, windowMillis: 1000, lateMillis: 350, more })
        assert.strictEqual((yield* request(limiter)).said, "admitted")
      }))
  }

  it.live("R2: at most one burst a key is over-admitted, and the scripts are there again", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const limiter = yield* limiterOn(server.url, {
        services: { api: Limiter.slidingWindow({ limit: 40, window: "1 hour" }) },
        onExceeded: "fail",
        probeInterval: 100
      })
      const before = yield* requests(limiter, 30)
      assert.strictEqual(count(before, "admitted"), 30)
      const late = yield* lateness
      const load = yield* Effect.forkChild(underLoad(limiter, 4, 2500), { startImmediately: true })
      yield* server.kill
      yield* server.start()
      const during = yield* Fiber.join(load)
      assertOnly(during, "admitted", "StoreUnavailable", "Exceeded")
      // Those that were under way when it was killed included.
      const slowest = percentile(1, during.map(({ tookMillis }) => tookMillis))
      assert.isAtMost(slowest, 1.2 * 250 + late())
      assert.isAtMost(count(during, "admitted"), 10 + 40)
      // Everything the new Redis allows was used: nobody is kept out either.
      assert.isAtLeast(count(during, "admitted"), 40)
      assertOnly(yield* requests(limiter, 10), "Exceeded")
      assert.isAbove(yield* server.calls("evalsha"), 3)
    }))
})
