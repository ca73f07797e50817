/**
 * The first answer is enough. How long a decision takes of which only the fastest search is needed, beside peers that wait for
 * all; and how soon the losers hear of the winner.
 */
import * as Effect from "effect/Effect"
import { median, reading, repeat, type Run, time } from "../measure.ts"
import { Crowd } from "../probes.ts"
import { absolute, type Measure, type Scenario, toIdeal } from "../scenario.ts"
import type { Services } from "../sides/scripted.ts"

const searchMillis = [100, 400, 900]
const fastest = Math.min(...searchMillis)

/** A search that gives up when its signal fires, and then leaves no timer. */
const search = (index: number, signal: AbortSignal): Promise<number> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(index), searchMillis[index])
    signal.addEventListener("abort", () => {
      clearTimeout(timer)
      reject(signal.reason)
    }, { once: true })
  })

const onEffect = async <E>(
  size: number,
  handler: (index: number) => Effect.Effect<number>,
  program: Effect.Effect<number, E, Services>
): Promise<Run> => {
  const { services } = await import("../sides/scripted.ts")
  const context = await services(size, handler)
  return () => Effect.runPromiseWith(context)(Effect.withTracerEnabled(program, false))
}

const searches: Readonly<Record<string, (size: number) => Promise<Run>>> = {
  "ours": async (size) => {
    const ours = await import("../sides/ours.ts")
    return onEffect(size, (index) => ours.promise((signal) => search(index, signal)), ours.decideFirst(size))
  },
  "effect-ai": async (size) => {
    const stock = await import("../sides/stock.ts")
    const handler = (index: number) => Effect.orDie(Effect.tryPromise((signal) => search(index, signal)))
    return onEffect(size, handler, stock.decide(size))
  },
  "ai": async (size) => {
    const ai = await import("../peers/ai.ts")
    const model = await ai.scripted(size)
    const decide = await ai.decide({ model, work: search, concurrency: size })
    // Without a signal of the caller's it hands none to its tools.
    return () => decide(new AbortController().signal)
  }
}

const untilOver = (prepare: (size: number) => Promise<Run>): Measure => async (n) => {
  const run = await prepare(n)
  return [reading("ms", median(await repeat(() => time(run, n), { warmUps: 2, samples: 7 })), fastest)]
}

/** Milliseconds until the run is over, of which one search is needed. */
export const branchesFirst: Scenario = {
  name: "branches-first",
  about:
    `Three searches of ${
      searchMillis.join(", ")
    } ms in one decision, of which the first answer is enough: until the run is ` +
    "over. Ours: completion first(1), every call with its result; effect-ai and ai have no such policy and wait.",
  sizes: [searchMillis.length],
  repetitions: 3,
  peers: Object.fromEntries(Object.entries(searches).map(([peer, prepare]) => [peer, untilOver(prepare)])),
  bounds: [toIdeal("run over, against the fastest search", { peer: "ours", n: 3, unit: "ms" }, 1.05)]
}

/** One round: the crowd of losers, and when the winner was there. */
interface Round {
  readonly crowd: Crowd
  wonAt: number
}

// The first call wins, as soon as all the others run.
const play = (round: () => Round) => (index: number, signal: AbortSignal): Promise<number> => {
  const current = round()
  return index > 0 ? current.crowd.join(signal) : current.crowd.running.then(() => {
    current.wonAt = performance.now()
    return index
  })
}

const races: Readonly<Record<string, (size: number, round: () => Round) => Promise<() => Promise<unknown>>>> = {
  "ours": async (size, round) => {
    const ours = await import("../sides/ours.ts")
    const join = play(round)
    return onEffect(size, (index) => ours.promise((signal) => join(index, signal)), ours.decideFirst(size))
  },
  "ours-race": async (size, round) => {
    const ours = await import("../sides/ours.ts")
    const join = play(round)
    return () =>
      Effect.runPromise(
        ours.race(Array.from({ length: size }, (_, index) => ours.promise((signal) => join(index, signal))))
      )
  },
  "effect-race": (size, round) => {
    const join = play(round)
    return Promise.resolve(() =>
      Effect.runPromise(Effect.raceAll(
        Array.from({ length: size }, (_, index) => Effect.tryPromise((signal) => join(index, signal)))
      ))
    )
  }
}

const untilSignalled = (prepare: typeof races[string]): Measure => async (n) => {
  let round: Round = { crowd: new Crowd(n), wonAt: Number.NaN }
  const run = await prepare(n + 1, () => round)
  const sample = async () => {
    round = { crowd: new Crowd(n), wonAt: Number.NaN }
    await run()
    if (round.crowd.signalledAt === undefined) throw new Error("the run was over before every loser's signal had fired")
    return round.crowd.signalledAt - round.wonAt
  }
  return [reading("ms", median(await repeat(sample, { warmUps: 10, samples: 21 })), 0)]
}

/** Milliseconds from the winner's answer to the last loser's signal. */
export const branchesLosers: Scenario = {
  name: "branches-losers",
  about:
    "N losers of first(1), all running: from the winner's answer to the last loser's signal. Ours: calls of a run with " +
    "Executor.promise handlers; ours-race: Branch.race; effect-race: Effect.raceAll of Effect.tryPromise.",
  sizes: [20, 200, 1000],
  repetitions: 5,
  peers: Object.fromEntries(Object.entries(races).map(([peer, prepare]) => [peer, untilSignalled(prepare)])),
  bounds: [
    absolute("20 losers signalled", { peer: "ours", n: 20, unit: "ms" }, "at most", 2),
    absolute("200 losers signalled", { peer: "ours", n: 200, unit: "ms" }, "at most", 2),
    absolute("1,000 losers signalled", { peer: "ours", n: 1000, unit: "ms" }, "at most", 2)
  ]
}
