/** R13: one API with ten thousand waiters takes nothing from a quiet one beside it, nor from the limit they share. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import { layerAsked } from "../policy/askedStore.ts"

const perSecond = (limit: number) => Limiter.slidingWindow({ limit, window: "1 second" })
const waiters = 10_000

const stores = [
  ["in memory", Limiter.layer],
  [
    "in a store that is asked",
    (options: Limiter.Options) => Layer.orDie(Layer.provide(Limiter.layerStore(options), layerAsked()))
  ]
] as const

describe("R13: a hot API beside a quiet one", () => {
  for (const [store, layer] of stores) {
    const stage = Effect.gen(function*() {
      const order: Array<number> = []
      const clock = yield* Effect.clockWith(Effect.succeed)
      const quiet: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: waiters }, (_, i) => i),
        (i) =>
          Effect.forkChild(Limiter.withAdmission({ service: "hot" })(Effect.sync(() => order.push(i))), {
            startImmediately: true
          })
      )
      const askQuiet = Effect.suspend(() => {
        const asked = clock.currentTimeMillisUnsafe()
        return Effect.forkChild(
          Limiter.withAdmission({ service: "quiet" })(
            Effect.sync(() => quiet.push(clock.currentTimeMillisUnsafe() - asked))
          ),
          { startImmediately: true }
        )
      })
      return { askQuiet, order, quiet }
    })

    it.effect(`lets the quiet one pass at once while the hot one waits for itself, ${store}`, () =>
      Effect.gen(function*() {
        const { askQuiet, order, quiet } = yield* stage
        for (let second = 0; second < 100; second++) {
          for (let i = 0; i < 4; i++) yield* askQuiet
          yield* TestClock.adjust("1 second")
        }
        assert.strictEqual(quiet.length, 400)
        assert.strictEqual(Math.max(...quiet), 0)
        // 5 a second and no pause: nothing of the shared limit is lost to those who wait.
        assert.isAtLeast(order.length, 500)
        assert.deepStrictEqual(order, order.toSorted((a, b) => a - b))
      }).pipe(
        Effect.provide(
          layer({ global: perSecond(10), services: { hot: perSecond(5), quiet: perSecond(5) }, maxWait: "1 hour" })
        )
      ))

    it.effect(`gives the quiet one its turn where both wait for the shared limit, ${store}`, () =>
      Effect.gen(function*() {
        const { askQuiet, order, quiet } = yield* stage
        for (let i = 0; i < 50; i++) {
          yield* askQuiet
          yield* TestClock.adjust("500 millis")
        }
        yield* TestClock.adjust("1 second")
        assert.strictEqual(quiet.length, 50)
        // The shared limit has a place each 250 ms, and the two take turns.
        assert.isAtMost(Math.max(...quiet), 500)
        assert.isAtLeast(order.length, 50)
        assert.deepStrictEqual(order, order.toSorted((a, b) => a - b))
      }).pipe(
        Effect.provide(layer({
          global: Limiter.tokenBucket({ capacity: 1, refill: 4, every: "1 second" }),
          services: { hot: perSecond(100), quiet: perSecond(5) },
          maxWait: "1 hour"
        }))
      ))
  }
})
