import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Limiter from "../../src/policy/Limiter.ts"
import { proxy } from "../proxy.ts"
import { describeRedis, redisServer } from "../redis.ts"
import type { Server } from "../redis.ts"
import { lateness, percentile } from "./redisClient.ts"
import { assertOnly, count, limiterOn, requests, underLoad } from "./redisLimiter.ts"

const scripts = (server: Server) =>
  Effect.map(Effect.all([server.calls("evalsha"), server.calls("eval")]), ([named, whole]) => named + whole)

const limit = 100
const options = {
  services: { api: Limiter.slidingWindow({ limit, window: "1 hour" }) },
  onExceeded: "fail",
  probeInterval: 500
} as const

describeRedis("R5: every answer comes 500 ms late", () => {
  it.live.each([250, 100])(
    "R5: an ask that timed out is not sent again; then only probes are (driver: %d ms)",
    (driverTimeout) =>
      Effect.gen(function*() {
        const server = yield* redisServer()
        const front = yield* proxy(server.port)
        const limiter = yield* limiterOn(front.url, { ...options, driverTimeout })
        assertOnly(yield* requests(limiter, 10), "admitted")
        const before = yield* scripts(server)
        const late = yield* lateness
        front.delay(500)
        const began = performance.now()
        const during = yield* underLoad(limiter, 20, 3000)
        const elapsed = performance.now() - began
        assertOnly(during, "StoreUnavailable")
        assert.isAbove(during.length, 200)
        // Nobody waits longer than a command may take, the first who come included.
        const slowest = percentile(1, during.map(({ tookMillis }) => tookMillis))
        assert.isAtMost(slowest, 1.2 * 250 + late())
        const sent = (yield* scripts(server)) - before
        // Three failures open the circuit, then one probe an interval.
        assert.isAtMost(sent, 3 + Math.ceil(elapsed / 500))
        assert.isAbove(sent, 3)
        yield* front.heal()
        let after = yield* requests(limiter, 1)
        while (after[0]!.said === "StoreUnavailable") {
          yield* Effect.sleep(20)
          after = yield* requests(limiter, 1)
        }
        const rest = [...after, ...(yield* requests(limiter, 2 * limit))]
        assertOnly(rest, "admitted", "Exceeded")
        // What was asked for in vain may have been taken; nothing was given twice.
        assert.isAtMost(10 + count(rest, "admitted"), limit)
        assert.isAtLeast(count(rest, "admitted"), 1)
      })
  )

  it.live("R5: late but in time, throughput falls and every limit is used to the last call, with one script a batch", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      const limiter = yield* limiterOn(front.url, { ...options, commandTimeout: 2000 })
      front.delay(500)
      const outcomes = yield* requests(limiter, 2 * limit)
      assert.deepStrictEqual([count(outcomes, "admitted"), count(outcomes, "Exceeded")], [limit, limit])
      assert.isAtMost(yield* scripts(server), 2 * limit)
      assert.strictEqual(yield* scripts(server), front.requests("evalsha") + front.requests("eval"))
    }))
})
