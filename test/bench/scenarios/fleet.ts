/**
 * One limit shared by several processes through one Redis, all of them wanting twice as much: what is admitted, how it is
 * shared, and what it costs. The upper bounds hold on any machine and are tests as well (`test/limits`); that nearly all of the
 * limit is used, and evenly, needs a machine that is not busy with something else.
 */
import * as Effect from "effect/Effect"
import { slidingWindow, tokenBucket } from "../../../src/policy/Limiter.ts"
import type { Rule } from "../../../src/policy/Limiter.ts"
import { clocks, fleetOf, runFleet } from "../../limits/fleet.ts"
import { mostIn, unevenness, worstExcess } from "../../limits/windows.ts"
import { redisServer } from "../../redis.ts"
import { isInstalled } from "../../redis/process.ts"
import { absolute, type Bound, type Measure, type Reading, type Scenario } from "../scenario.ts"

const perSecond = 1000
const seconds = 10
const processes = 4

const rules = {
  slidingWindow: slidingWindow({ limit: perSecond, window: "1 second" }),
  tokenBucket: tokenBucket({ capacity: perSecond, refill: perSecond, every: "1 second" })
}

const worst = (unit: Reading["unit"], value: number, fold: "max" | "min" = "max"): Reading => ({
  unit,
  value,
  ideal: null,
  fold
})

const measure = (rule: Rule, skewMillis: number): Measure => () =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const server = yield* redisServer()
    const scripts = Effect.map(
      Effect.all(["eval", "evalsha"].map((command) => server.calls(command))),
      (counts) => counts.reduce((sum, count) => sum + count, 0)
    )
    const shared = { port: server.port, rule, perSecond: 2 * perSecond, onExceeded: "wait" } as const
    const forMillis = seconds * 1000 + 500
    let before = 0
    const reports = yield* Effect.promise(() =>
      runFleet(fleetOf(clocks(skewMillis), { ...shared, forMillis }), async () => {
        before = await Effect.runPromise(scripts)
      })
    )
    const asked = (yield* scripts) - before
    const granted = reports.flatMap(({ grantedAt }) => grantedAt)
    const first = granted.reduce((least, at) => Math.min(least, at), Number.POSITIVE_INFINITY)
    const counted = reports.map(({ grantedAt }) => grantedAt.filter((at) => at < first + seconds * 1000).length)
    const excess = rule._tag === "TokenBucket"
      ? [worst("calls over", Math.max(0, worstExcess({ capacity: perSecond, perMilli: perSecond / 1000 }, granted)))]
      : [
        worst("calls in 1 s", mostIn(1000, granted)),
        // What the machine does between a grant and its start is in it: on a busy one it is missed.
        worst("starts in 1 s", mostIn(1000, reports.flatMap(({ startedAt }) => startedAt)))
      ]
    return [
      worst("calls", counted.reduce((sum, count) => sum + count, 0), "min"),
      ...excess,
      worst("scripts/call", asked / granted.length),
      worst("% off the mean", 100 * unevenness(counted))
    ]
  })))

const peers: Readonly<Record<string, Measure>> = {
  "slidingWindow": measure(rules.slidingWindow, 0),
  "slidingWindow, a clock +5 s": measure(rules.slidingWindow, 5000),
  "slidingWindow, a clock -10 min": measure(rules.slidingWindow, -600_000),
  "tokenBucket": measure(rules.tokenBucket, 0),
  "tokenBucket, a clock +10 min": measure(rules.tokenBucket, 600_000)
}

const windows = Object.keys(peers).filter((peer) => peer.startsWith("slidingWindow"))
const buckets = Object.keys(peers).filter((peer) => peer.startsWith("tokenBucket"))

const n = processes

/** The total with a wrong clock, against the total without. */
const withinOnePercent = (skewed: string, plain: string): Bound => ({
  what: `${skewed}: total off that of right clocks`,
  compare: "at most",
  limit: 0.01,
  unit: "x",
  measure: (find) => {
    const [off, right] = [find(skewed, n, "calls")?.value, find(plain, n, "calls")?.value]
    return off === undefined || right === undefined ? undefined : Math.abs(off / right - 1)
  }
})

/** A shared limit under twice its load. */
export const limitsFleet: Scenario = {
  name: "limits-fleet",
  about:
    `N client processes on one redis-server want ${
      2 * perSecond
    } calls a second together; the limit is ${perSecond} a second. `
    + `Admitted in ${seconds} s from the first grant (calls); the worst sliding second on Redis's time (calls in 1 s) and by the `
    + "clients' own starts (starts in 1 s); how far any window exceeds capacity + rate x time (calls over); scripts an admitted "
    + "call; the farthest process from the mean.",
  sizes: [n],
  repetitions: 3,
  peers,
  lacks: () => isInstalled("redis-server") ? undefined : "it needs redis-server: apt-get install redis-server",
  bounds: [
    ...windows.flatMap((peer) => [
      absolute(`${peer}: worst second, Redis's time`, { peer, n, unit: "calls in 1 s" }, "at most", perSecond),
      absolute(
        `${peer}: worst second, clients' starts`,
        { peer, n, unit: "starts in 1 s" },
        "at most",
        1.03 * perSecond
      ),
      absolute(`${peer}: admitted in ${seconds} s`, { peer, n, unit: "calls" }, "at least", 0.98 * perSecond * seconds)
    ]),
    ...buckets.map((peer) =>
      absolute(`${peer}: over capacity + rate x time, any window`, { peer, n, unit: "calls over" }, "at most", 0)
    ),
    ...Object.keys(peers).flatMap((peer) => [
      absolute(`${peer}: scripts an admitted call`, { peer, n, unit: "scripts/call" }, "at most", 2),
      absolute(`${peer}: each process off the mean`, { peer, n, unit: "% off the mean" }, "at most", 10)
    ]),
    ...windows.slice(1).map((peer) => withinOnePercent(peer, windows[0]!)),
    ...buckets.slice(1).map((peer) => withinOnePercent(peer, buckets[0]!))
  ]
}
