/** What the Redis faults ask of a connection, in one place: open one, name its errors, wait until it is back. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { monitorEventLoopDelay } from "node:perf_hooks"
import * as IoRedis from "../../src/adapter/IoRedis.ts"

/** Patient unless told otherwise: on a slow machine an answer may take long. */
export const connected = (options: IoRedis.Options): Effect.Effect<
  {
    readonly redis: Redis.Redis["Service"]
    readonly client: IoRedis.IoRedisClient["Service"]["client"]
  },
  Redis.RedisError,
  Scope.Scope
> =>
  Effect.map(IoRedis.make({ commandTimeout: 5000, connectTimeout: 5000, ...options }), (context) => ({
    redis: Context.get(context, Redis.Redis),
    client: Context.get(context, IoRedis.IoRedisClient).client
  }))

/** The kind of a failure, and Redis' own code where it has one: `Refused OOM`. */
export const named = (error: Redis.RedisError): string =>
  error.cause instanceof IoRedis.CommandError
    ? [error.cause.kind, ...(error.cause.code === undefined ? [] : [error.cause.code])].join(" ")
    : `not ours: ${String(error.cause)}`

/** Asks until it is answered; bounded by the test's own time. */
export const eventually = <A>(effect: Effect.Effect<A, Redis.RedisError>): Effect.Effect<A> =>
  Effect.gen(function*() {
    for (;;) {
      const exit = yield* Effect.exit(effect)
      if (Exit.isSuccess(exit)) return exit.value
      yield* Effect.sleep(10)
    }
  })

/** Asks until the answer is the one wanted. */
export const eventuallyEqual = <A>(wanted: A, effect: Effect.Effect<A, Redis.RedisError>): Effect.Effect<void> =>
  Effect.gen(function*() {
    while ((yield* eventually(effect)) !== wanted) yield* Effect.sleep(10)
  })

/** The smallest value that at least this share of all values does not exceed. */
export const percentile = (share: number, values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.ceil(share * values.length) - 1)]!

/** By how many milliseconds this process's own timers were late at the worst, since it was asked for; on an idle machine few. */
export const lateness: Effect.Effect<() => number, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const delay = monitorEventLoopDelay({ resolution: 10 })
    delay.enable()
    return delay
  }),
  (delay) => Effect.sync(() => delay.disable())
).pipe(Effect.map((delay) => () => Math.max(delay.max / 1e6 - 10, 0)))
