/**
 * Effect's whole `Redis` service over the official `ioredis` client (an optional peer): a single server, a master behind
 * sentinels, a cluster. Effect's own `RateLimiter`, `CircuitBreaker`, `PersistedQueue` and `Persistence` run on it too.
 *
 * Redis may be away at any time, and what then happens is the point of this module. A command is sent once or not at all: no
 * offline queue, no resending after a lost connection. It has its answer, or a typed error that tells whether it may have been
 * applied, within `commandTimeout`. The connection comes back by itself, with bounded back-off; so do subscriptions.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Cluster, Redis as Client } from "ioredis"
import * as Connection from "./internal/ioRedisConnection.ts"
import { parseUrl, settingsOf } from "./internal/ioRedisOptions.ts"
import type { Options } from "./internal/ioRedisOptions.ts"
import { subscribeWith } from "./internal/ioRedisSubscription.ts"

export { CommandError } from "./internal/ioRedisError.ts"
export type { Address, Options } from "./internal/ioRedisOptions.ts"

/**
 * The client itself, for what the `Redis` service has no word for. What is sent through it directly has ioredis' own errors.
 *
 * @category services
 * @since 0.1.0
 */
export class IoRedisClient extends Context.Service<IoRedisClient, {
  readonly client: Client | Cluster
}>()("effect-toolformer/adapter/IoRedisClient") {}

/**
 * Connects, and gives the two services; the scope closes every connection.
 *
 * @see {@link layer}, which most programs want
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Context.Context<Redis.Redis | IoRedisClient>, Redis.RedisError, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = settingsOf(options)
    const connection = yield* Connection.scoped(() => Connection.shared(settings))
    const connecting = Connection.connect(settings, connection)
    yield* settings.connect === "now" ? connecting : Effect.ignore(connecting)
    const redis = yield* Redis.make({
      send: Connection.sendWith(connection, settings.commandTimeout),
      connect: Connection.reserved(settings),
      subscribe: subscribeWith(settings, connection),
      pool: settings.pool
    })
    return Context.make(Redis.Redis, redis).pipe(
      Context.add(IoRedisClient, { client: connection.client })
    )
  })

/**
 * Effect's `Redis` service on ioredis.
 *
 * **Errors** Every `RedisError` has a {@link CommandError} as its `cause`, and its words as its message. Without a connection a
 * command fails at once.
 *
 * **Gotchas** Interrupting a `send` does not call the command back from the server. Messages published while a subscription is
 * being renewed are not delivered. After a failover Redis may have forgotten the last writes. `SELECT`, `SUBSCRIBE`, `MULTI`
 * and blocking commands do not belong on the connection all share: `database`, `Redis.subscribe`, a script, `Redis.reserve`.
 *
 * **Example** (Redis is away: a typed error, in time)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Redis } from "effect/persistence"
 * import * as IoRedis from "effect-toolformer/IoRedis"
 *
 * const program = Effect.gen(function*() {
 *   const redis = yield* Redis.Redis
 *   return yield* redis.send("PING")
 * })
 * const nobody = IoRedis.layer({ url: "redis://127.0.0.1:1", connect: "background" })
 * const error = await Effect.runPromise(program.pipe(Effect.provide(nobody), Effect.flip))
 * error.cause instanceof IoRedis.CommandError && error.cause.kind // => "Unreachable"
 * ```
 *
 * @see {@link layerConfig} to read the place from the environment
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Redis.Redis | IoRedisClient, Redis.RedisError> =>
  Layer.effectContext(make(options))

const list = (text: string): ReadonlyArray<string> =>
  text.split(",").map((each) => each.trim()).filter((each) => each !== "")

// The URL may hold a password: it is never shown.
const urlFromConfig = Effect.gen(function*() {
  const url = yield* Config.option(Config.Redacted("REDIS_URL"))
  if (Option.isNone(url) || parseUrl(Redacted.value(url.value)) !== undefined) return Option.getOrUndefined(url)
  const message = "REDIS_URL is not redis://[user:password@]host[:port][/database], nor rediss://"
  return yield* Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))
})

/**
 * The same from Effect's `Config`, each only where `options` does not say: the place from the first that is set of
 * `REDIS_CLUSTER` (`host:port,host:port`), `REDIS_SENTINELS` (likewise) with `REDIS_SENTINEL_NAME` (default `mymaster`),
 * `REDIS_URL`; the login from `REDIS_USERNAME` and `REDIS_PASSWORD`.
 *
 * **Errors** `ConfigError` when `REDIS_URL` is no such URL.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Options = {}
): Layer.Layer<Redis.Redis | IoRedisClient, Redis.RedisError | Config.ConfigError> =>
  Layer.unwrap(Effect.gen(function*() {
    const read = (name: string) => Effect.map(Config.option(Config.String(name)), Option.getOrUndefined)
    const password = options.password ?? Option.getOrUndefined(yield* Config.option(Config.Redacted("REDIS_PASSWORD")))
    const login = { username: options.username ?? (yield* read("REDIS_USERNAME")), password }
    if ((options.url ?? options.host ?? options.port ?? options.sentinels ?? options.cluster) !== undefined) {
      return layer({ ...options, ...login })
    }
    const cluster = yield* read("REDIS_CLUSTER")
    if (cluster !== undefined) return layer({ ...options, ...login, cluster: list(cluster) })
    const sentinels = yield* read("REDIS_SENTINELS")
    if (sentinels === undefined) return layer({ ...options, ...login, url: yield* urlFromConfig })
    const name = options.name ?? (yield* read("REDIS_SENTINEL_NAME")) ?? "mymaster"
    return layer({ ...options, ...login, sentinels: list(sentinels), name })
  }))
