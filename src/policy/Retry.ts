/**
 * Trying again what may succeed later: how often, how soon, and how much of it in all. A service that says when to come back is
 * asked by nobody before, and what is tried again is bounded by a budget over all of a service's calls, so that a dead API is
 * not hammered.
 *
 * The contract decides and waits for nobody: the engine, or `withRetry` for any effect, does the waiting.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { RetryOptions } from "../domain/ToolPolicy.ts"

/**
 * What is about to be attempted: the service it asks (its failures, pauses and budget are shared by all that name it) and rules
 * of its own, which win over the layer's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly service: string
  readonly options?: RetryOptions | undefined
}

/**
 * One call, or one turn of the model, over its attempts.
 *
 * **Units** Milliseconds, from now.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempts {
  /** How long to wait before the next attempt of any kind, since the service has asked for a pause; 0 where it has not. */
  readonly pauseMillis: () => number
  /** An attempt failed: how long to wait before the next one; `undefined` where the failure stands. */
  readonly failed: (failure: unknown) => Effect.Effect<number | undefined>
  /** An attempt succeeded. */
  readonly succeeded: () => void
}

/**
 * The retry policy of a program.
 *
 * @category services
 * @since 0.1.0
 */
export class Retry extends Context.Service<Retry, {
  /** Begins a call. `context`: the caller's, for its `Clock` and `Random`. Costs no fiber. */
  readonly begin: (request: Request, context: Context.Context<never>) => Attempts
}>()("effect-toolformer/policy/Retry") {}
