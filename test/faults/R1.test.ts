import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Limiter from "../../src/policy/Limiter.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { named } from "./redisClient.ts"
import { assertOnly, count, limiterOn, request, requests } from "./redisLimiter.ts"

const threeAnHour = { services: { api: Limiter.slidingWindow({ limit: 3, window: "1 hour" }) } }

// A port where nobody listens, and how to make somebody listen there.
const stopped = Effect.tap(redisServer(), ({ kill }) => kill)

describeRedis("R1: Redis is down at the start", () => {
  it.live("R1: the layer fails within the connect timeout, with a typed error, where it is to connect first", () =>
    Effect.gen(function*() {
      const { url } = yield* stopped
      const began = performance.now()
      const error = yield* Effect.flip(limiterOn(url, { ...threeAnHour, connect: "now" }))
      assert.isBelow(performance.now() - began, 1500)
      assert.strictEqual(error._tag === "RedisError" ? named(error) : error._tag, "Unreachable")
    }))

  const outcomes = [
    ["open", { admitted: 5, StoreUnavailable: 0, Exceeded: 0 }],
    ["closed", { admitted: 0, StoreUnavailable: 5, Exceeded: 0 }],
    ["local", { admitted: 3, StoreUnavailable: 0, Exceeded: 2 }]
  ] as const

  for (const [onStoreError, wanted] of outcomes) {
    it.live(`R1: onStoreError "${onStoreError}" decides at once, and the limit holds when Redis has come`, () =>
      Effect.gen(function*() {
        const server = yield* stopped
        const began = performance.now()
        const options = { ...threeAnHour, onStoreError, onExceeded: "fail", probeInterval: 100 } as const
        const limiter = yield* limiterOn(server.url, options)
        const first = yield* Effect.replicateEffect(request(limiter), 5)
        assert.isBelow(performance.now() - began, 1500)
        const seen = {
          admitted: count(first, "admitted"),
          StoreUnavailable: count(first, "StoreUnavailable"),
          Exceeded: count(first, "Exceeded")
        }
        assert.deepStrictEqual(seen, wanted)
        yield* server.start()
        // Redis knows of nothing that was decided without it. Once it counts, three pass and no more.
        while ((yield* request(limiter)).said !== "Exceeded" || (yield* server.calls("evalsha")) < 3) {
          yield* Effect.sleep(10)
        }
        const later = yield* requests(limiter, 20)
        assertOnly(later, "Exceeded")
      }))
  }
})
