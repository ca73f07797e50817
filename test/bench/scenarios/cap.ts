/**
 * Keeping a cap: N calls of 5 ms, at most 20 at once. How long they take in all, and how many really ran at once.
 */
import * as Effect from "effect/Effect"
import { median, reading, repeat, type Run, sleep, time } from "../measure.ts"
import { Gauge } from "../probes.ts"
import { absolute, type Measure, ratio, type Scenario } from "../scenario.ts"

const cap = 20
const workMillis = 5

const effectWork = (gauge: Gauge) => (index: number): Effect.Effect<number> =>
  Effect.suspend(() => {
    gauge.enter()
    return Effect.sleep(workMillis)
  }).pipe(Effect.map(() => {
    gauge.leave()
    return index
  }))

const promiseWork = (gauge: Gauge) => async (index: number): Promise<number> => {
  gauge.enter()
  await sleep(workMillis)
  gauge.leave()
  return index
}

const runs: Readonly<Record<string, (calls: number, gauge: Gauge) => Promise<Run>>> = {
  "ours": async (calls, gauge) => {
    const ours = await import("../sides/ours.ts")
    const { services } = await import("../sides/scripted.ts")
    const context = await services(calls, effectWork(gauge))
    return () => Effect.runPromiseWith(context)(Effect.withTracerEnabled(ours.decide(cap), false))
  },
  "effect-semaphore": async (calls, gauge) => {
    const plain = await import("../sides/plain.ts")
    return () => Effect.runPromise(plain.effectSemaphore(calls, cap, effectWork(gauge)))
  },
  "promise-semaphore": async (calls, gauge) => {
    const plain = await import("../sides/plain.ts")
    return () => plain.promiseSemaphore(calls, cap, promiseWork(gauge))
  },
  "effect-ai": async (calls, gauge) => {
    const stock = await import("../sides/stock.ts")
    const { services } = await import("../sides/scripted.ts")
    const context = await services(calls, effectWork(gauge))
    return () => Effect.runPromiseWith(context)(stock.decide(cap))
  },
  "ai": async (calls, gauge) => {
    const ai = await import("../peers/ai.ts")
    const model = await ai.scripted(calls)
    const decide = await ai.decide({ model, work: promiseWork(gauge), concurrency: cap })
    return () => decide()
  }
}

const measure = (prepare: (calls: number, gauge: Gauge) => Promise<Run>): Measure => async (n) => {
  const gauge = new Gauge()
  const run = await prepare(n, gauge)
  const millis = await repeat(() => time(run, n), { warmUps: 5, samples: 7 })
  return [
    reading("ms", median(millis), (n / cap) * workMillis),
    { unit: "calls", value: gauge.peak, ideal: cap, fold: "max" }
  ]
}

/** Makespan and peak of calls in flight under a cap. */
export const capped: Scenario = {
  name: "cap",
  about:
    `N calls of ${workMillis} ms under a cap of ${cap}: makespan (ms) and the most handlers ever in flight (calls). `
    + "The semaphores run the same handlers with no model around them; ours has its timeout per call on.",
  sizes: [1000],
  repetitions: 5,
  peers: Object.fromEntries(Object.entries(runs).map(([peer, prepare]) => [peer, measure(prepare)])),
  bounds: [
    ratio(
      "makespan against a plain semaphore with the same handler",
      "ms",
      ["ours", 1000],
      ["effect-semaphore", 1000],
      1.05
    ),
    absolute("most handlers in flight", { peer: "ours", n: 1000, unit: "calls" }, "at most", cap)
  ]
}
