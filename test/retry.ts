/**
 * A `Retry` under a test's control: it gives the delays of a list, one a failure, and notes what it was told.
 */
import * as AiError from "effect/ai/AiError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Retry } from "../src/policy/Retry.ts"

export interface Told {
  readonly begun: Array<string>
  readonly failed: Array<unknown>
  succeeded: number
}

/** `pauses`: what `pauseMillis` answers, asking by asking; then 0. Failures that are not retryable stand, as with the real one. */
export const retrying = (
  delays: ReadonlyArray<number>,
  pauses: ReadonlyArray<number> = []
): { readonly told: Told; readonly layer: Layer.Layer<Retry> } => {
  const told: Told = { begun: [], failed: [], succeeded: 0 }
  let given = 0
  let paused = 0
  const layer = Layer.succeed(Retry, {
    begin: ({ service }) => {
      told.begun.push(service)
      return {
        pauseMillis: () => pauses[paused++] ?? 0,
        refusedMillis: () => undefined,
        failed: (failure) =>
          Effect.sync(() => {
            told.failed.push(failure)
            return AiError.isAiError(failure) && !failure.isRetryable ? undefined : delays[given++]
          }),
        succeeded: () => void told.succeeded++
      }
    }
  })
  return { told, layer }
}

/** An error that no repetition helps. */
export const refused: AiError.AiError = AiError.make({
  module: "ScriptedModel",
  method: "streamText",
  reason: new AiError.AuthenticationError({ kind: "InvalidKey" })
})
