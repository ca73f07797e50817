/** The limits of a run from the environment; without any, no limiter. */
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Limiter from "../policy/Limiter.ts"
import { firstLine, usage } from "./CommandError.ts"
import type { CommandError } from "./CommandError.ts"

/**
 * Reads `TOOLFORMER_LIMIT_*`.
 *
 * **Errors** A variable that is misspelt or makes no sense is bad usage, by name.
 *
 * @category layers
 * @since 0.1.0
 */
export const fromEnvironment: Effect.Effect<Layer.Layer<never>, CommandError> = Limiter.optionsConfig.pipe(
  Effect.map((options) => Object.keys(options).length === 0 ? Layer.empty : Limiter.layer(options)),
  Effect.mapError(({ cause }: Config.ConfigError) => usage(firstLine(cause)))
)
