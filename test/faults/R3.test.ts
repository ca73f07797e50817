import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Limiter from "../../src/policy/Limiter.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { assertOnly, assertWindow, count, limiterOn, requests, underLoad } from "./redisLimiter.ts"

describeRedis("R3: Redis restarts in mid-run and has kept its data", () => {
  it.live("R3: not one admission too many in all, whenever it was killed", () =>
    Effect.gen(function*() {
      const server = yield* redisServer({ appendonly: true })
      const limiter = yield* limiterOn(server.url, {
        services: { api: Limiter.slidingWindow({ limit: 60, window: "1 hour" }) },
        commandTimeout: 3000,
        onExceeded: "fail",
        probeInterval: 100
      })
      const load = yield* Effect.forkChild(underLoad(limiter, 4, 3000), { startImmediately: true })
      for (const _ of [1, 2, 3]) {
        yield* Effect.sleep(40)
        yield* server.kill
        yield* server.start()
      }
      const outcomes = yield* Fiber.join(load)
      assertOnly(outcomes, "admitted", "StoreUnavailable", "Exceeded")
      assert.isAtMost(count(outcomes, "admitted"), 60)
      // A script whose answer was lost has taken what nobody started: at most one batch of the four workers a kill.
      assert.isAtLeast(count(outcomes, "admitted"), 60 - 3 * 4)
      assertOnly(yield* requests(limiter, 10), "Exceeded")
    }))

  it.live("R3: 200 waiters, no window has more than the limit, nobody is stranded", () =>
    Effect.gen(function*() {
      const server = yield* redisServer({ appendonly: true })
      const limiter = yield* limiterOn(server.url, {
        services: { api: Limiter.slidingWindow({ limit: 50, window: "1 second" }) },
        probeInterval: 100
      })
      const all = yield* Effect.forkChild(requests(limiter, 200), { startImmediately: true })
      yield* Effect.sleep(1300)
      yield* server.kill
      yield* server.start()
      const outcomes = yield* Fiber.join(all)
      assertOnly(outcomes, "admitted", "StoreUnavailable")
      assertWindow(outcomes, { limit: 50, windowMillis: 1000, lateMillis: 350, more: 0 })
    }))
})
