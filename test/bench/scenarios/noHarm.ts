/**
 * Guesses that are all wrong, under limits that are always full: what they cost the calls that are real. The same runs with and
 * without speculation take turns in one process, so that both meet the same machine.
 */
import * as Effect from "effect/Effect"
import { median } from "../measure.ts"
import type { Measure, Reading, Scenario } from "../scenario.ts"
import { absolute } from "../scenario.ts"

const [warmUps, pairs] = [3, 25]

const p99 = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.ceil(values.length * 0.99) - 1]!

const measure: Measure = async (n) => {
  const { contextOf, perSample, sample, standing } = await import("../sides/guessing.ts")
  if (n !== perSample) throw new Error(`a sample has ${perSample} calls, not ${n}`)
  const program = Effect.gen(function*() {
    const plain = yield* contextOf(false)
    const guessing = yield* contextOf(true)
    const later: Array<number> = []
    for (let i = 0; i < warmUps + pairs; i++) {
      const sides = [["plain", plain], ["guessing", guessing]] as const
      const worst = { plain: 0, guessing: 0 }
      let seen: string | undefined
      for (const [side, context] of i % 2 === 0 ? sides : sides.toReversed()) {
        const one = yield* Effect.provideContext(sample, context)
        if (one.millis.length !== n) throw new Error(`${one.millis.length} calls were answered, not ${n}`)
        if (seen !== undefined && seen !== one.seen) throw new Error("the results with and without guesses differ")
        seen = one.seen
        worst[side] = p99(one.millis)
      }
      if (i >= warmUps) later.push(worst.guessing - worst.plain)
    }
    const { off, started } = yield* Effect.provideContext(standing, guessing as never) as Effect.Effect<
      { readonly started: number; readonly off: boolean }
    >
    if (started === 0) throw new Error("no guess was started")
    if (!off) throw new Error("a predictor that is always wrong is still listened to")
    return { later: median(later), started }
  })
  const { later, started } = await Effect.runPromise(Effect.scoped(program) as Effect.Effect<
    { readonly later: number; readonly started: number }
  >)
  const figure = (unit: Reading["unit"], value: number, ideal: number | null, fold: Reading["fold"]): Reading => ({
    unit,
    value,
    ideal,
    fold
  })
  return [
    figure("ms", later, 0, "median"),
    figure("calls", started, 0, "max")
  ]
}

/** What wrong guesses cost real calls. */
export const speculationNoHarm: Scenario = {
  name: "speculation-no-harm",
  about:
    "Eight runs at once, 200 calls of 5 ms under four permits, four sure and wrong guesses a turn, beside the same runs without:"
    + " how much later the 99th of a hundred real calls is answered (ms), and how many guesses were started in all before and"
    + " between the times the predictor was off (calls). It fails where a result differs, or the predictor is not off at the end.",
  sizes: [200],
  repetitions: 5,
  peers: { "ours": measure },
  bounds: [
    absolute("p99 of real calls later than without guesses", { peer: "ours", n: 200, unit: "ms" }, "at most", 1),
    absolute("guesses started", { peer: "ours", n: 200, unit: "calls" }, "at most", 24)
  ]
}
