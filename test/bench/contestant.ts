/**
 * One process of one side of a duel: `node contestant.ts SIDE PORT`. It says "ready" when it is loaded and warm; each line it
 * gets is a round, and it answers with the calls a second it did in it.
 */
import { createInterface } from "node:readline"
import type { Contestant, Ongoing } from "./duel.ts"
import { time } from "./measure.ts"

const inOneLoop = async (n: number, prepare: Promise<() => Promise<number>>): Promise<Contestant> => {
  const run = await prepare
  return { round: async () => (n * 1000) / await time(run, n) }
}

/** Admissions under way at any time, in each process. */
const inFlight = 32
const sliceMillis = 400

const keptGoing = async (prepare: Promise<Ongoing>): Promise<Contestant> => {
  const run = await prepare
  const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))
  return {
    round: async () => {
      let count = 0
      const stop = run(inFlight, () => void count++)
      const started = performance.now()
      await sleep(sliceMillis)
      const perSecond = (count * 1000) / (performance.now() - started)
      await stop()
      return perSecond
    }
  }
}

const n = 100_000
const memory = () => import("./sides/admissions.ts")
const redis = () => import("./sides/redisAdmissions.ts")
const peers = () => import("./peers/admissions.ts")

const contestants: Readonly<Record<string, (port: number) => Promise<Contestant>>> = {
  "one": async () => inOneLoop(n, (await memory()).oursOne(n)),
  "four": async () => inOneLoop(n, (await memory()).oursFour(n)),
  "permit": async () => inOneLoop(n, (await memory()).oursPermit(n)),
  "effect": async () => inOneLoop(n, (await memory()).effect(n)),
  "flexible": async () => inOneLoop(n, (await peers()).flexible(n)),
  "p-queue": async () => inOneLoop(n, (await peers()).pQueue(n)),
  "redis": async (port) => keptGoing((await redis()).ours(port)),
  "redis-permit": async (port) => keptGoing((await redis()).oursPermit(port)),
  "redis-flexible": async (port) => keptGoing((await peers()).flexibleOnRedis(port))
}

const [side = "", port = ""] = process.argv.slice(2)
const contestant = await contestants[side]!(Number(port))
for (let warmUps = 5; warmUps > 0; warmUps--) await contestant.round()
console.log("ready")
for await (const _ of createInterface({ input: process.stdin })) console.log(await contestant.round())
// Its parent has said the last word, or is gone.
process.exit(0)
