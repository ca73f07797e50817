/**
 * A retry policy under a test's control: the delays it gives in order, the pauses it asks for, and what it was told. After the
 * last delay every failure stands.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Retry } from "../../src/index.ts"

// The model's turns are not what is tested here.
const inert: Retry.Attempts = {
  pauseMillis: () => 0,
  refusedMillis: () => undefined,
  failed: () => Effect.succeed(undefined),
  succeeded: () => {}
}

export class ScriptedRetry {
  readonly asked: Array<Retry.Request> = []
  readonly failures: Array<unknown> = []
  successes = 0
  pauses: Array<number> = []
  refused: number | undefined = undefined
  private readonly delays: Array<number | undefined>
  private readonly deciding: Effect.Effect<unknown>

  constructor(delays: ReadonlyArray<number | undefined>, deciding: Effect.Effect<unknown> = Effect.void) {
    this.delays = [...delays]
    this.deciding = deciding
  }

  get layer(): Layer.Layer<Retry.Retry> {
    return Layer.succeed(Retry.Retry, {
      begin: (request) => {
        if (request.service === "model") return inert
        this.asked.push(request)
        return {
          pauseMillis: () => this.pauses.shift() ?? 0,
          refusedMillis: () => this.refused,
          failed: (failure) =>
            Effect.suspend(() => {
              this.failures.push(failure)
              return Effect.as(this.deciding, this.delays.shift())
            }),
          succeeded: () => {
            this.successes++
          }
        }
      }
    })
  }
}
