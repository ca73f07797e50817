import { assert, describe, it } from "@effect/vitest"
import { Belief } from "../../../src/engine/internal/belief.ts"
import { GuessBudget } from "../../../src/engine/internal/guessBudget.ts"
import { mostPairs } from "../../../src/engine/internal/Ledger.ts"
import { ObservedTimes } from "../../../src/engine/internal/observedTimes.ts"
import { random } from "../../random.ts"
import { appraisal, boundTool, came, candidate, turn } from "./guesses.ts"
import type { Price } from "./guesses.ts"

const minute = 60_000
/** A turn of the model in these tests. */
const second = 1000
/** The budget is not the subject. */
const ample = { budget: { calls: 1_000_000 } }

const seeds = [1, 2, 3, 4, 5]

describe("belief", () => {
  for (const stated of [0.05, 0.3, 0.5, 0.8, 0.95]) {
    it(`stays within 0.02 of an honest ${stated} over 10,000 guesses`, () => {
      for (const seed of seeds) {
        const { chance } = random(seed)
        const belief = new Belief()
        let least = 1
        for (let i = 0; i < 10_000; i++) {
          belief.judged(stated, chance(stated), i * second)
          least = Math.min(least, belief.factor)
        }
        assert.isAtLeast(stated * least, stated - 0.02, `seed ${seed}`)
      }
    })
  }

  it("leaves an honest one alone whose confidence is another each time", () => {
    for (const seed of seeds) {
      const { chance, next } = random(seed)
      const belief = new Belief()
      let least = 1
      for (let i = 0; i < 10_000; i++) {
        const stated = next() ** 2
        belief.judged(stated, chance(stated), i * second)
        least = Math.min(least, belief.factor)
      }
      assert.isAtLeast(least, 0.975, `seed ${seed}`)
    }
  })

  it("shrinks the word of one who is right half as often as it says to what it is worth", () => {
    for (const seed of seeds) {
      const { chance } = random(seed)
      const belief = new Belief()
      let sum = 0
      for (let i = 0; i < 4000; i++) {
        belief.judged(0.8, chance(0.4), i * second)
        if (i >= 2000) sum += 0.8 * belief.factor
      }
      assert.closeTo(sum / 2000, 0.4, 0.05, `seed ${seed}`)
    }
  })

  it("never takes more than was stated", () => {
    const belief = new Belief()
    for (let i = 0; i < 100; i++) belief.judged(0.1, true, i)
    assert.strictEqual(belief.factor, 1)
  })

  it("is shaken by two misses of a sure one, not by one, and not by two of a doubtful one", () => {
    const [sure, doubtful] = [new Belief(), new Belief()]
    sure.judged(0.99, false, 0)
    assert.strictEqual(sure.factor, 1)
    sure.judged(0.99, true, 0)
    for (let i = 0; i < 2; i++) {
      sure.judged(0.99, false, i)
      doubtful.judged(0.5, false, i)
    }
    assert.isBelow(sure.factor, 0.5)
    assert.strictEqual(doubtful.factor, 1)
  })

  it("takes one who is never right for sure of nothing, whether surely or certainly stated", () => {
    for (const stated of [0.99, 1]) {
      const belief = new Belief()
      for (let i = 0; i < 500; i++) belief.judged(stated, false, i)
      assert.isBelow(belief.factor, 0.02)
    }
  })

  it("forgets a bad time by good guesses, and by time alone", () => {
    const bad = (): Belief => {
      const belief = new Belief()
      for (let i = 0; i < 300; i++) belief.judged(0.9, false, i)
      return belief
    }
    const [soon, later] = [bad(), bad()]
    for (let i = 0; i < 1200; i++) soon.judged(0.9, true, 300 + i)
    assert.strictEqual(soon.factor, 1)
    later.judged(0.9, true, 10 * 60 * minute)
    assert.strictEqual(later.factor, 1)
  })
})

describe("observed times", () => {
  it("knows nothing before the first", () => {
    const times = new ObservedTimes()
    assert.isUndefined(times.typical)
    assert.isUndefined(times.left(0))
  })

  it("takes the median, whatever single ones were", () => {
    const times = new ObservedTimes()
    for (const millis of [100, 110, 1_000_000]) times.add(millis)
    assert.strictEqual(times.typical, 110)
    times.add(90)
    assert.strictEqual(times.typical, 105)
  })

  it("forgets all but the last 32", () => {
    const times = new ObservedTimes()
    for (let i = 0; i < 32; i++) times.add(5000)
    for (let i = 0; i < 32; i++) times.add(10)
    assert.strictEqual(times.typical, 10)
    assert.strictEqual(times.left(0), 10)
  })

  it("expects what is left from those that took longer, and a little of one that outlasts all", () => {
    const times = new ObservedTimes()
    for (const millis of [100, 1000, 1200]) times.add(millis)
    assert.closeTo(times.left(0)!, 2300 / 3, 1e-9)
    assert.strictEqual(times.left(500), 600)
    assert.strictEqual(times.left(1200), 100)
  })

  it("takes no time that is none", () => {
    const times = new ObservedTimes()
    for (const millis of [Number.NaN, -1, Infinity]) times.add(millis)
    assert.isUndefined(times.typical)
  })
})

describe("the budget", () => {
  it("never passes its calls in any window, however it lies", () => {
    for (const seed of seeds) {
      const { int, next } = random(seed)
      const [calls, window] = [int(1, 12), int(10, 1000)]
      const budget = new GuessBudget(calls, window)
      const starts: Array<number> = []
      let now = -500
      for (let i = 0; i < 5000; i++) {
        now += next() * window / calls / 2
        if (!budget.hasRoom(now)) continue
        budget.take(now)
        starts.push(now)
      }
      assert.isAbove(starts.length, calls * 20)
      for (let i = calls; i < starts.length; i++) {
        assert.isAtLeast(starts[i]! - starts[i - calls]!, window, `seed ${seed}, start ${i}`)
      }
    }
  })

  it("gets back what a claimed guess took, once", () => {
    const budget = new GuessBudget(2, 1000)
    budget.take(0)
    budget.take(10)
    assert.isFalse(budget.hasRoom(20))
    budget.claimed(10)
    assert.isTrue(budget.hasRoom(20))
    budget.claimed(10)
    budget.take(30)
    assert.isFalse(budget.hasRoom(30))
  })

  it("has room as soon as the first of a window has left it", () => {
    const budget = new GuessBudget(2, 1000)
    budget.take(0)
    budget.take(10)
    assert.isFalse(budget.hasRoom(999.9))
    assert.isTrue(budget.hasRoom(1000))
    budget.take(1000)
    assert.isFalse(budget.hasRoom(1009))
    assert.isTrue(budget.hasRoom(1010))
  })

  const room = (budget: GuessBudget, now: number): number => {
    let taken = 0
    while (budget.hasRoom(now)) {
      budget.take(now)
      taken++
    }
    return taken
  }

  it("is halved by a refusal for the rate, once for all that were under way, down to one", () => {
    const budget = new GuessBudget(60, minute)
    budget.refused(0, 10)
    budget.refused(5, 11)
    budget.refused(10, 12)
    assert.strictEqual(room(budget, 20), 30)
    for (let i = 0; i < 20; i++) budget.refused(100 + i, 100 + i)
    assert.strictEqual(room(budget, 2 * minute), 1)
  })

  it("comes back slowly, by what got through, and never above what it was", () => {
    const budget = new GuessBudget(60, minute)
    budget.refused(0, 10)
    for (let i = 0; i < 60; i++) budget.gotThrough()
    assert.strictEqual(room(budget, 20), 45)
    for (let i = 0; i < 1000; i++) budget.gotThrough()
    assert.strictEqual(room(budget, 2 * minute), 60)
  })

  it("of none starts nothing, refused or not", () => {
    const budget = new GuessBudget(0, minute)
    budget.refused(0, 1)
    assert.strictEqual(room(budget, 20), 0)
  })
})

describe("admission", () => {
  it("starts what is believed at least the threshold", () => {
    const appraiser = appraisal({ confidenceThreshold: 0.3 })
    assert.isUndefined(appraiser.admit(candidate(0.3), 0, undefined))
    assert.strictEqual(appraiser.admit(candidate(0.299), 0, undefined), "confidence")
  })

  it("starts nothing that is believed to be wrong, at no threshold", () => {
    assert.strictEqual(appraisal({ confidenceThreshold: 0 }).admit(candidate(0), 0, undefined), "worth")
  })

  it.each<readonly [name: string, price: Price, tool: number, left: number | undefined, starts: boolean]>([
    ["a price below confidence times the tool's time", 399, 800, undefined, true],
    ["a price of just that", 400, 800, undefined, false],
    ["a price below what is left of the model's turn", 99, 800, 200, true],
    ["a price of what is left of it", 100, 800, 200, false],
    ["a price of a function", () => "399 millis", 800, undefined, true],
    ["a function's price that is too high", () => "400 millis", 800, undefined, false],
    [
      "a price that throws",
      () => {
        throw new Error("no price list")
      },
      800,
      undefined,
      false
    ],
    ["a price that is none", () => "soon" as never, 800, undefined, false],
    ["a price of NaN", () => Number.NaN, 800, undefined, false],
    ["a price below nothing", () => -5, 800, undefined, false],
    ["a price without end", () => Infinity, 800, undefined, false],
    ["a promise of a price", () => Promise.resolve(1) as never, 800, undefined, false],
    ["no price and no time to save", undefined, 0, undefined, false],
    ["no price and a model that is done", undefined, 800, 0, false]
  ])("weighs %s", (_, price, toolMillis, left, starts) => {
    const appraiser = appraisal()
    const tool = boundTool("paid", price)
    appraiser.toolTook(tool, toolMillis)
    assert.strictEqual(appraiser.admit(candidate(0.5, { tool }), 0, left), starts ? undefined : "worth")
  })

  it("takes unknown times for as long as it takes, but not for a price without end", () => {
    const admit = (price: Price) => appraisal().admit(candidate(0.5, { tool: boundTool("new", price) }), 0, undefined)
    assert.isUndefined(admit("1 hour"))
    assert.strictEqual(admit(() => Infinity), "worth")
  })

  it("gives a price function the parameters", () => {
    const appraiser = appraisal()
    const tool = boundTool("paid", (params: { readonly pages: number }) => params.pages * 100)
    appraiser.toolTook(tool, 1000)
    assert.isUndefined(appraiser.admit(candidate(0.5, { tool, decoded: { pages: 4 } }), 0, undefined))
    assert.strictEqual(appraiser.admit(candidate(0.5, { tool, decoded: { pages: 6 } }), 0, undefined), "worth")
  })

  it("expects what is left of the model's turn from its earlier turns, service by service", () => {
    const appraiser = appraisal()
    appraiser.modelTook("openai", 2000)
    assert.strictEqual(appraiser.modelLeft("openai", 500), 1500)
    assert.isUndefined(appraiser.modelLeft("other", 500))
  })

  it("has at most maxConcurrent at work, and gives the place back once, at the end", () => {
    const appraiser = appraisal({ maxConcurrent: 2 })
    const [first, second, third] = [candidate(0.9), candidate(0.9), candidate(0.9)] as const
    assert.isUndefined(appraiser.admit(first, 0, undefined))
    assert.isUndefined(appraiser.admit(second, 0, undefined))
    assert.strictEqual(appraiser.admit(third, 0, undefined), "concurrency")
    appraiser.ended(first)
    appraiser.ended(first)
    appraiser.ended(third)
    assert.isUndefined(appraiser.admit(third, 0, undefined))
    assert.strictEqual(appraiser.admit(candidate(0.9), 0, undefined), "concurrency")
  })

  it("starts none where maxConcurrent is 0, and tells which would have been right", () => {
    const appraiser = appraisal({ maxConcurrent: 0 })
    assert.strictEqual(turn(appraiser, candidate(0.9), true, 0), "concurrency")
    assert.strictEqual(turn(appraiser, candidate(0.9), false, 0), "concurrency")
    const [entry] = appraiser.report().entries
    assert.deepStrictEqual([entry?.started, entry?.passed, entry?.right], [0, 2, 1])
  })

  it("starts at most the budget in a window that nobody claims, and half of it after a refusal for the rate", () => {
    const appraiser = appraisal({ budget: { calls: 8, window: "1 minute" } })
    const starts = (from: number): number =>
      Array.from({ length: 50 }, (_, i) => turn(appraiser, candidate(0.9), true, from + i, came("miss"))).filter((
        refusal
      ) => refusal === undefined).length
    assert.strictEqual(starts(0), 8)
    assert.strictEqual(starts(59_000), 0)
    assert.strictEqual(starts(2 * minute), 8)
    const limited = came("failed", { rateLimited: true })
    assert.isUndefined(turn(appraiser, candidate(0.9), true, 4 * minute, limited))
    // The one that was refused, and three that got through.
    assert.strictEqual(starts(4 * minute + 1), 3)
  })

  it("spends no budget on guesses that are claimed", () => {
    const appraiser = appraisal({ budget: { calls: 8, window: "1 minute" } })
    for (let i = 0; i < 50; i++) assert.isUndefined(turn(appraiser, candidate(0.9), true, i))
  })
})

describe("switching off", () => {
  const run = (
    appraiser: ReturnType<typeof appraisal>,
    stated: number,
    isRight: () => boolean,
    turns: number,
    from: number,
    everyMillis = second
  ) => {
    const counts = { started: 0, asked: 0, offs: 0 }
    for (let i = 0; i < turns; i++) {
      const now = from + i * everyMillis
      if (!appraiser.listens("custom", now)) {
        counts.offs++
        continue
      }
      counts.asked++
      if (turn(appraiser, candidate(stated), isRight(), now) === undefined) counts.started++
    }
    return counts
  }

  it("never is an honest 0.8 over 10,000 guesses", () => {
    for (const seed of seeds) {
      const { chance } = random(seed)
      const counts = run(appraisal(ample), 0.8, () => chance(0.8), 10_000, 0)
      assert.deepStrictEqual(counts, { started: 10_000, asked: 10_000, offs: 0 }, `seed ${seed}`)
    }
  })

  for (const stated of [0.3, 0.35, 0.5]) {
    it(`hardly ever is an honest ${stated}, which loses more turns than it wins`, () => {
      for (const seed of seeds) {
        const { chance } = random(seed)
        const { started } = run(appraisal(ample), stated, () => chance(stated), 10_000, 0)
        assert.isAtLeast(started, stated === 0.3 ? 9500 : 9900, `seed ${seed}`)
      }
    })
  }

  for (const stated of [0.6, 0.8, 0.9, 0.99, 1]) {
    it(`is one who is always wrong at ${stated}, after few starts, and asked ever less`, () => {
      const appraiser = appraisal(ample)
      const { asked, started } = run(appraiser, stated, () => false, 3600, 0)
      assert.isAtMost(started, stated >= 0.9 ? 8 : 32)
      assert.isAtMost(asked, started + 24)
      assert.isTrue(appraiser.report().predictors[0]?.off)
    })
  }

  it("is one who is always wrong at the threshold, and at no threshold", () => {
    for (const confidenceThreshold of [0.3, 0]) {
      const { started } = run(appraisal({ confidenceThreshold, ...ample }), 0.3, () => false, 3600, 0)
      assert.isAtMost(started, 60, `threshold ${confidenceThreshold}`)
    }
  })

  it("ends when the liar is right again", () => {
    const appraiser = appraisal(ample)
    run(appraiser, 0.99, () => false, 60, 0)
    assert.isFalse(appraiser.listens("custom", minute))
    const { started } = run(appraiser, 0.99, () => true, 2000, minute)
    assert.isAtLeast(started, 1800)
    assert.isFalse(appraiser.report().predictors[0]?.off)
    const later = run(appraiser, 0.99, () => true, 100, 60 * minute)
    assert.strictEqual(later.started, 100)
  })

  it("ends after the longest bad time within its longest pause and a few turns", () => {
    const appraiser = appraisal(ample)
    run(appraiser, 0.99, () => false, 12 * 3600, 0)
    run(appraiser, 0.99, () => true, 1200, 12 * 60 * minute)
    const { started } = run(appraiser, 0.99, () => true, 100, 12 * 60 * minute + 1200 * second)
    assert.strictEqual(started, 100)
  })

  it("probes one turn after 10 seconds, then after pauses that double up to 10 minutes", () => {
    const appraiser = appraisal(ample)
    run(appraiser, 0.99, () => false, 8, 0, 1)
    const asked: Array<number> = []
    for (let now = 100; now < 60 * minute; now += 100) {
      if (!appraiser.listens("custom", now)) continue
      asked.push(now)
      turn(appraiser, candidate(0.99), false, now)
    }
    const pauses = asked.map((at, i) => (at - (asked[i - 1] ?? 0)) / second)
    assert.deepStrictEqual(pauses.slice(0, 8).map((each) => Math.round(each)), [10, 20, 40, 80, 160, 320, 600, 600])
  })

  it("is one tool of a predictor that is right about another, which goes on", () => {
    const appraiser = appraisal(ample)
    const [good, bad] = [boundTool("good"), boundTool("bad")]
    let starts = 0
    for (let i = 0; i < 1000; i++) {
      turn(appraiser, candidate(0.9, { tool: good }), true, i * second)
      if (turn(appraiser, candidate(0.9, { tool: bad }), false, i * second) === undefined) starts++
    }
    assert.isAtMost(starts, 8)
    assert.isTrue(appraiser.listens("custom", 1000 * second))
    assert.isUndefined(turn(appraiser, candidate(0.9, { tool: good }), true, 1000 * second))
  })

  it("is one predictor and not another about the same tool", () => {
    const appraiser = appraisal(ample)
    for (let i = 0; i < 20; i++) {
      turn(appraiser, candidate(0.9, { predictor: "liar" }), false, i)
      turn(appraiser, candidate(0.9, { predictor: "honest" }), true, i)
    }
    assert.isFalse(appraiser.listens("liar", 20))
    assert.isTrue(appraiser.listens("honest", 20))
  })

  for (const outcome of ["failed", "preempted"] as const) {
    it(`is one whose guesses are right and ${outcome} each time, until a probe gets through`, () => {
      const appraiser = appraisal(ample)
      const tool = boundTool("useless")
      let starts = 0
      for (let i = 0; i < 100; i++) {
        if (turn(appraiser, candidate(0.9, { tool }), true, i, came(outcome)) === undefined) starts++
      }
      assert.strictEqual(starts, 8)
      const works = (now: number) => turn(appraiser, candidate(0.9, { tool }), true, now)
      assert.strictEqual(works(5 * second), "off")
      assert.isTrue(appraiser.listens("custom", 20 * second))
      assert.isUndefined(works(20 * second))
      assert.isUndefined(works(20 * second + 1))
    })
  }

  it("weighs what was wasted by the price", () => {
    const starts = (price: Price): number => {
      const appraiser = appraisal(ample)
      const tool = boundTool("paid", price)
      appraiser.toolTook(tool, 10_000)
      const settled = came("miss", { wastedMillis: 0 })
      let count = 0
      for (let i = 0; i < 60; i++) {
        const right = i % 4 === 0
        const each = right ? came("hit", { savedMillis: 1000 }) : settled
        if (turn(appraiser, candidate(0.9, { tool }), right, i, each) === undefined) count++
      }
      return count
    }
    assert.isAbove(starts(0), starts(2000))
  })
})

describe("the ledger", () => {
  it("gives each guess that started one outcome, by predictor and tool", () => {
    for (const seed of seeds) {
      const { chance, int, next, pick } = random(seed)
      const appraiser = appraisal({ confidenceThreshold: 0.2, budget: { calls: 40, window: 100 } })
      const tools = ["a", "b", "c"].map((name) => boundTool(name))
      const open: Array<ReturnType<typeof candidate>> = []
      const settle = (at: number): void => {
        const [each] = open.splice(at, 1)
        appraiser.ended(each!)
        const outcome = pick(["hit", "lateHit", "miss", "failed", "preempted"] as const)
        appraiser.settled(each!, came(outcome, { rateLimited: chance(0.01) }), int(0, 5000))
        appraiser.settled(each!, came(outcome), 0)
      }
      let judged = 0
      for (let now = 0; now < 5000; now++) {
        const each = candidate(next(), { tool: pick(tools), predictor: pick(["x", "y"]) })
        const starts = appraiser.admit(each, now, chance(0.5) ? undefined : int(0, 1000)) === undefined
        if (starts) open.push(each)
        appraiser.judged(each, chance(each.stated), starts, now)
        judged++
        if (open.length > 0 && chance(0.6)) settle(int(0, open.length - 1))
      }
      while (open.length > 0) settle(0)
      const { entries, predictors } = appraiser.report()
      assert.strictEqual(entries.length, 6)
      let [started, passed] = [0, 0]
      for (const entry of entries) {
        const { failed, hit, lateHit, miss, preempted } = entry
        assert.strictEqual(entry.started, hit + lateHit + miss + failed + preempted, `seed ${seed}`)
        assert.strictEqual(entry.savedMillis, (hit + lateHit) * 500)
        assert.strictEqual(entry.wastedMillis, (miss + failed + preempted) * 500)
        started += entry.started
        passed += entry.passed
      }
      assert.isAbove(started, 100)
      assert.strictEqual(started + passed, judged)
      assert.strictEqual(predictors.reduce((sum, { guesses }) => sum + guesses, 0), judged)
    }
  })

  it("counts what predictors did, and takes no count that is none", () => {
    const appraiser = appraisal()
    appraiser.asked("custom")
    appraiser.failed("custom")
    appraiser.ignored("custom")
    appraiser.spent("custom", 120)
    for (const tokens of [Number.NaN, -5, Infinity]) appraiser.spent("custom", tokens)
    turn(appraiser, candidate(0.1), false, 0)
    assert.deepStrictEqual(appraiser.report().predictors, [
      { predictor: "custom", asked: 1, guesses: 2, ignored: 1, failures: 1, tokens: 120, off: false }
    ])
  })

  it("keeps names apart that read alike", () => {
    const appraiser = appraisal()
    turn(appraiser, candidate(0.9, { predictor: "ab", tool: boundTool("c") }), true, 0)
    turn(appraiser, candidate(0.9, { predictor: "a", tool: boundTool("bc") }), true, 0)
    turn(appraiser, candidate(0.9, { predictor: "1 a", tool: boundTool("b c") }), true, 0)
    const names = appraiser.report().entries.map(({ predictor, tool }) => [predictor, tool])
    assert.deepStrictEqual(names, [["ab", "c"], ["a", "bc"], ["1 a", "b c"]])
  })

  it("remembers a bounded number of pairs and predictors, those used last", () => {
    const appraiser = appraisal(ample)
    const first = candidate(0.9, { predictor: "first" })
    assert.isUndefined(appraiser.admit(first, 0, undefined))
    for (let i = 0; i < 5000; i++) {
      turn(appraiser, candidate(0.9, { predictor: `p${i}` }), true, i)
      if (i % 100 === 0) turn(appraiser, candidate(0.9, { predictor: "often" }), true, i)
    }
    appraiser.settled(first, came("hit"), 5000)
    const { entries, predictors } = appraiser.report()
    assert.strictEqual(entries.length, mostPairs)
    assert.isAtMost(predictors.length, 256)
    assert.strictEqual(entries.find(({ predictor }) => predictor === "often")?.started, 50)
    for (const { hit, started } of entries) assert.strictEqual(started, hit)
  })
})
