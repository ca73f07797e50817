/** Random programs in virtual time: limits, turns, places and ends. A failure names its seed and its kind. */
import { assert, describe, it } from "@effect/vitest"
import { type Kind, play } from "./limiterFuzz.ts"

const kinds: ReadonlyArray<readonly [name: string, kind: Kind]> = [
  ["one limiter, calm", { asked: false, faulty: false, limiters: 1, onStoreError: "closed", calm: true }],
  ["one limiter", { asked: false, faulty: false, limiters: 1, onStoreError: "closed", calm: false }],
  ["three limiters on one memory", { asked: false, faulty: false, limiters: 3, onStoreError: "closed", calm: false }],
  ["one on a store that is asked", { asked: true, faulty: false, limiters: 1, onStoreError: "closed", calm: false }],
  ["three on a store that is asked", { asked: true, faulty: false, limiters: 3, onStoreError: "closed", calm: false }],
  ...(["closed", "open", "local"] as const).map((onStoreError) =>
    [
      `two on a store that fails (${onStoreError})`,
      { asked: true, faulty: true, limiters: 2, onStoreError, calm: false }
    ] as const
  )
]

const first = Number(process.env["TOOLFORMER_FUZZ_SEED"] ?? 1)
const count = Number(process.env["TOOLFORMER_FUZZ_COUNT"] ?? 60)

describe("Limiter: random programs", () => {
  for (const [name, kind] of kinds) {
    it(`keep limits, turns and places, strand nobody and leave nothing: ${name}`, () => {
      let started = 0
      let rejected = 0
      for (let seed = first; seed < first + count; seed++) {
        const outcome = play(seed, kind)
        assert.deepStrictEqual(outcome.faults, [], `seed ${seed}, ${name}`)
        started += outcome.started
        rejected += outcome.rejected
      }
      // The programs are worth something: much starts, and much is turned away.
      assert.isAbove(started, 5 * count)
      assert.isAbove(rejected, count)
    })

    it(`say the same for the same seed: ${name}`, () => {
      for (let seed = first; seed < first + 3; seed++) {
        assert.deepStrictEqual(play(seed, kind).log, play(seed, kind).log, `seed ${seed}, ${name}`)
      }
    })
  }
})
