/** R14: a request takes all of its limits or none. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import { LimiterStore } from "../../src/policy/LimiterStore.ts"
import type { Limit, LimitState } from "../../src/policy/LimiterStore.ts"
import { processOn, sharedStore, Wire } from "../policy/askedStore.ts"
import { random } from "../random.ts"

const window = (limit: number, unit: Limiter.Unit = "calls") => Limiter.slidingWindow({ limit, window: "1 hour", unit })

const used = (state: LimitState): number =>
  state._tag === "Window"
    ? state.entries.reduce((sum, [, amount]) => sum + amount, 0)
    : state._tag === "Permits"
    ? state.held
    : Number.NaN

describe("R14: all or nothing", () => {
  for (const isAsked of [false, true]) {
    for (const onExceeded of ["fail", "wait"] as const) {
      it.effect(`keeps every limit's count at what was admitted (${isAsked ? "asked" : "in memory"}, ${onExceeded})`, () =>
        Effect.gen(function*() {
          const seed = 14
          const { chance, int, pick } = random(seed)
          const store = yield* sharedStore
          const groups: Record<string, ReadonlyArray<Limiter.Rule>> = {
            global: [window(300), window(900, "tokens")],
            "service/a": [window(120), Limiter.permits(4)],
            "service/b": [window(200, "tokens"), window(90)]
          }
          const options = {
            global: groups["global"]!,
            services: { a: groups["service/a"]!, b: groups["service/b"]! },
            onExceeded,
            maxWait: 50
          }
          const limiter = isAsked
            ? yield* processOn(store, new Wire(), options)
            : Context.get(
              yield* Layer.build(Layer.fresh(Limiter.layerStore(options))).pipe(
                Effect.provideService(LimiterStore, store)
              ),
              Limiter.Limiter
            )
          const limits: ReadonlyArray<Limit> = Object.entries(groups).flatMap(([group, rules]) =>
            rules.map((rule, index) => ({ key: `${group}/${index}`, name: "", group, rule }))
          )
          const expected = new Map(limits.map(({ key }) => [key, 0]))
          let refused = 0
          const one = Effect.suspend(() => {
            const service = pick(["a", "b"])
            const request = { service, calls: int(1, 3), ...(chance(0.5) && { tokens: int(1, 9) }) }
            return limiter.withAdmission(request)(
              Effect.suspend(() => {
                for (const { group, key, rule } of limits) {
                  if (group !== "global" && group !== `service/${service}`) continue
                  if (rule._tag === "Permits") continue
                  const cost = rule.unit === "calls" ? request.calls : request.tokens ?? 0
                  expected.set(key, expected.get(key)! + cost)
                }
                return Effect.sleep(int(0, 30))
              })
            ).pipe(Effect.exit, Effect.tap((exit) => Effect.sync(() => Exit.isFailure(exit) && refused++)))
          })
          for (let i = 0; i < 400; i++) {
            yield* Effect.forkChild(one, { startImmediately: true })
            if (chance(0.3)) yield* TestClock.adjust(int(1, 30))
          }
          yield* TestClock.adjust("1 second")
          const states = yield* store.peek(limits)
          assert.deepStrictEqual(
            limits.map(({ key }, index) => [key, used(states[index]!)]),
            limits.map(({ key }) => [key, expected.get(key)!]),
            `seed ${seed}`
          )
          assert.isAbove(refused, 50, `seed ${seed}`)
          assert.isAbove(expected.get("global/0")!, 50, `seed ${seed}`)
        }))
    }
  }
})
