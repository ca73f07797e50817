/** A small seeded generator (mulberry32): the same seed, the same numbers. */
import type * as Random from "effect/Random"

export interface SeededRandom {
  /** From 0, below 1. */
  readonly next: () => number
  /** From 0, below `n`. */
  readonly below: (n: number) => number
  readonly chance: (probability: number) => boolean
}

export const seededRandom = (seed: number): SeededRandom => {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  return { next, below: (n) => Math.floor(next() * n), chance: (probability) => next() < probability }
}

/** Effect's `Random` over a seed. */
export const effectRandom = (seed: number): Random.Random => {
  const { next } = seededRandom(seed)
  return { nextDoubleUnsafe: next, nextIntUnsafe: () => Math.floor((next() - 0.5) * 2 ** 53) }
}
