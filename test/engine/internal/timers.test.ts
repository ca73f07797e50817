import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as TimerHeap from "../../../src/engine/internal/timerHeap.ts"
import { Timers } from "../../../src/engine/internal/Timers.ts"
import { random } from "../../random.ts"

/** Its timers, with a look at how many lanes and entries they keep, and how many sleeps they have asked the clock for. */
const setUp = Effect.contextWith((context: Context.Context<never>) =>
  Effect.sync(() => {
    const clock = Context.get(context, Clock.Clock)
    let sleeping = 0
    const watched: Clock.Clock = {
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
      currentTimeMillis: clock.currentTimeMillis,
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
      currentTimeNanos: clock.currentTimeNanos,
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: clock.monotonicTimeNanos,
      sleep: (duration) =>
        Effect.suspend(() => {
          sleeping++
          return Effect.ensuring(clock.sleep(duration), Effect.sync(() => sleeping--))
        })
    }
    const timers = new Timers(watched, context)
    const inside = timers as unknown as {
      readonly lanes: ReadonlyMap<number, object>
      readonly heap: { readonly entries: ReadonlyArray<unknown> }
    }
    return { timers, lanes: () => inside.lanes.size, kept: () => inside.heap.entries.length, sleeping: () => sleeping }
  })
)

describe("Timers", () => {
  it.effect("fires each entry once, at its time, whatever its door and the order of adding (seeds 1 to 20)", () =>
    Effect.gen(function*() {
      for (let seed = 1; seed <= 20; seed++) {
        const { int, chance } = random(seed)
        const { sleeping, timers } = yield* setUp
        const expected: Array<string> = []
        const fired: Array<string> = []
        const start = timers.now()
        for (let i = 0; i < 200; i++) {
          const millis = int(0, 500)
          const fire = () => void fired.push(`${timers.now() - start}`)
          const timer = chance(0.5) ? timers.addOnce(millis, fire) : timers.add(millis, fire)
          if (chance(0.3)) timers.remove(timer)
          else expected.push(`${millis}`)
        }
        for (let i = 0; i <= 500; i += 5) yield* TestClock.adjust(5)
        const byNumber = (a: string, b: string) => Number(a) - Number(b)
        assert.deepStrictEqual(fired.sort(byNumber), expected.sort(byNumber), `seed ${seed}`)
        assert.isAbove(expected.length, 0)
        assert.strictEqual(sleeping(), 0, `seed ${seed}`)
      }
    }))

  it.effect("keeps one fiber for all irregular entries, and wakes earlier for an earlier one", () =>
    Effect.gen(function*() {
      const { sleeping, timers } = yield* setUp
      const fired: Array<number> = []
      for (const millis of [300, 200, 250, 100]) timers.addOnce(millis, () => void fired.push(millis))
      yield* TestClock.adjust(0)
      assert.strictEqual(sleeping(), 1)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(fired, [100])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(fired, [100, 200])
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(fired, [100, 200, 250, 300])
      assert.strictEqual(sleeping(), 0)
    }))

  it.effect("drops the lanes of durations that do not come again, and what was removed of the irregular ones", () =>
    Effect.gen(function*() {
      const { kept, lanes, sleeping, timers } = yield* setUp
      for (let i = 0; i < 1000; i++) timers.remove(timers.add(i + 1, () => {}))
      assert.isAtMost(lanes(), 17)
      const last = timers.addOnce(1_000_000, () => {})
      for (let i = 0; i < 1000; i++) timers.remove(timers.addOnce(i + 1, () => {}))
      assert.isAtMost(kept(), 129)
      timers.remove(last)
      assert.strictEqual(kept(), 0)
      yield* TestClock.adjust(0)
      assert.strictEqual(sleeping(), 0)
    }))

  it.effect("lets what fires add and remove entries, of its own kind too", () =>
    Effect.gen(function*() {
      const { sleeping, timers } = yield* setUp
      const fired: Array<string> = []
      const removed = timers.addOnce(20, () => void fired.push("removed"))
      timers.addOnce(10, () => {
        fired.push("first")
        timers.remove(removed)
        timers.addOnce(5, () => void fired.push("second"))
        timers.add(7, () => void fired.push("third"))
      })
      yield* TestClock.adjust(10)
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(fired, ["first", "second", "third"])
      assert.strictEqual(sleeping(), 0)
    }))

  it.effect("never fires what waits for ever, and fires nothing once it is closed", () =>
    Effect.gen(function*() {
      const { sleeping, timers } = yield* setUp
      const fired: Array<string> = []
      timers.addOnce(Infinity, () => void fired.push("never"))
      timers.add(Infinity, () => void fired.push("never"))
      timers.addOnce(5, () => void fired.push("five"))
      yield* TestClock.adjust("1 days")
      assert.deepStrictEqual(fired, ["five"])
      timers.addOnce(5, () => void fired.push("closed"))
      timers.add(5, () => void fired.push("closed"))
      timers.close()
      yield* TestClock.adjust("1 days")
      assert.deepStrictEqual(fired, ["five"])
      assert.strictEqual(sleeping(), 0)
    }))
})

describe("timerHeap", () => {
  it("gives things in the order of their times (seeds 1 to 50)", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const { int } = random(seed)
      const items = Array.from({ length: int(0, 100) }, () => ({ at: int(0, 20) }))
      const heap = TimerHeap.from(items.slice(0, items.length / 2))
      for (const item of items.slice(items.length / 2)) TimerHeap.push(heap, item)
      const taken: Array<number> = []
      for (let next = TimerHeap.pop(heap); next !== undefined; next = TimerHeap.pop(heap)) taken.push(next.at)
      assert.deepStrictEqual(taken, items.map(({ at }) => at).sort((a, b) => a - b), `seed ${seed}`)
    }
  })
})
