import { assert, describe, it } from "@effect/vitest"
import { Hedging, p95 } from "../../../src/engine/internal/Hedging.ts"
import { random } from "../../random.ts"

describe("Hedging", () => {
  it("pays for at most 1 + budget * calls further attempts, and saves up no more than 100 (seeds 1 to 50)", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const { chance, int, pick } = random(seed)
      const budget = pick([0.05, 0.1, 0.3, 1])
      const hedging = new Hedging({ budget })
      let calls = 0
      let hedges = 0
      for (let i = 0; i < 5000; i++) {
        if (chance(0.6)) {
          calls++
          hedging.called()
        }
        // A burst of slow calls now and then.
        if (chance(0.01)) {
          const before = hedges
          for (let n = int(1, 300); n > 0; n--) if (hedging.take()) hedges++
          assert.isAtMost(hedges - before, 100, `seed ${seed}`)
        }
        assert.isAtMost(hedges, 1 + budget * calls + 1e-6, `seed ${seed}`)
      }
      assert.isAbove(hedges, 0, `seed ${seed}`)
    }
  })

  it("gives the full tenth", () => {
    const hedging = new Hedging({})
    assert.isTrue(hedging.take())
    for (let round = 0; round < 100; round++) {
      for (let i = 0; i < 10; i++) hedging.called()
      assert.isTrue(hedging.take(), `round ${round}`)
      assert.isFalse(hedging.take(), `round ${round}`)
    }
  })

  it("takes back what found no room", () => {
    const hedging = new Hedging({})
    assert.isTrue(hedging.take())
    assert.isFalse(hedging.take())
    hedging.putBack()
    assert.isTrue(hedging.take())
  })

  it("knows how slow is slow after 20 samples, and forgets all but the last 128", () => {
    const hedging = new Hedging({})
    for (let i = 1; i <= 19; i++) hedging.seen(i)
    assert.isUndefined(hedging.afterMillis())
    hedging.seen(20)
    assert.strictEqual(hedging.afterMillis(), 19)
    for (let i = 0; i < 128; i++) hedging.seen(1000)
    assert.strictEqual(hedging.afterMillis(), 1000)
  })

  it.each([[[5], 5], [[1, 2], 2], [Array.from({ length: 20 }, (_, i) => 20 - i), 19], [
    Array.from({ length: 100 }, (_, i) => i + 1),
    95
  ]])("p95 of %o is the smallest that 95 %% do not exceed", (samples, expected) => {
    assert.strictEqual(p95(samples), expected)
  })
})
