/**
 * The cost of a call that does nothing: one decision of N calls, cap 30, a timeout per call where the peer has one.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { median, reading, repeat, type Run, time } from "../measure.ts"
import { absolute, type Measure, ratio, type Scenario } from "../scenario.ts"
import type { Services } from "../sides/scripted.ts"

/** Calls in flight at most, in every peer that has a cap. */
const cap = 30

/** The timeout per call in peers that have one: long enough to never fire. */
const timeoutMillis = 30_000

const noOp = (index: number): Promise<number> => Promise.resolve(index)

/** An Effect program over the scripted model and the no-op handler. */
const inProcess = async <E>(calls: number, program: Effect.Effect<number, E, Services>): Promise<Run> => {
  const { services } = await import("../sides/scripted.ts")
  const context: Context.Context<Services> = await services(calls, Effect.succeed)
  return () => Effect.runPromiseWith(context)(program)
}

/** Every peer's no-op decision. Each loads its own side only. */
export const runs: Readonly<Record<string, (calls: number) => Promise<Run>>> = {
  "ours": async (calls) => {
    const ours = await import("../sides/ours.ts")
    return inProcess(calls, Effect.withTracerEnabled(ours.decide(cap), false))
  },
  "ours-stream": async (calls) => {
    const ours = await import("../sides/ours.ts")
    return inProcess(calls, Effect.withTracerEnabled(ours.decideStreaming(cap), false))
  },
  "ours-spans": async (calls) => {
    const ours = await import("../sides/ours.ts")
    return inProcess(calls, ours.decideTraced(cap))
  },
  "effect-ai": async (calls) => {
    const stock = await import("../sides/stock.ts")
    return inProcess(calls, stock.decide(cap))
  },
  "ai": async (calls) => {
    const ai = await import("../peers/ai.ts")
    const model = await ai.scripted(calls)
    const decide = await ai.decide({ model, work: noOp, concurrency: cap, timeoutMillis })
    return () => decide()
  },
  "promise-all": async (calls) => {
    const plain = await import("../sides/plain.ts")
    return () => plain.promiseAll(calls, noOp)
  }
}

const measure = (prepare: (calls: number) => Promise<Run>): Measure => async (n) => {
  const run = await prepare(n)
  const millis = await repeat(() => time(run, n), { warmUps: Math.max(5, 20_000 / n), samples: n > 1000 ? 3 : 51 })
  return [reading("us/call", (median(millis) * 1000) / n)]
}

const onSizes = <A>(of: (n: number) => A): ReadonlyArray<A> => [1000, 10_000].map(of)

/** Microseconds per no-op call. */
export const noOpCalls: Scenario = {
  name: "no-op-calls",
  about:
    `One decision of N no-op calls, cap ${cap}, timeout per call on, tracing off (but for ours-spans), model Layer `
    + "built once. promise-all has no cap, no timeout, no model; effect-ai has no timeout.",
  sizes: [1000, 10_000],
  repetitions: 5,
  peers: Object.fromEntries(Object.entries(runs).map(([peer, prepare]) => [peer, measure(prepare)])),
  bounds: [
    ...onSizes((n) =>
      absolute(`run, N = ${n.toLocaleString("en-US")}`, { peer: "ours", n, unit: "us/call" }, "at most", 10)
    ),
    ...onSizes((n) =>
      absolute(`stream, N = ${n.toLocaleString("en-US")}`, { peer: "ours-stream", n, unit: "us/call" }, "at most", 10)
    ),
    ...onSizes((n) =>
      absolute(
        `run with spans, N = ${n.toLocaleString("en-US")}`,
        { peer: "ours-spans", n, unit: "us/call" },
        "at most",
        25
      )
    ),
    ...onSizes((n) =>
      ratio(`run against ai 7, N = ${n.toLocaleString("en-US")}`, "us/call", ["ours", n], ["ai", n], 0.4)
    ),
    ...onSizes((n) =>
      ratio(
        `run against stock effect/ai, N = ${n.toLocaleString("en-US")}`,
        "us/call",
        ["ours", n],
        ["effect-ai", n],
        0.2
      )
    ),
    ratio("grows linearly: a call at N = 10,000 against one at 1,000", "us/call", ["ours", 10_000], ["ours", 1000], 1.5)
  ]
}
