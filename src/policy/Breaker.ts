/**
 * A circuit breaker for each service, over Effect's own `CircuitBreaker`: after failures in a row a service is not asked for a
 * while, then probed. It says what counts as a service's failure (what `Retry.isRetryable` says may pass, and time-outs; a
 * tool's own "not found" is an answer) and leaves state, stores and probing to Effect.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { CircuitBreakerError } from "effect/persistence/CircuitBreaker"

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
}>()("effect-toolformer/policy/Breaker") {}
