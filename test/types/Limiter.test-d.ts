import type { Config, Effect, Layer, Scope } from "effect"
import { Context, Effect as E } from "effect"
import type { RateLimiter, Redis } from "effect/persistence"
import type { LimiterStore } from "../../src/index.ts"
import { Limiter } from "../../src/index.ts"

class Db extends Context.Service<Db, { readonly name: string }>()("test/Db") {}
class Missing {
  readonly _tag = "Missing"
}

declare const find: Effect.Effect<string, Missing, Db>
type Found = Effect.Effect<string, Missing | Limiter.Rejected, Db | Limiter.Limiter>

// A, E and R are the effect's, and only Rejected and the limiter are added: called, in a pipe, and of the lease.
export const called: Found = Limiter.withAdmission({ service: "db" })(find)
export const piped: Found = find.pipe(Limiter.withAdmission({ service: "db", tokens: 5, maxWait: "1 second" }))
export const settled: Found = Limiter.withAdmission({ service: "db" })((lease) =>
  E.tap(find, lease.settle({ tokens: 1 }))
)
// Nothing is widened: what can be seen of each is no more than it says.
export const succeeds: E.Success<typeof piped> extends string ? true : false = true
export const own: Effect.Effect<number, Limiter.Rejected, Limiter.Limiter> = E.succeed(1).pipe(
  Limiter.withAdmission({})
)
export const caught: Effect.Effect<string, Missing, Db | Limiter.Limiter> = find.pipe(
  Limiter.withAdmission({}),
  E.catchTag("Rejected", ({ limit }) => E.succeed(limit))
)
export const provided: Effect.Effect<string, Missing | Limiter.Rejected, Db> = E.provide(piped, Limiter.layer({}))
export const ofTheService = (
  limiter: Limiter.Limiter["Service"]
): Effect.Effect<string, Missing | Limiter.Rejected, Db> => limiter.withAdmission({ service: "db" })(find)

// @ts-expect-error a request may be refused
export const unhandled: Effect.Effect<string, Missing, Db | Limiter.Limiter> = Limiter.withAdmission({})(find)
// @ts-expect-error it needs a limiter
void E.runPromise(Limiter.withAdmission({})(E.void))
// @ts-expect-error a misspelt name
Limiter.withAdmission({ sevice: "db" })
// @ts-expect-error a service is a name
Limiter.withAdmission({ service: 5 })

export const lease: Effect.Effect<Limiter.Lease, Limiter.Rejected, Limiter.Limiter | Scope.Scope> = Limiter.admit({})

export const memory: Layer.Layer<Limiter.Limiter> = Limiter.layer({ services: { db: [Limiter.permits(1)] } })
export const environment: Layer.Layer<Limiter.Limiter, Config.ConfigError> = Limiter.layerConfig
export const redis: Layer.Layer<Limiter.Limiter, LimiterStore.LimiterStoreError, Redis.Redis> = Limiter.layerRedis({
  global: Limiter.permits(1, { lease: "1 minute" }),
  onStoreError: "open",
  name: "mine"
})
export const effects: Layer.Layer<Limiter.Limiter, never, RateLimiter.RateLimiter> = Limiter.fromRateLimiter({})

// @ts-expect-error an option that there is not
Limiter.layer({ service: { db: Limiter.permits(1) } })
// @ts-expect-error a memory is never away
Limiter.layer({ onStoreError: "open" })
// @ts-expect-error Effect's limiter does not learn
Limiter.fromRateLimiter({ onExceeded: "adaptive" })
// @ts-expect-error permits are counted in calls
Limiter.permits(1, { unit: "tokens" })
// @ts-expect-error a bucket is refilled, in a time
Limiter.tokenBucket({ capacity: 1, every: "1 second" })
