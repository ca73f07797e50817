/**
 * The arithmetic of rules against naive oracles: lists that remember everything, and whole numbers of any size for the bucket.
 */
import { assert, describe, it } from "@effect/vitest"
import { makeState } from "../../../src/policy/internal/makeState.ts"
import { capacityOf, type RuleState, settle } from "../../../src/policy/internal/ruleState.ts"
import { millisOf } from "../../../src/policy/internal/time.ts"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket, type Unit } from "../../../src/policy/Limiter.ts"
import { random } from "../../random.ts"
import { type Admission, assertBucketBound, worstWindow } from "../store.ts"

type Of<Tag extends Rule["_tag"]> = Extract<Rule, { readonly _tag: Tag }>

interface Oracle {
  readonly wait: (now: number, cost: number) => number
  readonly take: (now: number, cost: number) => void
  readonly giveBack: (grantedAt: number, now: number, amount: number) => void
  readonly used: (now: number) => number
}

/** Every entry with its end. */
const windowOracle = (limit: number, endOf: (at: number) => number, exact: boolean): Oracle => {
  let entries: Array<{ readonly at: number; readonly end: number; amount: number }> = []
  const used = (now: number) => entries.reduce((sum, entry) => entry.end > now ? sum + entry.amount : sum, 0)
  return {
    used,
    wait: (now, cost) => {
      const ends = [now, ...entries.map((entry) => entry.end).filter((end) => end > now)]
      return ends.find((end) => used(end) + cost <= limit)! - now
    },
    take: (now, cost) => void entries.push({ at: now, end: endOf(now), amount: cost }),
    giveBack: (grantedAt, now, amount) => {
      for (const entry of entries) {
        const same = exact ? entry.at === grantedAt : entry.end === endOf(grantedAt)
        if (!same || entry.end <= now) continue
        const back = Math.min(amount, entry.amount)
        entry.amount -= back
        amount -= back
      }
      entries = entries.filter((entry) => entry.amount > 0)
    }
  }
}

const fixedOracle = (rule: Of<"FixedWindow">): Oracle => {
  let start = -Infinity
  let used = 0
  const isOpen = (now: number) => now - start < rule.windowMillis
  return {
    used: (now) => isOpen(now) ? used : 0,
    wait: (now, cost) => !isOpen(now) || used + cost <= rule.limit ? 0 : start + rule.windowMillis - now,
    take: (now, cost) => {
      if (!isOpen(now)) {
        start = now
        used = 0
      }
      used += cost
    },
    giveBack: (grantedAt, now, amount) => {
      if (isOpen(now) && grantedAt >= start) used = Math.max(0, used - amount)
    }
  }
}

/** Whole numbers only: a unit is `everyMillis * 65536`, of which `refill` flows off in each 1/65536 ms. */
const bucketOracle = (rule: Of<"TokenBucket">): Oracle => {
  const unit = BigInt(rule.everyMillis) * 65_536n
  const flow = BigInt(rule.refill)
  const ticks = (millis: number) => BigInt(millis * 65_536)
  let debt = 0n
  let at = 0
  const debtAt = (now: number) => {
    const left = debt - ticks(now - at) * flow
    return left > 0n ? left : 0n
  }
  const set = (now: number, value: bigint) => {
    debt = value > 0n ? value : 0n
    at = now
  }
  return {
    used: (now) => Number(debtAt(now)) / Number(unit),
    wait: (now, cost) => {
      const over = debtAt(now) + BigInt(cost) * unit - BigInt(rule.capacity) * unit
      return over <= 0n ? 0 : Number(over) / Number(flow) / 65_536
    },
    take: (now, cost) => set(now, debtAt(now) + BigInt(cost) * unit),
    giveBack: (grantedAt, now, amount) => {
      const credit = BigInt(amount) * unit - ticks(now - grantedAt) * flow
      set(now, credit > 0n ? debtAt(now) - credit : debtAt(now))
    }
  }
}

const slotEnd = (windowMillis: number) => (at: number) => {
  const slot = Math.ceil(windowMillis / 1000 * 65_536) / 65_536
  return (Math.floor(at / slot) + 1) * slot + windowMillis
}

const oracleOf = (rule: Rule): Oracle => {
  switch (rule._tag) {
    case "TokenBucket":
      return bucketOracle(rule)
    case "SlidingWindow":
      return rule.unit === "calls"
        ? windowOracle(rule.limit, (at) => at + rule.windowMillis, true)
        : windowOracle(rule.limit, slotEnd(rule.windowMillis), false)
    case "FixedWindow":
      return fixedOracle(rule)
    default:
      return assert.fail(rule._tag)
  }
}

type Random = ReturnType<typeof random>

const rules: Record<string, (r: Random, unit: Unit) => Rule> = {
  TokenBucket: (r, unit) =>
    tokenBucket({ capacity: r.int(1, 60), refill: r.int(1, 70), every: r.pick([7, 100, 1000, 60_000]), unit }),
  SlidingWindow: (r, unit) => slidingWindow({ limit: r.int(1, 60), window: r.pick([10, 333, 1000]), unit }),
  FixedWindow: (r, unit) => fixedWindow({ limit: r.int(1, 60), window: r.pick([10, 333, 1000]), unit })
}

interface Play {
  readonly rule: Rule
  readonly state: RuleState
  readonly admissions: Array<Admission & { net: number }>
  readonly charged: number
}

/** Some hundred random steps on the state and its oracle, compared at each. */
const play = (seed: number, rule: Rule, r: Random, disturbed: boolean): Play => {
  const state = makeState(rule)
  const oracle = oracleOf(rule)
  const capacity = capacityOf(rule)
  const admissions: Array<Admission & { net: number }> = []
  const span = rule._tag === "TokenBucket"
    ? rule.capacity * rule.everyMillis / rule.refill
    : (rule as Of<"FixedWindow">).windowMillis
  let now = 0
  let charged = 0
  for (let step = 0; step < 300; step++) {
    const check = (holds: boolean, what: string) =>
      holds || assert.fail(`${what}: seed ${seed}, step ${step}, ${JSON.stringify(rule)}`)
    const jump = r.pick([0, 0, span / 100, span / 10, span / 3, r.chance(0.05) ? span * 3 : 0])
    now += Math.floor(jump * r.next() * 65_536) / 65_536
    const cost = r.int(1, r.chance(0.2) ? capacity : Math.min(capacity, 4))
    const wait = state.wait(now, cost)
    const expected = oracle.wait(now, cost)
    check(wait >= expected && wait <= expected + 1 / 64 + 1e-6, `waits ${wait}, the oracle ${expected}`)
    const used = oracle.used(now)
    const least = rule._tag === "TokenBucket" ? capacity - used - 1 : Math.max(0, capacity - used)
    check(state.free(now) >= least && state.free(now) <= Math.max(0, capacity - used + 1e-6), `free ${state.free(now)}`)
    check(!state.isIdle(now) || used === 0, "it forgets too early")
    check(used > 0 || rule._tag === "FixedWindow" || disturbed || state.isIdle(now), "it remembers for too long")
    if (wait === 0) {
      state.take(now, cost)
      oracle.take(now, cost)
      admissions.push({ at: now, amount: cost, net: cost })
    } else if (r.chance(0.5)) {
      now += wait
      check(state.wait(now, cost) === 0, "it does not pass after its wait")
    }
    if (!disturbed || admissions.length === 0 || !r.chance(0.3)) continue
    const grant = admissions[Math.max(0, admissions.length - r.int(1, 12))]!
    const dearer = rule.unit === "tokens" && seed % 2 === 0 && r.chance(0.2)
    const actual = r.int(0, dearer ? grant.net + 5 : grant.net)
    settle(state, grant.at, now, grant.net, actual)
    if (actual > grant.net) {
      oracle.take(now, actual - grant.net)
      charged += actual - grant.net
    } else if (actual < grant.net) {
      oracle.giveBack(grant.at, now, grant.net - actual)
      grant.net = actual
    }
  }
  return { rule, state, admissions, charged }
}

const assertBound = (seed: number, rule: Rule, admissions: ReadonlyArray<Admission>): void => {
  const name = `seed ${seed}, ${JSON.stringify(rule)}`
  if (rule._tag === "TokenBucket") {
    assertBucketBound(admissions, rule.capacity, rule.refill / rule.everyMillis, name)
  } else if (rule._tag === "SlidingWindow" || rule._tag === "FixedWindow") {
    const bound = rule._tag === "FixedWindow" ? 2 * rule.limit : rule.limit
    assert.isAtMost(worstWindow(admissions, rule.windowMillis), bound, name)
  }
}

describe("ruleState", () => {
  for (const unit of ["calls", "tokens"] as const) {
    for (const [tag, make] of Object.entries(rules)) {
      it(`${tag} of ${unit} answers as its oracle and keeps its bound`, () => {
        for (let seed = 1; seed <= 150; seed++) {
          const r = random(seed)
          const { admissions, rule } = play(seed, make(r, unit), r, false)
          assert.isAbove(admissions.length, 20)
          assertBound(seed, rule, admissions)
        }
      })

      it(`${tag} of ${unit} answers as its oracle when grants come back and cost more; net admissions keep the bound`, () => {
        for (let seed = 1001; seed <= 1150; seed++) {
          const r = random(seed)
          const { admissions, charged, rule } = play(seed, make(r, unit), r, true)
          assert.isAbove(admissions.length, 20)
          const net = admissions.map(({ at, net }) => ({ at, amount: net }))
          if (charged === 0) assertBound(seed, rule, net)
        }
      })
    }
  }

  it("a bucket's sums do not drift: a rate that no double holds is kept over a million calls", () => {
    const rule = tokenBucket({ capacity: 1, refill: 3, every: "1 second" })
    const state = makeState(rule)
    let now = millisOf(123_456_789_012)
    const start = now
    for (let i = 0; i < 1_000_000; i++) {
      const wait = state.wait(now, 1)
      now += wait
      if (state.wait(now, 1) !== 0) assert.fail(`call ${i} does not pass after its wait`)
      state.take(now, 1)
    }
    assert.isAtLeast(now - start, 999_999 / 3 * 1000)
    assert.isAtMost(now - start, 999_999 / 3 * 1000 + 999_999 / 64)
  })

  it("a bucket refills at its whole rate while it is asked often", () => {
    const state = makeState(tokenBucket({ capacity: 10, refill: 7, every: 1, unit: "tokens" }))
    let taken = 0
    for (let now = 0; now < 10_000; now += 0.25) while (state.wait(now, 1) === 0) taken += (state.take(now, 1), 1)
    assert.isAtMost(taken, 70_010)
    assert.isAtLeast(taken, 69_990)
  })

  it("gives back after the age of a grant, and never above the capacity", () => {
    const state = makeState(tokenBucket({ capacity: 10, refill: 10, every: "1 second" }))
    state.take(0, 10)
    assert.isTrue(state.giveBack(0, 300, 5))
    assert.strictEqual(state.free(300), 5)
    assert.isFalse(state.giveBack(0, 600, 5))
    assert.strictEqual(state.free(600), 8)
    assert.isTrue(state.giveBack(0, 600, 10))
    assert.strictEqual(state.free(600), 10)
    assert.isFalse(state.giveBack(0, 700, 10))
    assert.strictEqual(state.free(700), 10)
    state.take(700, 10)
    assert.isAbove(state.wait(700, 1), 0)
  })

  it("more given back than was taken makes no rule hold more than its capacity", () => {
    const all = [
      tokenBucket({ capacity: 10, refill: 10, every: "1 second" }),
      slidingWindow({ limit: 10, window: "1 second" }),
      slidingWindow({ limit: 10, window: "1 second", unit: "tokens" }),
      fixedWindow({ limit: 10, window: "1 second" }),
      permits(10)
    ]
    for (const rule of all) {
      const state = makeState(rule)
      state.take(0, 3)
      assert.isTrue(state.giveBack(0, 0, 20), rule._tag)
      state.giveBack(0, 0, 20)
      assert.strictEqual(state.free(0), 10, rule._tag)
      let taken = 0
      while (state.wait(0, 1) === 0) taken += (state.take(0, 1), 1)
      assert.strictEqual(taken, 10, rule._tag)
    }
  })

  it("nothing comes back to a window that has passed", () => {
    for (const unit of ["calls", "tokens"] as const) {
      for (const make of [slidingWindow, fixedWindow]) {
        const state = makeState(make({ limit: 10, window: "1 second", unit }))
        state.take(0, 5)
        assert.isFalse(state.giveBack(0, 1002, 5))
      }
    }
  })

  it("a slot of a token window never counts for less than the window", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const r = random(seed)
      const window = r.pick([1, 17, 250, 1000, 60_000, 3_600_000])
      const state = makeState(slidingWindow({ limit: 1, window, unit: "tokens" }))
      const at = millisOf(Math.floor(r.next() * 1e15))
      state.take(at, 1)
      const wait = state.wait(at, 1)
      assert.isAtLeast(wait, window, `seed ${seed}`)
      assert.isAtMost(wait, window * 1.001 + 1 / 32, `seed ${seed}`)
    }
  })

  it("a ring of calls holds any number at one time, and gives back from its middle", () => {
    const state = makeState(slidingWindow({ limit: 5000, window: "1 second" }))
    const oracle = windowOracle(5000, (at) => at + 1000, true)
    for (let now = 0; now < 100; now++) {
      state.take(now, 50)
      oracle.take(now, 50)
    }
    for (const at of [0, 99, 50, 10, 90, 50]) {
      assert.isTrue(state.giveBack(at, 100, 20))
      oracle.giveBack(at, 100, 20)
    }
    assert.strictEqual(state.free(100), 120)
    assert.isTrue(state.giveBack(50, 100, 20))
    oracle.giveBack(50, 100, 20)
    assert.isFalse(state.giveBack(50, 100, 20))
    for (const cost of [1, 130, 131, 500, 2000, 4999, 5000]) {
      assert.strictEqual(state.wait(100, cost), oracle.wait(100, cost), String(cost))
    }
  })

  it("permits come back as they were taken, and never more than there are", () => {
    const state = makeState(permits(3))
    state.take(0, 2)
    assert.strictEqual(state.wait(0, 2), Number.POSITIVE_INFINITY)
    assert.isTrue(state.giveBack(0, 5, 2))
    assert.isFalse(state.giveBack(0, 5, 2))
    assert.strictEqual(state.free(5), 3)
    assert.strictEqual(state.wait(5, 3), 0)
  })

  it("a clock's reading is rounded down, whole milliseconds stay whole", () => {
    for (const millis of [0, 1, 333, 1_234_567, 86_400_000, 2_000_000_000]) {
      assert.strictEqual(millisOf(millis * 1e6), millis)
    }
    const r = random(5)
    for (let i = 0; i < 1000; i++) {
      const nanos = Math.floor(r.next() * 1e14)
      assert.isAtMost(millisOf(nanos), nanos / 1e6)
      assert.isAbove(millisOf(nanos), nanos / 1e6 - 2 ** -15)
    }
  })
})
