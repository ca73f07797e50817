/** A model that falls silent: first byte, idle and total, of a scripted model on TestClock and of a real server. */
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { recording } from "../model.ts"
import type { Answer } from "../replay/server.ts"
import { retrying } from "../retry.ts"
import { settle, Stage, statuses } from "../stage.ts"
import { callOf, ends, mount, observe, says as saying, server, streams, tools } from "./provider.ts"

const setUp = (...scripts: ReadonlyArray<TestModel.Turn>) => {
  const stage = new Stage()
  const model = recording(...scripts)
  const { layer, toolkit } = ToolPolicy.define({ save: stage.tool() })
  return { stage, toolkit, requests: model.requests, provided: Layer.merge(layer, model.layer) }
}

const silence = TestModel.wait(Effect.never)
const after = (millis: number, ...items: ReadonlyArray<TestModel.Item>) => [TestModel.wait(millis), ...items]

const reasonOf = (error: unknown) => (error as { readonly reason?: unknown }).reason

const deltas = (count: number, millis: number) =>
  Array.from({ length: count }, () => after(millis, { type: "text-delta", id: "t", delta: "x" })).flat()

describe("P6: a scripted model that stalls", () => {
  const all = { firstByte: 1000, idle: 2000, total: 10_000 }
  it.effect.each<readonly [string, TestModel.Turn, string, number, number]>([
    ["before its first part", [silence], "model-first-byte", 1000, 1000],
    ["just too late for its first part", after(1001, "x"), "model-first-byte", 1000, 1000],
    ["between two parts", after(999, "x", silence), "model-idle", 2000, 2999],
    ["after some parts in time", ["x", ...deltas(3, 1999), silence], "model-idle", 2000, 7997],
    ["by never ending", ["x", ...deltas(100, 500)], "model", 10_000, 10_000]
  ])("P6: %s fails typed, to the millisecond", ([, script, clock, afterMillis, at]) => {
    const { provided, toolkit } = setUp(script)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(Orchestrator.run({ prompt: "go", toolkit, timeout: { model: all } }))
      )
      yield* TestClock.adjust(at - 1)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasonOf(error), { _tag: "TimedOut", clock, afterMillis })
      assert.isTrue(error.isRetryable)
      const option = clock === "model"
        ? "timeout.model ("
        : `timeout.model.${clock === "model-idle" ? "idle" : "firstByte"}`
      assert.include(error.message, option)
    }).pipe(Effect.provide(provided))
  })

  it.effect("P6: in time leaves no clock running, whatever the tools take", () => {
    const { provided, stage, toolkit } = setUp(
      [
        ...after(999, ToolCall("save", { id: "a" }, { id: "a" })),
        ...deltas(3, 1999),
        TestModel.wait(1999)
      ],
      after(999, "done")
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, timeout: { model: all } }))
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(fiber.pollUnsafe())
      yield* stage.open("a")
      yield* TestClock.adjust("1 minute")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok"])
      assert.strictEqual(result.text, "done")
    }).pipe(Effect.provide(provided))
  })

  it.effect("P6: is asked again where the program retries: each asking has its own clocks", () => {
    const { provided, requests, stage, toolkit } = setUp(
      [ToolCall("save", { id: "a" }, { id: "a" }), silence],
      [silence],
      after(900, ToolCall("save", { id: "a" }, { id: "b" }))
    )
    const retry = retrying([100, 100])
    return Effect.gen(function*() {
      yield* stage.open("a")
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, timeout: { model: all } }))
      yield* TestClock.adjust(2000 + 100 + 1000 + 100 + 900)
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.started, ["a"])
      assert.lengthOf(yield* requests, 4)
      assert.deepStrictEqual(result.report.steps[0]?.modelMillis, 4100)
      assert.deepStrictEqual(
        retry.told.failed.map((failure) => (reasonOf(failure) as { readonly clock: string }).clock),
        ["model-idle", "model-first-byte"]
      )
    }).pipe(Effect.provide([provided, retry.layer]))
  })

  it.effect("P6: is left for the next model of the plan", () => {
    const { provided, toolkit } = setUp([silence])
    const failover = ExecutionPlan.make({ provide: recording("two").layer })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, failover, timeout: { model: { firstByte: 1000 } } })
      )
      yield* TestClock.adjust(1000)
      assert.strictEqual((yield* Fiber.join(fiber)).text, "two")
    }).pipe(Effect.provide(provided))
  })

  it.effect("P6: the wait for a limit is no silence of the model's", () => {
    const { provided, toolkit } = setUp(after(900, "x"))
    const limits = Limiter.layer({ services: { model: Limiter.slidingWindow({ limit: 1, window: "30 seconds" }) } })
    return Effect.gen(function*() {
      yield* Limiter.withAdmission({ service: "model" })(Effect.void)
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, timeout: { model: { firstByte: 1000, total: 1000 } } })
      )
      yield* TestClock.adjust("31 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "x")
    }).pipe(Effect.provide([provided, limits]))
  })

  it.effect("P6: time in which nobody read our parts is no silence of the model's", () => {
    const many = Array.from({ length: 300 }, () => ({ type: "text-delta" as const, id: "t", delta: "x" }))
    const { provided, stage, toolkit } = setUp([
      ...after(1, { type: "text-start", id: "t" }, ...many),
      ...after(900, { type: "text-delta", id: "t", delta: "x" }),
      silence
    ])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Stream.runForEach(
        Orchestrator.stream({ prompt: "go", toolkit, timeout: { model: { idle: 1000 } } }),
        () => stage.gate("reader").await
      )))
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(fiber.pollUnsafe())
      yield* stage.open("reader")
      yield* TestClock.adjust(1899)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.deepInclude(reasonOf(yield* Fiber.join(fiber)), { clock: "model-idle" })
    }).pipe(Effect.provide(provided))
  })

  it.effect("P6: settings of the program fill in what a run does not say; nonsense is refused by name", () => {
    const { provided, toolkit } = setUp([silence])
    return Effect.gen(function*() {
      const config = {
        ...(yield* Orchestrator.Config),
        timeout: { model: { firstByte: "3 seconds", idle: "1 minute" } }
      } as const
      const fiber = yield* Effect.forkChild(
        Effect.flip(Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "1 hour" } })).pipe(
          Effect.provideService(Orchestrator.Config, config)
        )
      )
      yield* TestClock.adjust("3 seconds")
      assert.deepInclude(reasonOf(yield* Fiber.join(fiber)), { clock: "model-first-byte", afterMillis: 3000 })
      for (
        const [option, model] of [["model.idle", { idle: 0 }], ["model.total", { total: "soon" as never }]] as const
      ) {
        const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit, timeout: { model } }))
        assert.deepInclude(reasonOf(error), { _tag: "InvalidOptions", option: `timeout.${option}` })
      }
    }).pipe(Effect.provide(provided))
  })
})

// ---- a real server --------------------------------------------------------------------------------------------------------

const stalling = (...texts: ReadonlyArray<string>): Answer => ({ ...streams(...texts), stall: true })
const pings = (count: number): ReadonlyArray<string> => Array.from({ length: count }, () => ": ping\n\n")
const bytes = (text: string): ReadonlyArray<string> => [...text]

// The server makes no progress in far more than any of the limits, so that a slow machine changes nothing.
const patient = { firstByte: "1 minute", idle: "1 minute", total: "1 minute" } as const
const stalls: ReadonlyArray<readonly [string, Answer, object, string]> = [
  ["sends not even headers", { ...stalling(), chunks: [] }, { firstByte: 400 }, "model-first-byte"],
  ["sends headers and nothing more", stalling(":\n\n"), { firstByte: 400 }, "model-first-byte"],
  ["sends comments only", { ...streams(...pings(4000)), everyMillis: 15 }, { firstByte: 400 }, "model-first-byte"],
  [
    "sends comments only, after a part",
    { ...streams(saying("x"), ...pings(4000)), everyMillis: 15 },
    { idle: 400 },
    "model-idle"
  ],
  [
    "sends an event byte by byte",
    { ...streams(saying("x"), ...bytes(saying("y".repeat(4000)))), everyMillis: 15 },
    { idle: 400 },
    "model-idle"
  ],
  ["falls silent inside a call's arguments", stalling(callOf("a"), "data: {\"choi"), { idle: 400 }, "model-idle"],
  [
    "talks on and on",
    { ...streams(...Array.from({ length: 4000 }, () => saying("x"))), everyMillis: 15 },
    { total: 800 },
    "model"
  ]
]

describe("P6: a server that stalls", () => {
  it.live.each(stalls)("P6: that %s is left in time, typed", ([, answer, limits, clock]) =>
    Effect.gen(function*() {
      const at = mount(yield* server, answer)
      const used = tools()
      const { error } = yield* observe({ timeout: { model: { ...patient, ...limits } } }, used, at.model)
      assert.deepInclude(reasonOf(error), { _tag: "TimedOut", clock })
      // None where a slow machine had not sent it in that time.
      assert.isAtMost(at.seen.length, 1)
      assert.deepStrictEqual(used.ran, [])
    }).pipe(Effect.scoped))

  it.live.each(stalls)(
    "P6: that %s is asked again, and its calls are not run twice",
    ([, answer, limits]) =>
      Effect.gen(function*() {
        const whole = streams(callOf("w"), ends("tool_calls"))
        const done = streams(saying("done"), ends("stop"))
        // By what it is asked, not by how often: on a slow machine a good answer may be late too, and is asked for again.
        const at = mount(
          yield* server,
          answer,
          ({ body }) => JSON.stringify(body["messages"]).includes("\"tool\"") ? done : whole
        )
        const used = tools()
        const { error, parts } = yield* observe(
          { timeout: { model: { ...patient, ...limits } } },
          used,
          Layer.merge(at.model, Retry.layer({ base: 1, attempts: 10 }))
        )
        assert.isUndefined(error)
        assert.deepStrictEqual(used.ran, ["w"])
        const again = parts.filter(({ type }) => type === "step-retry").length
        assert.isAtLeast(again, 1)
        assert.lengthOf(at.seen, 2 + again)
      }).pipe(Effect.scoped)
  )

  it.live("P6: a slow answer that keeps coming is read to its end", () =>
    Effect.gen(function*() {
      const slow = { ...streams(...Array.from({ length: 20 }, () => saying("x")), ends("stop")), everyMillis: 10 }
      const at = mount(yield* server, slow)
      const { error, parts } = yield* observe({ timeout: { model: patient } }, tools(), at.model)
      assert.isUndefined(error)
      const end = parts.at(-1)
      assert.strictEqual(end?.type === "run-finish" ? end.text : "", "x".repeat(20))
    }).pipe(Effect.scoped))

  it.live("P6: what has arrived while a tool kept the thread busy counts as progress", () =>
    Effect.gen(function*() {
      const next: Answer = { ...streams(callOf("a"), callOf("b", "save", 1), ends("tool_calls")), everyMillis: 30 }
      const at = mount(yield* server, next, streams(saying("done"), ends("stop")))
      const busy = ToolPolicy.define({
        save: ToolPolicy.tool({
          parameters: tools().toolkit.tools.save.parametersSchema,
          handler: () =>
            Effect.sync(() => {
              const until = performance.now() + 3000
              while (performance.now() < until);
            })
        })
      })
      const { error } = yield* observe({ timeout: { model: { idle: 1500 } } }, busy as never, at.model)
      assert.isUndefined(error)
    }).pipe(Effect.scoped))
})

const environment = (values: Readonly<Record<string, string>>) =>
  ConfigProvider.layer(ConfigProvider.fromUnknown(values))

describe("P6: clocks from the environment", () => {
  it.effect("P6: are read by layerConfig", () =>
    Effect.gen(function*() {
      const { timeout } = yield* Orchestrator.Config
      assert.deepStrictEqual(
        Object.values(timeout.model as Orchestrator.ModelTimeouts).map((value) => Duration.toMillis(value)),
        [1000, 2000, 3000]
      )
    }).pipe(
      Effect.provide(Orchestrator.layerConfig),
      Effect.provide(environment({
        TOOLFORMER_TIMEOUT_MODEL_FIRST_BYTE: "1 second",
        TOOLFORMER_TIMEOUT_MODEL_IDLE: "2 seconds",
        TOOLFORMER_TIMEOUT_MODEL: "3 seconds"
      }))
    ))
})
