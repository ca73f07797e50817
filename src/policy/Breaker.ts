/**
 * A circuit breaker for each service, over Effect's own `CircuitBreaker`: after failures in a row a service is not asked for a
 * while, then probed. It says what counts as a service's failure (what `Retry.isRetryable` says may pass, and time-outs; a
 * tool's own "not found" is an answer) and leaves state, stores and probing to Effect.
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import type * as Schedule from "effect/Schedule"
import { readBreaker, settings } from "./internal/breakerSettings.ts"
import type { Settings } from "./internal/breakerSettings.ts"
import { outcomeOf } from "./internal/verdicts.ts"

/**
 * The circuit breaker of a program.
 *
 * @category services
 * @since 0.1.0
 */
export class Breaker extends Context.Service<Breaker, {
  /** Runs the effect unless the service's circuit is open, and remembers how it ended; an interrupted one does not count. */
  readonly execute: (
    service: string
  ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitBreakerError, R>
  /** The circuit of a service, as the store has it. Fails only where the store does. */
  readonly state: (service: string) => Effect.Effect<CircuitBreaker.State, CircuitBreakerError>
}>()("effect-toolformer/policy/Breaker") {}

/**
 * When a circuit opens, and for how long.
 *
 * - `failures`: in a row, in order of their ends; an integer of at least 1; default 5.
 * - `rate`: in its place, a share of the last calls: `threshold` (default 0.5) of the last `size` (default 100), once
 *   `minimumCalls` (default `size`) have ended.
 * - `openDuration`: how long it stays open before one call probes it; default 30 seconds. A `Schedule` gives one delay for each
 *   opening in a row.
 * - `maxOpenDuration`: what a service's `Retry-After` may lengthen that to at most; default 1 hour.
 * - `onStoreError`: for a call whose store is away: `"allow"` (default) runs it, unrecorded; `"fail"` turns it away.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly failures?: number | undefined
  readonly rate?: {
    readonly threshold?: number | undefined
    readonly size?: number | undefined
    readonly minimumCalls?: number | undefined
  } | undefined
  readonly openDuration?: Duration.Input | Schedule.Schedule<unknown, number> | undefined
  readonly maxOpenDuration?: Duration.Input | undefined
  readonly onStoreError?: "allow" | "fail" | undefined
}

/**
 * Makes a circuit breaker for each service, kept in this process's memory.
 *
 * **Shape** What counts: a failure that may pass (`Retry.isRetryable`) and an attempt's time-out are the service's; a success and
 * any other typed failure are answers, and a service that answers is at work, so they end a row of failures and close the
 * circuit after a probe. An interruption, a bug of the handler and a call that one of our own policies turned away say
 * nothing. A time the service asks for lengthens the opening it causes.
 *
 * **Errors** Options that make no sense, and names that are none, die here, naming them.
 *
 * **Example** (A dead service is left alone)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Breaker } from "effect-toolformer"
 *
 * const ask = Effect.fail({ status: 503 }).pipe(Breaker.withBreaker("crm"))
 * const program = Effect.gen(function*() {
 *   yield* Effect.flip(ask)
 *   yield* Effect.flip(ask)
 *   const state = yield* Breaker.state("crm")
 *   return state._tag
 * })
 * await Effect.runPromise(Effect.provide(program, Breaker.layer({ failures: 2 }))) // => "Open"
 * ```
 *
 * @see {@link layerStore} for circuits shared by many processes
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Breaker> =>
  // A store of its own for each.
  Layer.provide(layerStore(options), Layer.fresh(CircuitBreaker.layerStoreMemory()))

/**
 * Makes a circuit breaker for each service, kept in the `CircuitBreakerStore` of the context, such as Effect's
 * `CircuitBreaker.layerStoreRedis`.
 *
 * **Shape** Services are the store's keys. Breakers on one store share the circuits of one name; their options should match.
 *
 * **Errors** As {@link layer}; a store that is away is `onStoreError`'s matter.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStore = (
  options: Options = {}
): Layer.Layer<Breaker, never, CircuitBreaker.CircuitBreakerStore> => {
  const given = settings(options)
  return Layer.effect(Breaker, make(given))
}

/**
 * The options of a circuit breaker as the environment has them: `TOOLFORMER_BREAKER_FAILURES`,
 * `TOOLFORMER_BREAKER_OPEN_DURATION`, `TOOLFORMER_BREAKER_MAX_OPEN_DURATION`. What is absent keeps its default.
 *
 * **Errors** A `ConfigError` that names the variable and says what is wrong with it, also for a name that begins with
 * `TOOLFORMER_BREAKER` and is none of these.
 *
 * @category settings
 * @since 0.1.0
 */
export const optionsConfig: Effect.Effect<Options, Config.ConfigError> = readBreaker

/**
 * Makes the circuit breaker that the environment names, kept in this process's memory.
 *
 * @see {@link optionsConfig} for the variables
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<Breaker, Config.ConfigError> = Layer.unwrap(Effect.map(optionsConfig, layer))

const make = Effect.fnUntraced(function*(given: Settings) {
  const breaker = yield* CircuitBreaker.make(given)
  return Breaker.of({
    execute: (service) => (effect) =>
      Effect.uninterruptibleMask((restore) =>
        // Effect's breaker does not look at an interruption, and an attempt's time-out is one. As a value it is seen.
        Effect.flatten(
          breaker.execute(Effect.exit(restore(effect)), {
            key: service,
            classify: (exit) => Exit.isSuccess(exit) ? outcomeOf(exit.value) : Effect.succeed(CircuitBreaker.ignored)
          })
        )
      ),
    state: breaker.state
  })
})

/**
 * Runs an effect unless the circuit of its service is open.
 *
 * **Errors** The effect's own; `CircuitBreakerError`, whose `reason` is `CircuitOpen` (with `retryAfter`), `CircuitHalfOpen` (the probe
 * is under way) or, with `onStoreError: "fail"`, `CircuitBreakerStoreError`.
 *
 * **Gotchas** A time-out belongs inside: one outside interrupts the effect, which says nothing about the service. `Retry.withRetry`
 * belongs outside: then every attempt is seen.
 *
 * **Example** (Open, so not asked)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Breaker } from "effect-toolformer"
 *
 * const ask = Effect.fail({ status: 503 }).pipe(Breaker.withBreaker("crm"))
 * const program = Effect.andThen(Effect.flip(ask), Effect.flip(ask))
 * const error = await Effect.runPromise(Effect.provide(program, Breaker.layer({ failures: 1 })))
 * "reason" in error ? error.reason._tag : error // => "CircuitOpen"
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const withBreaker =
  (service: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitBreakerError, R | Breaker> =>
    Effect.flatMap(Breaker, (breaker) => breaker.execute(service)(effect))

/**
 * The circuit of a service: `Closed`, `Open` (with `retryAfter`) or `HalfOpen`.
 *
 * @category reading
 * @since 0.1.0
 */
export const state = (service: string): Effect.Effect<CircuitBreaker.State, CircuitBreakerError, Breaker> =>
  Effect.flatMap(Breaker, (breaker) => breaker.state(service))
