/**
 * The store's contract, last part: a head with slack passes only where its share of every limit stays free after it, and when
 * it is refused nobody can tell that it was there.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import type { Grant } from "../../src/policy/LimiterStore.ts"
import { askOne, type Harness, head, limit, rounding, type Store } from "./store.ts"

const every = "1 hour"

const rulesOf = (size: number): ReadonlyArray<Rule> => [
  tokenBucket({ capacity: size, refill: size, every }),
  slidingWindow({ limit: size, window: every }),
  fixedWindow({ limit: size, window: every }),
  tokenBucket({ capacity: size, refill: size, every, unit: "tokens" }),
  slidingWindow({ limit: size, window: every, unit: "tokens" }),
  fixedWindow({ limit: size, window: every, unit: "tokens" }),
  permits(size)
]

const guess = (calls = 1, tokens = 0, slack = 0.5) => ({ ...head(calls, tokens), slack })

/** Asks for one guess, alone. */
const askGuess = (store: Store, ...[lane, calls = 1, tokens = 0, slack = 0.5]: Guess) => {
  const asked = guess(calls, tokens, slack)
  return Effect.map(store.ask([{ lane, heads: [asked], waiting: 0 }]), ([answer]) => ({
    ...answer!,
    grant: { lane, head: asked, grantedAt: answer!.grantedAt } satisfies Grant
  }))
}
type Guess = readonly [lane: ReturnType<Store["lane"]>, calls?: number, tokens?: number, slack?: number]

export const slackContract = (harness: Harness): void => {
  roomContract(harness)
  traceContract(harness)
}

const roomContract = ({ it, open }: Harness): void => {
  for (const size of [1, 2, 3, 10, 11]) {
    it(`guesses leave half of a limit of ${size} free, under every rule`, () =>
      Effect.gen(function*() {
        const store = yield* open
        for (const [at, rule] of rulesOf(size).entries()) {
          const lane = store.lane(`lane ${at}`, [limit(`limit ${at}`, rule)])
          const what = `${rule._tag} of ${rule.unit}`
          let passed = 0
          while (passed <= size && (yield* askGuess(store, lane, 1, 1)).granted === 1) passed++
          assert.strictEqual(passed, Math.floor(size / 2), what)
          for (let left = Math.ceil(size / 2); left > 0; left--) {
            assert.isTrue((yield* askOne(store, lane, 1, 1)).passed, `${what}: a real call finds what was left`)
          }
          assert.isFalse((yield* askOne(store, lane, 1, 1)).passed, what)
        }
      }))
  }

  it("a guess that costs more leaves as much, and any share can be asked for", () =>
    Effect.gen(function*() {
      const store = yield* open
      for (const [at, rule] of rulesOf(10).entries()) {
        const lane = store.lane(`lane ${at}`, [limit(`limit ${at}`, rule)])
        const what = `${rule._tag} of ${rule.unit}`
        assert.strictEqual((yield* askGuess(store, lane, 6, 6)).granted, 0, what)
        assert.strictEqual((yield* askGuess(store, lane, 1, 1, 1)).granted, 0, what)
        assert.strictEqual((yield* askGuess(store, lane, 9, 9, 0.01)).granted, 1, what)
        assert.strictEqual((yield* askGuess(store, lane, 1, 1, 0.01)).granted, 0, what)
      }
    }))

  it("needs slack at all limits of its lane, and names the one that lacks it", () =>
    Effect.gen(function*() {
      const store = yield* open
      const wide = limit("wide", slidingWindow({ limit: 100, window: every }))
      const narrow = limit("narrow", slidingWindow({ limit: 4, window: every }))
      const lane = store.lane("both", [wide, narrow])
      assert.strictEqual((yield* askGuess(store, lane)).granted, 1)
      assert.strictEqual((yield* askGuess(store, lane)).granted, 1)
      assert.deepInclude(yield* askGuess(store, lane), { granted: 0, blockedBy: 1 })
      const tokens = limit("tokens", slidingWindow({ limit: 4, window: every, unit: "tokens" }))
      const counted = store.lane("counted", [wide, tokens])
      assert.isTrue((yield* askOne(store, counted, 1, 3)).passed)
      assert.deepInclude(yield* askGuess(store, counted, 1, 1), { granted: 0, blockedBy: 1 })
      assert.strictEqual((yield* askGuess(store, counted, 1, 0)).granted, 1, "it passes no limit of tokens")
    }))

  it("of a rate that was learnt nothing is slack, of one that was not everything", () =>
    Effect.gen(function*() {
      const store = yield* open
      const learnt = limit("learnt", { _tag: "Adaptive", unit: "calls" })
      const lane = store.lane("lane", [learnt])
      for (let i = 0; i < 5; i++) assert.strictEqual((yield* askGuess(store, lane)).granted, 1)
      const { grantedAt } = yield* askOne(store, lane)
      yield* store.feedback(learnt, { congested: true, grantedAt, retryAfterMillis: 1 })
      const [state] = yield* store.peek([learnt])
      assert.isTrue(state?._tag === "Adaptive" && Number.isFinite(state.callsPerSecond))
      assert.deepInclude(yield* askGuess(store, lane), { granted: 0, waitMillis: Number.POSITIVE_INFINITY })
    }))
}

const traceContract = ({ it, open }: Harness): void => {
  it("a refused guess holds up nobody in its ask, whether before or behind it", () =>
    Effect.gen(function*() {
      const store = yield* open
      const shared = limit("shared", slidingWindow({ limit: 4, window: every }))
      const lane = store.lane("lane", [shared])
      assert.isTrue((yield* askOne(store, lane, 2)).passed)
      const [first, second] = yield* store.ask([
        { lane, heads: [head(), guess()], waiting: 1 },
        { lane: store.lane("other", [shared]), heads: [head()], waiting: 1 }
      ])
      assert.deepInclude(first, { granted: 1, blockedBy: 0, waiting: 0 })
      assert.deepInclude(second, { granted: 1, blockedBy: -1 })
    }))

  it("a guess behind a refused head is refused too", () =>
    Effect.gen(function*() {
      const store = yield* open
      const shared = limit("shared", slidingWindow({ limit: 10, window: every }))
      assert.isTrue((yield* askOne(store, store.lane("lane", [shared]), 3)).passed)
      const [large, small] = yield* store.ask([
        { lane: store.lane("large", [shared]), heads: [head(8)], waiting: 1 },
        { lane: store.lane("small", [shared]), heads: [guess()], waiting: 0 }
      ])
      assert.deepInclude(large, { granted: 0 })
      assert.deepInclude(small, { granted: 0, blockedBy: 0 })
      assert.isAtLeast(small!.waitMillis, large!.waitMillis - rounding)
    }))

  it("a refused guess leaves no claim, and is counted nowhere", () =>
    Effect.gen(function*() {
      const store = yield* open
      const shared = limit("shared", tokenBucket({ capacity: 10, refill: 10, every }))
      const [mine, theirs] = ["mine", "theirs"].map((owner) => store.lane("lane", [shared], owner))
      assert.isTrue((yield* askOne(store, theirs!, 4)).passed)
      assert.deepInclude(yield* askGuess(store, mine!, 3), { granted: 0, waiting: 0 })
      // A claim would keep three of the six that are left, and a count would share them.
      const [answer] = yield* store.ask([{ lane: theirs!, heads: [head(3), head(3)], waiting: 2 }])
      assert.deepInclude(answer, { granted: 2, waiting: 0 })
    }))

  it("passes nobody who waits elsewhere for the same", () =>
    Effect.gen(function*() {
      const store = yield* open
      const shared = limit("shared", permits(10))
      const [mine, theirs] = ["mine", "theirs"].map((owner) => store.lane("lane", [shared], owner))
      yield* store.ask([{ lane: theirs!, heads: [], waiting: 1 }])
      assert.strictEqual((yield* askGuess(store, mine!)).granted, 0)
      yield* store.ask([{ lane: theirs!, heads: [], waiting: 0 }])
      assert.strictEqual((yield* askGuess(store, mine!)).granted, 1)
    }))

  it("what a guess gives back is there again", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = store.lane("lane", [limit("permits", permits(2))])
      const first = yield* askGuess(store, lane)
      assert.strictEqual(first.granted, 1)
      assert.strictEqual((yield* askGuess(store, lane)).granted, 0)
      yield* store.change([{ _tag: "Release", grant: first.grant }])
      assert.strictEqual((yield* askGuess(store, lane)).granted, 1)
    }))

  it("a guess that its service refuses is no jam: only the pause that is asked for holds", () =>
    Effect.gen(function*() {
      const store = yield* open
      const learnt = limit("learnt", { _tag: "Adaptive", unit: "calls" })
      const lane = store.lane("lane", [learnt])
      const { grantedAt } = yield* askGuess(store, lane)
      yield* store.feedback(learnt, { congested: true, grantedAt, isGuess: true })
      assert.isTrue((yield* askOne(store, lane)).passed)
      assert.isTrue((yield* askOne(store, lane)).passed)
      yield* store.feedback(learnt, { congested: true, grantedAt, isGuess: true, retryAfterMillis: 60_000 })
      const paused = yield* askOne(store, lane)
      assert.isFalse(paused.passed)
      assert.isAbove(paused.waitMillis, 50_000)
      const [state] = yield* store.peek([learnt])
      assert.deepInclude(state, { callsPerSecond: Number.POSITIVE_INFINITY })
    }))
}
