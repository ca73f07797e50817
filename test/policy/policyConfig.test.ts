/** Retries and circuit breakers from the environment. */
import { assert, describe, it } from "@effect/vitest"
import type * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Breaker, Retry } from "../../src/index.ts"

const given = <A, E, R>(read: Effect.Effect<A, E, R>, env: Record<string, string>) =>
  Effect.provideService(read, ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))

describe("Retry.optionsConfig", () => {
  it.effect("reads every setting, and leaves alone what is not its own", () =>
    Effect.gen(function*() {
      const options = yield* given(Retry.optionsConfig, {
        PATH: "/bin",
        TOOLFORMER_LIMIT_GLOBAL: "5 at once",
        TOOLFORMER_RETRY_ATTEMPTS: "5",
        TOOLFORMER_RETRY_BASE: "100 millis",
        TOOLFORMER_RETRY_FACTOR: "1.5",
        TOOLFORMER_RETRY_MAX_DELAY: "5 seconds",
        TOOLFORMER_RETRY_MAX_RETRY_AFTER: "2 minutes",
        TOOLFORMER_RETRY_BUDGET_RATIO: "0.2",
        TOOLFORMER_RETRY_BUDGET_RESERVE: "3",
        TOOLFORMER_RETRY_BUDGET_WINDOW: "30 seconds"
      })
      assert.deepStrictEqual(options, {
        attempts: 5,
        base: Duration.millis(100),
        factor: 1.5,
        maxDelay: Duration.seconds(5),
        maxRetryAfter: Duration.minutes(2),
        budget: { ratio: 0.2, reserve: 3, window: Duration.seconds(30) }
      })
    }))

  it.effect("makes a layer of it, and of nothing one with the defaults", () =>
    Effect.gen(function*() {
      let attempts = 0
      const ask = Effect.exit(
        Effect.suspend(() => (attempts++, Effect.fail({ status: 500 }))).pipe(
          Retry.withRetry({ service: "s", base: 0 })
        )
      )
      yield* given(Effect.provide(ask, Retry.layerConfig), { TOOLFORMER_RETRY_ATTEMPTS: "5" })
      assert.strictEqual(attempts, 5)
      yield* given(Effect.provide(ask, Retry.layerConfig), {})
      assert.strictEqual(attempts, 8)
    }))

  const wrong: ReadonlyArray<readonly [string, string, ReadonlyArray<string>]> = [
    ["RETRY_ATEMPTS", "5", ["TOOLFORMER_RETRY_ATEMPTS", "no such setting", "TOOLFORMER_RETRY_ATTEMPTS"]],
    ["RETRY_BUDGET", "5", ["TOOLFORMER_RETRY_BUDGET:", "no such setting"]],
    ["RETRY", "5", ["TOOLFORMER_RETRY:", "no such setting"]],
    ["RETRY_ATTEMPTS", "0", ["TOOLFORMER_RETRY_ATTEMPTS", "\"0\"", "an integer of at least 1"]],
    ["RETRY_ATTEMPTS", "many", ["TOOLFORMER_RETRY_ATTEMPTS", "\"many\""]],
    ["RETRY_ATTEMPTS", " ", ["TOOLFORMER_RETRY_ATTEMPTS", "\" \""]],
    ["RETRY_FACTOR", "0.5", ["TOOLFORMER_RETRY_FACTOR", "a number of at least 1"]],
    ["RETRY_BASE", "soon", ["TOOLFORMER_RETRY_BASE", "soon", "a finite duration of at least 0", "30 seconds"]],
    ["RETRY_BASE", "Infinity", ["TOOLFORMER_RETRY_BASE", "Infinity"]],
    ["RETRY_MAX_DELAY", "-1 second", ["TOOLFORMER_RETRY_MAX_DELAY", "-1 second"]],
    ["RETRY_BUDGET_RATIO", "-0.1", ["TOOLFORMER_RETRY_BUDGET_RATIO", "-0.1"]],
    ["RETRY_BUDGET_RESERVE", "1.5", ["TOOLFORMER_RETRY_BUDGET_RESERVE", "1.5"]],
    ["RETRY_BUDGET_WINDOW", "0 seconds", ["TOOLFORMER_RETRY_BUDGET_WINDOW", "a finite duration above 0"]],
    ["BREAKER_FALIURES", "5", ["TOOLFORMER_BREAKER_FALIURES", "no such setting", "TOOLFORMER_BREAKER_FAILURES"]],
    ["BREAKER_FAILURES", "0", ["TOOLFORMER_BREAKER_FAILURES", "an integer of at least 1"]],
    ["BREAKER_OPEN_DURATION", "0 seconds", ["TOOLFORMER_BREAKER_OPEN_DURATION", "a finite duration above 0"]],
    ["BREAKER_MAX_OPEN_DURATION", "long", ["TOOLFORMER_BREAKER_MAX_OPEN_DURATION", "long"]]
  ]
  it.effect.each(wrong)(
    "names the variable and what is wrong with it: %s=%j",
    ([name, value, parts]) =>
      Effect.gen(function*() {
        const read: Effect.Effect<unknown, Config.ConfigError> = name.startsWith("RETRY")
          ? Retry.optionsConfig
          : Breaker.optionsConfig
        const error = yield* Effect.flip(given(read, { [`TOOLFORMER_${name}`]: value }))
        for (const part of parts) assert.include(error.message, part)
      })
  )
})

describe("Breaker.optionsConfig", () => {
  it.effect("reads every setting, and makes a layer of it", () =>
    Effect.gen(function*() {
      const env = {
        TOOLFORMER_BREAKER_FAILURES: "2",
        TOOLFORMER_BREAKER_OPEN_DURATION: "10 seconds",
        TOOLFORMER_BREAKER_MAX_OPEN_DURATION: "1 minute"
      }
      assert.deepStrictEqual(yield* given(Breaker.optionsConfig, env), {
        failures: 2,
        openDuration: Duration.seconds(10),
        maxOpenDuration: Duration.minutes(1)
      })
      const ask = Effect.exit(Effect.fail({ status: 500 }).pipe(Breaker.withBreaker("s")))
      const program = Effect.andThen(Effect.andThen(ask, ask), Breaker.state("s"))
      const state = yield* given(Effect.provide(program, Breaker.layerConfig), env)
      assert.deepInclude(state, { _tag: "Open", retryAfter: Duration.seconds(10) })
      assert.deepInclude(yield* given(Effect.provide(program, Breaker.layerConfig), {}), { _tag: "Closed" })
    }))
})
