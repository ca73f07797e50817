import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Orchestrator, Retry, ToolPolicy } from "../../src/index.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { seeded } from "../policy/chance.ts"
import { done } from "../replay/server.ts"
import type { Provider } from "../replay/server.ts"
import { askAll, hammered, VirtualClock } from "./hammering.ts"
import type { Form as RefusalForm } from "./hammering.ts"
import { errorOf, first, refusal, rejectionOf, stage, untilAnswered } from "./pacedModel.ts"

type Form = readonly [name: string, headers: Record<string, string>, body: unknown, askedMillis: number]

const google = (retryDelay: string): unknown => [{
  error: {
    code: 429,
    message: "You exceeded your current quota.",
    status: "RESOURCE_EXHAUSTED",
    details: [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay }]
  }
}]

describe("P1: a refusal for the rate", () => {
  const forms: ReadonlyArray<Form> = [
    ["seconds", { "retry-after": "20" }, {}, 20_000],
    ["a fraction of a second", { "retry-after": "0.5" }, {}, 500],
    ["an HTTP date", { "retry-after": "Thu, 01 Jan 1970 00:00:40 GMT" }, {}, 40_000],
    [
      "an HTTP date on a service whose clock is years off",
      { "retry-after": "Wed, 01 Jan 2020 00:00:40 GMT", date: "Wed, 01 Jan 2020 00:00:10 GMT" },
      {},
      30_000
    ],
    ["an HTTP date that has passed", { "retry-after": "Wed, 31 Dec 1969 23:00:00 GMT" }, {}, 0],
    ["zero", { "retry-after": "0" }, {}, 0],
    ["negative", { "retry-after": "-7" }, {}, 0],
    ["absent", {}, {}, 1000],
    ["a word", { "retry-after": "soon" }, {}, 1000],
    ["milliseconds", { "retry-after-ms": "1234" }, {}, 1234],
    [
      "a duration in a reset header",
      { "x-ratelimit-reset-requests": "1m6.779s", "x-ratelimit-remaining-requests": "0" },
      {},
      66_779
    ],
    ["RFC 3339 in a reset header", { "anthropic-ratelimit-requests-reset": "1970-01-01T00:00:09Z" }, {}, 9000],
    ["Google's RetryInfo in the body", {}, google("34.4s"), 34_400],
    ["a sentence in the body", {}, { error: { message: "Rate limit reached. Please try again in 6.5s." } }, 6500]
  ]

  it.effect.each(forms)(
    "P1: %s: nothing is sent before the time, and the call goes on then",
    ([, headers, body, asked]) =>
      Effect.gen(function*() {
        const at = yield* stage(first(refusal(429, headers, body)), { maxWait: "5 minutes" })
        const fiber = yield* Effect.forkChild(at.call({ repeat: true }))
        yield* untilAnswered(at, 1)
        if (asked > 0) {
          assert.strictEqual((yield* at.pace).pausedMillis, asked)
          yield* TestClock.adjust(asked - 1)
          assert.lengthOf(at.starts, 1)
        }
        // A service that names no time is asked again at half of the pace it refused.
        yield* TestClock.adjust(2001)
        yield* Fiber.join(fiber)
        assert.lengthOf(at.seen, 2)
        assert.lengthOf(at.starts, 2)
        assert.isAtLeast(at.starts[1]!, asked)
        assert.isAtMost(at.starts[1]!, Math.max(asked, 2000))
      })
  )

  it.effect.each([503, 529])("P1: %d with a Retry-After is waited for like a 429", (status) =>
    Effect.gen(function*() {
      const at = yield* stage(first(refusal(status, { "retry-after": "3" })))
      const fiber = yield* Effect.forkChild(at.call({ repeat: true }))
      yield* untilAnswered(at, 1)
      yield* TestClock.adjust(3000)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(at.starts, [0, 3000])
    }))

  it.effect.each<readonly [string, Record<string, string>, number]>([
    ["a day", { "retry-after": "86400" }, 86_400_000],
    ["more than maxWait", { "retry-after-ms": "60001" }, 60_001]
  ])(
    "P1: %s is RateLimited with the time, at once, for this call and for all that come",
    ([, headers, asked]) =>
      Effect.gen(function*() {
        const at = yield* stage(first(refusal(429, headers, { error: { message: "slow down" } })), {
          maxWait: "1 minute"
        })
        const rejected = rejectionOf(yield* Effect.exit(at.call({ repeat: true })))
        assert.strictEqual(rejected.reason, "RateLimited")
        assert.strictEqual(rejected.retryAfterMillis, asked)
        assert.include(String(rejected.cause), "Rate limit exceeded")
        assert.include(rejected.limit, "openai")
        // A service that wants to be left alone for a day is asked again after an hour.
        const newcomer = rejectionOf(yield* Effect.exit(at.call()))
        assert.strictEqual(newcomer.reason, "RateLimited")
        assert.strictEqual(newcomer.retryAfterMillis, Math.min(asked, 3_600_000))
        assert.lengthOf(at.seen, 1)
      })
  )

  it.effect("P1: a call that may not be repeated fails with the provider's error, and the next one waits", () =>
    Effect.gen(function*() {
      const at = yield* stage(first(refusal(429, { "retry-after": "4" })))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(at.call())))
      const fiber = yield* Effect.forkChild(at.call())
      yield* TestClock.adjust(3999)
      assert.lengthOf(at.starts, 1)
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(at.starts, [0, 4000])
    }))

  it.effect.each(["calls", "runs"] as const)(
    "P1: twenty %s at once pause once, and come back one by one",
    (what) =>
      Effect.gen(function*() {
        const at = yield* stage(first(...Array.from({ length: 20 }, () => refusal(429, { "retry-after": "30" }))))
        const fibers = yield* Effect.forEach(
          Array.from({ length: 20 }),
          () => Effect.forkChild(what === "calls" ? at.call({ repeat: true }) : at.run)
        )
        yield* untilAnswered(at, 20)
        const pace = yield* at.pace
        assert.strictEqual(pace.pausedMillis, 30_000)
        // Halved once, not twenty times.
        assert.strictEqual(pace.callsPerSecond, 10)
        yield* TestClock.adjust(29_999)
        assert.lengthOf(at.starts, 20)
        assert.lengthOf(at.seen, 20)
        for (let i = 0; i < 100; i++) yield* TestClock.adjust(50)
        yield* Fiber.joinAll(fibers)
        const back = at.starts.slice(20).sort((a, b) => a - b)
        assert.lengthOf(back, 20)
        assert.strictEqual(back[0], 30_000)
        assert.isAtLeast(back[19]! - back[0]!, 1000)
        for (let i = 1; i < back.length; i++) {
          assert.isAtLeast(back[i]! - back[i - 1]!, 50, "two came back at one instant")
        }
        assert.lengthOf(at.seen, 40)
      })
  )

  it.effect.each(forms.slice(0, 3))(
    "P1: %s: a run of the engine waits as well",
    ([, headers, body, asked]) =>
      Effect.gen(function*() {
        const at = yield* stage(first(refusal(429, headers, body)))
        const fiber = yield* Effect.forkChild(at.run)
        yield* untilAnswered(at, 1)
        yield* TestClock.adjust(asked - 1)
        assert.lengthOf(at.starts, 1)
        yield* TestClock.adjust(1)
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(at.starts, [0, asked])
      })
  )

  it.effect("P1: a run that may not wait so long fails with the limit and the time", () =>
    Effect.gen(function*() {
      const at = yield* stage(first(refusal(429, { "retry-after": "86400" })))
      const error = errorOf(yield* Effect.exit(at.run))
      assert.strictEqual(error._tag, "OrchestratorError")
      assert.deepInclude(error.reason, { _tag: "Rejected", isRetryable: true, retryAfterMillis: 86_400_000 })
      assert.lengthOf(at.seen, 1)
    }))

  it.effect.each(["a call", "a run"])(
    "P1: the counts in good answers to %s lower the rate before a refusal",
    (what) =>
      Effect.gen(function*() {
        const scarce: Provider = () => {
          const good = done("chat")
          return {
            ...good,
            headers: { ...good.headers, "ratelimit-limit": "10", "ratelimit-remaining": "0", "ratelimit-reset": "8" }
          }
        }
        const at = yield* stage(scarce)
        yield* what === "a call" ? at.call() : at.run
        assert.strictEqual((yield* at.pace).pausedMillis, 8000)
        const fiber = yield* Effect.forkChild(at.call())
        yield* TestClock.adjust(7999)
        assert.lengthOf(at.starts, 1)
        yield* TestClock.adjust(1)
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(at.starts, [0, 8000])
      })
  )

  it.effect("P1: a tool whose service refuses it pauses that service, and no other", () =>
    Effect.gen(function*() {
      const starts: Array<string> = []
      const note = (name: string) => Effect.map(Clock.currentTimeMillis, (now) => void starts.push(`${name} ${now}`))
      const { layer, toolkit } = ToolPolicy.define({
        search: ToolPolicy.tool({
          annotations: { service: "search" },
          failure: Schema.Struct({ status: Schema.Finite, headers: Schema.Record(Schema.String, Schema.String) }),
          handler: () => Effect.andThen(note("search"), Effect.fail({ status: 429, headers: { "retry-after": "5" } }))
        }),
        weather: ToolPolicy.tool({ annotations: { service: "weather" }, handler: () => note("weather") })
      })
      const model = scripted([ToolCall("search", {}, { id: "a" })], [
        ToolCall("search", {}, { id: "b" }),
        ToolCall("weather", {}, { id: "c" })
      ], "done")
      const fiber = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(
        Effect.provide([layer, model, Limiter.layer({ onExceeded: "adaptive" })]),
        Effect.forkChild
      )
      yield* TestClock.adjust(5000)
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(starts, ["search 0", "weather 0", "search 5000"])
      assert.deepStrictEqual(toolResults.map(({ isFailure }) => isFailure), [true, true, false])
    }))

  it.effect("P1: a service that always refuses is asked less and less, until maxWait", () =>
    Effect.gen(function*() {
      const at = yield* stage(() => refusal(429), { maxWait: "1 minute" })
      const fiber = yield* Effect.forkChild(Effect.exit(at.call({ repeat: true })))
      for (let i = 1; fiber.pollUnsafe() === undefined; i++) {
        assert.isBelow(i, 1000)
        yield* untilAnswered(at, at.starts.length)
        yield* TestClock.adjust(1000)
      }
      const rejected = rejectionOf(yield* Fiber.join(fiber))
      assert.strictEqual(rejected.reason, "RateLimited")
      assert.isAtMost(at.seen.length, 7)
      assert.isAtLeast(at.seen.length, 4)
    }))
})

describe("P1: a refusal for the rate, with a Retry", () => {
  const limited = (seconds: number): RefusalForm => ({
    name: "429",
    status: 429,
    headers: { "retry-after": String(seconds) },
    askedMillis: seconds * 1000
  })
  const asked = Retry.withRetry({ service: "api" })
  const provided = <A, E>(effect: Effect.Effect<A, E, Retry.Retry | Scope.Scope>) =>
    effect.pipe(
      Effect.provide(Retry.layer()),
      Effect.provideService(Random.Random, seeded(1)),
      Effect.scoped
    )

  it.live("P1: twenty at once pause once, and ten of them, as the budget is, come back at different times", () =>
    provided(Effect.gen(function*() {
      const clock = new VirtualClock()
      const server = yield* hammered(clock, limited(30), true, 20)
      const exits = yield* askAll(clock, server, 20, asked)
      assert.deepStrictEqual(server.early, [])
      assert.lengthOf(exits.filter(Exit.isSuccess), 10)
      const back = server.arrivals.slice(20).map(({ at }) => at)
      assert.lengthOf(back, 10)
      assert.lengthOf(new Set(back), 10)
      // One pause of 30 seconds and not twenty, each after the other.
      for (const at of back) assert.isTrue(at >= 30_000 && at <= 33_000, `back at ${at}`)
    })))

  it.live("P1: a service that wants a day is asked once: all know at once, with the time, and an hour later it is asked again", () =>
    provided(Effect.gen(function*() {
      const clock = new VirtualClock()
      const server = yield* hammered(clock, limited(86_400), false, 1)
      const exits = yield* askAll(clock, server, 20, asked, (index) => index * 1000)
      assert.lengthOf(server.arrivals, 1)
      assert.strictEqual(Retry.retryAfter(errorOf(exits[0]!), 0), 86_400_000)
      for (const [index, exit] of exits.slice(1).entries()) {
        const rejected = errorOf(exit)
        assert.deepInclude(rejected, { _tag: "Rejected", reason: "RateLimited" })
        assert.strictEqual(Retry.retryAfter(rejected, 0), 3_600_000 - (index + 1) * 1000)
      }
      assert.strictEqual(clock.currentTimeMillisUnsafe(), 19_000)
      yield* askAll(clock, server, 1, asked, () => 3_600_000)
      assert.lengthOf(server.arrivals, 2)
    })))

  it.live("P1: what each was told holds for all: the longest time wins, whatever the order", () =>
    provided(Effect.gen(function*() {
      const clock = new VirtualClock()
      const [short, long] = [yield* hammered(clock, limited(5), true, 1), yield* hammered(clock, limited(40), true, 1)]
      // Two servers of one service, and whoever is told of 5 seconds waits for 40.
      const exits = yield* askAll(
        clock,
        {
          ...short,
          inFlight: () => short.inFlight() + long.inFlight(),
          ask: (call) => /[02468]$/.test(call) ? long.ask(call) : short.ask(call)
        },
        10,
        asked
      )
      assert.isTrue(exits.every(Exit.isSuccess))
      const back = [...short.arrivals, ...long.arrivals].filter(({ refused }) => !refused).map(({ at }) => at)
      assert.lengthOf(back, 10)
      for (const at of back) assert.isAtLeast(at, 40_000)
    })))
})
