import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { Learning } from "../../../src/engine/internal/Learning.ts"

/** Lessons by number, what was learned of them, and who failed. */
const school = Effect.gen(function*() {
  const learning = new Learning(yield* Effect.context())
  const learned: Array<number> = []
  const failed: Array<number> = []
  const offer = (id: number, learn: Effect.Effect<void, unknown> = Effect.void): void =>
    learning.offer({
      learn: () => Effect.andThen(learn, Effect.sync(() => void learned.push(id))),
      failed: () => void failed.push(id)
    })
  return { learning, learned, failed, offer }
})

/** Lets fibers go on that wait for each other and for no time. */
const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

describe("learning", () => {
  it.effect("begins after the step of who offers, also what is offered when all is learned", () =>
    Effect.gen(function*() {
      const { learned, offer } = yield* school
      for (let i = 0; i < 3; i++) {
        offer(i)
        assert.lengthOf(learned, i)
        yield* settle
        assert.lengthOf(learned, i + 1)
      }
    }))

  it.effect("takes one lesson at a time, in order, and holds up nobody who offers", () =>
    Effect.gen(function*() {
      const { learned, offer } = yield* school
      let [atOnce, most] = [0, 0]
      for (let i = 0; i < 5; i++) {
        offer(
          i,
          Effect.gen(function*() {
            most = Math.max(most, ++atOnce)
            yield* Effect.sleep("10 millis")
            atOnce--
          })
        )
      }
      assert.deepStrictEqual(learned, [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(learned, [0, 1, 2, 3, 4])
      assert.strictEqual(most, 1)
      offer(5)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(learned, [0, 1, 2, 3, 4, 5])
    }))

  it.effect("keeps the newest 64 of those that wait", () =>
    Effect.gen(function*() {
      const { learned, offer } = yield* school
      const gate = yield* Deferred.make<void>()
      offer(-1, Deferred.await(gate))
      yield* TestClock.adjust(0)
      for (let i = 0; i < 100; i++) offer(i)
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(learned, [-1, ...Array.from({ length: 64 }, (_, i) => 36 + i)])
    }))

  it.effect("goes on after lessons that fail, die, throw or hang, and says so", () =>
    Effect.gen(function*() {
      const { failed, learned, learning, offer } = yield* school
      offer(0, Effect.fail("no store"))
      offer(1, Effect.die(new Error("bug")))
      learning.offer({
        learn: () => {
          throw new Error("bug")
        },
        failed: () => void failed.push(2)
      })
      offer(3, Effect.never)
      offer(4, Effect.uninterruptible(Effect.never))
      offer(5)
      yield* settle
      yield* TestClock.adjust("29 seconds")
      assert.deepStrictEqual([failed, learned], [[0, 1, 2], []])
      yield* TestClock.adjust("1 second")
      yield* settle
      yield* TestClock.adjust("30 seconds")
      yield* settle
      assert.deepStrictEqual([failed, learned], [[0, 1, 2, 3, 4], [5]])
    }))

  it.effect("learns at the end what still waits", () =>
    Effect.gen(function*() {
      const { learned, learning, offer } = yield* school
      for (let i = 0; i < 3; i++) offer(i, Effect.sleep("1 second"))
      const closing = yield* Effect.forkChild(learning.close)
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(learned, [0, 1, 2])
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(closing)))
      offer(3)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(learned, [0, 1, 2])
    }))

  it.effect("ends within 5 seconds whatever hangs, and interrupts it", () =>
    Effect.gen(function*() {
      for (const mode of [Effect.interruptible, Effect.uninterruptible]) {
        const { failed, learned, learning, offer } = yield* school
        let interrupted = false
        offer(0, mode(Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted = true)))))
        offer(1)
        const closing = yield* Effect.forkChild(learning.close)
        yield* TestClock.adjust("4 seconds")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.isTrue(Exit.isSuccess(closing.pollUnsafe()!))
        assert.strictEqual(interrupted, mode === Effect.interruptible)
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual([failed, learned], [[], []])
      }
    }))

  it.effect("ends at once where nothing was offered", () =>
    Effect.gen(function*() {
      const { learning } = yield* school
      yield* learning.close
    }))
})
