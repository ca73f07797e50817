/**
 * The store's contract, second part: what several askers see of each other. Order, news, the learnt rate, and keys that
 * mean harm.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import { askMany, askOne, type Harness, head, limit, rounding, timeOf } from "./store.ts"

const hour = "1 hour"
const adaptive: Rule = { _tag: "Adaptive", unit: "calls" }

export const protocolContract = (harness: Harness): void => {
  orderContract(harness)
  newsContract(harness)
  keysContract(harness)
}

const orderContract = ({ it, open }: Harness): void => {
  it("passes heads in their order: none behind the first that does not pass", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = store.lane("lane", [limit("window", slidingWindow({ limit: 10, window: hour }))])
      const [answer] = yield* store.ask([{ lane, heads: [head(4), head(4), head(4), head(1)], waiting: 4 }])
      assert.deepInclude(answer, { granted: 2, blockedBy: 0, waiting: 2 })
      assert.isAbove(answer!.waitMillis, 3_500_000)
    }))

  it("later asks of a batch do not overtake at the limit that blocked an earlier one", () =>
    Effect.gen(function*() {
      const store = yield* open
      const shared = limit("shared", slidingWindow({ limit: 10, window: hour }))
      const other = limit("other", slidingWindow({ limit: 10, window: hour }))
      assert.isTrue((yield* askOne(store, store.lane("first", [shared]), 5)).passed)
      const [large, small, aside] = yield* store.ask([
        { lane: store.lane("large", [other, shared]), heads: [head(6)], waiting: 1 },
        { lane: store.lane("small", [shared]), heads: [head(1)], waiting: 1 },
        { lane: store.lane("aside", [other]), heads: [head(10)], waiting: 1 }
      ])
      assert.deepInclude(large, { granted: 0, blockedBy: 1 })
      assert.deepInclude(small, { granted: 0, blockedBy: 0 })
      assert.isAtLeast(small!.waitMillis, large!.waitMillis - rounding)
      assert.strictEqual(aside!.granted, 1, "it needs only what blocked nobody")
    }))

  it("who waits longest for its own limit stops nobody at a shared one", () =>
    Effect.gen(function*() {
      const store = yield* open
      const shared = limit("global", slidingWindow({ limit: 10, window: "1 minute" }))
      const api = limit("api", slidingWindow({ limit: 1, window: hour }))
      assert.isTrue((yield* askOne(store, store.lane("api", [shared, api]))).passed)
      // Both limits refuse six more calls; the api's wait is longer.
      assert.isTrue((yield* askOne(store, store.lane("quiet", [shared]), 5)).passed)
      const [waits, passes] = yield* store.ask([
        { lane: store.lane("api", [shared, api]), heads: [head(1)], waiting: 1 },
        { lane: store.lane("quiet", [shared]), heads: [head(4)], waiting: 1 }
      ])
      assert.deepInclude(waits, { granted: 0, blockedBy: 1 })
      assert.strictEqual(passes!.granted, 1)
    }))

  it("answers a thousand heads in one ask, in one step of time", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = store.lane("lane", [limit("window", slidingWindow({ limit: 700, window: hour }))])
      const answer = yield* askMany(store, lane, 1000)
      assert.deepInclude(answer, { granted: 700, blockedBy: 0, waiting: 300 })
    }))
}

const newsContract = ({ it, open, pass }: Harness): void => {
  it("tells the keys of limits of which something came back, in every listener, until its scope closes", () =>
    Effect.gen(function*() {
      const store = yield* open
      // A store need not tell what nobody was refused.
      const refused = (at: number, calls: number, tokens = 0) =>
        Effect.map(
          askOne(store, store.lane(`waits-${at}`, [limits[at]!], "other"), calls, tokens),
          ({ passed }) => assert.isFalse(passed)
        )
      const limits = [
        limit("permits", permits(2)),
        limit("calls", slidingWindow({ limit: 5, window: hour })),
        limit("tokens", slidingWindow({ limit: 100, window: hour, unit: "tokens" }))
      ]
      const lane = store.lane("lane", limits)
      const heard: Array<string> = []
      const other: Array<string> = []
      const seen = (keys: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          for (let i = 0; i < 500 && keys.some((key) => !heard.includes(key)); i++) yield* pass(10)
          assert.sameMembers([...new Set(heard)], [...keys])
        })
      yield* store.freed((keys) => void heard.push(...keys))
      const first = yield* askOne(store, lane, 1, 50)
      const second = yield* askOne(store, lane, 1, 50)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* store.freed((keys) => void other.push(...keys))
        yield* refused(0, 1)
        yield* store.change([{ _tag: "Release", grant: first.grant }])
        yield* seen(["permits"])
        for (let i = 0; i < 500 && other.length === 0; i++) yield* pass(10)
        assert.deepStrictEqual(other, ["permits"])
      }))
      heard.length = 0
      yield* refused(2, 1, 1)
      yield* store.change([{ _tag: "Settle", grant: first.grant, tokens: 10 }])
      yield* seen(["tokens"])
      heard.length = 0
      yield* refused(0, 2)
      yield* refused(1, 4)
      yield* refused(2, 1, 50)
      yield* store.change([{ _tag: "Return", grant: second.grant }])
      yield* seen(["permits", "calls", "tokens"])
      assert.deepStrictEqual(other, ["permits"])
    }))

  it("renews what is held and loses nothing that is alive", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = store.lane("lane", [limit("permits", permits(2))])
      const one = yield* askOne(store, lane)
      assert.deepStrictEqual(yield* store.renew([one.grant]), [])
    }))

  it("peeks at every rule and takes nothing", () =>
    Effect.gen(function*() {
      const store = yield* open
      const limits = [
        limit("bucket", tokenBucket({ capacity: 4, refill: 4, every: hour })),
        limit("sliding", slidingWindow({ limit: 4, window: hour })),
        limit("tokens", slidingWindow({ limit: 40, window: hour, unit: "tokens" })),
        limit("fixed", fixedWindow({ limit: 4, window: hour })),
        limit("permits", permits(4)),
        limit("adaptive", adaptive)
      ]
      const lane = store.lane("lane", limits)
      const empty = yield* store.peek(limits)
      assert.deepStrictEqual(empty.slice(0, 5), [
        { _tag: "Bucket", fullInMillis: 0 },
        { _tag: "Window", entries: [] },
        { _tag: "Window", entries: [] },
        { _tag: "Window", entries: [] },
        { _tag: "Permits", held: 0 }
      ])
      assert.deepStrictEqual(empty[5], {
        _tag: "Adaptive",
        callsPerSecond: Number.POSITIVE_INFINITY,
        pausedMillis: 0,
        nextInMillis: 0
      })
      const taken = yield* askOne(store, lane, 3, 30)
      for (let i = 0; i < 5; i++) yield* store.peek(limits)
      const [bucket, sliding, tokens, fixed, held] = yield* store.peek(limits)
      const age = (yield* timeOf(store)) - taken.grantedAt
      assert.approximately(bucket!._tag === "Bucket" ? bucket!.fullInMillis : 0, 2_700_000, age + rounding)
      for (const [state, amount, late] of [[sliding, 3, 0], [tokens, 30, 3600], [fixed, 3, 0]] as const) {
        const entries = state!._tag === "Window" ? state!.entries : []
        assert.strictEqual(entries.reduce((sum, entry) => sum + entry[1], 0), amount)
        for (const [endsIn] of entries) assert.approximately(endsIn, 3_600_000 + late / 2, late / 2 + age + rounding)
      }
      assert.deepStrictEqual(held, { _tag: "Permits", held: 3 })
      assert.isTrue((yield* askOne(store, lane, 1, 10)).passed)
      assert.isFalse((yield* askOne(store, lane, 1, 1)).passed)
    }))

  it("a refused service is left alone by every owner, and then asked one by one", () =>
    Effect.gen(function*() {
      const store = yield* open
      const learnt = limit("service/a/adaptive", adaptive)
      const lane = (owner: string) => store.lane("lane", [learnt], owner)
      const first = yield* askMany(store, lane("a"), 20)
      assert.strictEqual(first.granted, 20)
      yield* store.feedback(learnt, { congested: true, grantedAt: first.grantedAt, retryAfterMillis: 700 })
      const refused = yield* askOne(store, lane("b"))
      assert.deepInclude(refused, { passed: false, blockedBy: 0 })
      assert.isAtMost(refused.grantedAt + refused.waitMillis, refused.grantedAt + 700 + rounding)
      assert.isAbove(refused.waitMillis, 0)
      const [state] = yield* store.peek([learnt])
      assert.isTrue(state!._tag === "Adaptive" && Number.isFinite(state!.callsPerSecond) && state!.pausedMillis > 0)
      yield* pass(Math.ceil(refused.waitMillis))
      assert.isTrue((yield* askOne(store, lane("b"))).passed)
      const other = store.lane("other", [limit("service/b/adaptive", adaptive)])
      assert.strictEqual((yield* askMany(store, other, 20)).granted, 20)
    }))
}

const hostile = [
  "",
  " ",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "a",
  "A",
  "a ",
  "a{b}c",
  "{a}",
  "{}",
  "}{",
  "{",
  "a:b",
  "a/b",
  "a\nb",
  "a\r\nb",
  "a\u0000b",
  "a\u0000",
  "\u202eabc",
  "😀",
  "é",
  "e\u0301",
  "\ud800",
  "'\"\\",
  "*",
  "a*",
  "x".repeat(10_000),
  "x".repeat(9999) + "y"
]

const keysContract = ({ it, open }: Harness): void => {
  it("limits with keys of any text stay apart", () =>
    Effect.gen(function*() {
      const store = yield* open
      const rule = slidingWindow({ limit: 1, window: hour })
      const lanes = hostile.map((key) => store.lane(key, [limit(key, rule)], key))
      for (const lane of lanes) {
        const answer = yield* askOne(store, lane)
        assert.isTrue(answer.passed, JSON.stringify(lane.key.slice(0, 40)))
        assert.strictEqual(answer.waiting, 0)
      }
      for (const lane of lanes) {
        assert.isFalse((yield* askOne(store, lane)).passed, JSON.stringify(lane.key.slice(0, 40)))
      }
      const states = yield* store.peek(lanes.flatMap((lane) => lane.limits))
      for (const state of states) assert.strictEqual(state._tag === "Window" ? state.entries.length : 0, 1)
      assert.notProperty({}, "polluted")
      assert.deepStrictEqual(Object.keys(Object.prototype), [])
    }))
}
