import { assert, describe, it } from "@effect/vitest"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { MemoryStore } from "../../src/policy/internal/memoryStore.ts"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket } from "../../src/policy/Limiter.ts"
import { type Lane, layerMemory, LimiterStore } from "../../src/policy/LimiterStore.ts"
import { random } from "../random.ts"
import { type Admission, askOne, assertBucketBound, head, limit, worstWindow } from "./store.ts"
import { storeContract } from "./storeContract.ts"

const open = Effect.map(Layer.build(layerMemory), Context.get(LimiterStore))

storeContract("memory", {
  it: (name, test) => it.effect(name, test),
  open,
  pass: (millis) => TestClock.adjust(millis)
})

/** A store whose clock reads what is written into it. */
const atTime = (millis: number) => {
  const time = { millis }
  const nanos = () => BigInt(time.millis) * 1_000_000n
  const clock = {
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    currentTimeMillisUnsafe: () => time.millis,
    currentTimeMillis: Effect.sync(() => time.millis),
    sleep: () => Effect.never
  } satisfies Clock.Clock
  return { time, store: new MemoryStore(clock) }
}

const rules: ReadonlyArray<Rule> = [
  tokenBucket({ capacity: 5, refill: 5, every: "1 second" }),
  slidingWindow({ limit: 5, window: "1 second" }),
  slidingWindow({ limit: 5, window: "1 second", unit: "tokens" }),
  fixedWindow({ limit: 5, window: "1 second" })
]

describe("the memory store", () => {
  it.effect("takes synchronously what an ask would be granted, and names the limit with the longest wait", () =>
    Effect.gen(function*() {
      const store = yield* open
      const { blockedBy, now, takeUnsafe } = store.synchronous!
      const lane = store.lane("lane", [
        limit("fast", tokenBucket({ capacity: 2, refill: 2, every: "1 second" })),
        limit("slow", slidingWindow({ limit: 2, window: "1 minute" }))
      ])
      assert.strictEqual(takeUnsafe(lane, 1, 0), 0)
      assert.isTrue((yield* askOne(store, lane)).passed)
      assert.strictEqual(takeUnsafe(lane, 1, 0), 60_000)
      assert.strictEqual(blockedBy(), 1)
      assert.strictEqual(takeUnsafe(lane, 3, 0), Number.POSITIVE_INFINITY)
      yield* TestClock.adjust(1234)
      assert.strictEqual(now(), 1234)
      assert.strictEqual(takeUnsafe(lane, 1, 0), 60_000 - 1234)
      // The refused one took nothing of the first limit.
      assert.strictEqual(takeUnsafe(store.lane("fast", [lane.limits[0]!]), 2, 0), 0)
    }))

  it.effect("passes a request without tokens though they be overdrawn", () =>
    Effect.gen(function*() {
      const store = yield* open
      const { changeUnsafe, takeUnsafe } = store.synchronous!
      const rule = tokenBucket({ capacity: 10, refill: 1, every: "1 hour", unit: "tokens" })
      const lane = store.lane("lane", [limit("tokens", rule)])
      assert.strictEqual(takeUnsafe(lane, 1, 5), 0)
      changeUnsafe({ _tag: "Settle", grant: { lane, head: head(1, 5), grantedAt: 0 }, tokens: 50 })
      assert.strictEqual(takeUnsafe(lane, 1, 0), 0)
      assert.isAbove(takeUnsafe(lane, 1, 1), 0)
    }))

  it.effect("does not overtake another owner's claim by taking synchronously", () =>
    Effect.gen(function*() {
      const store = yield* open
      const lane = (owner: string) =>
        store.lane("lane", [limit("window", slidingWindow({ limit: 10, window: "1 second" }))], owner)
      const { takeUnsafe } = store.synchronous!
      assert.strictEqual(takeUnsafe(lane("b"), 5, 0), 0)
      assert.isFalse((yield* askOne(store, lane("a"), 8)).passed)
      assert.isAbove(takeUnsafe(lane("b"), 5, 0), 0)
      assert.isAbove(takeUnsafe(lane("b"), 1, 0), 0)
      yield* TestClock.adjust(1000)
      assert.strictEqual(takeUnsafe(lane("b"), 2, 0), 0)
      assert.isAbove(takeUnsafe(lane("b"), 3, 0), 0)
      assert.isTrue((yield* askOne(store, lane("a"), 8)).passed)
    }))

  it("counts time from its start: a clock that reads years is as exact", () => {
    const { store, time } = atTime(1_800_000_000_000)
    const lane = store.lane("lane", [limit("bucket", tokenBucket({ capacity: 1, refill: 1000, every: "1 second" }))])
    for (let i = 0; i < 5000; i++) {
      assert.strictEqual(store.takeUnsafe(lane, 1, 0), 0)
      assert.strictEqual(store.takeUnsafe(lane, 1, 0), 1)
      time.millis++
    }
  })

  for (const rule of rules) {
    it(`a clock that steps back never admits more: ${rule._tag} of ${rule.unit}`, () => {
      for (let seed = 1; seed <= 50; seed++) {
        const r = random(seed)
        const { store, time } = atTime(5000)
        const lane = store.lane("lane", [limit("limit", rule)])
        const admissions: Array<Admission> = []
        let real = 0
        for (let i = 0; i < 1000; i++) {
          const passed = r.int(0, 200)
          real += passed
          time.millis = r.chance(0.01) ? time.millis - r.int(0, 4000) : time.millis + passed
          if (store.takeUnsafe(lane, 1, 1) === 0) admissions.push({ at: real, amount: 1 })
        }
        const name = `seed ${seed}`
        assert.isAbove(admissions.length, 5, name)
        if (rule._tag === "TokenBucket") assertBucketBound(admissions, 5, 5 / 1000, name)
        else assert.isAtMost(worstWindow(admissions, 1000), rule._tag === "FixedWindow" ? 10 : 5, name)
      }
    })
  }

  it("a reading that lags and is right again the next time admits no burst twice", () => {
    for (const rule of rules) {
      for (let seed = 1; seed <= 20; seed++) {
        const r = random(seed)
        const { store, time } = atTime(10_000)
        const lane = store.lane("lane", [limit("limit", rule)])
        const other = store.lane("other", [limit("other", slidingWindow({ limit: 1_000_000, window: 1 }))])
        const admissions: Array<Admission> = []
        for (let real = 10_000; real < 60_000; real += r.int(0, 20)) {
          time.millis = real
          store.takeUnsafe(other, 1, 1)
          if (!r.chance(0.02)) continue
          for (const reading of [real - r.int(0, 9000), real]) {
            time.millis = reading
            for (let i = 0; i < 5; i++) if (store.takeUnsafe(lane, 1, 1) === 0) admissions.push({ at: real, amount: 1 })
          }
        }
        const name = `seed ${seed}, ${rule._tag} of ${rule.unit}`
        assert.isAbove(admissions.length, 10, name)
        if (rule._tag === "TokenBucket") assertBucketBound(admissions, 5, 5 / 1000, name)
        else assert.isAtMost(worstWindow(admissions, 1000), rule._tag === "FixedWindow" ? 10 : 5, name)
      }
    }
  })

  it("one key with two rules is two limits; one rule written twice is one", () => {
    const { store } = atTime(0)
    const lane = (rule: Rule) => store.lane("lane", [limit("key", rule)])
    assert.strictEqual(store.takeUnsafe(lane(slidingWindow({ limit: 2, window: 1000 })), 2, 0), 0)
    assert.isAbove(store.takeUnsafe(lane(slidingWindow({ limit: 2, window: 1000 })), 1, 0), 0)
    assert.strictEqual(store.takeUnsafe(lane(slidingWindow({ limit: 3, window: 1000 })), 2, 0), 0)
  })

  it("a lane that outlives its idle limit shares it again with newer lanes", () => {
    for (const [i, rule] of [...rules, permits(5)].entries()) {
      const { store, time } = atTime(0)
      const old = store.lane("old", [limit("limit", rule)])
      time.millis += 10_000
      churn(store, 10)
      const young = store.lane("young", [limit("limit", rule)])
      let granted = 0
      for (let n = 0; n < 20; n++) if (store.takeUnsafe(n % 2 === 0 ? old : young, 1, 1) === 0) granted++
      assert.strictEqual(granted, 5, `${i} ${rule._tag}`)
    }
  })

  it("what is settled late counts in the limit's newer state", () => {
    const { store, time } = atTime(0)
    const tokens = limit("tokens", slidingWindow({ limit: 10, window: "1 second", unit: "tokens" }))
    const old = store.lane("old", [tokens])
    assert.strictEqual(store.takeUnsafe(old, 1, 5), 0)
    const grant = { lane: old, head: head(1, 5), grantedAt: 0 }
    time.millis += 5000
    churn(store, 10)
    const young = store.lane("young", [tokens])
    store.changeUnsafe({ _tag: "Settle", grant, tokens: 15 })
    assert.isAbove(store.takeUnsafe(young, 1, 1), 0)
  })

  it("a claim keeps its limit, though the window be empty again", () => {
    const { store, time } = atTime(0)
    const lane = (owner: string) =>
      store.lane("lane", [limit("window", slidingWindow({ limit: 10, window: "1 second" }))], owner)
    assert.strictEqual(store.takeUnsafe(lane("b"), 5, 0), 0)
    assert.strictEqual(store.ask([{ lane: lane("a"), heads: [head(8)], waiting: 1 }])[0]!.granted, 0)
    time.millis += 1500
    churn(store, 10)
    assert.isAbove(store.takeUnsafe(lane("b"), 5, 0), 0)
    time.millis += 1000
    assert.strictEqual(store.takeUnsafe(lane("b"), 5, 0), 0)
  })

  it("counts of many lanes end at their time, not when they are tidied away", () => {
    const { store, time } = atTime(0)
    const lanes = Array.from({ length: 50 }, (_, i) => (owner: string) => store.lane(`lane-${i}`, [], owner))
    for (const lane of lanes) store.ask([{ lane: lane("a"), heads: [], waiting: 3 }])
    time.millis += 10_000
    for (const lane of lanes.toReversed()) {
      assert.strictEqual(store.ask([{ lane: lane("b"), heads: [], waiting: 1 }])[0]!.waiting, 1)
    }
  })

  it("a large window that is hardly used takes little memory", () => {
    const { store, time } = atTime(0)
    const lane = store.lane("lane", [limit("large", slidingWindow({ limit: 10_000_000, window: "1 second" }))])
    const before = heapBytes()
    for (let i = 0; i < 1_000_000; i++) {
      time.millis++
      store.takeUnsafe(lane, 1, 0)
    }
    // A thousand calls of eight bytes are in the window.
    assert.isBelow(heapBytes() - before, 1_000_000)
    assert.strictEqual(store.takeUnsafe(lane, 1, 0), 0)
  })

  it("limits in use are kept, whatever comes and goes beside them", () => {
    const { store, time } = atTime(0)
    const kept: Array<Lane> = []
    for (const [i, rule] of [...rules, permits(5)].entries()) {
      const lane = store.lane(`kept-${i}`, [limit(`kept-${i}`, rule)])
      assert.strictEqual(store.takeUnsafe(lane, 5, 5), 0)
      kept.push(lane)
    }
    time.millis += 500
    churn(store, 10_000)
    for (const [i, lane] of kept.entries()) {
      const again = store.lane(`again-${i}`, lane.limits)
      assert.isAbove(store.takeUnsafe(again, 5, 5), 0, lane.limits[0]!.rule._tag)
    }
  })

  it("memory returns after 100,000 tenants, though nobody but one comes back", () => {
    const { store, time } = atTime(0)
    const rule = slidingWindow({ limit: 5, window: "1 second" })
    const bucket = tokenBucket({ capacity: 5, refill: 5, every: "1 second" })
    const visit = (tenant: number) => {
      const key = `tenant/${tenant}`
      const lane = store.lane(key, [limit(`${key}/0`, rule), limit(`${key}/1`, bucket)])
      if (store.takeUnsafe(lane, 1, 0) !== 0) assert.fail(`tenant ${tenant} was refused`)
      return lane
    }
    const before = heapBytes()
    for (let i = 0; i < 100_000; i++) visit(i)
    assert.strictEqual(store.size, 200_000)
    const full = heapBytes()
    time.millis += 10_000
    const lane = visit(0)
    for (let i = 0; i < 500_000 && store.size > 2; i++) {
      time.millis += 1000
      store.takeUnsafe(lane, 1, 0)
    }
    assert.isAtMost(store.size, 2)
    const after = heapBytes()
    assert.isBelow(after - before, (full - before) / 10, `before ${before}, full ${full}, after ${after}`)
  })

  it("a stream of tenants keeps no more limits than were busy within the window", () => {
    const { store, time } = atTime(0)
    const rule = slidingWindow({ limit: 5, window: "1 second" })
    let most = 0
    for (let i = 0; i < 50_000; i++) {
      time.millis += 1
      store.takeUnsafe(store.lane(`t${i}`, [limit(`t${i}`, rule)]), 1, 0)
      most = Math.max(most, store.size)
    }
    // A thousand are busy at any time.
    assert.isAtMost(most, 3000)
  })

  it("counts and claims of owners that ask no more are forgotten", () => {
    const { store, time } = atTime(0)
    const rule = slidingWindow({ limit: 5, window: "1 minute" })
    for (let i = 0; i < 5000; i++) {
      const lane = store.lane(`lane-${i}`, [limit(`limit-${i}`, rule)], `gone-${i}`)
      store.ask([{ lane, heads: [head(5), head(5)], waiting: 2 }])
    }
    assert.strictEqual(store.waitingLanes, 5000)
    time.millis += 200_000
    const lane = store.lane("alive", [limit("alive", rule)])
    for (let i = 0; i < 20_000; i++) store.ask([{ lane, heads: [], waiting: 0 }])
    assert.strictEqual(store.waitingLanes, 0)
    assert.isAtMost(store.size, 1)
  })
})

/** Other tenants come and go, so that idle limits are dropped. */
const churn = (store: MemoryStore, count: number): void => {
  const rule = slidingWindow({ limit: 5, window: "1 second" })
  for (let i = 0; i < count; i++) store.lane(`churn-${i}`, [limit(`churn-${i}`, rule)])
}

const heapBytes = (): number => {
  setFlagsFromString("--expose-gc")
  const gc: () => void = runInNewContext("gc")
  gc()
  gc()
  return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
}
