/**
 * What the memory scenario of `limits` admits with: ours, Effect's `RateLimiter`, `rate-limiter-flexible`, `p-queue`. Every
 * side admits one after the other and never has to wait: its limits hold far more than the loop takes.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RateLimiter from "effect/persistence/RateLimiter"
import * as Scope from "effect/Scope"
import * as Limiter from "../../../src/policy/Limiter.ts"
import type { Run } from "../measure.ts"

/** More than all loops of a process take. */
const plenty = 1_000_000_000

// One more a millisecond: Effect computes with whole milliseconds much faster than with parts of them.
const window = Duration.millis(plenty)

const bucket = (unit: Limiter.Unit = "calls"): Limiter.Rule =>
  Limiter.tokenBucket({ capacity: plenty, refill: plenty, every: window, unit })

/** One fiber that runs `admit` `n` times. */
const inOneFiber = <E>(n: number, admit: () => Effect.Effect<unknown, E>): Effect.Effect<number, E> =>
  Effect.suspend(() => {
    let done = 0
    return Effect.as(Effect.whileLoop({ while: () => done < n, body: admit, step: () => void done++ }), n)
  })

/** Our limiter with these options, `request` admitted around `Effect.void`. */
const ours = (n: number, options: Limiter.Options, request: Limiter.Request): Promise<Run> =>
  Effect.runPromise(Effect.gen(function*() {
    // The scope stays open: it ends with the process.
    const context = yield* Layer.buildWithScope(Limiter.layer(options), Scope.makeUnsafe())
    const limiter = yield* Effect.provide(Limiter.Limiter, context)
    const program = inOneFiber(n, () => limiter.withAdmission(request)(Effect.void))
    return () => Effect.runPromise(program)
  }))

/** Ours: one token bucket. */
export const oursOne = (n: number): Promise<Run> => ours(n, { services: { api: bucket() } }, { service: "api" })

/** Ours: four token buckets, one of them counting tokens. */
export const oursFour = (n: number): Promise<Run> =>
  ours(n, { global: bucket(), services: { api: [bucket(), bucket("tokens")] }, tenants: bucket() }, {
    service: "api",
    tenant: "acme",
    tokens: 10
  })

/** Ours: three token buckets and a permit. */
export const oursPermit = (n: number): Promise<Run> =>
  ours(n, { global: bucket(), services: { api: [bucket(), Limiter.permits(100)] }, tenants: bucket() }, {
    service: "api",
    tenant: "acme"
  })

/** Effect's: one token bucket, `RateLimiter.sleep`. */
export const effect = (n: number): Promise<Run> =>
  Effect.runPromise(
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      const options = { key: "api", limit: plenty, window, algorithm: "token-bucket" } as const
      const program = inOneFiber(n, () => RateLimiter.sleep(limiter, options))
      return () => Effect.runPromise(program)
    }).pipe(Effect.provide(RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))))
  )
