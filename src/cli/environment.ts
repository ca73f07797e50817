/** The policies of a run from the environment. */
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Breaker from "../policy/Breaker.ts"
import * as Limiter from "../policy/Limiter.ts"
import * as Retry from "../policy/Retry.ts"
import { firstLine, usage } from "./CommandError.ts"
import type { CommandError } from "./CommandError.ts"

/**
 * What the environment asks for. `limits` win over a limiter of the user's module; `retries` are there in any case, below what
 * the module brings.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policies {
  readonly limits: Layer.Layer<never>
  readonly retries: Layer.Layer<never>
}

/**
 * Reads `TOOLFORMER_LIMIT_*`, `TOOLFORMER_RETRY_*` and `TOOLFORMER_BREAKER_*`.
 *
 * **Errors** A variable that is misspelt or makes no sense is bad usage, by name.
 *
 * @category layers
 * @since 0.1.0
 */
export const fromEnvironment: Effect.Effect<Policies, CommandError> = Effect.gen(function*() {
  const limits = yield* Limiter.optionsConfig
  const retry = yield* Retry.optionsConfig
  const breaker = yield* Breaker.optionsConfig
  return {
    limits: isEmpty(limits) ? Layer.empty : Limiter.layer(limits),
    retries: isEmpty(breaker) ? Retry.layer(retry) : Layer.merge(Retry.layer(retry), Breaker.layer(breaker))
  }
}).pipe(Effect.mapError(({ cause }: Config.ConfigError) => usage(firstLine(cause))))

const isEmpty = (options: object): boolean => Object.values(options).every((value) => value === undefined)
