/** The policies by themselves, over real HTTP. The engine with them is in `P3.test.ts`. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { Breaker, Retry } from "../../src/index.ts"
import { seeded } from "../policy/chance.ts"
import { askAll, hammered, VirtualClock } from "./hammering.ts"
import type { Form } from "./hammering.ts"
import { errorOf } from "./pacedModel.ts"

const failing: ReadonlyArray<Form> = [
  ...[500, 502, 503, 504, 529].map((status) => ({ name: String(status), status, askedMillis: 0 })),
  { name: "reset", status: "reset", askedMillis: 0 }
]
const seed = Number(process.env["TOOLFORMER_FUZZ_SEED"] ?? 1)

describe("P3: a service that fails, by the policies alone", () => {
  it.live.each(failing)(
    "P3: $name: a call is tried three times, each time after a random wait, and ends with the last failure",
    (form) =>
      Effect.gen(function*() {
        const clock = new VirtualClock()
        const server = yield* hammered(clock, form, false, 1)
        const [exit] = yield* askAll(clock, server, 1, Retry.withRetry({ service: "api" }))
        const expected = form.status === "reset" ? { code: "UND_ERR_SOCKET" } : { status: form.status }
        assert.deepInclude(errorOf(exit!), expected)
        const [first, second, third] = server.arrivals.map(({ at }) => at)
        assert.lengthOf(server.arrivals, 3)
        assert.isTrue(second! > first! && second! - first! <= 200, `seed ${seed}: ${second}`)
        assert.isTrue(third! > second! && third! - second! <= 400, `seed ${seed}: ${third}`)
      }).pipe(Effect.scoped, Effect.provide(Retry.layer()), Effect.provideService(Random.Random, seeded(seed)))
  )

  it.live.each(failing)(
    "P3: $name: 300 calls at 100 %% failure are at most 330 requests",
    (form) =>
      Effect.gen(function*() {
        const clock = new VirtualClock()
        const server = yield* hammered(clock, form, false, 300)
        const exits = yield* askAll(clock, server, 300, Retry.withRetry({ service: "api", attempts: 10 }))
        assert.isTrue(exits.every(Exit.isFailure))
        assert.lengthOf(server.arrivals, 330)
      }).pipe(Effect.scoped, Effect.provide(Retry.layer()), Effect.provideService(Random.Random, seeded(seed)))
  )

  it.live.each(failing)(
    "P3: $name: the circuit opens, and for thirty seconds nobody asks",
    (form) =>
      Effect.gen(function*() {
        const clock = new VirtualClock()
        const server = yield* hammered(clock, form, false, 1)
        // A call every second, for 45 seconds.
        const exits = yield* askAll(clock, server, 45, Breaker.withBreaker("api"), (index) => index * 1000)
        // Five in a row, then one that probes.
        assert.deepStrictEqual(server.arrivals.map(({ at }) => at), [0, 1000, 2000, 3000, 4000, 34_000])
        const turnedAway = exits.map(errorOf).filter((error) => "_tag" in error && error._tag === "CircuitBreakerError")
        assert.lengthOf(turnedAway, 39)
      }).pipe(Effect.scoped, Effect.provide(Breaker.layer()))
  )

  it.live(
    "P3: a port that refuses and a name that is none are tried again, and end with their code",
    () =>
      Effect.gen(function*() {
        const port = yield* Effect.promise(() =>
          new Promise<number>((resolve) => {
            const server = createServer().listen(0, "127.0.0.1", () => {
              const { port } = server.address() as AddressInfo
              server.close(() => resolve(port))
            })
          })
        )
        for (
          const [url, codes] of [[`http://127.0.0.1:${port}/`, /^ECONNREFUSED$/], [
            "http://no.invalid/",
            /^(?:ENOTFOUND|EAI_AGAIN)$/
          ]] as const
        ) {
          let attempts = 0
          const ask = Effect.tryPromise({
            try: (signal) => (attempts++, fetch(url, { signal })),
            catch: (error) => error as { readonly cause: { readonly code: string } }
          })
          const error = yield* Effect.flip(ask.pipe(Retry.withRetry({ service: url, base: 1 })))
          assert.match((error as { readonly cause: { readonly code: string } }).cause.code, codes)
          assert.strictEqual(attempts, 3, url)
        }
      }).pipe(Effect.provide(Retry.layer())),
    60_000
  )

  it.live("P3: a service that is back is asked as before: what failed is tried again and succeeds", () =>
    Effect.gen(function*() {
      const clock = new VirtualClock()
      const server = yield* hammered(clock, { name: "500", status: 500, askedMillis: 50 }, true, 20)
      const exits = yield* askAll(
        clock,
        server,
        20,
        Retry.withRetry({ service: "api", base: "10 seconds", attempts: 2 })
      )
      assert.lengthOf(exits.filter(Exit.isSuccess), 10)
    }).pipe(Effect.scoped, Effect.provide(Retry.layer()), Effect.provideService(Random.Random, seeded(seed))))
})
