import { Context, Effect as E, Schedule } from "effect"
import type { Config, Effect, Layer } from "effect"
import type { CircuitBreaker } from "effect/persistence"
import { Breaker, Retry } from "../../src/index.ts"
import type { Limiter } from "../../src/index.ts"

class Db extends Context.Service<Db, { readonly name: string }>()("test/Db") {}
class Missing {
  readonly _tag = "Missing"
}

declare const find: Effect.Effect<string, Missing, Db>

// A, E and R are the effect's, and only Rejected and the policy are added.
export const retried: Effect.Effect<string, Missing | Limiter.Rejected, Db | Retry.Retry> = find.pipe(
  Retry.withRetry({ service: "db", attempts: 5, base: "1 second", while: (failure) => failure !== undefined })
)
export const guarded: Effect.Effect<string, Missing | CircuitBreaker.CircuitBreakerError, Db | Breaker.Breaker> = find
  .pipe(Breaker.withBreaker("db"))
export const both: Effect.Effect<
  string,
  Missing | Limiter.Rejected | CircuitBreaker.CircuitBreakerError,
  Db | Retry.Retry | Breaker.Breaker
> = find.pipe(Breaker.withBreaker("db"), Retry.withRetry({ service: "db", schedule: Schedule.recurs(3) }))
export const provided: Effect.Effect<string, Missing | Limiter.Rejected, Db> = E.provide(retried, Retry.layer())
// Nothing is widened.
export const succeeds: E.Success<typeof retried> extends string ? true : false = true

export const memory: Layer.Layer<Breaker.Breaker> = Breaker.layer({ openDuration: Schedule.exponential("1 second") })
export const stored: Layer.Layer<Breaker.Breaker, never, CircuitBreaker.CircuitBreakerStore> = Breaker.layerStore()
export const ofTheEnvironment: Layer.Layer<Retry.Retry, Config.ConfigError> = Retry.layerConfig
export const ofTheEnvironmentToo: Layer.Layer<Breaker.Breaker, Config.ConfigError> = Breaker.layerConfig

// @ts-expect-error a service may have asked for a longer pause than may be waited
export const unhandled: Effect.Effect<string, Missing, Db | Retry.Retry> = find.pipe(Retry.withRetry({ service: "db" }))
// @ts-expect-error it needs a Retry
void E.runPromise(E.void.pipe(Retry.withRetry({ service: "db" })))
// @ts-expect-error it needs a Breaker
void E.runPromise(E.void.pipe(Breaker.withBreaker("db")))
// @ts-expect-error a service must be named
Retry.withRetry({ attempts: 3 })
// @ts-expect-error a misspelt name
Retry.withRetry({ service: "db", atempts: 3 })
// @ts-expect-error a misspelt name
Retry.layer({ budget: { ration: 0.1 } })
// @ts-expect-error a misspelt name
Breaker.layer({ failure: 3 })
// @ts-expect-error a schedule that fails is none for a retry
Retry.layer({ schedule: Schedule.forever as unknown as Schedule.Schedule<number, unknown, Error> })
