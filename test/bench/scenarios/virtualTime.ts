/** How much real time a test in virtual time takes, in a process that has run nothing yet, as tests mostly do. */
import * as Effect from "effect/Effect"
import { median, reading, repeat, type Run, time } from "../measure.ts"
import { absolute, type Measure, type Scenario } from "../scenario.ts"

const prepare = async (n: number): Promise<Run> => {
  const { test } = await import("../sides/virtualTime.ts")
  return () => Effect.runPromise(test(n))
}

const first: Measure = async (n) => [reading("ms", await time(await prepare(n), n))]

const later: Measure = async (n) => {
  const run = await prepare(n)
  return [reading("ms", median(await repeat(() => time(run, n), { warmUps: 5, samples: 9 })))]
}

/** Milliseconds of a test of ten virtual minutes. */
export const virtualTime: Scenario = {
  name: "virtual-time",
  about:
    "A test of 200 calls over 10 minutes of virtual time, with the kit's scripted model and handlers: real time it takes. " +
    "Ours: the first run of a process; ours-again: later ones.",
  sizes: [200],
  repetitions: 5,
  peers: { "ours": first, "ours-again": later },
  bounds: [absolute("first run, 200 calls, 10 virtual minutes", { peer: "ours", n: 200, unit: "ms" }, "at most", 200)]
}
