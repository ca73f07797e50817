import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import { CommandError } from "../../src/adapter/IoRedis.ts"
import { proxy, replies } from "../proxy.ts"
import { describeRedis, redisCluster, redisServer } from "../redis.ts"
import { connected, eventually, named } from "./redisClient.ts"

const put = Redis.script((key: string) => [key], {
  numberOfKeys: 1,
  lua: `return redis.call("SET", KEYS[1], string.rep("x", 1000))`
}).withReturnType<string>()

const isTransient = ({ cause }: Redis.RedisError): boolean => cause instanceof CommandError && cause.isTransient

describeRedis("R9: what Redis answers when it cannot", () => {
  const codes = ["READONLY", "LOADING", "OOM", "MOVED", "CROSSSLOT", "BUSY", "TRYAGAIN"] as const

  it.live("R9: every such answer is a typed error that names its kind and says whether it may pass", () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      const { redis } = yield* connected({ url: front.url })
      yield* redis.eval(put)("k")
      for (const code of codes) {
        front.inject(replies[code], { command: "EVALSHA" })
        const error = yield* Effect.flip(redis.eval(put)("k"))
        assert.strictEqual(named(error), `Refused ${code}`)
        assert.strictEqual(isTransient(error), code !== "CROSSSLOT", code)
        assert.strictEqual(yield* eventually(redis.eval(put)("k")), "OK", code)
      }
      // None of them was sent again by the client itself.
      assert.strictEqual(yield* server.calls("evalsha"), 1 + codes.length)
    }))

  it.live("R9: OOM and READONLY of a real server, inside a script", () =>
    Effect.gen(function*() {
      const full = yield* redisServer({ config: { maxmemory: "1mb", "maxmemory-policy": "noeviction" } })
      const one = yield* connected({ url: full.url })
      assert.strictEqual(named(yield* Effect.flip(one.redis.eval(put)("k"))), "Refused OOM")
      const master = yield* redisServer()
      const replica = yield* redisServer({ config: { replicaof: `127.0.0.1 ${master.port}` } })
      const two = yield* connected({ url: replica.url })
      const error = yield* Effect.flip(two.redis.eval(put)("k"))
      assert.deepStrictEqual([named(error), isTransient(error)], ["Refused READONLY", true])
      yield* replica.send("REPLICAOF", "NO", "ONE")
      assert.strictEqual(yield* eventually(two.redis.eval(put)("k")), "OK")
    }))

  it.live("R9: MOVED is named to a client that takes a cluster for one server, and followed by one that does not", () =>
    Effect.gen(function*() {
      const { masters } = yield* redisCluster()
      const single = yield* connected({ url: masters[0]!.url })
      const cluster = yield* connected({ cluster: [`127.0.0.1:${masters[0]!.port}`] })
      const seen = new Set<string>()
      for (const key of Array.from({ length: 12 }, (_, index) => `k${index}`)) {
        seen.add(
          yield* single.redis.send("GET", key).pipe(Effect.match({ onSuccess: () => "answered", onFailure: named }))
        )
        assert.strictEqual(yield* cluster.redis.send("GET", key), null)
      }
      assert.deepStrictEqual([...seen].sort(), ["Refused MOVED", "answered"])
      const crossing = yield* Effect.flip(cluster.redis.send("MSET", "a", "1", "b", "2"))
      assert.deepStrictEqual([named(crossing), isTransient(crossing)], ["Refused CROSSSLOT", false])
    }))
})
