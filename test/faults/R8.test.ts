import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Limiter from "../../src/policy/Limiter.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { assertOnly, count, limiterOn, request, requests, underLoad } from "./redisLimiter.ts"

const rules = {
  slidingWindow: Limiter.slidingWindow({ limit: 40, window: "1 hour" }),
  tokenBucket: Limiter.tokenBucket({ capacity: 40, refill: 1, every: "1 hour" }),
  fixedWindow: Limiter.fixedWindow({ limit: 40, window: "1 hour" }),
  permits: Limiter.permits(40)
}

describeRedis("R8: the keys of a limiter are gone, or of another type", () => {
  for (const [name, rule] of Object.entries(rules).filter(([name]) => name !== "permits")) {
    it.live(`R8: FLUSHALL under load begins a ${name} afresh: at most one burst more, and all go on`, () =>
      Effect.gen(function*() {
        const server = yield* redisServer()
        const limiter = yield* limiterOn(server.url, {
          commandTimeout: 5000,
          services: { api: rule },
          onExceeded: "fail"
        })
        const load = yield* Effect.forkChild(underLoad(limiter, 4, 1500), { startImmediately: true })
        yield* Effect.sleep(700)
        yield* server.send("FLUSHALL")
        const outcomes = yield* Fiber.join(load)
        assertOnly(outcomes, "admitted", "Exceeded")
        assert.isAtMost(count(outcomes, "admitted"), 80)
        assert.isAtLeast(count(outcomes, "admitted"), 41)
      }))
  }

  it.live("R8: under eviction everybody is answered, and the limit holds again afterwards", () =>
    Effect.gen(function*() {
      const server = yield* redisServer({ config: { maxmemory: "2mb", "maxmemory-policy": "allkeys-lru" } })
      const limiter = yield* limiterOn(server.url, {
        commandTimeout: 5000,
        services: { api: rules.tokenBucket },
        onExceeded: "fail"
      })
      const load = yield* Effect.forkChild(underLoad(limiter, 4, 2000), { startImmediately: true })
      const filler = "x".repeat(50_000)
      for (let index = 0; index < 400; index++) yield* server.send("SET", `filler-${index}`, filler)
      const outcomes = yield* Fiber.join(load)
      assertOnly(outcomes, "admitted", "Exceeded", "StoreUnavailable")
      assert.isAbove(Number(yield* server.info("evicted_keys")), 0)
      yield* server.send("FLUSHALL")
      const after = yield* requests(limiter, 60)
      assert.deepStrictEqual([count(after, "admitted"), count(after, "Exceeded")], [40, 20])
    }))

  for (const [name, rule] of Object.entries(rules)) {
    it.live(`R8: a key of another type rejects by name (${name}), and is not overwritten`, () =>
      Effect.gen(function*() {
        const server = yield* redisServer()
        const limiter = yield* limiterOn(server.url, {
          commandTimeout: 5000,
          services: { api: rule },
          probeInterval: 50
        })
        yield* limiter.withAdmission({ service: "api" })(Effect.gen(function*() {
          const keys = (yield* server.send("KEYS", "*")) as ReadonlyArray<string>
          assert.isAbove(keys.length, 0)
          for (const key of keys) {
            const isString = (yield* server.send("TYPE", key)) === "string"
            yield* server.send("DEL", key)
            yield* isString ? server.send("RPUSH", key, "other") : server.send("SET", key, "other")
          }
          const outcome = yield* request(limiter)
          assert.strictEqual(outcome.said, "StoreUnavailable")
          assert.include(outcome.message, "WRONGTYPE")
          assert.isTrue(keys.some((key) => outcome.message.includes(key)), outcome.message)
          for (const key of keys) assert.notStrictEqual(yield* server.send("TYPE", key), "none")
          yield* server.send("FLUSHALL")
        }))
        while ((yield* request(limiter)).said !== "admitted") yield* Effect.sleep(20)
      }))
  }
})
