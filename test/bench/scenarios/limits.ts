/**
 * What a limiter costs when nobody has to wait: N admissions one after the other, in memory.
 */
import { median, reading, repeat, type Run, time } from "../measure.ts"
import { type Measure, type Scenario, speed } from "../scenario.ts"

const n = 100_000

const runs: Readonly<Record<string, (n: number) => Promise<Run>>> = {
  "ours": async (n) => (await import("../sides/admissions.ts")).oursOne(n),
  "ours-four": async (n) => (await import("../sides/admissions.ts")).oursFour(n),
  "ours-permit": async (n) => (await import("../sides/admissions.ts")).oursPermit(n),
  "effect": async (n) => (await import("../sides/admissions.ts")).effect(n),
  "rate-limiter-flexible": async (n) => (await import("../peers/admissions.ts")).flexible(n),
  "p-queue": async (n) => (await import("../peers/admissions.ts")).pQueue(n)
}

const measure = (prepare: (n: number) => Promise<Run>): Measure => async (n) => {
  const run = await prepare(n)
  const millis = await repeat(() => time(run, n), { warmUps: 5, samples: 11 })
  return [reading("calls/s", (n * 1000) / median(millis))]
}

/** Admissions a second with nobody waiting. */
export const limitsMemory: Scenario = {
  name: "limits-memory",
  about:
    "N admissions one after the other, nobody waits. ours is withAdmission around Effect.void inside one fiber: one token "
    + "bucket; ours-four four of them; ours-permit three and a permit, taken and given back. effect is RateLimiter.sleep with "
    + "one token bucket in memory, rate-limiter-flexible one consume in memory, p-queue one add with an interval cap.",
  sizes: [n],
  repetitions: 7,
  peers: Object.fromEntries(Object.entries(runs).map(([peer, prepare]) => [peer, measure(prepare)])),
  bounds: [
    speed("one token bucket, against Effect's", ["ours", n], ["effect", n], 1),
    speed("four token buckets, against one of Effect's", ["ours-four", n], ["effect", n], 0.6),
    speed("three token buckets and a permit, against one of Effect's", ["ours-permit", n], ["effect", n], 0.5)
  ]
}
