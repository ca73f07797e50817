/**
 * What a limiter costs when nobody has to wait, in memory and through Redis, each of ours in a duel with its rival.
 */
import * as Effect from "effect/Effect"
import { redisServer } from "../../redis.ts"
import { isInstalled } from "../../redis/process.ts"
import { duel, type Ground, solo } from "../duel.ts"
import { reading } from "../measure.ts"
import { absolute, type Measure, type Reading, type Scenario } from "../scenario.ts"

const against = async (side: string, rival: string, ground?: Ground): Promise<ReadonlyArray<Reading>> => {
  const { perSecond, times } = await duel(side, rival, ground)
  return [reading("calls/s", perSecond), reading("x", times)]
}

const alone = async (side: string, ground?: Ground): Promise<ReadonlyArray<Reading>> => [
  reading("calls/s", await solo(side, ground))
]

const n = 100_000

/** Admissions a second with nobody waiting. */
export const limitsMemory: Scenario = {
  name: "limits-memory",
  about:
    "N admissions one after the other, nobody waits. ours is withAdmission around Effect.void inside one fiber: one token "
    + "bucket; ours-four four of them; ours-permit three and a permit, taken and given back. effect is RateLimiter.sleep with "
    + "one token bucket in memory, rate-limiter-flexible one consume in memory, p-queue one add with an interval cap. x is "
    + "times as many as effect, the two taking turns.",
  sizes: [n],
  repetitions: 5,
  peers: {
    "ours": () => against("one", "effect"),
    "ours-four": () => against("four", "effect"),
    "ours-permit": () => against("permit", "effect"),
    "effect": () => alone("effect"),
    "rate-limiter-flexible": () => alone("flexible"),
    "p-queue": () => alone("p-queue")
  },
  bounds: [
    absolute("one token bucket, against Effect's", { peer: "ours", n, unit: "x" }, "at least", 1),
    absolute("four token buckets, against one of Effect's", { peer: "ours-four", n, unit: "x" }, "at least", 0.6),
    absolute("three and a permit, against one of Effect's", { peer: "ours-permit", n, unit: "x" }, "at least", 0.5)
  ]
}

// A server of its own for every measurement; the two of a duel share it, one at a time.
const onRedis = (measure: (ground: Ground) => Promise<ReadonlyArray<Reading>>): Measure => (processes) =>
  Effect.runPromise(
    Effect.scoped(Effect.flatMap(redisServer(), ({ port }) => Effect.promise(() => measure({ port, processes }))))
  )

const processes = [1, 4]

const inProcesses = (n: number): string => n === 1 ? "1 process" : `${n} processes`

/** Admissions a second through one Redis. */
export const limitsRedis: Scenario = {
  name: "limits-redis",
  about:
    "N client processes with 32 admissions in flight each, one redis-server, nobody waits. ours passes three token buckets "
    + "and one exact sliding window in one script; ours-permit these and a permit lease, release included; "
    + "rate-limiter-flexible does four consume in sequence, fixed windows. x is times as many as it, the two taking turns.",
  sizes: processes,
  repetitions: 5,
  peers: {
    "ours": onRedis((ground) => against("redis", "redis-flexible", ground)),
    "ours-permit": onRedis((ground) => against("redis-permit", "redis-flexible", ground)),
    "rate-limiter-flexible": onRedis((ground) => alone("redis-flexible", ground))
  },
  lacks: () => isInstalled("redis-server") ? undefined : "it needs redis-server: apt-get install redis-server",
  bounds: processes.flatMap((n) => [
    absolute(`four limits, against four consume, ${inProcesses(n)}`, { peer: "ours", n, unit: "x" }, "at least", 2.5),
    absolute(`and a permit, given back, ${inProcesses(n)}`, { peer: "ours-permit", n, unit: "x" }, "at least", 1.5)
  ])
}
