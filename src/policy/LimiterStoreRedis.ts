/**
 * Limits shared by many processes, kept in Redis. One script answers a batch of asks: all limits of all lanes, by the server's
 * clock alone, so that no process's clock matters. It stands on Effect's `Redis` service, whichever driver serves it.
 *
 * All keys of one limiter share one hash tag: on a cluster they live in one slot. To spread the load, make several limiters;
 * nothing is atomic between them.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Encode from "./internal/redisEncode.ts"
import { codeOf, fromCause, timedOut, unreadable } from "./internal/redisError.ts"
import { tagOf } from "./internal/redisKeys.ts"
import { prepareLane, type RedisLane } from "./internal/redisLane.ts"
import { Leases } from "./internal/redisLeases.ts"
import * as Scripts from "./internal/redisScripts.ts"
import { Wakes } from "./internal/redisWakes.ts"
import { type Ask, type Change, type Grant, LimiterStore, type LimiterStoreError } from "./LimiterStore.ts"

/**
 * Where a limiter's state stands, and how long an answer may take.
 *
 * **Shape** Limiters with the same `prefix` and `name` share their limits; both together are the hash tag of all keys.
 *
 * **Units** `commandTimeout`: how long one script may take, the default 250 milliseconds. It counts beside the driver's own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
  readonly name?: string | undefined
  readonly commandTimeout?: Duration.Input | undefined
}

/**
 * Keeps limits in Redis.
 *
 * **Shape** Under one key, another rule is another limit: a limit whose numbers are changed begins anew. A tenant's limits
 * expire together when they count no more.
 *
 * **Errors** `Unreachable`, `TimedOut` and `Refused`, as `LimiterStoreError` says; a `WRONGTYPE` names the key. Building needs
 * no Redis. A script that got no answer in time may have been applied, and is never sent again.
 *
 * **Gotchas** Redis replicates late: after a failover, what the new primary had not heard of is forgotten, and up to one burst
 * a key may be over-admitted. The same holds after a restart without `appendonly`, a `FLUSHALL`, or an eviction. A process that
 * is paused for longer than a lease holds its permit still when the next one takes it: it learns so when it wakes.
 *
 * **Example** (Redis is away: a typed error, in time)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { LimiterStore, LimiterStoreRedis } from "effect-toolformer"
 * import * as IoRedis from "effect-toolformer/IoRedis"
 *
 * const nobody = IoRedis.layer({ url: "redis://127.0.0.1:1", connect: "background" })
 * const shared = LimiterStoreRedis.layer({ name: "my-program" }).pipe(Layer.provide(nobody))
 * const program = Effect.gen(function*() {
 *   const store = yield* LimiterStore.LimiterStore
 *   return yield* store.peek([])
 * })
 * const error = await Effect.runPromise(program.pipe(Effect.provide(shared), Effect.flip))
 * error._tag === "LimiterStoreError" && error.kind // => "Unreachable"
 * ```
 *
 * @see `LimiterStore.layerMemory` for one process
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<LimiterStore, LimiterStoreError, Redis.Redis> =>
  Layer.effect(LimiterStore, make(options ?? {}))

// A subscription that ended is tried again so often.
const resubscribeMillis = 1000

type Service = LimiterStore["Service"]

const make = Effect.fnUntraced(function*(options: Options) {
  const redis = yield* Redis.Redis
  const scope = yield* Effect.scope
  const tag = tagOf(options.prefix ?? "toolformer", options.name ?? "limiter")
  const channel = `${tag}:freed`
  const ownName = globalThis.crypto.randomUUID()
  const timeoutMillis = timeoutOf(options.commandTimeout)
  const run = runner(redis, tag, timeoutMillis)
  const wakes = new Wakes(scope)
  const leases = new Leases()

  const ask = (asks: ReadonlyArray<Ask>): ReturnType<Service["ask"]> =>
    asks.length === 0 ? Effect.succeed([]) : Effect.flatMap(run(Scripts.ask, Encode.encodeAsks(tag, asks)), (reply) => {
      const decoded = Encode.decodeAnswers(reply, asks.length)
      if (decoded === undefined) return Effect.fail(unreadable(reply))
      return wakes.later(asks, decoded) ?? Effect.succeed(decoded.answers)
    })

  const change = (changes: ReadonlyArray<Change>): ReturnType<Service["change"]> => {
    const backs = changes.flatMap(backsOf)
    for (const { _tag, grant } of changes) if (_tag !== "Settle") leases.forget(grant)
    if (backs.length === 0) return Effect.void
    const isRelease = backs.every(({ prepared }) => prepared.leaseMicros > 0)
    return Effect.asVoid(
      isRelease
        ? run(Scripts.release, Encode.encodeReleases(channel, backs))
        : run(Scripts.change, Encode.encodeBacks(tag, channel, backs))
    )
  }

  const renew = (grants: ReadonlyArray<Grant>): ReturnType<Service["renew"]> => {
    const asked = grants.flatMap(leases.of)
    return asked.length === 0
      ? Effect.succeed([])
      : Effect.flatMap(run(Scripts.renew, Encode.encodeLeases(tag, asked.map(({ lease }) => lease))), (reply) => {
        const decoded = Encode.decodeLeases(reply, asked.length)
        return decoded === undefined ? Effect.fail(unreadable(reply)) : Effect.succeed(leases.renewed(asked, decoded))
      })
  }

  return LimiterStore.of({
    lane: (key, limits, owner) => prepareLane(tag, key, limits, owner ?? ownName),
    ask,
    change,
    renew,
    feedback: (limit, signal) =>
      limit.rule._tag === "Adaptive"
        ? Effect.asVoid(run(Scripts.feedback, Encode.encodeSignal(tag, channel, limit, signal)))
        : Effect.void,
    freed: (listener) =>
      Effect.gen(function*() {
        yield* Effect.acquireRelease(
          Effect.sync(() => wakes.listeners.add(listener)),
          () => Effect.sync(() => wakes.listeners.delete(listener))
        )
        const subscribed = yield* Deferred.make<void>()
        yield* Effect.forkScoped(listen(redis, channel, subscribed, () => wakes.missed(listener), listener))
        yield* Effect.timeoutOption(Deferred.await(subscribed), timeoutMillis)
      }),
    peek: (limits) =>
      Effect.flatMap(run(Scripts.peek, Encode.encodeLimits(tag, limits)), (reply) => {
        const states = Encode.decodeStates(reply, limits)
        return states === undefined ? Effect.fail(unreadable(reply)) : Effect.succeed(states)
      }),
    synchronous: undefined
  })
})

type Run = (lua: string, encoded: Encode.Encoded) => Effect.Effect<unknown, LimiterStoreError>

// Effect's own `eval` loads a script on whichever node answers; on a cluster that need not be the one that has the keys. So a
// script goes out by its digest, and whole where that node says that it does not know it, which means it was not run.
const runner = (redis: Redis.Redis["Service"], tag: string, timeoutMillis: number): Run => {
  const names = new Map<string, string>()
  const named = (lua: string): Effect.Effect<string> => {
    const name = names.get(lua)
    if (name !== undefined) return Effect.succeed(name)
    return Effect.tap(sha1(lua), (name) => Effect.sync(() => names.set(lua, name)))
  }
  const orElse = () => Effect.fail(timedOut(timeoutMillis))
  return (whole, { args, keys, script = whole }) => {
    const rest = [String(keys.length), ...keys, ...args]
    return Effect.flatMap(named(script), (name) => redis.send("EVALSHA", name, ...rest)).pipe(
      Effect.catch((error) =>
        codeOf(error.cause) === "NOSCRIPT" ? redis.send("EVAL", script, ...rest) : Effect.fail(error)
      ),
      Effect.catch((error) =>
        codeOf(error.cause) === "WRONGTYPE"
          ? Effect.flatMap(wrongKey(redis, tag, keys), (key) => Effect.fail(fromCause(error.cause, key)))
          : Effect.fail(fromCause(error.cause))
      ),
      Effect.timeoutOrElse({ duration: timeoutMillis, orElse })
    )
  }
}

const sha1 = (text: string): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => globalThis.crypto.subtle.digest("SHA-1", new TextEncoder().encode(text))),
    (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("")
  )

const wrongKey = (redis: Redis.Redis["Service"], tag: string, keys: ReadonlyArray<string>) =>
  Effect.forEach(keys, (key) => Effect.map(redis.send<string>("TYPE", key), (type) => [key, type] as const)).pipe(
    Effect.map((types) => types.find(([key, type]) => type !== "none" && type !== Encode.typeOf(tag, key))?.[0]),
    Effect.orElseSucceed(() => undefined)
  )

const timeoutOf = (input: Duration.Input | undefined): number => {
  const duration = Duration.fromInput(input ?? 250)
  const millis = duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
  return millis > 0 && Number.isFinite(millis) ? millis : die(input)
}

const die = (value: unknown): never => {
  throw new RangeError(`LimiterStoreRedis: commandTimeout is ${String(value)}; it must be a finite duration above 0`)
}

const backsOf = (change: Change): ReadonlyArray<Encode.Back> => {
  const { grant } = change
  const lane = grant.lane as RedisLane
  if (change._tag === "Release" && !lane.holdsPermits) return []
  return lane.prepared.flatMap((prepared) => {
    const isTokens = prepared.limit.rule.unit === "tokens"
    const cost = isTokens ? grant.head.tokens : grant.head.calls
    const amount = change._tag === "Settle"
      ? isTokens && cost > 0 && change.tokens >= 0 ? cost - Math.min(change.tokens, Number.MAX_SAFE_INTEGER) : 0
      : change._tag === "Return" || prepared.leaseMicros > 0
      ? cost
      : 0
    return amount === 0 ? [] : [{ prepared, amount, grant }]
  })
}

// Subscribes again whenever the subscription ends. What was published meanwhile is not delivered: `missed` asks for all.
const listen = (
  redis: Redis.Redis["Service"],
  channel: string,
  subscribed: Deferred.Deferred<void>,
  missed: () => void,
  listener: (keys: ReadonlyArray<string>) => void
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const messages = yield* redis.subscribe(channel)
    missed()
    yield* Deferred.succeed(subscribed, undefined)
    while (true) {
      const batch = yield* Queue.takeAll(messages)
      const keys = new Set(batch.flatMap(({ message }) => Encode.decodeFreed(message)))
      if (keys.size > 0) listener([...keys])
    }
  }).pipe(Effect.scoped, Effect.ignoreCause, Effect.repeat(Schedule.spaced(resubscribeMillis)), Effect.asVoid)
