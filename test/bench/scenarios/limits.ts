/**
 * What a limiter costs when nobody has to wait, in memory and through Redis, beside others.
 */
import * as Effect from "effect/Effect"
import { redisServer, type Server } from "../../redis.ts"
import { isInstalled } from "../../redis/process.ts"
import { median, reading, repeat, type Run, time } from "../measure.ts"
import { callsPerSecond, inFlight } from "../redisClients.ts"
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

const withRedis = async <A>(use: (server: Server) => Promise<A>): Promise<A> =>
  Effect.runPromise(Effect.scoped(Effect.flatMap(redisServer(), (server) => Effect.promise(() => use(server)))))

const lacksRedis = (): string | undefined =>
  isInstalled("redis-server") ? undefined : "it needs redis-server: apt-get install redis-server"

const onRedis = (side: string): Measure => (processes) =>
  withRedis(async ({ port }) => [reading("calls/s", await callsPerSecond(side, processes, port))])

const redisSides = ["ours", "ours-permit", "rate-limiter-flexible"]

const processes = [1, 4]

const inProcesses = (n: number): string => n === 1 ? "1 process" : `${n} processes`

/** Admissions a second through one Redis. */
export const limitsRedis: Scenario = {
  name: "limits-redis",
  about:
    `N client processes with ${inFlight} admissions in flight each, one redis-server, nobody waits. ours passes three token `
    + "buckets and one exact sliding window in one script; ours-permit these and a permit lease, release included; "
    + "rate-limiter-flexible does four consume in sequence, fixed windows.",
  sizes: processes,
  repetitions: 5,
  peers: Object.fromEntries(redisSides.map((side) => [side, onRedis(side)])),
  lacks: lacksRedis,
  bounds: processes.flatMap((n) => [
    speed(
      `four limits, against four consume, ${inProcesses(n)}`,
      ["ours", n],
      ["rate-limiter-flexible", n],
      2.5
    ),
    speed(
      `with a permit, release included, against four consume, ${inProcesses(n)}`,
      ["ours-permit", n],
      ["rate-limiter-flexible", n],
      1.5
    )
  ])
}
