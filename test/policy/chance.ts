/** Randomness for policies under test. */
import type * as Random from "effect/Random"
import { random } from "../random.ts"

/** Says the same number always. */
export const always = (value: number): Random.Random => ({
  nextDoubleUnsafe: () => value,
  nextIntUnsafe: () => Math.floor(value * Number.MAX_SAFE_INTEGER)
})

/** Seeded. */
export const seeded = (seed: number): Random.Random => {
  const { next } = random(seed)
  return { nextDoubleUnsafe: next, nextIntUnsafe: () => Math.floor(next() * Number.MAX_SAFE_INTEGER) }
}
