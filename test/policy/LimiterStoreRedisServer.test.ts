/** What only Redis can do wrong: its numbers, its clock, its expiry, its types, its scripts, its silence. */
import { assert, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { toMicros } from "../../src/policy/internal/redisEncode.ts"
import { tagOf } from "../../src/policy/internal/redisKeys.ts"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import type { Answer, Ask, Grant, LimiterStoreError } from "../../src/policy/LimiterStore.ts"
import { random } from "../random.ts"
import { describeRedis, RedisServer } from "../redis.ts"
import { freshName, redisStore, serverTime, setClock } from "./redisStore.ts"
import { askMany, askOne, assertBucketBound, head, limit, type Store, worstWindow } from "./store.ts"

const opened = (options: { readonly commandTimeout?: number } = {}) =>
  Effect.gen(function*() {
    const server = yield* RedisServer
    const name = freshName()
    const { redis, store } = yield* redisStore({ url: server.url }, { prefix: "server", name, ...options })
    return { server, redis, store, name, tag: tagOf("server", name) }
  })

const keysOf = (server: RedisServer["Service"], tag: string) =>
  Effect.map(server.send("KEYS", `${tag}*`), (keys) => keys as ReadonlyArray<string>)

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

const hour = "1 hour"

const every: ReadonlyArray<Rule> = [
  tokenBucket({ capacity: 10, refill: 10, every: hour }),
  slidingWindow({ limit: 10, window: hour }),
  slidingWindow({ limit: 10, window: hour, unit: "tokens" }),
  fixedWindow({ limit: 10, window: hour }),
  permits(10),
  { _tag: "Adaptive", unit: "calls" }
]

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

describeRedis("LimiterStoreRedis: what is kept, and for how long", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    it.effect(
      "every key has a time to live, and all of them go when nothing counts any more",
      () =>
        Effect.gen(function*() {
          const { server, store, tag } = yield* opened()
          for (let i = 0; i < 50; i++) {
            const own = every.map((rule, at) => limit(`tenant/${i}/${at}`, shorter(rule), `tenant/${i}`))
            const lane = store.lane(`lane-${i}`, own)
            assert.isTrue((yield* askOne(store, lane, 1, 1)).passed)
            assert.isFalse((yield* askOne(store, lane, 10, 10)).passed)
          }
          const keys = yield* keysOf(server, tag)
          assert.isAtLeast(keys.length, 200)
          for (const key of keys) assert.isAbove(Number(yield* server.send("PTTL", key)), 0, key)
          yield* eventually(Effect.map(keysOf(server, tag), ({ length }) => length === 0), "all keys are gone")
        }),
      60_000
    )

    it.effect("whatever a grant has written lives for at least as long as it counts", () =>
      Effect.gen(function*() {
        const { server, store, tag } = yield* opened()
        // The short way, then the whole script; configured limits, then a tenant's.
        for (const aside of [[], [limit("aside", fixedWindow({ limit: 1e9, window: "300 millis" }))]]) {
          for (const group of ["service/x", "tenant/x"]) {
            const lane = store.lane(
              `lane ${group} ${aside.length}`,
              [
                ...aside,
                ...every.slice(0, 5).map((rule, i) => limit(`${group}/${i}`, wider(rule), group))
              ].filter(({ rule }) => aside.length > 0 || (rule._tag !== "FixedWindow" && rule.unit === "calls"))
            )
            const start = yield* askOne(store, lane, 1, 1)
            for (let now = start.grantedAt; now < start.grantedAt + 1500;) {
              const one = yield* askOne(store, lane, 1, 1)
              assert.isTrue(one.passed)
              now = one.grantedAt
              const keys = yield* keysOf(server, tag)
              assert.isAbove(keys.length, 2)
              for (const key of keys.filter((key) => key === tag || key.includes(group))) {
                assert.isAtLeast(Number(yield* server.send("PEXPIRETIME", key)), now + 300 - 1, key)
              }
              yield* store.change([{ _tag: "Release", grant: one.grant }])
              yield* Effect.sleep(20)
            }
          }
        }
      }), 60_000)

    it.effect("a limit in use does not expire under its users", () =>
      Effect.gen(function*() {
        const { store } = yield* opened()
        for (const group of ["service/x", "tenant/x"]) {
          for (
            const [i, rule] of [
              slidingWindow({ limit: 20, window: "150 millis" }),
              slidingWindow({ limit: 20, window: "150 millis", unit: "tokens" }),
              tokenBucket({ capacity: 10, refill: 10, every: "150 millis" })
            ].entries()
          ) {
            const lane = store.lane(`lane ${group} ${i}`, [limit(`${group}/${i}`, rule, group)])
            const admitted: Array<{ at: number; amount: number }> = []
            for (let now = 0, end = Number.POSITIVE_INFINITY; now < end;) {
              const { granted, grantedAt } = yield* askMany(store, lane, 2, { tokens: 1 })
              now = grantedAt
              end = Math.min(end, now + 1800)
              if (granted > 0) admitted.push({ at: grantedAt, amount: granted })
              yield* Effect.sleep(5)
            }
            assert.isAbove(admitted.length, 10)
            if (rule._tag === "TokenBucket") assertBucketBound(admitted, 10, 10 / 150)
            else assert.isAtMost(worstWindow(admitted, 150), 20)
          }
        }
      }), 60_000)

    it.effect("configured limits stand in one hash; their windows and permits beside it", () =>
      Effect.gen(function*() {
        const { server, store, tag } = yield* opened()
        const lane = store.lane("lane", every.map((rule, i) => limit(`service/x/${i}`, rule, "service/x")))
        assert.isTrue((yield* askOne(store, lane, 1, 1)).passed)
        const keys = yield* keysOf(server, tag)
        const types: Array<unknown> = []
        for (const key of keys) types.push(yield* server.send("TYPE", key))
        assert.sameMembers(types, ["hash", "hash", "list", "zset"])
      }))

    it.effect("a window of 100,000 calls takes about a megabyte", () =>
      Effect.gen(function*() {
        const { server, store, tag } = yield* opened()
        const lane = store.lane("lane", [limit("calls", slidingWindow({ limit: 100_000, window: hour }))])
        const answer = yield* askOne(store, lane, 100_000)
        assert.isTrue(answer.passed)
        const list = (yield* keysOf(server, tag)).find((key) => key !== tag)!
        assert.isAtMost(Number(yield* server.send("MEMORY", "USAGE", list, "SAMPLES", "0")), 1_500_000)
        yield* store.change([{ _tag: "Return", grant: answer.grant }])
        assert.isTrue((yield* askOne(store, lane, 100_000)).passed)
      }))
  })
})

describeRedis("LimiterStoreRedis: what Redis says and does not say", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    it.effect("goes on when the server has forgotten its scripts", () =>
      Effect.gen(function*() {
        const { server, store } = yield* opened()
        const lane = store.lane("lane", every.map((rule, i) => limit(`limit-${i}`, rule)))
        for (let i = 0; i < 3; i++) {
          yield* server.send("SCRIPT", "FLUSH")
          const one = yield* askOne(store, lane, 1, 1)
          assert.isTrue(one.passed)
          yield* server.send("SCRIPT", "FLUSH")
          assert.deepStrictEqual(yield* store.renew([one.grant]), [])
          yield* server.send("SCRIPT", "FLUSH")
          yield* store.change([{ _tag: "Return", grant: one.grant }])
          yield* server.send("SCRIPT", "FLUSH")
          yield* store.feedback(lane.limits[5]!, { congested: false, grantedAt: one.grantedAt })
          yield* server.send("SCRIPT", "FLUSH")
          assert.deepInclude((yield* store.peek(lane.limits))[4], { held: 0 })
        }
      }))

    it.effect("a key of the wrong type is a typed error that names it, and takes nothing", () =>
      Effect.gen(function*() {
        const { server, store, tag } = yield* opened()
        const limits = every.map((rule, i) => limit(`tenant/x/${i}`, rule, "tenant/x"))
        const lane = store.lane("lane", limits)
        const one = yield* askOne(store, lane, 1, 1)
        const keys = yield* keysOf(server, tag)
        assert.strictEqual(keys.length, 5)
        for (const key of keys) {
          yield* server.send("DEL", ...keys)
          yield* server.send("SET", key, "someone else's")
          const error = yield* Effect.flip(store.ask([{ lane, heads: [head(1, 1)], waiting: 1 }]))
          assert.deepInclude({ ...error }, { kind: "Refused", isTransient: false, key })
          assert.include(error.message, key)
          const left = yield* keysOf(server, tag)
          assert.deepStrictEqual(left, [key], "nothing was written")
          yield* server.send("DEL", key)
        }
        yield* server.send("SET", tag, "someone else's")
        const all: ReadonlyArray<Effect.Effect<unknown, LimiterStoreError>> = [
          store.change([{ _tag: "Return", grant: one.grant }]),
          store.renew([one.grant]),
          store.peek(limits),
          store.feedback(limits[5]!, { congested: true, grantedAt: 0 })
        ]
        for (const effect of all) assert.strictEqual((yield* Effect.flip(effect)).key, tag)
      }))

    it.effect("a field that someone else wrote counts as none", () =>
      Effect.gen(function*() {
        const { server, store, tag } = yield* opened()
        const lane = store.lane("lane", every.map((rule, i) => limit(`limit-${i}`, rule)))
        assert.isTrue((yield* askOne(store, lane, 9, 9)).passed)
        assert.isFalse((yield* askOne(store, lane, 9, 9)).passed)
        const fields = yield* server.send("HKEYS", tag) as Effect.Effect<ReadonlyArray<string>>
        assert.includeMembers([...fields], ["t", "c", "w:lane"])
        for (const field of fields) yield* server.send("HSET", tag, field, "garbage")
        const answer = yield* askOne(store, store.lane("lane", [lane.limits[0]!, lane.limits[3]!]), 10)
        assert.isTrue(answer.passed)
        assert.deepInclude(yield* askOne(store, lane, 9, 9), { passed: false, waiting: 1 })
      }))

    it.effect("a frozen server: TimedOut in time, and the script is never sent again", () =>
      Effect.gen(function*() {
        const { server, store } = yield* opened({ commandTimeout: 100 })
        const lane = store.lane("lane", [limit("calls", slidingWindow({ limit: 100, window: hour }))])
        yield* askOne(store, lane)
        const before = yield* server.calls("evalsha")
        yield* server.freeze
        const asks = Array.from({ length: 5 }, (): Ask => ({ lane, heads: [head()], waiting: 1 }))
        const errors = yield* Effect.forEach(asks, (ask) => Effect.flip(store.ask([ask])), { concurrency: "unbounded" })
          .pipe(Effect.ensuring(server.thaw))
        for (const error of errors) {
          assert.deepInclude({ ...error }, { kind: "TimedOut", isTransient: true })
          assert.include(error.message, "100 ms")
        }
        yield* eventually(Effect.map(server.calls("evalsha"), (calls) => calls >= before + 5), "all were applied")
        const after = yield* askMany(store, lane, 200)
        assert.strictEqual(after.granted, 100 - 1 - 5)
        assert.strictEqual(yield* server.calls("evalsha"), before + 6)
      }), 60_000)

    it.effect(
      "what the driver gave up, or lost the connection of, is not sent again either",
      () =>
        Effect.gen(function*() {
          const server = yield* RedisServer
          const { store } = yield* redisStore({ url: server.url, commandTimeout: 100 }, { name: freshName() })
          const lane = store.lane("lane", [limit("calls", slidingWindow({ limit: 100, window: hour }))])
          yield* askOne(store, lane)
          const scripts = Effect.map(Effect.all([server.calls("evalsha"), server.calls("eval")]), ([a, b]) => a + b)
          const before = yield* scripts
          yield* server.freeze
          const slow = yield* Effect.flip(store.ask([{ lane, heads: [head()], waiting: 1 }])).pipe(
            Effect.ensuring(server.thaw)
          )
          assert.deepInclude({ ...slow }, { kind: "TimedOut", isTransient: true })
          yield* eventually(Effect.map(scripts, (calls) => calls >= before + 1), "it was applied")
          const after = yield* askMany(store, lane, 200)
          assert.strictEqual(after.granted, 100 - 1 - 1)
          assert.strictEqual(yield* scripts, before + 2)
        }),
      60_000
    )

    it.effect("news go on after the subscription's connection was cut", () =>
      Effect.gen(function*() {
        const { server, store } = yield* opened()
        const lane = store.lane("lane", [limit("permits", permits(1))])
        let told = 0
        yield* store.freed(() => void told++)
        for (let round = 0; round < 2; round++) {
          const before = told
          yield* eventually(
            Effect.gen(function*() {
              const one = yield* askOne(store, lane)
              yield* askOne(store, lane)
              yield* store.change([{ _tag: "Release", grant: one.grant }])
              return told > before
            }),
            "a release is told"
          )
          yield* server.send("CLIENT", "KILL", "TYPE", "pubsub")
        }
      }), 60_000)

    it.effect(
      "a server that is gone: Unreachable or TimedOut, and it goes on when that is back",
      () =>
        Effect.gen(function*() {
          const { server, store } = yield* opened({ commandTimeout: 1000 })
          const lane = store.lane("lane", [limit("calls", slidingWindow({ limit: 100, window: hour }))])
          yield* askOne(store, lane)
          yield* server.kill
          const error = yield* Effect.flip(store.ask([{ lane, heads: [head()], waiting: 1 }]))
          assert.include(["Unreachable", "TimedOut"], error.kind)
          yield* server.start()
          yield* eventually(
            Effect.map(
              Effect.result(store.ask([{ lane, heads: [head()], waiting: 1 }])),
              ({ _tag }) => _tag === "Success"
            ),
            "it answers again"
          )
        }),
      60_000
    )
  })
})

describeRedis("LimiterStoreRedis: many processes", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    it.effect("two stores of one name share limits and news; another name shares nothing", () =>
      Effect.gen(function*() {
        const server = yield* RedisServer
        const name = freshName()
        const [a, b, c] = yield* Effect.forEach(
          [{ name }, { name }, { name: `${name}:` }],
          (options) => Effect.map(redisStore({ url: server.url }, options), ({ store }) => store)
        ) as Effect.Effect<[Store, Store, Store]>
        const lanes = [a, b, c].map((store) => store.lane("lane", [limit("permits", permits(1))]))
        const freed = yield* Deferred.make<ReadonlyArray<string>>()
        yield* b.freed((keys) => Deferred.doneUnsafe(freed, Effect.succeed(keys)))
        const one = yield* askOne(a, lanes[0]!)
        assert.isTrue(one.passed)
        assert.deepInclude(yield* askOne(b, lanes[1]!), { passed: false, waiting: 1 })
        assert.isTrue((yield* askOne(c, lanes[2]!)).passed)
        yield* a.change([{ _tag: "Release", grant: one.grant }])
        assert.deepStrictEqual(yield* Deferred.await(freed), ["permits"])
        assert.isTrue((yield* askOne(b, lanes[1]!)).passed)
      }))

    it.effect("random asks of four processes at once: every batch is one step, no limit is ever over", () =>
      Effect.gen(function*() {
        const server = yield* RedisServer
        const name = freshName()
        const stores = yield* Effect.forEach(
          [1, 2, 3, 4],
          () => Effect.map(redisStore({ url: server.url }, { name }), ({ store }) => store)
        )
        const limits = [
          limit("global/0", slidingWindow({ limit: 40, window: "100 millis" })),
          limit("service/x/0", tokenBucket({ capacity: 20, refill: 20, every: "100 millis" }))
        ]
        const answers: Array<Answer> = []
        yield* Effect.forEach(stores, (store) =>
          Effect.gen(function*() {
            const lane = store.lane("lane", limits)
            for (let i = 0; i < 150; i++) answers.push(yield* askMany(store, lane, 1 + (i % 4)))
          }), { concurrency: "unbounded" })
        const admitted = answers.filter(({ granted }) => granted > 0)
          .map(({ granted, grantedAt }) => ({ at: grantedAt, amount: granted })).toSorted((x, y) => x.at - y.at)
        assert.isAbove(admitted.length, 10)
        assert.isAtMost(worstWindow(admitted, 100), 40)
        assert.isAtMost(worstWindow(admitted, 50), 30)
      }))
  })
})

const shorter = (rule: Rule): Rule => {
  switch (rule._tag) {
    case "TokenBucket":
      return { ...rule, everyMillis: 100 }
    case "SlidingWindow":
    case "FixedWindow":
      return { ...rule, windowMillis: 100 }
    case "Permits":
      return { ...rule, leaseMillis: 100 }
    // It remembers for longer than a test may last.
    case "Adaptive":
      return slidingWindow({ limit: 10, window: 50 })
  }
}

// With room for all that is asked for, remembered for 300 ms.
const wider = (rule: Rule): Rule => {
  switch (rule._tag) {
    case "TokenBucket":
      return { ...rule, capacity: 1e6, refill: 1e6, everyMillis: 300 }
    case "SlidingWindow":
    case "FixedWindow":
      return { ...rule, limit: 1e6, windowMillis: 300 }
    case "Permits":
      return { ...rule, permits: 1e6, leaseMillis: 300 }
    case "Adaptive":
      return rule
  }
}

const eventually = <E>(check: Effect.Effect<boolean, E>, what: string): Effect.Effect<void, E> =>
  Effect.gen(function*() {
    for (let i = 0; i < 1000; i++) {
      if (yield* check) return
      yield* Effect.sleep(20)
    }
    assert.fail(`in 20 seconds it has not come true that ${what}`)
  })
