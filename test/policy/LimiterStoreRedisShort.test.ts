/** The short way through an ask, held to the whole script. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { toMicros } from "../../src/policy/internal/redisEncode.ts"
import { permits, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import type { Grant } from "../../src/policy/LimiterStore.ts"
import { random } from "../random.ts"
import { describeRedis, RedisServer } from "../redis.ts"
import { keysOf, opened, serverTime, setClock } from "./redisStore.ts"
import { head, limit } from "./store.ts"

// All that is kept under a tag, but for the ends of hashes, which are by the server's time.
const contentOf = (server: RedisServer["Service"], tag: string) =>
  Effect.gen(function*() {
    const all: Record<string, unknown> = {}
    for (const key of yield* keysOf(server, tag)) {
      const type = yield* server.send("TYPE", key)
      const name = key.slice(tag.length)
      if (type === "list") all[name] = yield* server.send("LRANGE", key, "0", "-1")
      else if (type === "zset") all[name] = yield* server.send("ZRANGE", key, "0", "-1", "WITHSCORES")
      else {
        const fields = yield* server.send("HKEYS", key) as Effect.Effect<ReadonlyArray<string>>
        for (const field of fields.filter((field) => field !== "t" && field !== "e")) {
          const text = yield* server.send("EVAL", dump, "1", key, field)
          // Whoever had to wait and left is as good as one who never did.
          if (text !== "") all[`${name} ${field}`] = text
        }
      }
    }
    return all
  })

const dump = `
local value = redis.call('HGET', KEYS[1], ARGV[1])
return (value:gsub('.', function(letter) return string.format('%02x', letter:byte()) end))
`

describeRedis("LimiterStoreRedis: the short way", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    for (let seed = 1; seed <= 8; seed++) {
      it.effect(`answers and leaves what the whole script would, in any order of asks (seed ${seed})`, () =>
        Effect.gen(function*() {
          const r = random(seed)
          const [short, whole] = [yield* opened(), yield* opened()]
          const limits = [
            limit("global/0", tokenBucket({ capacity: 9, refill: 7, every: "1 second" })),
            limit("service/x/0", slidingWindow({ limit: r.int(3, 12), window: "500 millis" }), "service/x"),
            limit("service/x/1", permits(r.int(4, 12), { lease: "2 seconds" }), "service/x"),
            limit(
              "tenant/a/0",
              tokenBucket({ capacity: 30, refill: 30, every: "1 second", unit: "tokens" }),
              "tenant/a"
            ),
            limit("tenant/a/1", slidingWindow({ limit: 8, window: "700 millis" }), "tenant/a")
          ].filter(() => r.chance(0.8))
          const at = (time: number) =>
            Effect.all([setClock(short.redis, short.tag, time), setClock(whole.redis, whole.tag, time)])
          const idle = { heads: [], waiting: 0 }
          const lanes = [short, whole].map(({ store }) => store.lane("lane", limits, "owner"))
          const aside = whole.store.lane("aside", [])
          const held: Array<readonly [Grant, Grant]> = []
          let now = (yield* serverTime(short.redis)) + 1e12
          let passed = 0
          for (let step = 0; step < 120; step++) {
            now += r.chance(0.3) ? 0 : r.int(0, 200_000)
            yield* at(now)
            const heads = Array.from({ length: r.int(1, 4) }, () => head(r.int(1, 2), r.int(0, 9)))
            const asked = { heads, waiting: heads.length + (r.chance(0.2) ? 1 : 0) }
            const [one] = yield* short.store.ask([{ lane: lanes[0]!, ...asked }])
            // A batch has no short way.
            const [other] = yield* whole.store.ask([{ lane: lanes[1]!, ...asked }, { lane: aside, ...idle }])
            assert.deepStrictEqual(one, other, `step ${step}, seed ${seed}`)
            assert.strictEqual(toMicros(one!.grantedAt), now)
            if (one!.granted === heads.length) passed++
            for (const head of heads.slice(0, one!.granted)) {
              const { grantedAt } = one!
              held.push([{ lane: lanes[0]!, head, grantedAt }, { lane: lanes[1]!, head, grantedAt }])
            }
            while (held.length > 0 && r.chance(0.5)) {
              const [mine, theirs] = held.splice(r.int(0, held.length - 1), 1)[0]!
              const _tag = r.pick(["Return", "Release"] as const)
              yield* at(now)
              yield* short.store.change([{ _tag, grant: mine }])
              yield* whole.store.change([{ _tag, grant: theirs }])
            }
          }
          assert.isAbove(passed, 5, "the short way was taken")
          assert.deepStrictEqual(
            yield* contentOf(short.server, short.tag),
            yield* contentOf(whole.server, whole.tag),
            `seed ${seed}`
          )
        }))
    }
  })
})
