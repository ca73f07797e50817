import { assert, describe, it } from "@effect/vitest"
import { mostIn, unevenness, worstExcess } from "./windows.ts"

// Deterministic noise: the checks must agree with counting by hand on any times.
const random = (seed: number) => () => (seed = (seed * 1664525 + 1013904223) % 4294967296) / 4294967296

const byHand = (capacity: number, perMilli: number, times: ReadonlyArray<number>): number => {
  const sorted = times.toSorted((a, b) => a - b)
  return Math.max(
    -capacity,
    ...sorted.flatMap((from, i) => sorted.slice(i).map((to, k) => k + 1 - capacity - perMilli * (to - from)))
  )
}

describe("windows", () => {
  it("finds the fullest window wherever it lies", () => {
    assert.strictEqual(mostIn(1000, []), 0)
    assert.strictEqual(mostIn(1000, [0, 999, 1000, 1998, 1999]), 3)
    assert.strictEqual(mostIn(1000, [1999, 0, 1000]), 2)
  })

  it("does not count two admissions exactly one window apart together", () => {
    assert.strictEqual(mostIn(1000, [5, 1005]), 1)
    assert.strictEqual(mostIn(1000, [5, 1004.999]), 2)
  })

  it("tells one microsecond from another at times of today", () => {
    const now = 1_790_000_000_123.4
    for (let i = 0; i < 1000; i++) {
      const at = now + i / 1000
      assert.strictEqual(mostIn(1000, [at, at + 1000]), 1)
      assert.strictEqual(mostIn(1000, [at, at + 999.999]), 2)
    }
  })

  it("finds the same worst pair as looking at every pair", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const next = random(seed)
      const times = Array.from({ length: 60 }, () => Math.round(next() * 200_000) / 1000)
      const bucket = { capacity: 1 + Math.floor(next() * 10), perMilli: next() }
      assert.approximately(
        worstExcess(bucket, times),
        byHand(bucket.capacity, bucket.perMilli, times),
        1e-6,
        `seed ${seed}`
      )
    }
  })

  it("tells one admission too many from none", () => {
    const bucket = { capacity: 3, perMilli: 0.1 }
    assert.strictEqual(worstExcess(bucket, [0, 0, 0, 10, 20]), 0)
    assert.approximately(worstExcess(bucket, [0, 0, 0, 10, 19]), 0.1, 1e-9)
    assert.strictEqual(worstExcess(bucket, [50, 50, 50, 50]), 1)
  })

  it("measures unevenness from the mean", () => {
    assert.strictEqual(unevenness([100, 100]), 0)
    assert.approximately(unevenness([90, 110, 100]), 0.1, 1e-12)
  })
})
