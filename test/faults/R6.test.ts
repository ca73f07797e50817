import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as Result from "effect/Result"
import { proxy } from "../proxy.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { connected, eventually, named } from "./redisClient.ts"

// Writes the request's own number under its own key, and answers with both in a reply of several parts.
const own = Redis.script((key: string, number: number) => [key, number], {
  numberOfKeys: 1,
  lua: `return { KEYS[1], { redis.call("INCR", KEYS[1]), ARGV[1] } }`
}).withReturnType<readonly [string, readonly [number, string]]>()

describeRedis("R6: a reply is cut in the middle, or one side is gone", () => {
  it.live("R6: cut at any byte, every request reads back its own number or fails, and is applied at most once", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      const { redis } = yield* connected({ url: front.url })
      yield* redis.eval(own)("warm", 0)
      const requests = [0, 1, 2]
      const ask = (round: number) =>
        Effect.forEach(
          requests,
          (number) => Effect.result(redis.eval(own)(`r${round}-${number}`, number)),
          { concurrency: "unbounded" }
        )
      let cuts = 0
      let round = 0
      for (let cut = true; cut; round++) {
        yield* eventually(redis.send("PING"))
        front.cutAfter(round)
        const results = yield* ask(round)
        cut = results.some(Result.isFailure)
        cuts += Number(cut)
        for (const [number, result] of results.entries()) {
          const key = `r${round}-${number}`
          const applied = yield* server.send("GET", key)
          if (Result.isFailure(result)) {
            assert.strictEqual(named(result.failure), "Disconnected")
            assert.include([null, "1"], applied)
          } else {
            assert.deepStrictEqual(result.success, [key, [1, String(number)]])
            assert.strictEqual(applied, "1")
          }
        }
      }
      // Three replies of at least 29 bytes, cut before each of their bytes.
      assert.isAtLeast(cuts, 3 * 29)
    }))

  it.live("R6: requests in flight on a half-open connection fail, and later ones get their own replies", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      const { redis } = yield* connected({ url: front.url, commandTimeout: 100 })
      yield* redis.eval(own)("warm", 0)
      front.halfOpen()
      const lost = yield* Effect.forEach(
        [1, 2, 3],
        (number) => Effect.flip(redis.eval(own)(`lost${number}`, number)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(lost.map(named), ["TimedOut", "TimedOut", "TimedOut"])
      yield* eventually(redis.send("PING"))
      const found = yield* Effect.forEach(
        [4, 5, 6],
        (number) => redis.eval(own)(`found${number}`, number),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(found, [4, 5, 6].map((number) => [`found${number}`, [1, String(number)]] as const))
    }))
})
