/**
 * Taking samples: warm up, time, take the median. Every run says how many results it produced, so that a peer which
 * quietly skips work fails instead of winning.
 */
import type { Reading, Unit } from "./scenario.ts"

/** Runs one decision and returns how many tool results came out of it. */
export type Run = () => Promise<number>

/** The middle value (the mean of the two middle ones). The input keeps its order. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Milliseconds of one run, checked to have produced `expected` results. */
export const time = async (run: Run, expected: number): Promise<number> => {
  const started = performance.now()
  const results = await run()
  const millis = performance.now() - started
  if (results !== expected) throw new Error(`expected ${expected} tool results, got ${results}`)
  return millis
}

/** Repeats `sample`, forgets the warm-ups, returns the rest. */
export const repeat = async <A>(
  sample: () => Promise<A>,
  options: { readonly warmUps: number; readonly samples: number }
): Promise<ReadonlyArray<A>> => {
  for (let i = 0; i < options.warmUps; i++) await sample()
  const values: Array<A> = []
  for (let i = 0; i < options.samples; i++) values.push(await sample())
  return values
}

/** A reading that is folded by its median over the repetitions. */
export const reading = (unit: Unit, value: number, ideal: number | null = null): Reading => ({
  unit,
  value,
  ideal,
  fold: "median"
})

/** Waits on Node's own timer. */
export const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))
