/** R12: a request that makes no sense, or for more than there ever is, is rejected at once and never waits. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import { layerAsked } from "../policy/askedStore.ts"
import { random } from "../random.ts"

const notCounts: ReadonlyArray<unknown> = [
  0,
  -1,
  -0.5,
  0.5,
  1.000_000_1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.MAX_SAFE_INTEGER + 1,
  "3",
  "",
  null,
  true,
  10n,
  [1],
  {}
]
const notDurations: ReadonlyArray<unknown> = [-1, Number.NaN, "soon", "-1 seconds", null]

const rules: Readonly<Record<string, (most: number) => Limiter.Rule>> = {
  tokenBucket: (capacity) => Limiter.tokenBucket({ capacity, refill: capacity, every: "1 second" }),
  slidingWindow: (limit) => Limiter.slidingWindow({ limit, window: "1 second" }),
  fixedWindow: (limit) => Limiter.fixedWindow({ limit, window: "1 second" }),
  permits: (permits) => Limiter.permits(permits),
  tokens: (limit) => Limiter.slidingWindow({ limit, window: "1 second", unit: "tokens" })
}

const stores = [
  ["in memory", Limiter.layer],
  [
    "in a store that is asked",
    (options: Limiter.Options) => Layer.orDie(Layer.provide(Limiter.layerStore(options), layerAsked()))
  ]
] as const

const request = (fields: Record<string, unknown>): Limiter.Request => fields

describe("R12: what never waits", () => {
  for (const [store, layer] of stores) {
    for (const [field, values] of [["calls", notCounts], ["tokens", notCounts], ["maxWait", notDurations]] as const) {
      it.effect.each(values)(`rejects ${field} %s by name, ${store}`, (value) =>
        Effect.gen(function*() {
          let started = 0
          const rejected = yield* Effect.flip(
            Limiter.withAdmission(request({ service: "a", [field]: value }))(Effect.sync(() => started++))
          )
          assert.strictEqual(rejected.reason, "InvalidRequest")
          assert.include(rejected.message, `${field} is ${String(value)}`)
          assert.strictEqual(started, 0)
          yield* Limiter.withAdmission({ service: "a", tokens: 5 })(Effect.void)
        }).pipe(Effect.provide(layer({ services: { a: [rules["slidingWindow"]!(1), rules["tokens"]!(5)] } }))))
    }

    it.effect(`rejects what costs more than any of its limits ever holds, ${store}`, () =>
      Effect.gen(function*() {
        const seed = 12
        const { int, pick } = random(seed)
        for (let round = 0; round < 100; round++) {
          const name = pick(Object.keys(rules))
          const most = int(1, 50)
          const cost = most + int(1, 1000)
          const seen = `seed ${seed}, round ${round}: ${cost} of ${name} ${most}`
          const wide = rules["slidingWindow"]!(100_000)
          yield* Effect.gen(function*() {
            const over = name === "tokens" ? { service: "a", tokens: cost } : { service: "a", calls: cost }
            const rejected = yield* Effect.flip(Limiter.withAdmission(over)(Effect.void))
            assert.strictEqual(rejected.reason, "OverCapacity", seen)
            assert.include(rejected.message, String(cost), seen)
            assert.include(rejected.limit, `service "a"`, seen)
            const fits = name === "tokens" ? { service: "a", tokens: most } : { service: "a", calls: most }
            yield* Limiter.withAdmission(fits)(Effect.void)
          }).pipe(Effect.provide(layer({ global: wide, services: { a: rules[name]!(most) } })))
        }
      }))

    it.effect(`starts or rejects every request there may be, ${store}`, () =>
      Effect.gen(function*() {
        const seed = 121
        const { chance, int, pick } = random(seed)
        const cost = () => chance(0.8) ? int(1, 5) : pick([...notCounts, 6, 100])
        const requests = Array.from({ length: 1000 }, () =>
          request({
            ...(chance(0.8) && { service: pick(["a", "b", "c", "__proto__", "constructor", ""]) }),
            ...(chance(0.3) && { tenant: pick(["x", "y", "toString"]) }),
            ...(chance(0.6) && { calls: cost() }),
            ...(chance(0.6) && { tokens: cost() }),
            ...(chance(0.5) && { priority: int(-3, 3) }),
            ...(chance(0.2) && { speculative: true }),
            ...(chance(0.5) && { maxWait: pick([0, 10, "1 second", "20 seconds"]) }),
            ...(chance(0.2) && { deadline: pick([0, 10, "1 second"]) })
          }))
        const outcomes = new Map<string, number>()
        for (const each of requests) {
          yield* Limiter.withAdmission(each)(Effect.sleep(int(0, 20))).pipe(
            Effect.exit,
            Effect.tap((exit) =>
              Effect.sync(() => {
                const name = Exit.isSuccess(exit) ? "started" : String(Exit.findErrorOption(exit)).slice(0, 40)
                outcomes.set(name, (outcomes.get(name) ?? 0) + 1)
              })
            ),
            Effect.forkChild({ startImmediately: true })
          )
          if (chance(0.1)) yield* TestClock.adjust(int(1, 300))
        }
        yield* TestClock.adjust("1 minute")
        const seen = `seed ${seed}: ${JSON.stringify([...outcomes])}`
        assert.strictEqual([...outcomes.values()].reduce((sum, count) => sum + count, 0), requests.length, seen)
        assert.isAbove(outcomes.get("started") ?? 0, 100, seen)
      }).pipe(Effect.provide(layer({
        global: [rules["slidingWindow"]!(50), Limiter.permits(20)],
        services: {
          a: [rules["tokenBucket"]!(5), rules["tokens"]!(5)],
          b: [rules["fixedWindow"]!(5), rules["permits"]!(5)],
          c: Limiter.tokenBucket({ capacity: 5, refill: 5, every: "1 second", unit: "tokens" })
        },
        tenants: { x: rules["slidingWindow"]!(5), default: rules["tokenBucket"]!(5) },
        maxWait: "30 seconds"
      }))))
  }
})
