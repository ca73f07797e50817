import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Limiter from "../../src/policy/Limiter.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { type ClientReport, fleetOf, runFleet } from "./fleet.ts"
import { mostIn, worstExcess } from "./windows.ts"

// What holds on any machine, however slow: a limit is never exceeded, nobody is left without, and asking is bounded. That nearly
// all of the limit is used, and in even shares, is `npm run bench -- --only limits`.
const limit = 500

const fleet = (rule: Limiter.Rule, skewMillis = 0) =>
  Effect.gen(function*() {
    const server = yield* redisServer()
    const shared = { port: server.port, rule, perSecond: 2 * limit, forMillis: 4000, onExceeded: "wait" } as const
    let before = 0
    const reports = yield* Effect.promise(() =>
      runFleet(fleetOf(4, shared, skewMillis), async () => {
        before = await Effect.runPromise(server.calls("evalsha"))
      })
    )
    const scripts = (yield* server.calls("evalsha")) - before
    const granted = reports.flatMap(({ grantedAt }) => grantedAt)
    return { reports, granted, scripts }
  }).pipe(Effect.scoped)

const everyoneGotSome = (reports: ReadonlyArray<ClientReport>): void => {
  for (const { grantedAt, startedAt } of reports) {
    assert.isAbove(grantedAt.length, 0)
    // What was granted began; only the grants under way at the end may not have been counted yet.
    assert.isAtLeast(startedAt.length, grantedAt.length - limit)
    assert.isAtMost(startedAt.length, grantedAt.length)
  }
}

const timeout = 60_000

describeRedis("four processes, one limit, twice its load", () => {
  for (
    const [clocks, skewMillis] of [["", 0], [", one clock 5 s ahead", 5000], [", one 10 min behind", -600_000]] as const
  ) {
    it.live(`never exceed a sliding window on Redis's time${clocks}`, () =>
      Effect.gen(function*() {
        const { granted, reports, scripts } = yield* fleet(
          Limiter.slidingWindow({ limit, window: "1 second" }),
          skewMillis
        )
        assert.isAtLeast(granted.length, limit)
        assert.isAtMost(mostIn(1000, granted), limit)
        assert.isAtMost(scripts, 2 * granted.length)
        everyoneGotSome(reports)
      }), timeout)

    it.live(`never exceed a bucket in any window on Redis's time${clocks}`, () =>
      Effect.gen(function*() {
        const { granted, reports, scripts } = yield* fleet(
          Limiter.tokenBucket({ capacity: 50, refill: limit, every: "1 second" }),
          skewMillis
        )
        assert.isAtLeast(granted.length, limit)
        assert.isAtMost(worstExcess({ capacity: 50, perMilli: limit / 1000 }, granted), 0)
        assert.isAtMost(scripts, 2 * granted.length)
        everyoneGotSome(reports)
      }), timeout)
  }
})
