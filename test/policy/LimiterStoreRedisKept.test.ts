/** What Redis keeps, and for how long. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fixedWindow, type Rule, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import { describeRedis, RedisServer } from "../redis.ts"
import { eventually, every, keysOf, opened } from "./redisStore.ts"
import { askMany, askOne, assertBucketBound, limit, worstWindow } from "./store.ts"

const hour = "1 hour"

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
