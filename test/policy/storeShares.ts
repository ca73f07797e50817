/**
 * The store's contract, third part: several owners at one limit. Waiting counts, shares, claims.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import { keptMillis, type Lane } from "../../src/policy/LimiterStore.ts"
import { askMany, askOne, askUntil, type Harness, head, limit, rounding, type Store, timeOf } from "./store.ts"

const hour = "1 hour"

/** Tells only how many wait. */
const tell = (store: Store, lane: Lane, waiting: number) =>
  Effect.map(store.ask([{ lane, heads: [], waiting }]), ([answer]) => answer!)

export const sharesContract = ({ it, open, pass }: Harness): void => {
  it("counts the waiters of a lane over all owners; a count ends with its time, or when nobody waits any more", () =>
    Effect.gen(function*() {
      const store = yield* open
      const limits = [limit("window", slidingWindow({ limit: 1, window: "300 millis" }))]
      const [a, b, c] = ["a", "b", "c"].map((owner) => store.lane("lane", limits, owner))
      const elsewhere = store.lane("elsewhere", limits, "d")
      assert.strictEqual((yield* tell(store, a!, 5)).waiting, 5)
      assert.strictEqual((yield* tell(store, b!, 7)).waiting, 12)
      assert.strictEqual((yield* tell(store, a!, 4)).waiting, 11)
      assert.strictEqual((yield* tell(store, elsewhere, 1)).waiting, 1)
      const first = yield* askMany(store, c!, 2, { waiting: 3 })
      assert.deepInclude(first, { granted: 1, waiting: 13 })
      assert.strictEqual((yield* tell(store, a!, 0)).waiting, 9)
      yield* pass(keptMillis(0) + 50)
      // The others asked no more.
      assert.strictEqual((yield* tell(store, a!, 1)).waiting, 1)
    }))

  it("a count renewed by asking stays", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = (owner: string) => store.lane("lane", [limit("permits", permits(1))], owner)
      for (let i = 0; i < 3; i++) {
        yield* tell(store, lane("a"), 2)
        yield* pass(keptMillis(0) / 2)
        assert.strictEqual((yield* tell(store, lane("b"), 1)).waiting, 3)
      }
    }))

  it("takes its share of what is free while others wait, and all when they have gone", () =>
    Effect.gen(function*() {
      const store = yield* open
      const limits = [limit("window", slidingWindow({ limit: 40, window: hour }))]
      const [a, b] = ["a", "b"].map((owner) => store.lane("lane", limits, owner))
      yield* tell(store, a!, 30)
      // 40 * 10 / 40, then of the 30 left 30 * 9 / 39.
      const first = yield* askMany(store, b!, 10, { waiting: 10 })
      assert.strictEqual(first.granted, 10)
      const more = yield* askMany(store, b!, 20, { waiting: 10 })
      assert.strictEqual(more.granted, 8)
      assert.strictEqual(more.blockedBy, 0)
      assert.isAbove(more.waitMillis, 0)
      assert.isAtMost(more.waitMillis, keptMillis(0) + rounding)
      yield* tell(store, a!, 0)
      assert.strictEqual((yield* askMany(store, b!, 30)).granted, 22)
    }))

  it("who has taken its share waits until its cost has been refilled at the mean rate", () =>
    Effect.gen(function*() {
      const store = yield* open
      const rule = tokenBucket({ capacity: 10, refill: 10, every: "10 minutes" })
      const [a, b] = ["a", "b"].map((owner) => store.lane("slow", [limit("slow", rule)], owner))
      yield* tell(store, a!, 5)
      const slow = yield* askMany(store, b!, 10, { waiting: 5 })
      assert.strictEqual(slow.granted, 5)
      assert.isAtMost(slow.waitMillis, keptMillis(0))
      assert.isAbove(slow.waitMillis, 0)
      const quick = tokenBucket({ capacity: 10, refill: 10, every: "100 millis" })
      const [c, d] = ["c", "d"].map((owner) => store.lane("quick", [limit("quick", quick)], owner))
      yield* tell(store, c!, 5)
      const fast = yield* askMany(store, d!, 10, { waiting: 5 })
      assert.strictEqual(fast.granted, 5)
      assert.approximately(fast.waitMillis, 10, rounding)
    }))

  it("two owners that ask in turn for all they need get even shares", () =>
    Effect.gen(function*() {
      const store = yield* open
      const limits = [
        limit("global", tokenBucket({ capacity: 1000, refill: 1, every: hour })),
        limit("permits", permits(24))
      ]
      const owners = ["a", "b", "c"].map((owner) => store.lane("lane", limits, owner))
      for (const lane of owners) yield* tell(store, lane, 50)
      const got: Array<number> = []
      for (const lane of owners) got.push((yield* askMany(store, lane, 50)).granted)
      // ceil(24 / 3), ceil(16 * 50 / 142), ceil(10 * 50 / 136): nobody takes what is the others'.
      assert.deepStrictEqual(got, [8, 6, 4])
    }))

  it("the first head of an ask needs no share, so that a large cost finds its turn", () =>
    Effect.gen(function*() {
      const store = yield* open
      const limits = [limit("tokens", slidingWindow({ limit: 100, window: hour, unit: "tokens" }))]
      const [a, b] = ["a", "b"].map((owner) => store.lane("lane", limits, owner))
      yield* tell(store, a!, 9)
      const [answer] = yield* store.ask([{ lane: b!, heads: [head(1, 70), head(1, 5)], waiting: 2 }])
      assert.deepInclude(answer, { granted: 1, blockedBy: 0 })
    }))
}

export const claimsContract = (harness: Harness): void => {
  const { it, open, pass } = harness
  const rules: ReadonlyArray<Rule> = [
    tokenBucket({ capacity: 10, refill: 10, every: "2 seconds", unit: "tokens" }),
    slidingWindow({ limit: 10, window: "1 second", unit: "tokens" }),
    fixedWindow({ limit: 10, window: "1 second", unit: "tokens" })
  ]

  for (const rule of rules) {
    it(`a refused large cost is not overtaken by another owner's small ones: ${rule._tag}`, () =>
      Effect.gen(function*() {
        const store = yield* open
        const lane = (owner: string) => store.lane(`lane ${owner}`, [limit("tokens", rule)], owner)
        assert.isTrue((yield* askOne(store, lane("b"), 1, 6)).passed)
        const large = yield* askOne(store, lane("a"), 1, 9)
        assert.isFalse(large.passed)
        const small = yield* askOne(store, lane("b"), 1, 2)
        assert.isFalse(small.passed)
        assert.isAbove(small.waitMillis, 0)
        yield* pass(Math.ceil(large.waitMillis))
        const again = yield* askOne(store, lane("b"), 1, 2)
        if (again.grantedAt < large.grantedAt + keptMillis(large.waitMillis)) assert.isFalse(again.passed)
        assert.isTrue((yield* askOne(store, lane("a"), 1, 9)).passed)
        assert.isTrue((yield* askUntil(harness, store, lane("b"), 1, 2, 500)).passed)
      }))
  }

  it("the older claim goes first, and neither waits for the other in vain", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = (owner: string) => store.lane("lane", [limit("tokens", rules[0]!)], owner)
      assert.isTrue((yield* askOne(store, lane("x"), 1, 10)).passed)
      const a = yield* askOne(store, lane("a"), 1, 8)
      const b = yield* askOne(store, lane("b"), 1, 7)
      assert.isFalse(a.passed || b.passed)
      assert.isAtLeast(b.waitMillis, a.grantedAt + a.waitMillis - b.grantedAt - rounding)
      const first = yield* askUntil(harness, store, lane("a"), 1, 8)
      const second = yield* askUntil(harness, store, lane("b"), 1, 7)
      assert.isAtLeast(second.grantedAt, first.grantedAt)
    }))

  it("a claim ends when its owner says that nobody waits, or asks no more", () =>
    Effect.gen(function*() {
      const store = yield* open
      const limits = [limit("tokens", slidingWindow({ limit: 10, window: hour, unit: "tokens" }))]
      const lane = (owner: string) => store.lane("lane", limits, owner)
      assert.isTrue((yield* askOne(store, lane("b"), 1, 5)).passed)
      assert.isFalse((yield* askOne(store, lane("a"), 1, 9)).passed)
      assert.isFalse((yield* askOne(store, lane("b"), 1, 1)).passed)
      yield* tell(store, lane("a"), 0)
      assert.isTrue((yield* askOne(store, lane("b"), 1, 1)).passed)

      const bucket = limit("bucket", tokenBucket({ capacity: 10, refill: 10, every: "2 seconds" }))
      const other = (owner: string) => store.lane("other", [bucket], owner)
      assert.isTrue((yield* askOne(store, other("b"), 6)).passed)
      const large = yield* askOne(store, other("a"), 9)
      assert.isFalse(large.passed)
      yield* pass(keptMillis(large.waitMillis) + 50)
      assert.isTrue((yield* askOne(store, other("b"), 3)).passed)
    }))

  it("a large cost that waits for its own limit claims nothing of a shared one", () =>
    Effect.gen(function*() {
      const store = yield* open
      const shared = limit("global", slidingWindow({ limit: 10, window: "1 minute", unit: "tokens" }))
      const api = limit("api", slidingWindow({ limit: 10, window: hour, unit: "tokens" }))
      assert.isTrue((yield* askOne(store, store.lane("x", [shared, api], "x"), 1, 5)).passed)
      const a = yield* askOne(store, store.lane("api", [shared, api], "a"), 1, 8)
      assert.deepInclude(a, { passed: false, blockedBy: 1 })
      assert.isTrue((yield* askOne(store, store.lane("quiet", [shared], "b"), 1, 5)).passed)
    }))

  it("a cost of one claims nothing: it finds room as soon as there is any", () =>
    Effect.gen(function*() {
      const store = yield* open
      const limits = [limit("calls", slidingWindow({ limit: 1, window: "300 millis" }))]
      const lane = (owner: string) => store.lane(`lane ${owner}`, limits, owner)
      assert.isTrue((yield* askOne(store, lane("x"))).passed)
      const a = yield* askOne(store, lane("a"))
      assert.isFalse(a.passed)
      yield* pass(Math.ceil(a.waitMillis))
      assert.isTrue((yield* askOne(store, lane("b"))).passed)
    }))

  it("a claim renewed by asking stays", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = (owner: string) => store.lane("lane", [limit("permits", permits(3))], owner)
      assert.isTrue((yield* askOne(store, lane("b"), 1)).passed)
      for (let i = 0; i < 4; i++) {
        const before = yield* timeOf(store)
        assert.isFalse((yield* askOne(store, lane("a"), 3)).passed)
        yield* pass(keptMillis(Number.POSITIVE_INFINITY) * 0.4)
        const small = yield* askOne(store, lane("b"), 1)
        if (small.grantedAt < before + keptMillis(Number.POSITIVE_INFINITY)) assert.isFalse(small.passed)
      }
    }))

  it("several permits at once are claimed too", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = (owner: string) => store.lane("lane", [limit("permits", permits(3))], owner)
      const held = yield* askOne(store, lane("b"), 1)
      assert.isTrue(held.passed)
      const large = yield* askOne(store, lane("a"), 3)
      assert.deepInclude(large, { passed: false, waitMillis: Number.POSITIVE_INFINITY })
      assert.isFalse((yield* askOne(store, lane("b"), 1)).passed)
      yield* store.change([{ _tag: "Release", grant: held.grant }])
      assert.isTrue((yield* askOne(store, lane("a"), 3)).passed)
    }))
}
