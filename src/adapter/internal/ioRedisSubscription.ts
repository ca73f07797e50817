/**
 * A subscription that outlives its connections: each time one is lost, another is opened (in a cluster to any node of it), with
 * the same back-off as everywhere. A PING every five seconds finds a connection that has died without saying so.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import type { Cluster } from "ioredis"
import * as Connection from "./ioRedisConnection.ts"
import { unreachable } from "./ioRedisError.ts"
import { reconnectDelay } from "./ioRedisOptions.ts"
import type { Settings } from "./ioRedisOptions.ts"

type OnMessage = (message: Redis.RedisMessage) => void

const pick = <A>(values: ReadonlyArray<A>): A | undefined => values[Math.floor(Math.random() * values.length)]

// In a cluster every node hears what is published at any; those known now, else the ones we started with.
const oneNode = (settings: Settings, client: Connection.Client): Settings => {
  if (settings.target._tag !== "Cluster") return settings
  const known = (client as Cluster).nodes().flatMap(({ options: { host, port } }) =>
    host === undefined || port === undefined ? [] : [{ host, port }]
  )
  const at = pick(known) ?? pick(settings.target.nodes)
  return at === undefined ? settings : { ...settings, target: { _tag: "Single", at } }
}

const heartbeat = (settings: Settings, connection: Connection.Connection): Effect.Effect<never, Redis.RedisError> =>
  Effect.sleep("5 seconds").pipe(
    Effect.andThen(Connection.sendWith(connection)("PING")),
    Effect.timeoutOrElse({
      duration: 5000 + settings.connectTimeout,
      orElse: () => Effect.fail(unreachable("PING", "half-open", undefined))
    }),
    Effect.forever
  )

// One connection, from its opening to its end.
const once = (
  settings: Settings,
  channel: string,
  onMessage: OnMessage,
  subscribed: Effect.Effect<unknown>
): Effect.Effect<never, Redis.RedisError> =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* Connection.scoped(() => Connection.dedicated(settings))
    yield* Connection.connect(settings, connection)
    connection.client.on("message", (from: string, message: string) => onMessage({ channel: from, message }))
    yield* Connection.sendWith(connection)("SUBSCRIBE", channel).pipe(
      Effect.timeoutOrElse({
        duration: settings.connectTimeout,
        orElse: () => Effect.fail(unreachable("SUBSCRIBE", "half-open", undefined))
      })
    )
    yield* subscribed
    return yield* Effect.raceFirst(Connection.ended(connection), heartbeat(settings, connection))
  }))

// Never ends by itself. `first` learns how the first attempt went.
const forever = (
  settings: Settings,
  shared: Connection.Connection,
  channel: string,
  onMessage: OnMessage,
  first: Deferred.Deferred<void, Redis.RedisError>
): Effect.Effect<never> =>
  Effect.gen(function*() {
    let failures = 0
    const subscribed = Effect.suspend(() => {
      failures = 0
      return Deferred.succeed(first, undefined)
    })
    for (;;) {
      const exit = yield* Effect.exit(once(oneNode(settings, shared.client), channel, onMessage, subscribed))
      if (settings.connect === "now" && Exit.isFailure(exit)) yield* Deferred.failCause(first, exit.cause)
      yield* Deferred.succeed(first, undefined)
      yield* Effect.sleep(reconnectDelay(++failures))
    }
  })

/**
 * Subscribes while the scope is open. Ends when the first attempt has: subscribed, or failed (with `connect: "background"` a
 * failed one goes on trying). What it answers with never ends.
 */
export const subscribeWith = (settings: Settings, shared: Connection.Connection) =>
(
  channel: string,
  onMessage: OnMessage
): Effect.Effect<Effect.Effect<void, Redis.RedisError>, Redis.RedisError, Scope.Scope> =>
  Effect.gen(function*() {
    const first = yield* Deferred.make<void, Redis.RedisError>()
    const fiber = yield* Effect.forkScoped(forever(settings, shared, channel, onMessage, first))
    yield* Deferred.await(first)
    return fiber
  }).pipe(Effect.map(Fiber.join))
