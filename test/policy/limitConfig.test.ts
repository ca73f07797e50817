import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type ConfiguredLimits, readLimits } from "../../src/policy/internal/limitConfig.ts"
import * as Limiter from "../../src/policy/Limiter.ts"

const given = (env: Record<string, string>) =>
  Effect.provideService(readLimits, ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))

const whole = (values: Record<string, string>) =>
  Effect.provideService(readLimits, ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(values))

const { fixedWindow, permits, slidingWindow, tokenBucket } = Limiter

const minute = (limit: number) => slidingWindow({ limit, window: "1 minute" })

describe("limits from the environment", () => {
  const env = {
    PATH: "/bin",
    TOOLFORMER_MAX_STEPS: "5",
    TOOLFORMER_LIMIT_GLOBAL: "1000 calls / 1 minute, 50 at once",
    TOOLFORMER_LIMIT_SERVICE_OPENAI: "500 calls / 1 minute, 200000 tokens / 1 minute bucket",
    TOOLFORMER_LIMIT_SERVICE_GOOGLE_MAPS: "50 calls / 1 second fixed",
    TOOLFORMER_LIMIT_SERVICE_2: "2 calls / 1 minute",
    TOOLFORMER_LIMIT_SERVICE_GOOGLE: "10 at once",
    TOOLFORMER_LIMIT_SERVICES: `{"Exact-Name": "7 calls / 1 minute", "__proto__": "8 calls / 1 minute"}`,
    TOOLFORMER_LIMIT_TENANT: "9 calls / 1 minute",
    TOOLFORMER_LIMIT_TENANTS: `{"acme": "90 calls / 1 minute"}`,
    TOOLFORMER_LIMIT_ON_EXCEEDED: "adaptive",
    TOOLFORMER_LIMIT_MAX_WAIT: "30 seconds"
  }
  const check = (limits: ConfiguredLimits) => {
    assert.deepStrictEqual(limits.global, [minute(1000), permits(50)])
    const services = limits.services!
    assert.sameMembers(Object.keys(services), ["openai", "google_maps", "google", "2", "Exact-Name", "__proto__"])
    assert.deepStrictEqual(services["openai"], [
      minute(500),
      tokenBucket({ capacity: 200_000, refill: 200_000, every: "1 minute", unit: "tokens" })
    ])
    assert.deepStrictEqual(services["google_maps"], [fixedWindow({ limit: 50, window: "1 second" })])
    assert.deepStrictEqual(services["google"], [permits(10)])
    assert.deepStrictEqual(services["2"], [minute(2)])
    assert.deepStrictEqual(services["Exact-Name"], [minute(7)])
    assert.deepStrictEqual(Object.entries(services).find(([name]) => name === "__proto__")?.[1], [minute(8)])
    assert.deepStrictEqual(limits.tenants, { default: [minute(9)], acme: [minute(90)] })
    assert.strictEqual(limits.onExceeded, "adaptive")
    assert.strictEqual(Duration.toMillis(limits.maxWait!), 30_000)
  }

  it.effect("reads limits of every kind from variables", () => Effect.map(given(env), check))

  it.effect("reads the same from a provider that keeps names whole", () => Effect.map(whole(env), check))

  it.effect("says nothing where nothing is set", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* given({ TOOLFORMER_MAX_STEPS: "5" }), {})
      assert.deepStrictEqual(yield* given({ TOOLFORMER_LIMIT_GLOBAL: "" }), {})
    }))

  it.effect("finds services that have numbers for names", () =>
    Effect.gen(function*() {
      const { services } = yield* given({
        TOOLFORMER_LIMIT_SERVICE_3: "5 at once",
        TOOLFORMER_LIMIT_SERVICE_10: "6 at once"
      })
      assert.deepStrictEqual(services, { "3": [permits(5)], "10": [permits(6)] })
    }))

  const wrong: ReadonlyArray<readonly [Record<string, string>, ReadonlyArray<string>]> = [
    [{ GLOBAL: "500 cals / 1 minute" }, [
      "TOOLFORMER_LIMIT_GLOBAL",
      "500 cals / 1 minute",
      "500 calls / 1 minute sliding"
    ]],
    [{ GLOBAL: "0 calls / 1 minute" }, ["TOOLFORMER_LIMIT_GLOBAL", "0 must be an integer of at least 1"]],
    [{ GLOBAL: " " }, ["TOOLFORMER_LIMIT_GLOBAL", "no rule"]],
    [{ GLOBL: "500 calls / 1 minute" }, ["TOOLFORMER_LIMIT_GLOBL", "no such setting", "TOOLFORMER_LIMIT_GLOBAL"]],
    [{ GLOBAL_MAX: "5 at once", GLOBAL: "5 at once" }, ["TOOLFORMER_LIMIT_GLOBAL_MAX", "no such setting"]],
    [{ SERVICE: "5 at once" }, ["TOOLFORMER_LIMIT_SERVICE:", "no such setting", "TOOLFORMER_LIMIT_SERVICE_<NAME>"]],
    [{ SERVICE_: "5 at once" }, ["TOOLFORMER_LIMIT_SERVICE_:", "no such setting"]],
    [{ SERVICE_OPENAI: "5 at one" }, ["TOOLFORMER_LIMIT_SERVICE_OPENAI", "5 at one"]],
    [{ SERVICES: "openai=5" }, ["TOOLFORMER_LIMIT_SERVICES", "no JSON"]],
    [{ SERVICES: "[1]" }, ["TOOLFORMER_LIMIT_SERVICES", "JSON object"]],
    [{ SERVICES: "null" }, ["TOOLFORMER_LIMIT_SERVICES", "JSON object"]],
    [{ SERVICES: `{"a": 5}` }, ["TOOLFORMER_LIMIT_SERVICES, \"a\"", "must be a text"]],
    [{ SERVICES: `{"a": "5"}` }, ["TOOLFORMER_LIMIT_SERVICES, \"a\"", "no rule"]],
    [{ SERVICES: `{"a": "5 at once"}`, SERVICE_A: "5 at once" }, ["TOOLFORMER_LIMIT_SERVICE_A", "another variable"]],
    [{ TENANT: "5 at once", TENANTS: `{"default": "5 at once"}` }, ["TOOLFORMER_LIMIT_TENANT", "default"]],
    [{ ON_EXCEEDED: "panic" }, ["TOOLFORMER_LIMIT_ON_EXCEEDED", "\"panic\"", "\"adaptive\""]],
    [{ MAX_WAIT: "soon" }, ["TOOLFORMER_LIMIT_MAX_WAIT", "soon", "at least 0", "30 seconds"]],
    [{ MAX_WAIT: "-1 seconds" }, ["TOOLFORMER_LIMIT_MAX_WAIT", "-1 seconds", "at least 0"]]
  ]

  it.effect.each(wrong)(
    "names the variable and what is wrong with it: %j",
    ([settings, parts]) =>
      Effect.gen(function*() {
        const env = Object.fromEntries(
          Object.entries(settings).map(([name, value]) => [`TOOLFORMER_LIMIT_${name}`, value])
        )
        for (const read of [given(env), whole(env)]) {
          const error = yield* Effect.flip(read)
          assert.instanceOf(error, Config.ConfigError)
          for (const part of parts) assert.include(error.message, part)
        }
      })
  )

  it.effect.each(["TOOLFORMER_LIMIT", "TOOLFORMER_LIMITS_GLOBAL", "TOOLFORMER_LIMITS"])(
    "refuses %s: a misspelt limit would let everything pass",
    (name) =>
      Effect.gen(function*() {
        for (const read of [given({ [name]: "5 at once" }), whole({ [name]: "5 at once" })]) {
          assert.include((yield* Effect.flip(read)).message, `${name}: there is no such setting`)
        }
      })
  )

  it.effect("Limiter.layerConfig keeps them, and fails to build where they are wrong", () =>
    Effect.gen(function*() {
      const layer = (rules: string) =>
        Layer.provide(
          Limiter.layerConfig,
          ConfigProvider.layer(ConfigProvider.fromEnv({
            env: { TOOLFORMER_LIMIT_SERVICE_MAPS: rules, TOOLFORMER_LIMIT_ON_EXCEEDED: "fail" }
          }))
        )
      const twice = Effect.andThen(
        Limiter.withAdmission({ service: "maps" })(Effect.void),
        Limiter.withAdmission({ service: "maps" })(Effect.void)
      )
      const rejected = yield* Effect.flip(Effect.provide(twice, layer("1 call / 1 hour")))
      assert.deepInclude(rejected, { reason: "Exceeded", limit: "service \"maps\", 1 call / 1 hour sliding" })
      yield* Effect.provide(twice, layer("2 calls / 1 hour"))
      const error = yield* Effect.flip(Effect.provide(twice, layer("2 calls / 1 epoch")))
      assert.instanceOf(error, Config.ConfigError)
    }))
})
