/** What only Redis can do wrong: its numbers, and its clock. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { toMicros } from "../../src/policy/internal/redisEncode.ts"
import { fixedWindow, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import { describeRedis, RedisServer } from "../redis.ts"
import { opened, serverTime, setClock } from "./redisStore.ts"
import { askMany, askOne, limit, worstWindow } from "./store.ts"

describeRedis("LimiterStoreRedis: numbers and the clock", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    it.effect(
      "a bucket of 3 per second is exact over 10,000 grants: never early, never late",
      () =>
        Effect.gen(function*() {
          const { redis, store, tag } = yield* opened()
          const lane = store.lane("lane", [limit("bucket", tokenBucket({ capacity: 3, refill: 3, every: "1 second" }))])
          const start = (yield* serverTime(redis)) + 1e12
          yield* setClock(redis, tag, start)
          assert.strictEqual((yield* askMany(store, lane, 4)).granted, 3)
          // From here on it is never full, so nothing that flows in is lost.
          for (let k = 1; k <= 10_000; k++) {
            const due = start + Math.ceil(k * 1e6 / 3)
            if (k % 1000 < 3) {
              yield* setClock(redis, tag, due - 1)
              assert.deepInclude(yield* askOne(store, lane), { passed: false, waitMillis: 0.001 }, `before grant ${k}`)
            }
            yield* setClock(redis, tag, due)
            const { grantedAt, passed } = yield* askOne(store, lane)
            assert.isTrue(passed, `grant ${k}`)
            assert.strictEqual(toMicros(grantedAt), due)
          }
        }),
      120_000
    )

    it.effect("a window's entry counts until its last microsecond, and no longer", () =>
      Effect.gen(function*() {
        const { redis, store, tag } = yield* opened()
        const start = (yield* serverTime(redis)) + 1e12
        const window = 1_000_000
        for (
          const [i, rule] of [
            slidingWindow({ limit: 3, window: "1 second" }),
            fixedWindow({ limit: 3, window: "1 second" })
          ].entries()
        ) {
          const at = start + i * 1e9
          const lane = store.lane(`lane-${i}`, [limit(`limit-${i}`, rule)])
          yield* setClock(redis, tag, at)
          assert.strictEqual((yield* askMany(store, lane, 4)).waitMillis, 1000)
          yield* setClock(redis, tag, at + window - 1)
          assert.deepInclude(yield* askMany(store, lane, 3), { granted: 0, waitMillis: 0.001 }, rule._tag)
          yield* setClock(redis, tag, at + window)
          assert.deepInclude(yield* askMany(store, lane, 4), { granted: 3, waitMillis: 1000 }, rule._tag)
        }
      }))

    it.effect("tokens count for a window and at most a thousandth more, exact in their sum", () =>
      Effect.gen(function*() {
        const { redis, store, tag } = yield* opened()
        const rule = slidingWindow({ limit: 1_000_000_007, window: "1 second", unit: "tokens" })
        const lane = store.lane("lane", [limit("tokens", rule)])
        const slot = 1000
        const start = Math.ceil(((yield* serverTime(redis)) + 1e12) / slot) * slot
        yield* setClock(redis, tag, start)
        assert.isTrue((yield* askOne(store, lane, 1, 7)).passed)
        yield* setClock(redis, tag, start + slot - 1)
        assert.isTrue((yield* askOne(store, lane, 1, 1_000_000_000)).passed)
        const refused = yield* askOne(store, lane, 1, 1)
        assert.strictEqual(toMicros(refused.grantedAt + refused.waitMillis), start + slot + 1_000_000)
        yield* setClock(redis, tag, start + slot + 1_000_000 - 1)
        assert.isFalse((yield* askOne(store, lane, 1, 1)).passed)
        yield* setClock(redis, tag, start + slot + 1_000_000)
        assert.isTrue((yield* askOne(store, lane, 1, 1_000_000_007)).passed)
      }))

    it.effect("a step back of the server's clock admits nothing more and stalls nothing", () =>
      Effect.gen(function*() {
        const { redis, store, tag } = yield* opened()
        const lane = store.lane("lane", [
          limit("bucket", tokenBucket({ capacity: 5, refill: 20, every: "1 second" })),
          limit("sliding", slidingWindow({ limit: 5, window: "200 millis" }))
        ])
        // All was written by a clock ten minutes ahead, as after a step back.
        const ahead = (yield* serverTime(redis)) + 600_000_000
        yield* setClock(redis, tag, ahead)
        assert.strictEqual((yield* askMany(store, lane, 9)).granted, 5)
        yield* setClock(redis, tag, ahead)
        const refused = yield* askOne(store, lane)
        assert.isFalse(refused.passed)
        assert.strictEqual(toMicros(refused.grantedAt), ahead)
        assert.isAtMost(refused.waitMillis, 200)
        const began = yield* serverTime(redis)
        yield* Effect.sleep(refused.waitMillis + 1)
        const next = yield* askOne(store, lane)
        assert.isTrue(next.passed)
        // Time goes on as fast as the server's.
        assert.isAtMost(toMicros(next.grantedAt) - ahead, (yield* serverTime(redis)) - began + 20_000)
        // The clock is put right again: that does not count as time gone by.
        yield* redis.send(
          "EVAL",
          "return redis.call('HSET', KEYS[1], 't', struct.pack('<ddd', ARGV[1], 600000000, 1e18))",
          "1",
          tag,
          `${(yield* serverTime(redis)) - 1000}`
        )
        const right = yield* askOne(store, store.lane("clock", []))
        assert.approximately(toMicros(right.grantedAt), yield* serverTime(redis), 5_000_000)
      }))

    it.effect("many small steps of the clock, back and forth: at most the limit in any window of the limiter's time", () =>
      Effect.gen(function*() {
        const { redis, store, tag } = yield* opened()
        const lane = store.lane("lane", [limit("sliding", slidingWindow({ limit: 7, window: "100 millis" }))])
        const at: Array<{ at: number; amount: number }> = []
        for (let i = 0; i < 200; i++) {
          const answer = yield* askMany(store, lane, 3)
          if (answer.granted > 0) at.push({ at: answer.grantedAt, amount: answer.granted })
          // The last script is as if it had run up to 2 s later than the server says now.
          if (i % 10 === 0) yield* setClock(redis, tag, Math.max(toMicros(answer.grantedAt), 0) + (i % 40) * 50_000)
        }
        assert.isAbove(at.length, 10)
        assert.isTrue(at.every((one, i) => i === 0 || one.at >= at[i - 1]!.at), "time never runs back")
        assert.isAtMost(worstWindow(at, 100), 7)
      }))
  })
})
