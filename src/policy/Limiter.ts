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
