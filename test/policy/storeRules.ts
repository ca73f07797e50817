/**
 * The store's contract, first part: each rule's bound and its waits, all or nothing, and what comes back.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fixedWindow, permits, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import type { Lane } from "../../src/policy/LimiterStore.ts"
import { random } from "../random.ts"
import {
  type Admission,
  askMany,
  askOne,
  askUntil,
  assertBucketBound,
  type Harness,
  head,
  limit,
  rounding,
  type Store,
  timeOf,
  worstWindow
} from "./store.ts"

const window = 250

/** Asks as fast as it may for some windows, with costs of 1 to `largest`. */
const drive = Effect.fnUntraced(function*(harness: Harness, store: Store, lane: Lane, seed: number, largest: number) {
  const r = random(seed)
  const tokens = lane.limits[0]!.rule.unit === "tokens"
  const admissions: Array<Admission> = []
  const start = yield* timeOf(store)
  let now = start
  while (now < start + 5 * window) {
    const amount = r.int(1, largest)
    const answer = yield* askOne(store, lane, tokens ? 1 : amount, tokens ? amount : 0)
    assert.isAtLeast(answer.grantedAt, now, "the store's clock never steps back")
    now = answer.grantedAt
    if (answer.passed) admissions.push({ at: now, amount })
    else yield* harness.pass(r.chance(0.3) ? 1 : Math.ceil(answer.waitMillis))
  }
  assert.isAbove(admissions.length, 5)
  return admissions
})

export const ruleContract = (harness: Harness): void => {
  const { it } = harness

  it("passes a request without limits", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const answer = yield* askMany(store, store.lane("none", []), 3)
      assert.strictEqual(answer.granted, 3)
      assert.strictEqual(answer.waitMillis, 0)
      assert.strictEqual(answer.blockedBy, -1)
    }))

  it("a token bucket passes its capacity at once and says the exact wait for more", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const lane = store.lane("lane", [limit("bucket", tokenBucket({ capacity: 5, refill: 4, every: "1 second" }))])
      const first = yield* askMany(store, lane, 8)
      assert.deepInclude(first, { granted: 5, blockedBy: 0 })
      assert.approximately(first.waitMillis, 250, rounding)
      yield* harness.pass(Math.ceil(first.waitMillis))
      assert.isTrue((yield* askOne(store, lane)).passed)
    }))

  it("a sliding window of calls says when the oldest call leaves it, for one call and for several", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const lane = store.lane("lane", [limit("sliding", slidingWindow({ limit: 3, window: "2 seconds" }))])
      const first = yield* askOne(store, lane)
      yield* harness.pass(100)
      const second = yield* askMany(store, lane, 4)
      assert.deepInclude(second, { granted: 2, blockedBy: 0 })
      assert.approximately(second.grantedAt + second.waitMillis, first.grantedAt + 2000, rounding)
      const both = yield* askOne(store, lane, 2)
      assert.isFalse(both.passed)
      assert.approximately(both.grantedAt + both.waitMillis, second.grantedAt + 2000, rounding)
      const next = yield* askUntil(harness, store, lane)
      assert.isAtLeast(next.grantedAt, first.grantedAt + 2000)
    }))

  it("a sliding window of tokens is never early and at most 0.1 % of the window late", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const rule = slidingWindow({ limit: 100, window: "2 seconds", unit: "tokens" })
      const lane = store.lane("lane", [limit("sliding", rule)])
      const first = yield* askOne(store, lane, 1, 60)
      const refused = yield* askOne(store, lane, 1, 41)
      assert.isTrue(first.passed)
      assert.isFalse(refused.passed)
      const ends = refused.grantedAt + refused.waitMillis
      assert.isAtLeast(ends, first.grantedAt + 2000)
      assert.isAtMost(ends, first.grantedAt + 2000 + 2 + rounding)
      assert.isTrue((yield* askOne(store, lane, 1, 40)).passed)
      assert.isAtLeast((yield* askUntil(harness, store, lane, 1, 41)).grantedAt, first.grantedAt + 2000)
    }))

  it("a fixed window begins with its first admission", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const lane = store.lane("lane", [limit("fixed", fixedWindow({ limit: 2, window: "1 second" }))])
      yield* harness.pass(333)
      const first = yield* askOne(store, lane)
      const second = yield* askMany(store, lane, 2)
      assert.deepInclude(second, { granted: 1, blockedBy: 0 })
      assert.approximately(second.grantedAt + second.waitMillis, first.grantedAt + 1000, rounding)
      yield* harness.pass(Math.ceil(second.waitMillis))
      assert.strictEqual((yield* askMany(store, lane, 3)).granted, 2)
    }))

  it("permits have no time: only a release lets the next one pass", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const lane = store.lane("lane", [limit("permits", permits(2))])
      const first = yield* askOne(store, lane)
      assert.isTrue((yield* askOne(store, lane)).passed)
      const third = yield* askOne(store, lane)
      assert.deepInclude(third, { passed: false, waitMillis: Number.POSITIVE_INFINITY, blockedBy: 0 })
      yield* store.change([{ _tag: "Release", grant: first.grant }])
      assert.isTrue((yield* askOne(store, lane)).passed)
      assert.isFalse((yield* askOne(store, lane)).passed)
    }))

  for (const unit of ["calls", "tokens"] as const) {
    it(`a token bucket of ${unit} admits at most capacity + rate * time in any window`, () =>
      Effect.gen(function*() {
        const store = yield* harness.open
        const rule = tokenBucket({ capacity: 7, refill: 13, every: window, unit })
        const admissions = yield* drive(harness, store, store.lane("lane", [limit("b", rule)]), 11, 4)
        assertBucketBound(admissions, 7 + 13 / window * rounding, 13 / window)
      }))

    it(`a sliding window of ${unit} admits at most its limit in any window`, () =>
      Effect.gen(function*() {
        const store = yield* harness.open
        const rule = slidingWindow({ limit: 9, window, unit })
        const admissions = yield* drive(harness, store, store.lane("lane", [limit("s", rule)]), 12, 4)
        assert.isAtMost(worstWindow(admissions, window), 9)
        assert.isAtMost(worstWindow(admissions.slice(3), window), 9)
      }))

    it(`a fixed window of ${unit} admits at most twice its limit in any window`, () =>
      Effect.gen(function*() {
        const store = yield* harness.open
        const rule = fixedWindow({ limit: 9, window, unit })
        const admissions = yield* drive(harness, store, store.lane("lane", [limit("f", rule)]), 13, 4)
        assert.isAtMost(worstWindow(admissions, window), 18)
      }))
  }

  it("takes all limits of a lane or none", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const bucket = limit("bucket", tokenBucket({ capacity: 10, refill: 1, every: "1 hour" }))
      const sliding = limit("sliding", slidingWindow({ limit: 10, window: "1 hour" }))
      const tokens = limit("tokens", slidingWindow({ limit: 10, window: "1 hour", unit: "tokens" }))
      const fixed = limit("fixed", fixedWindow({ limit: 10, window: "1 hour" }))
      const held = limit("permits", permits(10))
      const all = [bucket, sliding, tokens, fixed, held]
      for (const [last, narrow] of all.entries()) {
        // Each rule in turn is the one that has no room, at every place of the lane.
        const store = yield* harness.open
        const full = { ...narrow, key: `full-${last}`, group: `full-${last}` }
        assert.strictEqual((yield* askMany(store, store.lane("fill", [full]), 10, { tokens: 1 })).granted, 10)
        for (let place = 0; place <= all.length; place++) {
          const lane = store.lane(`mixed-${place}`, all.toSpliced(place, 0, full))
          const answer = yield* askOne(store, lane, 1, 1)
          assert.deepInclude(answer, { passed: false, blockedBy: place })
        }
        const rest = yield* askMany(store, store.lane("rest", all), 12, { tokens: 1 })
        assert.strictEqual(rest.granted, 10, `after refusals by ${full.rule._tag}`)
      }
      assert.strictEqual((yield* askMany(store, store.lane("all", all), 12, { tokens: 1 })).granted, 10)
    }))

  it("one limit in several lanes is one limit", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const shared = limit("global", slidingWindow({ limit: 4, window: "1 hour" }))
      const own = (name: string) => limit(name, slidingWindow({ limit: 3, window: "1 hour" }))
      assert.strictEqual((yield* askMany(store, store.lane("a", [shared, own("a")]), 5)).granted, 3)
      const b = yield* askMany(store, store.lane("b", [shared, own("b")]), 5)
      assert.deepInclude(b, { granted: 1, blockedBy: 0 })
    }))

  it("a request without tokens passes limits counted in tokens, though they be full", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const tokens = limit("tokens", tokenBucket({ capacity: 10, refill: 1, every: "1 hour", unit: "tokens" }))
      const lane = store.lane("lane", [limit("calls", slidingWindow({ limit: 5, window: "1 hour" })), tokens])
      assert.isTrue((yield* askOne(store, lane, 1, 10)).passed)
      assert.deepInclude(yield* askOne(store, lane, 1, 1), { passed: false, blockedBy: 1 })
      assert.strictEqual((yield* askMany(store, lane, 5)).granted, 4)
    }))

  it("a cost above what the limit ever holds never passes, takes nothing and stops nobody", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const rules = [
        tokenBucket({ capacity: 3, refill: 3, every: "1 hour" }),
        slidingWindow({ limit: 3, window: "1 hour" }),
        fixedWindow({ limit: 3, window: "1 hour" }),
        permits(3)
      ]
      for (const [i, rule] of rules.entries()) {
        const lane = store.lane(`lane-${i}`, [limit(`other-${i}`, permits(100)), limit(`limit-${i}`, rule)])
        const [large, small] = yield* store.ask([
          { lane, heads: [head(4)], waiting: 1 },
          { lane: store.lane(`next-${i}`, lane.limits), heads: [head(3), head(1)], waiting: 2 }
        ])
        assert.deepInclude(large, { granted: 0, waitMillis: Number.POSITIVE_INFINITY, blockedBy: 1 }, rule._tag)
        assert.deepInclude(small, { granted: 1, blockedBy: 1 }, rule._tag)
      }
    }))

  it("what never started comes back: a bucket's cost at once, a window's entry, a permit", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const rules = [
        tokenBucket({ capacity: 6, refill: 1, every: "1 hour" }),
        slidingWindow({ limit: 6, window: "1 hour" }),
        fixedWindow({ limit: 6, window: "1 hour" }),
        permits(6)
      ]
      const tokens = [
        tokenBucket({ capacity: 60, refill: 1, every: "1 hour", unit: "tokens" }),
        slidingWindow({ limit: 60, window: "1 hour", unit: "tokens" }),
        fixedWindow({ limit: 60, window: "1 hour", unit: "tokens" })
      ]
      const limits = [...rules, ...tokens].map((rule, i) => limit(`limit-${i}`, rule))
      const lane = store.lane("lane", limits)
      const kept = yield* askOne(store, lane, 1, 10)
      const returned = yield* askOne(store, lane, 3, 30)
      const last = yield* askOne(store, lane, 2, 20)
      assert.isTrue(kept.passed && returned.passed && last.passed)
      assert.isFalse((yield* askOne(store, lane, 1, 1)).passed)
      yield* store.change([{ _tag: "Return", grant: returned.grant }])
      for (const one of limits) {
        // An hour's bucket refills less than a unit here, and gives back less by the age of the grant.
        const room = one.rule._tag === "TokenBucket" ? [2, 29] : [3, 30]
        const single = store.lane(`single-${one.key}`, [one])
        const cost = one.rule.unit === "calls" ? askOne(store, single, room[0]) : askOne(store, single, 1, room[1])
        assert.isTrue((yield* cost).passed, `${one.rule._tag} of ${one.rule.unit}`)
        const more = one.rule.unit === "calls" ? askOne(store, single, 2) : askOne(store, single, 1, 2)
        assert.isFalse((yield* more).passed, `${one.rule._tag} of ${one.rule.unit}`)
      }
    }))

  it("a late return gives a bucket back only what has not flowed in since", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const rule = tokenBucket({ capacity: 10, refill: 10, every: "10 seconds" })
      const lane = store.lane("lane", [limit("bucket", rule)])
      const first = yield* askOne(store, lane, 2)
      yield* askOne(store, lane, 8)
      yield* harness.pass(1000)
      const before = yield* timeOf(store)
      yield* store.change([{ _tag: "Return", grant: first.grant }])
      const after = yield* timeOf(store)
      const [state] = yield* store.peek(lane.limits)
      const end = yield* timeOf(store)
      const fullIn = state!._tag === "Bucket" ? state!.fullInMillis : Number.NaN
      // It owes 10 s from the first grant on, less the 2 s given back, less the grant's age.
      const fullAt = (returnedAt: number) => Math.min(8000 + returnedAt, first.grantedAt + 10_000)
      assert.isAtLeast(end + fullIn, fullAt(before) - rounding)
      assert.isAtMost(after + fullIn, fullAt(after) + rounding)
    }))

  it("a return after its window gives nothing back", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      for (const [i, rule] of [slidingWindow({ limit: 3, window }), fixedWindow({ limit: 3, window })].entries()) {
        const lane = store.lane(`lane-${i}`, [limit(`limit-${i}`, rule)])
        const old = yield* askOne(store, lane, 3)
        yield* harness.pass(window + 5)
        const fresh = yield* askOne(store, lane, 3)
        assert.isTrue(fresh.passed)
        yield* store.change([{ _tag: "Return", grant: old.grant }])
        const after = yield* askOne(store, lane)
        if (after.grantedAt < fresh.grantedAt + window) assert.isFalse(after.passed, rule._tag)
      }
    }))

  it("settling down gives the rest back, settling up takes it though it be overdrawn", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const unit = "tokens"
      const rules = [
        tokenBucket({ capacity: 100, refill: 100, every: "1 hour", unit }),
        slidingWindow({ limit: 100, window: "1 hour", unit }),
        fixedWindow({ limit: 100, window: "1 hour", unit })
      ]
      for (const [i, rule] of rules.entries()) {
        const calls = limit(`calls-${i}`, slidingWindow({ limit: 3, window: "1 hour" }))
        const lane = store.lane(`lane-${i}`, [limit(`limit-${i}`, rule), limit(`permits-${i}`, permits(3)), calls])
        const name = rule._tag
        const cheap = yield* askOne(store, lane, 1, 80)
        assert.isFalse((yield* askOne(store, lane, 1, 30)).passed, name)
        yield* store.change([{ _tag: "Settle", grant: cheap.grant, tokens: 20 }])
        const dear = yield* askOne(store, lane, 1, 78)
        assert.isTrue(dear.passed, name)
        assert.isFalse((yield* askOne(store, lane, 1, 30)).passed, name)
        // 20 and 150 are taken of 100: 70 overdrawn.
        yield* store.change([{ _tag: "Settle", grant: dear.grant, tokens: 150 }])
        const after = yield* askOne(store, lane, 1, 1)
        assert.isFalse(after.passed, name)
        const hour = 3_600_000
        const expected = rule._tag === "TokenBucket" ? 0.71 * hour : hour
        assert.approximately(after.waitMillis, expected, 0.02 * hour, name)
        // What is counted in calls has nothing to do with it.
        assert.strictEqual((yield* askMany(store, lane, 2)).granted, 1, name)
      }
    }))

  it("net admissions stay within capacity + rate * time + what was given back, whatever returns and settles", () =>
    Effect.gen(function*() {
      const store = yield* harness.open
      const rule = tokenBucket({ capacity: 50, refill: 50, every: window, unit: "tokens" })
      const lane = store.lane("lane", [limit("bucket", rule)])
      const r = random(21)
      const admissions: Array<{ readonly at: number; amount: number }> = []
      const open: Array<() => Effect.Effect<void, unknown>> = []
      const start = yield* timeOf(store)
      for (let now = start; now < start + 5 * window;) {
        const estimate = r.int(1, 30)
        const one = yield* askOne(store, lane, 1, estimate)
        now = one.grantedAt
        if (one.passed) {
          const admission = { at: now, amount: estimate }
          admissions.push(admission)
          open.push(() => {
            const actual = r.int(0, estimate)
            admission.amount = actual
            return store.change([
              actual === 0 ? { _tag: "Return", grant: one.grant } : { _tag: "Settle", grant: one.grant, tokens: actual }
            ])
          })
        } else {
          yield* harness.pass(Math.ceil(Math.min(one.waitMillis, r.int(1, 40))))
        }
        if (r.chance(0.5) && open.length > 0) yield* open.splice(r.int(0, open.length - 1), 1)[0]!()
      }
      assert.isAbove(admissions.length, 10)
      assertBucketBound(admissions, 50 + 50 / window * rounding, 50 / window, "seed 21:")
    }))
}
