/**
 * Limits that hold: a request names what it is for (a service, a tenant, its cost) and is admitted when *all* limits on that
 * way have room, or takes nothing. Grant now, wait at home: the store holds no waiter's slot; this process keeps its own
 * waiters in lanes, in turn, and asks for their heads.
 *
 * `withAdmission(request)(effect)` is the contract, and all a limiter of your own must do: a Layer of `Limiter`.
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as RateLimiter from "effect/persistence/RateLimiter"
import type * as Redis from "effect/persistence/Redis"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { adapting, watched } from "./internal/adapting.ts"
import { overDesk, overSynchronousDesk } from "./internal/admission.ts"
import { AskingDesk } from "./internal/askingDesk.ts"
import type { Desk } from "./internal/desk.ts"
import { explainOver } from "./internal/explain.ts"
import { formatForecast as formatLines } from "./internal/forecastText.ts"
import * as FromRateLimiter from "./internal/fromRateLimiter.ts"
import type { Use } from "./internal/lane.ts"
import { readLimits } from "./internal/limitConfig.ts"
import { settings } from "./internal/options.ts"
import type { Settings } from "./internal/options.ts"
import { Rejected } from "./internal/request.ts"
import type { Lease, Request } from "./internal/request.ts"
import type { Rule } from "./internal/rule.ts"
import * as Signals from "./internal/signals.ts"
import { SynchronousDesk } from "./internal/synchronousDesk.ts"
import { Timer } from "./internal/timer.ts"
import { layerMemory, LimiterStore } from "./LimiterStore.ts"
import type { Limit, LimiterStoreError, Signal } from "./LimiterStore.ts"
import * as LimiterStoreRedis from "./LimiterStoreRedis.ts"

export { Rejected, Tenant } from "./internal/request.ts"
export type { Gate, Lease, Request } from "./internal/request.ts"
export { fixedWindow, permits, slidingWindow, tokenBucket } from "./internal/rule.ts"
export type { Rule, Unit } from "./internal/rule.ts"

/**
 * Runs effects when they are admitted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Admit {
  <A, E, R>(use: Effect.Effect<A, E, R> | ((lease: Lease) => Effect.Effect<A, E, R>)): Effect.Effect<A, E | Rejected, R>
}

/**
 * One line of a dry run: when the request would start, and the limit it waits for until then.
 *
 * **Shape** `waitsFor` names the limit that holds it up longest; absent where it starts at once.
 *
 * **Units** `startMillis`: milliseconds from now; `Infinity` where a permit must come back that is held now, since nobody knows
 * when.
 *
 * @category models
 * @since 0.1.0
 */
export interface Forecast {
  readonly request: Request
  readonly startMillis: number
  readonly waitsFor: string | undefined
}

/**
 * The limiter. A limiter of your own is a Layer of this service.
 *
 * @category services
 * @since 0.1.0
 */
export class Limiter extends Context.Service<Limiter, {
  /**
   * Runs the effect once every limit of the request has room, and gives back what is to be given back when it ends. Nothing
   * yields between the grant and the effect's first step.
   */
  readonly withAdmission: (request: Request) => Admit
  /** Adds a rule to a service's limits, for every request from now on. */
  readonly add: (service: string, rule: Rule) => Effect.Effect<void>
  /** Tells what a service's answer said about its limits; used by `onExceeded: "adaptive"`, ignored otherwise. */
  readonly feedback: (service: string, signal: Omit<Signal, "grantedAt">) => Effect.Effect<void>
  /** When each request would start if all were made now, in this order. Takes nothing. */
  readonly explain: (
    requests: ReadonlyArray<Request & { readonly takes?: Duration.Input | undefined }>
  ) => Effect.Effect<ReadonlyArray<Forecast>, Rejected>
}>()("effect-toolformer/policy/Limiter") {}

/**
 * The limits of a program.
 *
 * - `global`: passed by every request. `services`: by name. `tenants`: each tenant's own (one rule set, or by tenant's name
 *   with `default`).
 * - `onExceeded`: `"wait"` (default), `"fail"`, or `"adaptive"`: waits, and learns each service's rate from its answers.
 * - `maxWait`: how long a request waits at most; default 1 minute.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly global?: Rule | ReadonlyArray<Rule> | undefined
  readonly services?: Readonly<Record<string, Rule | ReadonlyArray<Rule>>> | undefined
  readonly tenants?: Rule | ReadonlyArray<Rule> | Readonly<Record<string, Rule | ReadonlyArray<Rule>>> | undefined
  readonly onExceeded?: "wait" | "fail" | "adaptive" | undefined
  readonly maxWait?: Duration.Input | undefined
}

/**
 * The limits of {@link fromRateLimiter}: those of a limiter without `"adaptive"`. `prefix` begins the keys; default
 * `effect-toolformer`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RateLimiterOptions extends Omit<Options, "onExceeded"> {
  readonly onExceeded?: "wait" | "fail" | undefined
  readonly prefix?: string | undefined
}

/**
 * What a limiter does when its store is shared, and away.
 *
 * - `onStoreError`: for requests that the store does not answer: `"closed"` (default) rejects them, `"open"` lets them start,
 *   `"local"` decides by the same rules in this process's memory.
 * - `commandTimeout`: how long a store may take to answer; default 250 milliseconds.
 * - `probeInterval`: after three failures in a row the store is only probed, so often; default 1 second.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoreOptions {
  readonly onStoreError?: "open" | "closed" | "local" | undefined
  readonly commandTimeout?: Duration.Input | undefined
  readonly probeInterval?: Duration.Input | undefined
}

/**
 * Makes the limits of a program, kept in this process's memory.
 *
 * **Shape** A request passes all limits on its way, or takes nothing of any. Who comes first starts first within the requests
 * of one kind; tenants and runs take turns; who waits for its own service holds nothing of the global limits. Two limiters
 * made here share nothing, whatever their services are called.
 *
 * **Errors** Options that make no sense, and names that are none, die here, naming them. A closed limiter rejects
 * (`StoreUnavailable`).
 *
 * **Example** (What each service allows, said once)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Limiter } from "effect-toolformer"
 *
 * const limits = Limiter.layer({
 *   global: Limiter.permits(10),
 *   services: {
 *     maps: Limiter.slidingWindow({ limit: 50, window: "1 second" }),
 *     openai: [
 *       Limiter.tokenBucket({ capacity: 20, refill: 500, every: "1 minute" }),
 *       Limiter.tokenBucket({ unit: "tokens", capacity: 30_000, refill: 30_000, every: "1 minute" })
 *     ]
 *   },
 *   onExceeded: "fail"
 * })
 * const ask = (tokens: number) => Limiter.withAdmission({ service: "openai", tokens })(Effect.succeed("answer"))
 * const program = Effect.gen(function*() {
 *   const first = yield* ask(20_000)
 *   const second = yield* Effect.flip(ask(20_000))
 *   return [first, second.reason, second.retryAfterMillis! > 19_000]
 * })
 * await Effect.runPromise(Effect.provide(program, limits)) // => ["answer", "Exceeded", true]
 * ```
 *
 * @see {@link layerRedis} for limits shared by many processes, {@link layerConfig} for limits from the environment
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Limiter> => {
  const given = settings(options)
  // A store of its own: `layerMemory` as it is would be one for all limiters of a program.
  return Layer.provide(Layer.effect(Limiter, Effect.orDie(fromStore(given))), Layer.fresh(layerMemory))
}

/**
 * Makes the limits of a program, kept in the `LimiterStore` of the context. Limiters on one store share the limits of one name,
 * place and rule; turns, added rules and settings are each limiter's own.
 *
 * **Errors** A store that is away fails the layer under `onStoreError: "closed"`; otherwise the limiter starts without it.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStore = (options: Options & StoreOptions): Layer.Layer<Limiter, LimiterStoreError, LimiterStore> => {
  const given = settings(options)
  return Layer.effect(Limiter, fromStore(given))
}

/**
 * Makes the limits of a program, kept in Redis and shared by all processes that name the same `prefix` and `name`.
 *
 * **Shape** It stands on Effect's `Redis` service, whichever driver serves it.
 *
 * **Errors** A Redis that is away when a request comes: `onStoreError` decides.
 *
 * **Gotchas** A driver may want Redis at the start: `IoRedis.layer` fails without it, whatever `onStoreError` says, unless it is
 * told to connect in the `"background"`.
 *
 * @see `LimiterStoreRedis` for what Redis keeps, and when it may forget
 * @category layers
 * @since 0.1.0
 */
export const layerRedis = (
  options: Options & StoreOptions & LimiterStoreRedis.Options
): Layer.Layer<Limiter, LimiterStoreError, Redis.Redis> =>
  Layer.provide(layerStore(options), LimiterStoreRedis.layer(options))

/**
 * The options of a limiter as the environment has them, for a layer of your own choice. What is absent keeps its default.
 *
 * - `TOOLFORMER_LIMIT_GLOBAL`: rules of every request, such as `500 calls / 1 minute sliding, 10 at once`.
 * - `TOOLFORMER_LIMIT_SERVICE_<NAME>`: rules of the service whose name is `<NAME>` in lower case.
 * - `TOOLFORMER_LIMIT_SERVICES`: rules by exact name, as JSON: `{"google-maps": "50 calls / 1 second"}`.
 * - `TOOLFORMER_LIMIT_TENANT`: rules of each tenant; `TOOLFORMER_LIMIT_TENANTS`: by tenant, as JSON.
 * - `TOOLFORMER_LIMIT_ON_EXCEEDED`: `wait`, `fail` or `adaptive`; `TOOLFORMER_LIMIT_MAX_WAIT`: `30 seconds`.
 *
 * A rule is `<count> calls / <duration>` or `<count> tokens / <duration>`, then `sliding` (which may be left out), `fixed`,
 * `bucket` or `bucket of <capacity>`; or `<count> at once`. Several are separated by commas.
 *
 * **Errors** A `ConfigError` that names the variable and says what is wrong with it, also for a name that begins with
 * `TOOLFORMER_LIMIT` and is none of these: a limit with a misspelt name would let everything pass.
 *
 * **Example** (A service's rules from a variable)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Limiter } from "effect-toolformer"
 *
 * const env = { TOOLFORMER_LIMIT_SERVICE_OPENAI: "500 calls / 1 minute, 10 at once" }
 * const provider = ConfigProvider.fromEnv({ env })
 * const options = await Effect.runPromise(
 *   Limiter.optionsConfig.pipe(Effect.provideService(ConfigProvider.ConfigProvider, provider))
 * )
 * options.services?.["openai"] // => [Limiter.slidingWindow({ limit: 500, window: "1 minute" }), Limiter.permits(10)]
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const optionsConfig: Effect.Effect<Options, Config.ConfigError> = readLimits

/**
 * Makes the limits that the environment names, kept in this process's memory.
 *
 * @see {@link optionsConfig} for the variables, and to keep the limits elsewhere
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<Limiter, Config.ConfigError> = Layer.unwrap(Effect.map(optionsConfig, layer))

const fromStore = Effect.fnUntraced(function*(settings: Settings) {
  const { book, defaults, onStoreError, probeMillis } = settings
  const store = yield* LimiterStore
  const context = yield* Effect.context()
  const timer = new Timer(context)
  const owner = crypto.randomUUID()
  if (store.synchronous !== undefined) {
    const desk = new SynchronousDesk(book, (key, limits) => store.lane(key, limits, owner), store.synchronous, timer)
    yield* store.freed(desk.freed)
    yield* Effect.addFinalizer(() => Effect.sync(() => desk.close()))
    return limiterOf(settings, desk, overSynchronousDesk(desk, store.synchronous, defaults), store)
  }
  const desk = new AskingDesk(book, store, { ...settings, owner }, timer, context)
  const listening = store.freed(desk.freed)
  yield* onStoreError === "closed"
    ? listening
    : Effect.forkScoped(Effect.retry(listening, Schedule.spaced(probeMillis)), { startImmediately: true })
  yield* Effect.addFinalizer(() => desk.closing)
  return limiterOf(settings, desk, overDesk(desk, defaults), desk.questions)
})

const limiterOf = (
  { book, defaults }: Settings,
  desk: Desk,
  admit: (request: Request) => (use: Use) => Effect.Effect<unknown, unknown, unknown>,
  { feedback, peek }: Pick<LimiterStore["Service"], "feedback" | "peek">
): Limiter["Service"] => {
  const { maxWaitMillis } = defaults
  const limitOf = (service: string): Limit => desk.lanes.adaptiveLimit(service)
  const learning = book.adaptive ? adapting({ admit, limitOf, feedback, maxWaitMillis }) : undefined
  return make({
    // Desks carry effects without their types.
    withAdmission: (learning?.withAdmission ?? admit) as (request: Request) => never,
    ...(learning === undefined ? undefined : { feedback: learning.feedback }),
    add: (service, rule) => Effect.sync(() => desk.add(service, rule)),
    explain: explainOver(desk, peek, defaults)
  })
}

/**
 * Makes a limiter of your own from what it must do, `withAdmission`, and what it may do.
 *
 * **Shape** Without `add`, adding a rule dies; without `feedback`, what a service says is ignored; without `explain`, a dry
 * run is rejected. `withAdmission` gets an effect, or a function of the lease; `Effect.isEffect` tells them apart.
 *
 * **Example** (A quota beside the limits)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Limiter } from "effect-toolformer"
 *
 * const limits = Limiter.layer({ services: { maps: Limiter.slidingWindow({ limit: 50, window: "1 second" }) } })
 *
 * const withQuota = (calls: number) =>
 *   Layer.effect(
 *     Limiter.Limiter,
 *     Effect.map(Limiter.Limiter, (inner) => {
 *       let left = calls
 *       const spent = new Limiter.Rejected({ reason: "Exceeded", limit: "quota", message: "the quota is spent" })
 *       return Limiter.make({
 *         ...inner,
 *         withAdmission: (request) => (use) =>
 *           Effect.suspend(() => left-- > 0 ? inner.withAdmission(request)(use) : Effect.fail(spent))
 *       })
 *     })
 *   )
 *
 * const call = Limiter.withAdmission({ service: "maps" })(Effect.succeed("here"))
 * const program = Effect.all([call, call, Effect.flip(call).pipe(Effect.map((rejected) => rejected.limit))])
 * const layer = withQuota(2).pipe(Layer.provide(limits))
 * await Effect.runPromise(Effect.provide(program, layer)) // => ["here", "here", "quota"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  limiter: Pick<Limiter["Service"], "withAdmission"> & Partial<Limiter["Service"]>
): Limiter["Service"] => ({
  add: () => Effect.die(new Error("Limiter.add: this limiter takes no rules")),
  feedback: () => Effect.void,
  explain: () => new Rejected({ reason: "InvalidRequest", limit: "", message: "this limiter cannot explain" }),
  ...limiter
})

/**
 * Runs an effect when the limiter of the context admits it, and gives back what is to be given back when it ends, however it
 * ends.
 *
 * **Shape** A request's limits are found once, so an admission that is used often is best made once. A function of the lease can
 * settle what the call really cost, see how long it waited, and learn that its permit was lost.
 *
 * **Errors** `Rejected`, having taken nothing: see there for the reasons. Interrupted while it waits, it has taken nothing;
 * interrupted between the grant and its first step, the grant goes to the next one waiting, or back.
 *
 * **Gotchas** Do not nest admissions under `permits` of one service: the outer one may hold the permit the inner one waits for.
 *
 * **Example** (An estimate, settled)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Limiter } from "effect-toolformer"
 *
 * const limits = Limiter.layer({
 *   services: { openai: Limiter.slidingWindow({ unit: "tokens", limit: 1000, window: "1 minute" }) },
 *   onExceeded: "fail"
 * })
 * const ask = (estimate: number, actual: number) =>
 *   Limiter.withAdmission({ service: "openai", tokens: estimate })((lease) =>
 *     Effect.as(lease.settle({ tokens: actual }), "answer")
 *   )
 * // 800 and 800 would be too much; the first one gave 700 back.
 * await Effect.runPromise(Effect.all([ask(800, 100), ask(800, 900)]).pipe(Effect.provide(limits))) // => ["answer", "answer"]
 * ```
 *
 * @category admission
 * @since 0.1.0
 */
export const withAdmission = (request: Request) =>
<A, E, R>(
  use: Effect.Effect<A, E, R> | ((lease: Lease) => Effect.Effect<A, E, R>)
): Effect.Effect<A, E | Rejected, R | Limiter> =>
  Effect.flatMap(Limiter, (limiter) => limiter.withAdmission(request)(use))

/**
 * A lease held by the scope: for streams, and for permits held by hand. Derived from `withAdmission`, so it works on every
 * limiter.
 *
 * **Errors** As `withAdmission`. It does not learn: use {@link withFeedback} for what runs under it.
 *
 * **Example** (A permit for as long as a connection is open)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Limiter } from "effect-toolformer"
 *
 * const limits = Limiter.layer({ services: { db: Limiter.permits(1) }, onExceeded: "fail" })
 * const program = Effect.gen(function*() {
 *   const during = yield* Effect.scoped(Effect.gen(function*() {
 *     yield* Limiter.admit({ service: "db" })
 *     return yield* Effect.flip(Effect.scoped(Limiter.admit({ service: "db" })))
 *   }))
 *   const after = yield* Effect.scoped(Limiter.admit({ service: "db" }))
 *   return [during.reason, after.waitedMillis]
 * })
 * await Effect.runPromise(Effect.provide(program, limits)) // => ["Exceeded", 0]
 * ```
 *
 * @category admission
 * @since 0.1.0
 */
export const admit: (request: Request) => Effect.Effect<Lease, Rejected, Limiter | Scope.Scope> = Effect.fnUntraced(
  function*(request) {
    const limiter = yield* Limiter
    const lease = yield* Deferred.make<Lease, Rejected>()
    // Closing the scope interrupts the effect that holds the lease, which gives it back.
    const holder = yield* limiter.withAdmission(request)((held) =>
      Effect.andThen(Deferred.succeed(lease, held), Effect.never)
    ).pipe(
      Effect.onExit((exit) => Exit.isFailure(exit) ? Deferred.failCause(lease, exit.cause) : Effect.void),
      Effect.forkScoped({ startImmediately: true })
    )
    return yield* Deferred.await(lease).pipe(Effect.onInterrupt(() => Fiber.interrupt(holder)))
  }
)

/**
 * Adds a rule to a service's limits, for every request from now on, those that wait included.
 *
 * **Errors** Those that wait and cost more than the new rule ever holds are rejected (`OverCapacity`).
 *
 * **Example** (A service turns out to allow less)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Limiter } from "effect-toolformer"
 *
 * const call = Limiter.withAdmission({ service: "maps" })(Effect.succeed("here"))
 * const program = Effect.gen(function*() {
 *   yield* call
 *   yield* Limiter.add("maps", Limiter.slidingWindow({ limit: 1, window: "1 hour" }))
 *   yield* call
 *   return (yield* Effect.flip(call)).reason
 * })
 * await Effect.runPromise(Effect.provide(program, Limiter.layer({ onExceeded: "fail" }))) // => "Exceeded"
 * ```
 *
 * @category rules
 * @since 0.1.0
 */
export const add = (service: string, rule: Rule): Effect.Effect<void, never, Limiter> =>
  Limiter.use((limiter) => limiter.add(service, rule))

/**
 * Tells what a service's answer said about its limits. Effects run by `withAdmission` tell it by themselves.
 *
 * @category rules
 * @since 0.1.0
 */
export const feedback = (service: string, signal: Omit<Signal, "grantedAt">): Effect.Effect<void, never, Limiter> =>
  Limiter.use((limiter) => limiter.feedback(service, signal))

/**
 * Reads what an answer says about the limits of the service behind it; `undefined` where it says nothing.
 *
 * **Shape** `answer`: an exit, an error of any client, an HTTP answer with `status` and `headers`, or the last part of a model's
 * turn. It never throws, whatever it gets. `now`: the clock's milliseconds, for dates in answers that do not tell their own
 * time. A spent quota is not `congested`: waiting does not help.
 *
 * **Example** (A refusal in words)
 *
 * ```ts
 * import { Limiter } from "effect-toolformer"
 *
 * Limiter.signalOf({ status: 429, headers: { "Retry-After": "1m6.5s" } }, 0) // => { congested: true, retryAfterMillis: 66500 }
 * Limiter.signalOf({ status: 404, headers: {} }, 0) // => undefined
 * ```
 *
 * @category rules
 * @since 0.1.0
 */
export const signalOf: (answer: unknown, now: number) => Omit<Signal, "grantedAt"> | undefined = Signals.signalOf

/**
 * Runs an effect that asks a service, and tells the limiter what its answer said; without a limiter it just runs.
 *
 * It is for requests inside of an admitted effect, whose answers the effect's own exit does not show: a tool's HTTP client, for
 * one, as `HttpClient.transformResponse(client, Limiter.withFeedback("github"))`.
 *
 * @category rules
 * @since 0.1.0
 */
export const withFeedback = (service: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    Effect.serviceOption(Limiter),
    (limiter) => limiter._tag === "None" ? effect : watched(effect, (signal) => limiter.value.feedback(service, signal))
  )

/**
 * Says when each request would start if all were made now, in this order, and which limit it would wait for. Takes nothing.
 *
 * @category rules
 * @since 0.1.0
 */
export const explain = (
  requests: ReadonlyArray<Request & { readonly takes?: Duration.Input | undefined }>
): Effect.Effect<ReadonlyArray<Forecast>, Rejected, Limiter> => Limiter.use((limiter) => limiter.explain(requests))

/**
 * Writes a dry run as a small table: one line for each request, when it starts, and which limit it waits for.
 *
 * **Example** (Six calls under two limits)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Limiter } from "effect-toolformer"
 *
 * const limits = Limiter.layer({
 *   global: Limiter.slidingWindow({ limit: 4, window: "10 seconds" }),
 *   services: { maps: Limiter.slidingWindow({ limit: 1, window: "30 seconds" }) }
 * })
 * const calls = [{ service: "maps" }, { service: "maps" }, { calls: 3 }, { service: "search", tokens: 200 }]
 * const lines = await Effect.runPromise(Effect.provide(Limiter.explain(calls), limits))
 * const table = Limiter.formatForecast(lines).split("\n")
 * table[0] // => "#  request             starts  waits for"
 * table[2] // => "2  maps                +30 s   service \"maps\", 1 call / 30 seconds sliding"
 * table[3] // => "3  any, 3 calls        now     -"
 * table[4] // => "4  search, 200 tokens  +10 s   global, 4 calls / 10 seconds sliding"
 * ```
 *
 * @category rules
 * @since 0.1.0
 */
export const formatForecast: (lines: ReadonlyArray<Forecast>) => string = formatLines

/**
 * Makes Effect's own `RateLimiter` of `effect/persistence` a limiter, for programs that already run on it.
 *
 * **Shape** `onExceeded` `"wait"` consumes with `"delay"` and sleeps as
 * long as it says, `"fail"` with `"fail"`.
 *
 * **Errors** `slidingWindow` and `permits`, which Effect's has not, die at construction. A failing store is `StoreUnavailable`.
 *
 * **Gotchas** It takes first and waits afterwards, one limit at a time. So nothing is atomic over several limits: a request that a
 * later limit refuses has paid the earlier ones (tenant first, then service, then global). A waiter that is cancelled, or
 * rejected for its `maxWait`, has paid too. Settled tokens are not given back. There are no turns and no `explain`.
 *
 * **Example** (On the memory store of Effect)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { RateLimiter } from "effect/persistence"
 * import { Limiter } from "effect-toolformer"
 *
 * const limits = Limiter.fromRateLimiter({
 *   services: { api: Limiter.tokenBucket({ capacity: 10, refill: 5, every: "1 second" }) }
 * }).pipe(Layer.provide(RateLimiter.layer), Layer.provide(RateLimiter.layerStoreMemory))
 *
 * const call = Limiter.withAdmission({ service: "api" })(Effect.succeed("ok"))
 * await Effect.runPromise(Effect.provide(call, limits)) // => "ok"
 * ```
 *
 * @see {@link layer} and `layerRedis`, which have none of these gaps
 * @category layers
 * @since 0.1.0
 */
export const fromRateLimiter = (
  options: RateLimiterOptions
): Layer.Layer<Limiter, never, RateLimiter.RateLimiter> =>
  Layer.effect(Limiter, Effect.map(FromRateLimiter.fromRateLimiter(options), (parts) => make(parts as never)))
