/**
 * The dry run against the limiter itself: what it foretells is what happens, and foretelling takes nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { formatForecast, startText } from "../../src/policy/internal/forecastText.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import { layerMemory, LimiterStore } from "../../src/policy/LimiterStore.ts"
import { random } from "../random.ts"

type Timed = Limiter.Request & { readonly takes?: number }

const now = Effect.clockWith((clock) => Effect.sync(() => clock.currentTimeMillisUnsafe()))

/** Makes all requests at once and says when each started, in milliseconds from then. */
const startsOf = Effect.fnUntraced(function*(requests: ReadonlyArray<Timed>, horizon: number) {
  const starts: Array<number> = []
  const made = yield* now
  for (const [index, { takes = 0, ...request }] of requests.entries()) {
    const work = Effect.andThen(
      Effect.flatMap(now, (at) => Effect.sync(() => void (starts[index] = at - made))),
      takes === 0 ? Effect.void : Effect.sleep(takes)
    )
    yield* Effect.forkChild(Limiter.withAdmission({ ...request, maxWait: "1 day" })(work), { startImmediately: true })
  }
  yield* TestClock.adjust(horizon)
  return starts
})

const explained = (requests: ReadonlyArray<Timed>) => Limiter.explain(requests)

const startMillis = (lines: ReadonlyArray<Limiter.Forecast>) => lines.map((line) => line.startMillis)

const { permits, slidingWindow, tokenBucket } = Limiter

describe("Limiter.explain", () => {
  it.effect("says when each request would start and which limit it waits for", () =>
    Effect.gen(function*() {
      const lines = yield* explained([{ service: "a" }, { service: "a" }, { service: "b" }, { service: "a" }, {}])
      assert.deepStrictEqual(lines.map(({ startMillis, waitsFor }) => [startMillis, waitsFor]), [
        [0, undefined],
        [10_000, "service \"a\", 1 call / 10 seconds sliding"],
        [0, undefined],
        [20_000, "service \"a\", 1 call / 10 seconds sliding"],
        [3000, "global, 2 calls / 3 seconds sliding"]
      ])
      assert.deepStrictEqual(lines[1]!.request, { service: "a" })
    }).pipe(Effect.provide(Limiter.layer({
      global: slidingWindow({ limit: 2, window: "3 seconds" }),
      services: { a: slidingWindow({ limit: 1, window: "10 seconds" }) }
    }))))

  it.effect("starts from what is taken already, and takes nothing", () =>
    Effect.gen(function*() {
      yield* Limiter.withAdmission({ service: "a", tokens: 60 })(Effect.void)
      yield* TestClock.adjust(1000)
      const first = yield* explained([{ service: "a", tokens: 50 }, { service: "a", tokens: 40 }])
      // Of 100 tokens 60 were taken and 10 flowed back; 50 fit, and then 10 more flow back in each second.
      assert.deepStrictEqual(startMillis(first), [0, 4000])
      assert.deepStrictEqual(yield* explained([{ service: "a", tokens: 50 }, { service: "a", tokens: 40 }]), first)
    }).pipe(Effect.provide(Limiter.layer({
      services: { a: tokenBucket({ capacity: 100, refill: 10, every: "1 second", unit: "tokens" }) }
    }))))

  it.effect("starts from the age of what is in the windows", () =>
    Effect.gen(function*() {
      yield* Limiter.withAdmission({ service: "a", calls: 2, tokens: 10 })(Effect.void)
      yield* TestClock.adjust(400)
      const [calls] = yield* explained([{ service: "a", calls: 2 }])
      assert.strictEqual(calls!.startMillis, 600)
      const [tokens] = yield* explained([{ service: "a", tokens: 5 }])
      assert.approximately(tokens!.startMillis, 1601, 1)
    }).pipe(Effect.provide(Limiter.layer({
      services: {
        a: [
          slidingWindow({ limit: 3, window: "1 second" }),
          slidingWindow({ limit: 10, window: "2 seconds", unit: "tokens" })
        ]
      }
    }))))

  it.effect("names the limit that holds a request up longest, not the last", () =>
    Effect.gen(function*() {
      const lines = yield* explained([
        { service: "a" },
        { service: "a" },
        ...Array.from({ length: 30 }, () => ({ service: "b" }))
      ])
      assert.strictEqual(lines[1]!.waitsFor, "service \"a\", 1 call / 9500 millis sliding")
      assert.isAbove(lines[1]!.startMillis, 9500)
      assert.strictEqual(lines[5]!.waitsFor, "global, 1 call / 1 second sliding")
    }).pipe(Effect.provide(Limiter.layer({
      global: slidingWindow({ limit: 1, window: "1 second" }),
      services: { a: slidingWindow({ limit: 1, window: 9500 }) }
    }))))

  it.effect("requests that hold permits hold them for as long as they take", () =>
    Effect.gen(function*() {
      const lines = yield* explained([
        { service: "a", takes: 3000 },
        { service: "a", takes: 500 },
        { service: "a" },
        { service: "a", calls: 2 },
        { service: "a" }
      ])
      assert.deepStrictEqual(startMillis(lines), [0, 0, 500, 3000, 3000])
      assert.strictEqual(lines[3]!.waitsFor, "service \"a\", 2 at once")
    }).pipe(Effect.provide(Limiter.layer({ services: { a: permits(2) } }))))

  it.effect("when a permit held now comes back, nobody knows; whoever waits already stands ahead", () =>
    Effect.gen(function*() {
      const held = Limiter.withAdmission({ service: "a" })(Effect.never)
      yield* Effect.forkChild(held, { startImmediately: true })
      const [line] = yield* explained([{ service: "a" }])
      assert.deepInclude(line, { startMillis: Number.POSITIVE_INFINITY, waitsFor: "service \"a\", 1 at once" })
      for (let i = 0; i < 3; i++) {
        const waiter = Limiter.withAdmission({ service: "b", maxWait: "1 hour" })(Effect.void)
        yield* Effect.forkChild(waiter, { startImmediately: true })
      }
      assert.deepStrictEqual(startMillis(yield* explained([{ service: "b" }])), [3000])
    }).pipe(Effect.provide(Limiter.layer({
      services: { a: permits(1), b: slidingWindow({ limit: 1, window: "1 second" }) }
    }))))

  it.effect("refuses what no limiter would admit, naming it", () =>
    Effect.gen(function*() {
      const over = yield* Effect.flip(explained([{ service: "a", calls: 6 }]))
      assert.deepInclude(over, { reason: "OverCapacity", limit: "service \"a\", 5 calls / 1 second sliding" })
      const invalid = yield* Effect.flip(explained([{ calls: 0 }]))
      assert.deepInclude(invalid, { reason: "InvalidRequest" })
      const takes = yield* Effect.flip(explained([{ takes: -1 }]))
      assert.include(takes.message, "takes is -1")
    }).pipe(Effect.provide(Limiter.layer({ services: { a: slidingWindow({ limit: 5, window: "1 second" }) } }))))

  // Whole milliseconds, as timers have them, and odd ones: what falls due at one instant has no order to foretell.
  const layerOf = (r: ReturnType<typeof random>) =>
    Limiter.layer({
      global: r.pick([
        slidingWindow({ limit: r.int(3, 8), window: r.int(100, 1000) }),
        tokenBucket({ capacity: r.int(3, 8), refill: 1, every: r.int(10, 300) })
      ]),
      services: {
        a: r.pick([
          [slidingWindow({ limit: r.int(3, 6), window: r.int(100, 3000) }), permits(r.int(3, 6))],
          [permits(3)]
        ]),
        b: [
          tokenBucket({ capacity: 50, refill: 1, every: r.int(10, 30), unit: "tokens" }),
          Limiter.fixedWindow({ limit: r.int(3, 9), window: r.int(100, 3000) })
        ]
      },
      tenants: slidingWindow({ limit: r.int(3, 9), window: r.int(100, 500) })
    })

  const requestsOf = (r: ReturnType<typeof random>): ReadonlyArray<Timed> =>
    Array.from({ length: r.int(5, 60) }, () => ({
      ...r.pick([{ service: "a" }, { service: "b" }, { service: "b", tokens: r.int(1, 50) }, {}]),
      ...r.pick([{}, { tenant: "x" }, { tenant: "y" }]),
      ...r.pick([{}, {}, { run: r.pick(["one", "two"]) }]),
      ...r.pick([{}, {}, {}, { priority: 1 }]),
      calls: r.chance(0.8) ? 1 : r.int(2, 3),
      takes: r.chance(0.5) ? 0 : r.int(1, 600)
    }))

  for (let seed = 1; seed <= 90; seed++) {
    it.effect(`foretells what the limiter does: seed ${seed}`, () => {
      const r = random(seed)
      return Effect.gen(function*() {
        const before = requestsOf(r).slice(0, 6)
        yield* startsOf(before, r.int(0, 1000))
        // Until everybody has started and every permit is back.
        yield* TestClock.adjust(200_000)
        yield* Effect.forEach(
          [{ service: "a" }, { service: "b", tokens: 20 }, { tenant: "x" }],
          (request) => Limiter.withAdmission(request)(Effect.void)
        )
        const requests = requestsOf(r)
        const lines = yield* explained(requests)
        const starts = yield* startsOf(requests, 60_000)
        assert.deepStrictEqual(startMillis(lines), starts)
        assert.isTrue(lines.every((line) => (line.startMillis === 0) === (line.waitsFor === undefined)))
      }).pipe(Effect.provide(layerOf(r)))
    })
  }
})

describe("the store's part of a dry run", () => {
  it.effect("a store that is asked foretells the same", () =>
    Effect.gen(function*() {
      const memory = Context.get(yield* Layer.build(layerMemory), LimiterStore)
      const asked = Layer.succeed(LimiterStore, { ...memory, synchronous: undefined })
      const options = { services: { a: [slidingWindow({ limit: 2, window: "3 seconds" }), permits(5)] } }
      const requests = [{ service: "a" }, { service: "a", calls: 2 }, {}, { service: "a" }]
      const lines = yield* Effect.provide(explained(requests), Layer.provide(Limiter.layerStore(options), asked))
      assert.deepStrictEqual(startMillis(lines), [0, 3000, 0, 6000])
      assert.deepStrictEqual(lines, yield* Effect.provide(explained(requests), Limiter.layer(options)))
    }))

  it.effect("a store that cannot be read rejects it", () =>
    Effect.gen(function*() {
      const memory = Context.get(yield* Layer.build(layerMemory), LimiterStore)
      const broken = Layer.succeed(LimiterStore, { ...memory, peek: () => Effect.fail({ message: "away" } as never) })
      const layer = Layer.provide(Limiter.layerStore({ global: permits(1) }), broken)
      const error = yield* Effect.flip(Effect.provide(explained([{}]), layer))
      assert.deepInclude(error, { reason: "StoreUnavailable", message: "away" })
    }))
})

describe("Limiter.formatForecast", () => {
  it("writes one aligned line for each request", () => {
    const text = formatForecast([
      { request: { service: "openai", tokens: 2000 }, startMillis: 0, waitsFor: undefined },
      { request: { service: "maps", tenant: "acme", calls: 3 }, startMillis: 250, waitsFor: "global" },
      { request: {}, startMillis: 90_500, waitsFor: "service \"maps\"" }
    ])
    assert.deepStrictEqual(text.split("\n"), [
      "#  request                  starts       waits for",
      "1  openai, 2000 tokens      now          -",
      "2  maps, for acme, 3 calls  +250 ms      global",
      "3  any                      +1 min 31 s  service \"maps\""
    ])
  })

  it("keeps names of any text on one line of bounded length", () => {
    const name = "evil\nname\u001b[31m " + "x".repeat(10_000)
    const text = formatForecast([{ request: { service: name, tenant: name }, startMillis: 1, waitsFor: name }])
    assert.strictEqual(text.split("\n").length, 2)
    assert.notInclude(text, "\u001b")
    assert.isBelow(text.length, 1000)
  })

  it.each([
    [0, "now"],
    [0.015625, "+1 ms"],
    [999, "+999 ms"],
    [999.5, "+1 s"],
    [1000, "+1 s"],
    [1234, "+1.3 s"],
    [59_900, "+59.9 s"],
    [59_999, "+1 min 0 s"],
    [61_000, "+1 min 1 s"],
    [3_600_000, "+1 h 0 min"],
    [Number.POSITIVE_INFINITY, "unknown"]
  ])("writes %d ms as %s", (millis, text) => {
    assert.strictEqual(startText(millis), text)
  })
})
