/** What Redis says and does not say, to one process and to many. */
import { assert, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { permits, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import type { Answer, Ask, LimiterStoreError } from "../../src/policy/LimiterStore.ts"
import { describeRedis, RedisServer } from "../redis.ts"
import { eventually, every, freshName, keysOf, opened, redisStore } from "./redisStore.ts"
import { askMany, askOne, head, limit, type Store, worstWindow } from "./store.ts"

const hour = "1 hour"

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
