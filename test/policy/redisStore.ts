/** A store on a real Redis, for tests. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import * as IoRedis from "../../src/adapter/IoRedis.ts"
import { tagOf } from "../../src/policy/internal/redisKeys.ts"
import { epochSeconds } from "../../src/policy/internal/redisRules.ts"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import { LimiterStore } from "../../src/policy/LimiterStore.ts"
import * as LimiterStoreRedis from "../../src/policy/LimiterStoreRedis.ts"
import { RedisServer } from "../redis.ts"
import type { Store } from "./store.ts"

let names = 0

/** A name that no other test uses. */
export const freshName = (): string => `test-${++names}`

/** A store of the scope, and the connection below it. On a slow machine an answer may take long: `commandTimeout` 10 s. */
export const redisStore = (
  place: IoRedis.Options,
  options: LimiterStoreRedis.Options = {}
): Effect.Effect<{ readonly store: Store; readonly redis: Redis.Redis["Service"] }, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const connection = yield* Layer.build(IoRedis.layer({ commandTimeout: "10 seconds", ...place }))
    const layer = LimiterStoreRedis.layer({ name: freshName(), commandTimeout: "10 seconds", ...options })
    const context = yield* Layer.build(layer.pipe(Layer.provide(Layer.succeedContext(connection))))
    return { store: Context.get(context, LimiterStore), redis: Context.get(connection, Redis.Redis) }
  })

/**
 * Sets a limiter's clock, by microseconds of the scripts' time: the next script runs at exactly `time`, as long as that is ahead
 * of the server's.
 */
export const setClock = (redis: Redis.Redis["Service"], tag: string, time: number): Effect.Effect<unknown, unknown> =>
  redis.send(
    "EVAL",
    "return redis.call('HSET', KEYS[1], 't', struct.pack('<ddd', ARGV[1], 0, 1e18))",
    "1",
    tag,
    `${time}`
  )

/** The server's time in microseconds, as the scripts count it. */
export const serverTime = (redis: Redis.Redis["Service"]): Effect.Effect<number, unknown> =>
  Effect.map(
    redis.send<ReadonlyArray<string>>("TIME"),
    ([seconds, micros]) => (Number(seconds) - epochSeconds) * 1_000_000 + Number(micros)
  )

/** A store of its own on the server of the block, and what lies behind it. */
export const opened = (options: { readonly commandTimeout?: number } = {}) =>
  Effect.gen(function*() {
    const server = yield* RedisServer
    const name = freshName()
    const { redis, store } = yield* redisStore({ url: server.url }, { prefix: "server", name, ...options })
    return { server, redis, store, name, tag: tagOf("server", name) }
  })

/** Every key under a tag. */
export const keysOf = (server: RedisServer["Service"], tag: string) =>
  Effect.map(server.send("KEYS", `${tag}*`), (keys) => keys as ReadonlyArray<string>)

/** A limit of ten of each rule. */
export const every: ReadonlyArray<Rule> = [
  tokenBucket({ capacity: 10, refill: 10, every: "1 hour" }),
  slidingWindow({ limit: 10, window: "1 hour" }),
  slidingWindow({ limit: 10, window: "1 hour", unit: "tokens" }),
  fixedWindow({ limit: 10, window: "1 hour" }),
  permits(10),
  { _tag: "Adaptive", unit: "calls" }
]

/** Asks again, for 20 seconds, until it is true. */
export const eventually = <E>(check: Effect.Effect<boolean, E>, what: string): Effect.Effect<void, E> =>
  Effect.gen(function*() {
    for (let i = 0; i < 1000; i++) {
      if (yield* check) return
      yield* Effect.sleep(20)
    }
    assert.fail(`in 20 seconds it has not come true that ${what}`)
  })
