import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { fixedWindow, permits, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import { redisStore } from "../policy/redisStore.ts"
import { askMany, askOne, limit } from "../policy/store.ts"
import { describeRedis, redisCluster } from "../redis.ts"
import type { Cluster } from "../redis.ts"

class TheCluster extends Context.Service<TheCluster, Cluster>()("test/Cluster") {}

// What a service, a tenant or a limiter may be called.
const names = [
  "",
  "{",
  "}",
  "{}",
  "}{",
  "{a}",
  "a}b{c",
  "a:b",
  "\n",
  "\0",
  "\ud800",
  "😀",
  "%",
  "*",
  "x".repeat(10_000)
]

const rules = [
  tokenBucket({ capacity: 5, refill: 5, every: "1 hour" }),
  slidingWindow({ limit: 5, window: "1 hour" }),
  slidingWindow({ limit: 5, window: "1 hour", unit: "tokens" }),
  fixedWindow({ limit: 5, window: "1 hour" }),
  permits(5),
  { _tag: "Adaptive", unit: "calls" }
] as const

describeRedis("R9: one limiter is one slot", () => {
  layer(Layer.effect(TheCluster, redisCluster()), { excludeTestServices: true })((it) => {
    it.effect(
      "R9: every key of a limiter shares its hash tag, whatever services, tenants and it are called",
      () =>
        Effect.gen(function*() {
          const cluster = yield* TheCluster
          const slots = new Set<number>()
          for (const name of names) {
            const { store } = yield* redisStore({ cluster: cluster.nodes }, { prefix: `p${name}`, name })
            const before = yield* allKeys(cluster)
            for (const other of names) {
              const limits = rules.flatMap((rule, i) => [
                limit(`service/${other}/${i}`, rule, `service/${other}`),
                limit(`tenant/${other}/${i}`, rule, `tenant/${other}`)
              ])
              const lane = store.lane(`lane ${other}`, limits, `owner ${other}`)
              const one = yield* askOne(store, lane, 1, 1)
              assert.isTrue(one.passed, JSON.stringify([name, other]).slice(0, 100))
              // None of the others' names has taken of these limits.
              assert.strictEqual((yield* askMany(store, lane, 5, { tokens: 1 })).granted, 4)
              assert.deepStrictEqual(yield* store.renew([one.grant]), [])
              yield* store.feedback(limits[10]!, { congested: true, grantedAt: one.grantedAt })
              yield* store.change([{ _tag: "Return", grant: one.grant }])
              assert.deepInclude((yield* store.peek(limits))[8], { held: 4 })
            }
            const keys = (yield* allKeys(cluster)).filter((key) => !before.includes(key))
            assert.isAbove(keys.length, names.length)
            const tags = new Set(keys.map((key) => key.slice(0, key.indexOf("}") + 1)))
            assert.strictEqual(tags.size, 1)
            assert.match([...tags][0]!, /^\{[^{}]+\}$/)
            for (const key of keys.slice(0, 20)) slots.add(yield* cluster.slotOf(key))
            assert.strictEqual(new Set(yield* Effect.forEach(keys.slice(0, 20), cluster.slotOf)).size, 1)
          }
          assert.isAbove(slots.size, 5, "limiters spread over slots")
        }),
      120_000
    )
  })
})

const allKeys = (cluster: Cluster): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(
    Effect.forEach(cluster.masters, (master) => master.send("KEYS", "*")),
    (lists) => lists.flatMap((list) => list as ReadonlyArray<string>)
  )
