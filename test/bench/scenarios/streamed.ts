/**
 * Calls that arrive one by one over real HTTP, on the Responses API, while the model goes on streaming: how soon each
 * handler starts after its call is sealed, and how long it all takes when the first call is the long pole. A seal is
 * the moment the server wrote the call's end mark, so sockets and decoding are in the delay.
 */
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { median, reading, repeat, type Run, sleep } from "../measure.ts"
import { absolute, type Measure, type Reading, type Scenario, toIdeal } from "../scenario.ts"
import { type Script, serve, type Server, type Timeline } from "../server.ts"
import type { Services } from "../sides/scripted.ts"

const paceMillis = 25
const textMillis = 250
const workMillis = 50
const longPoleMillis = 1000
const warmUp: Script = { calls: 20, paceMillis: 2, textMillis: 10 }

/** What one streamed decision showed. `startedAt` is by call; `overAt` is when the run had returned. */
interface Sample {
  readonly timeline: Timeline
  readonly startedAt: ReadonlyArray<number>
  readonly durations: ReadonlyArray<number>
  readonly overAt: number
}

/** How long the handler of a call takes, and where it says that it has started. */
interface Handlers {
  durations: ReadonlyArray<number>
  startedAt: Array<number>
}

const effectHandler = (state: Handlers) => (index: number): Effect.Effect<number> =>
  Effect.suspend(() => {
    state.startedAt[index] = performance.now()
    return Effect.as(Effect.sleep(state.durations[index]!), index)
  })

const promiseHandler = (state: Handlers) => async (index: number): Promise<number> => {
  state.startedAt[index] = performance.now()
  await sleep(state.durations[index]!)
  return index
}

const onWire = async <E>(
  model: Layer.Layer<LanguageModel.LanguageModel>,
  state: Handlers,
  program: Effect.Effect<number, E, Services>
): Promise<Run> => {
  const { servicesWith } = await import("../sides/scripted.ts")
  const context = await servicesWith(model, effectHandler(state))
  return () => Effect.runPromiseWith(context)(Effect.withTracerEnabled(program, false))
}

const prepares: Readonly<Record<string, (server: Server, state: Handlers) => Promise<Run>>> = {
  "ours": async (server, state) => {
    const ours = await import("../sides/ours.ts")
    const { responses } = await import("../sides/wire.ts")
    return onWire(responses(server.baseURL), state, ours.decide(server.script.calls))
  },
  "effect-ai": async (server, state) => {
    const stock = await import("../sides/stock.ts")
    const { responses } = await import("../sides/wire.ts")
    return onWire(responses(server.baseURL), state, stock.decide(server.script.calls))
  },
  "ai": async (server, state) => {
    const ai = await import("../peers/ai.ts")
    const model = await ai.openAi(server.baseURL)
    const decide = await ai.decide({ model, work: promiseHandler(state), concurrency: server.script.calls })
    return () => decide()
  }
}

const sample = async (server: Server, run: Run, state: Handlers, durations: ReadonlyArray<number>): Promise<Sample> => {
  state.durations = durations
  state.startedAt = []
  const results = await run()
  const overAt = performance.now()
  if (results !== durations.length) throw new Error(`expected ${durations.length} tool results, got ${results}`)
  return { timeline: await server.timeline(), startedAt: state.startedAt, durations, overAt }
}

const measure =
  (peer: string, durationsOf: (n: number) => ReadonlyArray<number>, samples: number, read: Read): Measure =>
  async (n) => {
    const state: Handlers = { durations: [], startedAt: [] }
    const server = await serve({ ...warmUp, calls: n })
    try {
      const run = await prepares[peer]!(server, state)
      await repeat(() => sample(server, run, state, durationsOf(n).map(() => 1)), { warmUps: 10, samples: 0 })
      server.script = { calls: n, paceMillis, textMillis }
      return read(await repeat(() => sample(server, run, state, durationsOf(n)), { warmUps: 0, samples }))
    } finally {
      server.close()
    }
  }

type Read = (samples: ReadonlyArray<Sample>) => ReadonlyArray<Reading>

const delays = ({ startedAt, timeline }: Sample) => startedAt.map((at, index) => at - timeline.sealedAt[index]!)

const duringStream = ({ startedAt, timeline }: Sample) => startedAt.filter((at) => at < timeline.finishedAt).length

// Nothing can end before the stream does, nor before any call's seal plus its work.
const idealMillis = ({ timeline, durations }: Sample): number =>
  Math.max(timeline.finishedAt, ...durations.map((millis, index) => timeline.sealedAt[index]! + millis)) -
  timeline.openedAt

const readStarts: Read = (samples) => [
  reading("ms", median(samples.flatMap(delays)), 0),
  { unit: "calls", value: Math.min(...samples.map(duringStream)), ideal: samples[0]!.durations.length, fold: "min" }
]

const readMakespan: Read = (samples) => [
  reading(
    "ms",
    median(samples.map(({ overAt, timeline }) => overAt - timeline.openedAt)),
    median(samples.map(idealMillis))
  )
]

const even = (n: number): ReadonlyArray<number> => Array.from({ length: n }, () => workMillis)

const longFirst = (n: number): ReadonlyArray<number> => even(n).with(0, longPoleMillis)

const peers = (durationsOf: (n: number) => ReadonlyArray<number>, samples: number, read: Read) =>
  Object.fromEntries(Object.keys(prepares).map((peer) => [peer, measure(peer, durationsOf, samples, read)]))

const wire =
  `N calls streamed over HTTP on the Responses API, one every ${paceMillis} ms, then ${textMillis} ms of text`

/** Milliseconds from a call's seal to its handler's start, and how many handlers started during the stream. */
export const streamedStart: Scenario = {
  name: "streamed-start",
  about:
    `${wire}; ${workMillis} ms of work each. From the server's end mark of a call to the start of its handler (ms, `
    + "median), and the fewest handlers that started during the stream (calls). effect-ai uses our adapter.",
  sizes: [20],
  repetitions: 3,
  peers: peers(even, 3, readStarts),
  bounds: [
    absolute("start after the seal, median", { peer: "ours", n: 20, unit: "ms" }, "at most", 1),
    absolute("handlers started during the stream", { peer: "ours", n: 20, unit: "calls" }, "at least", 20)
  ]
}

/** Milliseconds from the first byte to the end of the run, the first call being the longest. */
export const longPole: Scenario = {
  name: "long-pole",
  about:
    `${wire}; the first call takes ${longPoleMillis} ms, the others ${workMillis}. From the first byte to the end of `
    + "the run. The ideal is the latest of: a call's seal plus its work, the end of the stream.",
  sizes: [20],
  repetitions: 3,
  peers: peers(longFirst, 3, readMakespan),
  bounds: [toIdeal("makespan against the ideal", { peer: "ours", n: 20, unit: "ms" }, 1.02)]
}
