/** The arithmetic of retries, over random inputs; a failure names its seed. */
import { assert, describe, it } from "@effect/vitest"
import { backoffMillis, longestPauseMillis, Pause, spreadOf } from "../../../src/policy/internal/backoff.ts"
import { RetryBudget } from "../../../src/policy/internal/retryBudget.ts"
import { random } from "../../random.ts"

describe("the backoff", () => {
  it("doubles its bound with every failure, and a random share of it is waited", () => {
    const settings = { baseMillis: 200, factor: 2, maxDelayMillis: 1000 }
    assert.deepStrictEqual([1, 2, 3, 4, 5, 2000].map((n) => backoffMillis(settings, n, 1)), [
      200,
      400,
      800,
      1000,
      1000,
      1000
    ])
    assert.deepStrictEqual([0, 0.25, 0.5].map((r) => backoffMillis(settings, 2, r)), [0, 100, 200])
  })

  it("is never above maxDelay and never negative", () => {
    for (let seed = 1; seed <= 2000; seed++) {
      const r = random(seed)
      const settings = {
        baseMillis: r.pick([0, 1, r.next() * 1e4, 1e9]),
        factor: r.pick([1, 1 + r.next() * 10, 1e300]),
        maxDelayMillis: r.pick([0, r.next() * 1e5, 1e9])
      }
      const wait = backoffMillis(settings, r.pick([1, 2, r.int(1, 50), 1e6]), r.pick([0, r.next(), 1]))
      // 0 * Infinity would be no number.
      assert.isAtLeast(wait, 0, `seed ${seed}`)
      assert.isAtMost(wait, settings.maxDelayMillis, `seed ${seed}`)
    }
  })
})

describe("the pause of a service", () => {
  it("is one, however many are told of it, and ends for each at a time of its own", () => {
    const pause = new Pause()
    for (let now = 0; now < 20; now++) pause.ask(now, 30_000, 200)
    assert.strictEqual(pause.leftMillis(20), 29_999)
    assert.strictEqual(pause.waitMillis(20, 0), 29_999)
    assert.strictEqual(pause.waitMillis(20, 0.5), 31_499)
    assert.strictEqual(pause.leftMillis(30_019), 0)
    assert.strictEqual(pause.waitMillis(30_019, 0.5), 0)
  })

  it("spreads a short one over the base, a long one over its tenth, and counts an hour at most", () => {
    assert.strictEqual(spreadOf(100, 200), 200)
    assert.strictEqual(spreadOf(60_000, 200), 6000)
    const pause = new Pause()
    pause.ask(0, 86_400_000, 200)
    assert.strictEqual(pause.leftMillis(0), longestPauseMillis)
  })

  it("only ever moves to a later time, and nobody waits for less than is left", () => {
    for (let seed = 1; seed <= 500; seed++) {
      const r = random(seed)
      const pause = new Pause()
      let now = r.next() * 1e6 - 5e5
      let until = Number.NEGATIVE_INFINITY
      let wanted = Number.NEGATIVE_INFINITY
      for (let i = 0; i < 60; i++) {
        now += r.next() * 1000
        if (r.chance(0.5)) {
          const asked = r.next() * r.pick([10, 1000, 1e5, 1e9])
          pause.ask(now, asked, 200)
          wanted = Math.max(wanted, now + Math.min(asked, longestPauseMillis))
        }
        const left = pause.leftMillis(now)
        assert.isAtLeast(pause.waitMillis(now, r.next()), left, `seed ${seed}`)
        assert.approximately(left, Math.max(0, wanted - now), 1e-6, `seed ${seed}`)
        if (left > 0) {
          assert.isAtLeast(now + left, until - 1e-6, `seed ${seed}: moved to an earlier time`)
          until = now + left
        }
      }
    }
  })
})

describe("the budget of a service", () => {
  const settings = { ratio: 0.1, reserve: 10, windowMillis: 60_000 }

  it("gives its reserve to a service that is hardly asked, and no more in a window", () => {
    const budget = new RetryBudget(settings)
    budget.request(0)
    assert.strictEqual(Array.from({ length: 100 }, () => budget.tryRetry(1)).filter(Boolean).length, 10)
    assert.isFalse(budget.tryRetry(60_000))
    // A slot more than the window, then all are back.
    assert.strictEqual(Array.from({ length: 100 }, () => budget.tryRetry(62_000)).filter(Boolean).length, 10)
  })

  it("gives a tenth of its requests to a service that is asked much", () => {
    const budget = new RetryBudget(settings)
    for (let i = 0; i < 500; i++) budget.request(i)
    assert.strictEqual(Array.from({ length: 100 }, () => budget.tryRetry(500)).filter(Boolean).length, 50)
  })

  it("gives nothing where there is neither reserve nor ratio", () => {
    const budget = new RetryBudget({ ratio: 0, reserve: 0, windowMillis: 1000 })
    for (let i = 0; i < 500; i++) budget.request(i)
    assert.isFalse(budget.tryRetry(500))
  })

  it("is idle when a window has passed, and not before", () => {
    const budget = new RetryBudget(settings)
    assert.isTrue(budget.isIdle(0))
    budget.request(1000)
    assert.isFalse(budget.isIdle(60_000))
    assert.isTrue(budget.isIdle(63_000))
  })

  it("never gives more than its bound over the window that ends with a retry, and does give it", () => {
    let given = 0
    let asked = 0
    for (let seed = 1; seed <= 300; seed++) {
      const r = random(seed)
      const one = {
        ratio: r.pick([0, 0.1, 0.5, 2]),
        reserve: r.pick([0, 1, 10]),
        windowMillis: r.pick([7, 1000, 60_000])
      }
      const budget = new RetryBudget(one)
      const requests: Array<number> = []
      const retries: Array<number> = []
      let now = r.next() * 1e6 - 5e5
      for (let i = 0; i < 600; i++) {
        now += r.next() * one.windowMillis * r.pick([0, 0.001, 0.01, 0.3])
        if (r.chance(0.6)) {
          budget.request(now)
          requests.push(now)
          continue
        }
        asked++
        if (!budget.tryRetry(now)) continue
        given++
        retries.push(now)
        const within = (times: ReadonlyArray<number>) => times.filter((time) => time > now - one.windowMillis).length
        assert.isAtMost(
          within(retries),
          Math.max(one.reserve, one.ratio * within(requests)),
          `seed ${seed}, step ${i}: ${JSON.stringify(one)}`
        )
      }
    }
    // Neither always yes nor always no.
    assert.isAbove(given, 0.1 * asked)
    assert.isBelow(given, 0.9 * asked)
  })
})
