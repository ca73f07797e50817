import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Limiter from "../../src/policy/Limiter.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { type ClientReport, clocks, fleetOf, runFleet } from "./fleet.ts"
import { mostIn, worstExcess } from "./windows.ts"

// What holds on any machine, however slow: a limit is never exceeded, nobody is left without, and asking is bounded. That nearly
// all of the limit is used, and in even shares, is `npm run bench -- --only limits`.
const limit = 500

const fleet = (rule: Limiter.Rule, skews: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const server = yield* redisServer()
    const shared = { port: server.port, rule, perSecond: 2 * limit, forMillis: 3000, onExceeded: "wait" } as const
    let before = 0
    const reports = yield* Effect.promise(() =>
      runFleet(fleetOf(clocks(...skews), shared), async () => {
        before = await Effect.runPromise(server.calls("evalsha"))
      })
    )
    const scripts = (yield* server.calls("evalsha")) - before
    const granted = reports.flatMap(({ grantedAt }) => grantedAt)
    assert.isAtLeast(granted.length, limit)
    assert.isAtMost(scripts, 2 * granted.length)
    reports.forEach(everyoneGotSome)
    return granted
  }).pipe(Effect.scoped)

const everyoneGotSome = ({ grantedAt, startedAt }: ClientReport): void => {
  assert.isAbove(grantedAt.length, 0)
  // What was granted began; only grants under way at the end are not in it.
  assert.isAtLeast(startedAt.length, grantedAt.length - limit)
  assert.isAtMost(startedAt.length, grantedAt.length)
}

const capacity = 50

describeRedis("four processes, one limit, twice its load", () => {
  const cases = [["", []], [", one clock 5 s ahead, one 10 min behind", [5000, -600_000]]] as const
  for (const [said, skews] of cases) {
    it.live(`never exceed a sliding window on Redis's time${said}`, () =>
      Effect.gen(function*() {
        const granted = yield* fleet(Limiter.slidingWindow({ limit, window: "1 second" }), skews)
        assert.isAtMost(mostIn(1000, granted), limit)
      }), 60_000)

    it.live(`never exceed a bucket in any window on Redis's time${said}`, () =>
      Effect.gen(function*() {
        const granted = yield* fleet(Limiter.tokenBucket({ capacity, refill: limit, every: "1 second" }), skews)
        assert.isAtMost(worstExcess({ capacity, perMilli: limit / 1000 }, granted), 0)
      }), 60_000)
  }
})
