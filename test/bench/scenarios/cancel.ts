/**
 * Stopping a crowd: N running handlers are interrupted at once. How long until every handler's signal has fired, and
 * until the run is over. Every peer runs the same promise, which obeys its signal at once.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { median, reading, repeat } from "../measure.ts"
import { Crowd } from "../probes.ts"
import { absolute, type Bound, type Measure, ratio, type Reading, type Scenario } from "../scenario.ts"
import type { Services } from "../sides/scripted.ts"

/** Starts a run; the returned function stops it and waits for its end. */
type Start = () => () => Promise<unknown>

/** Readies a peer; the crowd to join differs from sample to sample. */
type Prepare = (size: number, crowd: () => Crowd) => Promise<Start>

const tryPromise = (crowd: () => Crowd) => (): Effect.Effect<number> =>
  Effect.orDie(Effect.tryPromise((signal) => crowd().join(signal)))

const fork = async <E>(
  size: number,
  handler: () => Effect.Effect<number>,
  program: Effect.Effect<number, E, Services>
): Promise<Start> => {
  const { services } = await import("../sides/scripted.ts")
  const context = await services(size, handler)
  return () => {
    const fiber = Effect.runForkWith(context)(program)
    return () => Effect.runPromise(Fiber.interrupt(fiber))
  }
}

const prepares: Readonly<Record<string, Prepare>> = {
  "ours": async (size, crowd) => {
    const ours = await import("../sides/ours.ts")
    const handler = () => ours.promise((signal) => crowd().join(signal))
    return fork(size, handler, Effect.withTracerEnabled(ours.decide(size), false))
  },
  "ours-try-promise": async (size, crowd) => {
    const ours = await import("../sides/ours.ts")
    return fork(size, tryPromise(crowd), Effect.withTracerEnabled(ours.decide(size), false))
  },
  "bare-fibers": async (size, crowd) => {
    const plain = await import("../sides/plain.ts")
    return () => plain.bareFibers(size, tryPromise(crowd))
  },
  "effect-ai": async (size, crowd) => {
    const stock = await import("../sides/stock.ts")
    return fork(size, tryPromise(crowd), stock.decide(size))
  },
  "ai": async (size, crowd) => {
    const ai = await import("../peers/ai.ts")
    const model = await ai.scripted(size)
    const decide = await ai.decide({ model, work: (_, signal) => crowd().join(signal), concurrency: size })
    return () => {
      const controller = new AbortController()
      const over = decide(controller.signal)
      return () => {
        controller.abort()
        return over
      }
    }
  }
}

interface Sample {
  readonly signalled: number
  readonly over: number
}

const sample = async (size: number, start: Start, next: (crowd: Crowd) => void): Promise<Sample> => {
  const crowd = new Crowd(size)
  next(crowd)
  const stop = start()
  await crowd.running
  const stopped = performance.now()
  await stop()
  const over = performance.now() - stopped
  if (crowd.signalledAt === undefined) throw new Error("the run was over before every handler's signal had fired")
  return { signalled: crowd.signalledAt - stopped, over }
}

const measure =
  (prepare: Prepare, pick: (sample: Sample) => number): Measure => async (n): Promise<ReadonlyArray<Reading>> => {
    let crowd = new Crowd(n)
    const start = await prepare(n, () => crowd)
    const samples = await repeat(() => sample(n, start, (next) => crowd = next), { warmUps: 5, samples: 11 })
    return [reading("ms", median(samples.map(pick)), 0)]
  }

const scenario = (
  name: string,
  about: string,
  pick: (sample: Sample) => number,
  bounds: ReadonlyArray<Bound>
): Scenario => ({
  name,
  about,
  sizes: [1000],
  repetitions: 5,
  peers: Object.fromEntries(Object.entries(prepares).map(([peer, prepare]) => [peer, measure(prepare, pick)])),
  bounds
})

const handlers = "ours runs Executor.promise handlers, the other Effect peers Effect.tryPromise, ai its own."

/** Milliseconds from the interrupt to the end of the run. */
export const cancel: Scenario = scenario(
  "cancel",
  `N running handlers interrupted at once: until the run is over. ${handlers}`,
  ({ over }) => over,
  [
    absolute("Executor.promise handlers: run over", { peer: "ours", n: 1000, unit: "ms" }, "at most", 10),
    ratio(
      "Effect.tryPromise handlers: run over, against bare fiber interrupts",
      "ms",
      ["ours-try-promise", 1000],
      ["bare-fibers", 1000],
      2
    )
  ]
)

/** Milliseconds from the interrupt to the last handler's signal. */
export const cancelSignalled: Scenario = scenario(
  "cancel-signalled",
  `N running handlers interrupted at once: until the last one's signal has fired. ${handlers}`,
  ({ signalled }) => signalled,
  [absolute("Executor.promise handlers: all signalled", { peer: "ours", n: 1000, unit: "ms" }, "at most", 5)]
)
