import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Breaker, Retry } from "../../src/index.ts"
import { askAll, hammered, VirtualClock } from "./hammering.ts"
import { aiErrorOf, errorOf, first, refusal, stage } from "./pacedModel.ts"

describe("P2: a spent quota", () => {
  it.effect.each<readonly [string, number, unknown]>([
    ["insufficient_quota as the code", 429, {
      error: { message: "You exceeded your current quota", code: "insufficient_quota" }
    }],
    ["insufficient_quota as the type", 429, { error: { message: "no money", type: "insufficient_quota", code: null } }],
    ["a billing limit", 429, {
      error: { message: "Billing hard limit has been reached", code: "billing_hard_limit_reached" }
    }],
    ["a payment that is due", 402, { error: { message: "Insufficient credits" } }]
  ])(
    "P2: %s is one request, whatever Retry-After says, and no pause for others",
    ([, status, body]) =>
      Effect.gen(function*() {
        const at = yield* stage(first(refusal(status, { "retry-after": "5" }, body)))
        const error = aiErrorOf(yield* Effect.exit(at.call({ repeat: true })))
        assert.strictEqual(error.reason._tag, "QuotaExhaustedError")
        assert.isFalse(error.isRetryable)
        assert.lengthOf(at.seen, 1)
        assert.deepStrictEqual(yield* at.pace, {
          _tag: "Adaptive",
          callsPerSecond: Number.POSITIVE_INFINITY,
          pausedMillis: 0,
          nextInMillis: 0
        } as never)
        // The clock stands: whoever comes next is asked for at once.
        yield* at.call()
        assert.deepStrictEqual(at.starts, [0, 0])
      })
  )

  it.effect("P2: ends a run of the engine with the provider's error, after one request", () =>
    Effect.gen(function*() {
      const spent = refusal(429, { "retry-after": "1" }, { error: { message: "quota", code: "insufficient_quota" } })
      const at = yield* stage(() => spent)
      const error = errorOf(yield* Effect.exit(at.run))
      assert.strictEqual(error._tag, "AiError")
      assert.strictEqual(error.reason._tag, "QuotaExhaustedError")
      assert.lengthOf(at.seen, 1)
    }))

  it.effect("P2: twenty calls at once are twenty requests", () =>
    Effect.gen(function*() {
      const spent = refusal(429, { "retry-after": "1" }, { error: { message: "quota", code: "insufficient_quota" } })
      const at = yield* stage(() => spent)
      const exits = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.exit(at.call({ repeat: true })),
        { concurrency: "unbounded" }
      )
      for (const exit of exits) assert.strictEqual(aiErrorOf(exit).reason._tag, "QuotaExhaustedError")
      assert.lengthOf(at.seen, 20)
    }))
})

describe("P2: a spent quota, with a Retry and a Breaker", () => {
  it.live.each<readonly [string, number, unknown]>([
    ["insufficient_quota", 429, { error: { message: "quota", code: "insufficient_quota" } }],
    ["a billing limit", 429, { error: { message: "limit", code: "billing_hard_limit_reached" } }],
    ["a payment that is due", 402, { error: { message: "Insufficient credits" } }]
  ])(
    "P2: %s is one request for each call, at once, and no pause for others",
    ([, status, body]) =>
      Effect.gen(function*() {
        const clock = new VirtualClock()
        const form = { name: "quota", status, headers: { "retry-after": "5" }, body, askedMillis: 0 }
        const server = yield* hammered(clock, form, false, 1)
        const exits = yield* askAll(
          clock,
          server,
          20,
          (asked) => asked.pipe(Breaker.withBreaker("api"), Retry.withRetry({ service: "api" })),
          (index) => index < 10 ? 0 : 1
        )
        for (const exit of exits) assert.deepInclude(errorOf(exit), { status })
        assert.deepStrictEqual(server.arrivals.map(({ at }) => at), [...Array(10).fill(0), ...Array(10).fill(1)])
        assert.strictEqual((yield* Breaker.state("api"))._tag, "Closed")
      }).pipe(Effect.scoped, Effect.provide([Retry.layer(), Breaker.layer()]))
  )
})
