/**
 * A run of 20 calls with everything on, stopped before every step the scheduler takes. `EVERY_STEP_SEEDS=n` tries n more paces.
 */
import { assert, describe, it } from "@effect/vitest"
import { random } from "../random.ts"
import { everywhere } from "./everyStep.ts"
import type { Pace } from "./twentyCalls.ts"

describe("T12: a run of 20 calls, stopped before every step", () => {
  const paces: ReadonlyArray<readonly [name: string, pace: Pace, sample: number, least: number]> = [
    ["as fibers run", { opsBeforeYield: 2048, seed: 0 }, 1, 200],
    ["time passes early", { opsBeforeYield: 2048, seed: 1 }, 1, 150],
    ["time passes early, otherwise", { opsBeforeYield: 2048, seed: 2 }, 0.5, 100],
    ["a yield every 16 operations", { opsBeforeYield: 16, seed: 0 }, 0.4, 300],
    ["a yield every 7 operations, time passes early", { opsBeforeYield: 7, seed: 3 }, 0.12, 100],
    ["a yield every 5 operations", { opsBeforeYield: 5, seed: 0 }, 0.06, 200],
    ["a yield every 3 operations, time passes early", { opsBeforeYield: 3, seed: 4 }, 0.02, 50],
    ["the first answer breaks off", { opsBeforeYield: 2048, seed: 0, breaks: true }, 1, 200],
    [
      "the first answer breaks off, a yield every 11 operations",
      { opsBeforeYield: 11, seed: 0, breaks: true },
      0.4,
      200
    ],
    ["the first answer breaks off, time passes early", { opsBeforeYield: 16, seed: 6, breaks: true }, 0.3, 100],
    ["calls are foreseen", { opsBeforeYield: 2048, seed: 0, speculates: true }, 1, 200],
    ["calls are foreseen, time passes early", { opsBeforeYield: 16, seed: 7, speculates: true }, 1, 100],
    ["foreseen, and broken off", { opsBeforeYield: 2048, seed: 0, breaks: true, speculates: true }, 1, 150]
  ]
  for (const [name, pace, sample, least] of paces) {
    it(`holds laws 1, 2, 3, 5 and 6: ${name}`, async () => {
      assert.isAtLeast(await everywhere(pace, "step", sample), least)
    }, 120_000)
  }

  for (
    const pace of [{ opsBeforeYield: 2048, seed: 0 }, { opsBeforeYield: 16, seed: 5 }, {
      opsBeforeYield: 2048,
      seed: 0,
      breaks: true
    }] satisfies ReadonlyArray<Pace>
  ) {
    it(`holds them stopped from within a handler, at its start or end: ${JSON.stringify(pace)}`, async () => {
      assert.isAtLeast(await everywhere(pace, "event", 1), 100)
    }, 120_000)
  }

  const more = Number(process.env["EVERY_STEP_SEEDS"] ?? 0)
  for (let seed = 100; seed < 100 + more; seed++) {
    const { chance, int } = random(seed)
    const pace = {
      opsBeforeYield: chance(0.5) ? int(3, 9) : int(3, 64),
      seed: chance(0.5) ? seed : 0,
      ...(chance(0.5) ? { breaks: true as const } : undefined)
    }
    it(`holds them at any pace: ${JSON.stringify(pace)}`, async () => {
      await everywhere(pace, "step", Math.min(pace.opsBeforeYield / 12, 1))
      await everywhere(pace, "event", 1)
    }, 240_000)
  }
})
