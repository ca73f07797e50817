import { assert, describe, it } from "@effect/vitest"
import { Ledger } from "../../../src/engine/internal/Ledger.ts"
import { Standing } from "../../../src/engine/internal/Standing.ts"
import { appraisal, boundTool, came, candidate, turn } from "./guesses.ts"

const ample = { budget: { calls: 1_000_000 } }
const right = { right: true, saved: 500, cost: 0, idle: false }
const wrong = { right: false, saved: 0, cost: 100, idle: false }
const idle = { right: false, saved: 0, cost: 100, idle: true }

/** Wrong at 0.9, `times`. */
const lie = (standing: Standing, times: number, now = 0): void => {
  for (let i = 0; i < times; i++) {
    standing.belief.judged(0.9, false, now)
    standing.count(wrong, now)
  }
}

describe("standing", () => {
  it("is off at the eighth guess that loses, not before", () => {
    const standing = new Standing()
    lie(standing, 7)
    assert.isFalse(standing.isOff)
    lie(standing, 1)
    assert.isTrue(standing.isOff)
    assert.isFalse(standing.hasRoom(9999))
    assert.isTrue(standing.hasRoom(10_000))
  })

  it("is not off by bad luck alone", () => {
    const standing = new Standing()
    for (let i = 0; i < 20; i++) standing.count(wrong, 0)
    assert.isFalse(standing.isOff)
  })

  it("is on again by being right, from the eighth guess since, whatever it had cost", () => {
    const standing = new Standing()
    lie(standing, 8)
    for (let i = 0; i < 7; i++) standing.count({ ...right, saved: 10 }, 1)
    assert.isTrue(standing.isOff)
    standing.count({ ...right, saved: 10 }, 1)
    assert.isFalse(standing.isOff)
    lie(standing, 7, 1)
    assert.isFalse(standing.isOff)
  })

  it("lets one probe start each time its pause is over", () => {
    const standing = new Standing()
    lie(standing, 8)
    assert.isTrue(standing.hasRoom(10_000))
    assert.isTrue(standing.started(10_000))
    assert.isFalse(standing.hasRoom(29_999))
    assert.isTrue(standing.hasRoom(30_000))
  })

  it("listens once each time its pause is over, and lets one guess of that start", () => {
    const standing = new Standing()
    lie(standing, 8)
    assert.isFalse(standing.listens(9999))
    assert.isTrue(standing.listens(10_000))
    assert.isFalse(standing.listens(10_000))
    assert.isTrue(standing.hasRoom(10_000))
    assert.isTrue(standing.started(10_000))
    assert.isFalse(standing.hasRoom(10_000))
    assert.isTrue(standing.listens(30_000))
  })

  it("is on again by a probe that was right, and not by a guess that was none", () => {
    const standing = new Standing()
    lie(standing, 8)
    standing.count(right, 1)
    assert.isTrue(standing.isOff)
    standing.listens(10_000)
    standing.count(right, 10_000)
    assert.isFalse(standing.isOff)
    lie(standing, 8, 10_000)
    assert.isTrue(standing.isOff)
    assert.isFalse(standing.hasRoom(10_000))
    standing.count(right, 10_001)
    assert.isTrue(standing.isOff)
  })

  it("forgets what was of no use when it is on again", () => {
    const standing = new Standing()
    for (let i = 0; i < 8; i++) standing.count(idle, 0)
    assert.isTrue(standing.isOff)
    standing.listens(10_000)
    standing.count(right, 10_000)
    for (let i = 0; i < 20; i++) standing.count(wrong, 10_000)
    assert.isFalse(standing.isOff)
  })

  it("pauses longer each time, and after 32 good guesses as at first", () => {
    const pauseAfter = (good: number): number => {
      const standing = new Standing()
      for (let i = 0; i < 8; i++) standing.count(idle, 0)
      standing.listens(10_000)
      for (let i = 0; i <= good; i++) standing.count(right, 10_000)
      for (let i = 0; !standing.isOff; i++) standing.count({ ...idle, cost: 5000 }, 10_000)
      let now = 10_000
      while (!standing.hasRoom(now)) now += 1000
      return now - 10_000
    }
    assert.strictEqual(pauseAfter(8), 20_000)
    assert.strictEqual(pauseAfter(31), 10_000)
  })
})

describe("a tool that is off", () => {
  it("is on again once eight guesses would have been worth it, before its pause is over", () => {
    const appraiser = appraisal({ confidenceThreshold: 0.01, ...ample })
    const [good, bad] = [boundTool("good"), boundTool("bad")]
    const both = (isRight: boolean, now: number) => {
      turn(appraiser, candidate(0.9, { tool: good }), true, now)
      return turn(appraiser, candidate(0.9, { tool: bad }), isRight, now)
    }
    const lies = Array.from({ length: 10 }, (_, i) => both(false, i))
    assert.strictEqual(lies.indexOf("off"), 8)
    // The two that were off and wrong count too.
    const rights = Array.from({ length: 10 }, (_, i) => both(true, 10 + i))
    assert.strictEqual(rights.indexOf(undefined), 6)
  })

  it("is held to what its guesses took and saved when they did start, as it was of late", () => {
    const again = (wastedMillis: number, before: number): number => {
      const appraiser = appraisal({ confidenceThreshold: 0.1, ...ample })
      const [good, bad] = [boundTool("good"), boundTool("bad")]
      for (let i = 0; i < 300; i++) turn(appraiser, candidate(0.9, { tool: good }), true, i)
      const lie = (now: number, millis: number) =>
        turn(appraiser, candidate(0.9, { tool: bad }), false, now, came("miss", { wastedMillis: millis }))
      let now = 300
      lie(now++, before)
      while (lie(now++, wastedMillis) === undefined) assert.isBelow(now, 1000)
      // Half of them right: worth it at what they took before, or not.
      for (let i = 0; i < 40; i++) {
        const guess = candidate(0.9, { tool: bad })
        if (turn(appraiser, guess, i % 2 === 0, now++) === undefined) return i
      }
      return Infinity
    }
    assert.isBelow(again(100, 100), 20)
    assert.isBelow(again(100, 20_000), 20)
    assert.strictEqual(again(100_000, 100), Infinity)
  })

  it("keeps no other tool of its predictor off, and comes back by being right before its pause is over", () => {
    const appraiser = appraisal(ample)
    const [good, bad] = [boundTool("good"), boundTool("bad")]
    const both = (isRight: boolean, now: number) => {
      assert.isTrue(appraiser.listens("custom", now))
      assert.isUndefined(turn(appraiser, candidate(0.9, { tool: good }), true, now))
      return turn(appraiser, candidate(0.9, { tool: bad }), isRight, now)
    }
    for (let i = 0; i < 20; i++) both(false, i)
    const refusals = Array.from({ length: 60 }, (_, i) => both(true, 20 + i))
    assert.strictEqual(refusals[0], "confidence")
    assert.isUndefined(refusals.at(-1))
  })

  it("because its guesses are of no use waits for a probe, however right", () => {
    const appraiser = appraisal(ample)
    const [good, bad] = [boundTool("good"), boundTool("bad")]
    const failing = (now: number, outcome: "failed" | "hit" = "failed") => {
      turn(appraiser, candidate(0.9, { tool: good }), true, now)
      return turn(appraiser, candidate(0.9, { tool: bad }), true, now, came(outcome))
    }
    const refusals = Array.from({ length: 100 }, (_, i) => failing(i))
    assert.strictEqual(refusals.indexOf("off"), 8)
    assert.strictEqual(refusals.lastIndexOf(undefined), 7)
    assert.isUndefined(failing(10_100))
    assert.strictEqual(failing(10_101), "off")
    assert.strictEqual(failing(30_000), "off")
    assert.isUndefined(failing(30_200, "hit"))
    assert.isUndefined(failing(30_201))
  })
})

describe("a predictor that is off", () => {
  it("may start one guess of a turn it is asked again for, about any tool", () => {
    const appraiser = appraisal(ample)
    for (let i = 0; i < 8; i++) turn(appraiser, candidate(1), false, i)
    assert.isFalse(appraiser.listens("custom", 10))
    const other = () => candidate(0.9, { tool: boundTool("other") })
    assert.strictEqual(appraiser.admit(other(), 10, undefined), "off")
    assert.isTrue(appraiser.listens("custom", 20_000))
    assert.isUndefined(appraiser.admit(other(), 20_000, undefined))
    assert.strictEqual(appraiser.admit(other(), 20_000, undefined), "off")
  })

  it("is not one whose guesses would not have been started", () => {
    const cheap = appraisal(ample)
    const dear = appraisal(ample)
    const tool = boundTool("dear", "1 hour")
    dear.toolTook(tool, 1000)
    for (let i = 0; i < 500; i++) {
      assert.strictEqual(turn(cheap, candidate(0.2), false, i), "confidence")
      assert.include(["worth", "confidence"], turn(dear, candidate(0.9, { tool }), false, i))
    }
    assert.isTrue(cheap.listens("custom", 500))
    assert.isTrue(dear.listens("custom", 500))
  })

  it("is one that is right too rarely for what its misses take", () => {
    const starts = (wastedMillis: number): number => {
      const appraiser = appraisal({ confidenceThreshold: 0.1, ...ample })
      let count = 0
      for (let i = 0; i < 200; i++) {
        const isRight = i % 4 === 0
        const settled = isRight ? came("hit", { savedMillis: 100 }) : came("miss", { wastedMillis })
        if (turn(appraiser, candidate(0.9), isRight, i, settled) === undefined) count++
      }
      return count
    }
    assert.strictEqual(starts(100), 200)
    assert.isBelow(starts(3000), 40)
  })

  it("is one that is hardly ever right, also where every guess may start", () => {
    const appraiser = appraisal({ confidenceThreshold: 0, ...ample })
    let started = 0
    for (let i = 0; i < 2000; i++) {
      if (turn(appraiser, candidate(0.3), i % 100 === 0, i) === undefined) started++
    }
    assert.isBelow(started, 400)
  })
})

describe("what is told twice", () => {
  it("counts once, for the ledger and for the standing", () => {
    const ledger = new Ledger()
    const appraiser = appraisal(ample)
    const tool = boundTool("useless")
    let starts = 0
    for (let i = 0; i < 100; i++) {
      const each = candidate(0.9, { tool })
      if (appraiser.admit(each, i, undefined) !== undefined) continue
      starts++
      ledger.started(each)
      for (let twice = 0; twice < 2; twice++) {
        appraiser.ended(each)
        appraiser.settled(each, came("failed"), i)
        ledger.settled(each, came("failed"))
      }
    }
    assert.strictEqual(starts, 8)
    for (const { entries } of [appraiser.report(), ledger.report(() => false)]) {
      assert.deepStrictEqual(entries.map(({ failed, started }) => [started, failed]), [[8, 8]])
    }
  })

  it("is no guess that had to make room: the budget does not recover by it", () => {
    const appraiser = appraisal({ budget: { calls: 4, window: 100 } })
    const settle = (now: number, ...settled: Parameters<typeof came>) => {
      turn(appraiser, candidate(0.9), true, now, came(...settled))
    }
    const room = (now: number): number => {
      let count = 0
      while (appraiser.admit(candidate(0.9), now, undefined) === undefined) count++
      return count
    }
    settle(0, "failed", { rateLimited: true })
    for (let i = 1; i <= 4; i++) settle(i * 200, "preempted")
    appraiser.report()
    assert.strictEqual(room(2000), 2)
  })
})
