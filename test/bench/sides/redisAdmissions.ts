/**
 * Our side of the Redis scenario of `limits`: one limiter a process, all limits of a call in one script.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as IoRedis from "../../../src/adapter/IoRedis.ts"
import * as Limiter from "../../../src/policy/Limiter.ts"
import type { Ongoing } from "../duel.ts"

const plenty = 1_000_000_000

const bucket = Limiter.tokenBucket({ capacity: plenty, refill: plenty, every: "1 second" })
// More than two cores admit in a second: it counts every call, and nobody waits.
const window = Limiter.slidingWindow({ limit: 1_000_000, window: "1 second" })

const side = async (port: number, services: ReadonlyArray<Limiter.Rule>): Promise<Ongoing> => {
  const layer = Limiter.layerRedis({ global: bucket, services: { api: services }, tenants: bucket }).pipe(
    Layer.provide(IoRedis.layer({ port, host: "127.0.0.1" }))
  )
  // The scope stays open: it ends with the process.
  const context = await Effect.runPromise(Layer.buildWithScope(layer, Scope.makeUnsafe()))
  const limiter = await Effect.runPromise(Effect.provide(Limiter.Limiter, context))
  return (inFlight, done) => {
    const admit = limiter.withAdmission({ service: "api", tenant: "acme" })(Effect.sync(done))
    const fibers = Array.from({ length: inFlight }, () => Effect.runFork(Effect.forever(admit)))
    return () => Effect.runPromise(Fiber.interruptAll(fibers))
  }
}

/** Three token buckets and one exact sliding window. */
export const ours = (port: number): Promise<Ongoing> => side(port, [bucket, window])

/** The same with a permit, taken and given back. */
export const oursPermit = (port: number): Promise<Ongoing> => side(port, [bucket, window, Limiter.permits(1000)])
