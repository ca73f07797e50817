import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { tokenBucket } from "../../src/policy/Limiter.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { clocks, fleetOf, runFleet, type Skew } from "./fleet.ts"

// A bucket that hardly refills: what is admitted is its capacity, and one more for each minute on whichever clock is believed.
const capacity = 200
const rule = tokenBucket({ capacity, refill: 1, every: "1 minute" })

const admitted = (skews: ReadonlyArray<Skew>) =>
  Effect.gen(function*() {
    const { port } = yield* redisServer()
    const shared = { port, rule, perSecond: 800, forMillis: 1500, onExceeded: "fail" } as const
    const reports = yield* Effect.promise(() => runFleet(fleetOf(skews, shared)))
    return reports.reduce((sum, { grantedAt }) => sum + grantedAt.length, 0)
  }).pipe(Effect.scoped)

const minutes = 60_000

describeRedis("a worker whose clock is wrong, in a whole limiter", () => {
  it.live("admits as many as with right clocks, within one", () =>
    Effect.gen(function*() {
      const right = yield* admitted(clocks())
      assert.isAtLeast(right, capacity)
      assert.isAtMost(right, capacity + 1)
      assert.closeTo(yield* admitted(clocks(5000, -5000, 10 * minutes, -10 * minutes)), right, 1)
    }), 60_000)

  it.live("admits as many when clocks are set back and forward in mid-run", () =>
    Effect.gen(function*() {
      const steps = clocks(-5000, 10 * minutes, -10 * minutes).map((skew) => ({ ...skew, skewAfterMillis: 500 }))
      assert.closeTo(yield* admitted(steps), capacity, 1)
    }), 60_000)
})
