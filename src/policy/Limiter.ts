/**
 * Limits that hold: a request names what it is for (a service, a tenant, its cost) and is admitted when *all* limits on that
 * way have room, or takes nothing. Grant now, wait at home: the store holds no waiter's slot; this process keeps its own
 * waiters in lanes, in turn, and asks for their heads.
 *
 * `withAdmission(request)(effect)` is the contract, and all a limiter of your own must do: a Layer of `Limiter`.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Rule } from "./internal/rule.ts"
import type { Signal } from "./LimiterStore.ts"

export { fixedWindow, permits, slidingWindow, tokenBucket } from "./internal/rule.ts"
export type { Rule, Unit } from "./internal/rule.ts"

/**
 * A place beside the limits, held by the caller: taken in the same step as the limits, so that whoever waits for a limit
 * holds no place, and whoever waits for a place holds nothing of a limit. The engine passes one with each call; a limiter that
 * wraps another hands it on, a limiter of its own may leave it alone (the engine then takes the place after the grant).
 *
 * **Shape** Gates of one `flow` open together and stand in one row: `tryTake` takes the place or says there is none;
 * `release` gives back a place that was not used; `onFree` calls `wake` once, when a place of the flow may be free.
 *
 * @category models
 * @since 0.1.0
 */
export interface Gate {
  readonly flow: object
  readonly tryTake: () => boolean
  readonly release: () => void
  readonly onFree: (wake: () => void) => void
}

/**
 * What is to be admitted.
 *
 * - `service`: whose limits it pays. Absent: the global ones only.
 * - `tenant`: on whose behalf; absent: {@link Tenant}.
 * - `calls`: an integer of at least 1; default 1. `tokens`: what it is expected to cost, an integer of at least 1; absent: it
 *   passes no limit counted in tokens. To be settled with the lease.
 * - `priority`: a higher one is asked for first within a lane; default 0. `speculative`: never queues: it passes now or is
 *   rejected.
 * - `run`: whose turn it is: runs share a lane fairly.
 * - `maxWait`, `deadline`: how long it may wait from now. It is rejected at once when the earliest possible start is later.
 *   `deadline` is the caller's own clock and only shortens the answer; it is not watched.
 * - `repeat`: under `onExceeded: "adaptive"`, an effect refused by its service for its rate (429) waits and runs again. Only
 *   for what may be run twice.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly service?: string | undefined
  readonly tenant?: string | undefined
  readonly calls?: number | undefined
  readonly tokens?: number | undefined
  readonly priority?: number | undefined
  readonly speculative?: boolean | undefined
  readonly run?: string | undefined
  readonly maxWait?: Duration.Input | undefined
  readonly deadline?: Duration.Input | undefined
  readonly repeat?: boolean | undefined
  readonly gate?: Gate | undefined
}

/**
 * What an admitted effect holds.
 *
 * **Shape** `settle` replaces the estimated tokens by what it really cost; the last one counts. `waitedMillis`: how long the
 * limits made it wait. `lost` ends when a permit's lease was lost (this process was paused for longer than the lease); it
 * never ends otherwise.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly settle: (actual: { readonly tokens: number }) => Effect.Effect<void>
  readonly waitedMillis: number
  readonly lost: Effect.Effect<void>
}

/**
 * The request was not admitted and took nothing.
 *
 * **Shape** `reason`: `Exceeded` (no room now, and it may not wait), `MaxWait` and `Deadline` (it would start, or has waited,
 * too long), `OverCapacity` (it asks for more than the limit ever holds), `InvalidRequest`, `StoreUnavailable`, `RateLimited`
 * (the service itself refused it and asks for a longer pause than may be waited). `limit` names the limit;
 * `retryAfterMillis` says how long to wait, where that is known.
 *
 * @category errors
 * @since 0.1.0
 */
export class Rejected extends Schema.TaggedError<Rejected>()("Rejected", {
  reason: Schema.Literals([
    "Exceeded",
    "MaxWait",
    "Deadline",
    "OverCapacity",
    "InvalidRequest",
    "StoreUnavailable",
    "RateLimited"
  ]),
  limit: Schema.String,
  message: Schema.String,
  retryAfterMillis: Schema.optionalKey(Schema.Finite),
  cause: Schema.optionalKey(Schema.Defect())
}) {}

/**
 * Runs effects when they are admitted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Admit {
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Rejected, R>
  <A, E, R>(use: (lease: Lease) => Effect.Effect<A, E, R>): Effect.Effect<A, E | Rejected, R>
}

/**
 * One line of a dry run: when the request would start, in milliseconds from now, and the limit it waits for until then.
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
 * On whose behalf requests are made that do not say so. Default: nobody's.
 *
 * @category settings
 * @since 0.1.0
 */
export const Tenant: Context.Reference<string | undefined> = Context.Reference<string | undefined>(
  "effect-toolformer/Limiter/Tenant",
  { defaultValue: () => undefined }
)

type Rules = Rule | ReadonlyArray<Rule>

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
  readonly global?: Rules | undefined
  readonly services?: Readonly<Record<string, Rules>> | undefined
  readonly tenants?: Rules | Readonly<Record<string, Rules>> | undefined
  readonly onExceeded?: "wait" | "fail" | "adaptive" | undefined
  readonly maxWait?: Duration.Input | undefined
}

/**
 * Runs an effect when the limiter of the context admits it.
 *
 * @category admission
 * @since 0.1.0
 */
export const withAdmission = (request: Request): {
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Rejected, R | Limiter>
  <A, E, R>(use: (lease: Lease) => Effect.Effect<A, E, R>): Effect.Effect<A, E | Rejected, R | Limiter>
} =>
(use: unknown): never => Effect.flatMap(Limiter, (limiter) => limiter.withAdmission(request)(use as never)) as never

/**
 * A lease held by the scope: for streams, and for permits held by hand. Derived from `withAdmission`.
 *
 * @category admission
 * @since 0.1.0
 */
export declare const admit: (request: Request) => Effect.Effect<Lease, Rejected, Limiter | Scope.Scope>
