import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { tokenBucket } from "../../src/policy/Limiter.ts"
import { fleetOf, runFleet } from "../limits/fleet.ts"
import { describeRedis, redisServer } from "../redis.ts"

// A bucket that hardly refills: what is admitted is its capacity, and one more for each minute on whichever clock is believed.
const capacity = 200
const rule = tokenBucket({ capacity, refill: 1, every: "1 minute" })

const admitted = (skewMillis: number, skewAfterMillis?: number) =>
  Effect.gen(function*() {
    const { port } = yield* redisServer()
    const clients = fleetOf(4, { port, rule, perSecond: 800, forMillis: 1500, onExceeded: "fail" }, skewMillis)
    const reports = yield* Effect.promise(() =>
      runFleet(clients.map((client) => skewAfterMillis === undefined ? client : { ...client, skewAfterMillis }))
    )
    return reports.reduce((sum, { grantedAt }) => sum + grantedAt.length, 0)
  }).pipe(Effect.scoped)

describeRedis("R7: the clock of a worker is wrong", () => {
  it.live.each(
    [
      ["5 s ahead", 5000, undefined],
      ["5 s behind", -5000, undefined],
      ["10 min ahead", 600_000, undefined],
      ["10 min behind", -600_000, undefined],
      ["set back by 10 min in mid-run", -600_000, 500],
      ["set forward by 10 min in mid-run", 600_000, 500]
    ] as const
  )("admits as many as with right clocks: %s", ([, skewMillis, skewAfterMillis]) =>
    Effect.gen(function*() {
      const right = yield* admitted(0)
      assert.isAtLeast(right, capacity)
      assert.isAtMost(right, capacity + 1)
      assert.closeTo(yield* admitted(skewMillis, skewAfterMillis), right, 1)
    }), 60_000)
})
