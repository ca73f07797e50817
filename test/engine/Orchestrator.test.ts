import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "effect/ai/Prompt"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { aiError, scripted } from "../model.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

const add = ToolPolicy.define({
  add: ToolPolicy.tool({
    parameters: Schema.Struct({ a: Schema.Finite, b: Schema.Finite }),
    success: Schema.Finite,
    handler: ({ a, b }) => Effect.succeed(a + b)
  }),
  half: ToolPolicy.tool({
    parameters: Schema.Struct({ of: Schema.Finite }),
    success: Schema.Finite,
    failure: Schema.Struct({ _tag: Schema.tag("Odd"), of: Schema.Finite }),
    handler: ({ of }) => of % 2 === 0 ? Effect.succeed(of / 2) : Effect.fail({ _tag: "Odd" as const, of })
  })
})

const two = [ToolCall("add", { a: 1, b: 2 }, { id: "c1" }), ToolCall("half", { of: 3 }, { id: "c2" })]

const work = (id: string) => ToolCall("work", { id }, { id })

/** Calls of `work` in virtual time: each takes so many seconds, or 1. */
const working = (turn: TestModel.Turn, seconds: Readonly<Record<string, number>>) => {
  const { toolkit } = ToolPolicy.define({ work: new Stage().tool() })
  return MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge([
    scripted(turn),
    TestTools.layer(toolkit, { work: ({ id }) => TestTools.succeed(id, { after: Duration.seconds(seconds[id] ?? 1) }) })
  ]))
}

describe("Orchestrator.run", () => {
  it.effect("answers every call in call order and goes on until the model asks for no more", () =>
    Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "sum", toolkit: add.toolkit })
      assert.strictEqual(result.text, "It is 3.")
      assert.strictEqual(result.finishReason, "stop")
      assert.deepStrictEqual(statuses(result.toolResults), ["c1 ok", "c2 Odd"])
      assert.strictEqual(result.toolResults[0]?.result, 3)
      assert.deepStrictEqual(result.toolResults[1]?.encodedResult, { _tag: "Odd", of: 3 })
      assert.deepStrictEqual(
        result.steps.map(({ finishReason, step, toolCalls }) => [step, toolCalls.length, finishReason]),
        [[1, 2, "tool-calls"], [2, 0, "stop"]]
      )
    }).pipe(Effect.provide([add.layer, scripted(two, "It is 3.")])))

  it.effect("shows the model the results of one turn in the next, in call order, whatever order they end in", () =>
    Effect.gen(function*() {
      const { calls, result } = yield* MockOrchestrator.execute("go")
      assert.deepStrictEqual(calls.map(({ endedAt, id }) => [id, endedAt]), [["a", 2000], ["b", 1000]])
      const tool = (yield* TestModel.requests)[1]?.prompt.content.find(({ role }) => role === "tool")
      assert.deepStrictEqual(tool?.role === "tool" ? tool.content.map((part) => "id" in part && part.id) : [], [
        "a",
        "b"
      ])
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b ok"])
    }).pipe(Effect.provide(working([work("a"), work("b")], { a: 2 }))))

  it.effect("gives the whole history, ready for the next run", () => {
    const model = scripted(two, "first", "second")
    return Effect.gen(function*() {
      const first = yield* Orchestrator.run({ prompt: "sum", toolkit: add.toolkit })
      assert.deepStrictEqual(first.prompt.content.map(({ role }) => role), ["user", "assistant", "tool", "assistant"])
      const second = yield* Orchestrator.run({ prompt: Prompt.concat(first.prompt, "again"), toolkit: add.toolkit })
      assert.strictEqual(second.text, "second")
      assert.strictEqual((yield* TestModel.requests)[2]?.prompt.content.length, 5)
    }).pipe(Effect.provide([add.layer, model]))
  })

  it.effect("starts a call the moment it is sealed, while the model still streams", () =>
    Effect.gen(function*() {
      const { calls, timeline } = yield* MockOrchestrator.execute("go")
      assert.deepStrictEqual(calls.map(({ endedAt, id, startedAt }) => [id, startedAt, endedAt]), [
        ["a", 0, 1000],
        ["b", 60_000, 61_000]
      ])
      assert.strictEqual(timeline.turns[0]?.endedAt, 60_000)
    }).pipe(Effect.provide(working([work("a"), TestModel.wait("1 minute"), work("b")], {}))))

  it.effect("runs at most toolCallConcurrency handlers at once and fills a free place at once", () =>
    Effect.gen(function*() {
      const { calls, maxConcurrentCalls, result } = yield* MockOrchestrator.execute({
        prompt: "go",
        toolCallConcurrency: 2
      })
      assert.deepStrictEqual(calls.map(({ endedAt, startedAt }) => [startedAt, endedAt]), [
        [0, 3000],
        [0, 1000],
        [1000, 6000],
        [3000, 4000],
        [4000, 5000]
      ])
      assert.deepStrictEqual([maxConcurrentCalls, result.report.peakConcurrency], [2, 2])
      assert.strictEqual(yield* TestTools.maxConcurrent, 2)
    }).pipe(Effect.provide(working(["a", "b", "c", "d", "e"].map(work), { a: 3, c: 5 }))))

  it.effect("offers only activeTools and answers a call of another as unknown", () => {
    const model = scripted(two)
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "sum", toolkit: add.toolkit, activeTools: ["half"] })
      assert.deepStrictEqual((yield* TestModel.requests)[0]?.tools, ["half"])
      assert.deepStrictEqual(statuses(result.toolResults), ["c1 UnknownTool", "c2 Odd"])
      assert.deepStrictEqual(failureOf(result.toolResults, "c1")["available"], ["half"])
    }).pipe(Effect.provide([add.layer, model]))
  })

  it.effect.each(
    [
      ["required", "required", "auto"],
      [{ tool: "add" }, { tool: "add" }, "auto"],
      [{ mode: "required", oneOf: ["half"] }, { mode: "required", oneOf: ["half"] }, { oneOf: ["half"] }],
      ["none", "none", "none"],
      [undefined, "auto", "auto"]
    ] as const
  )("asks with toolChoice %j in the first turn as %j and later as %j", ([choice, first, later]) => {
    const model = scripted(two)
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "sum", toolkit: add.toolkit, toolChoice: choice })
      assert.deepStrictEqual<unknown>((yield* TestModel.requests).map(({ toolChoice }) => toolChoice), [first, later])
    }).pipe(Effect.provide([add.layer, model]))
  })

  it.effect("stops after maxSteps turns with the calls of the last one answered", () => {
    const model = scripted(two, two, two)
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "sum", toolkit: add.toolkit, maxSteps: 2 })
      assert.strictEqual((yield* TestModel.requests).length, 2)
      assert.strictEqual(result.steps.length, 2)
      assert.strictEqual(result.finishReason, "tool-calls")
      assert.strictEqual(result.toolResults.length, 4)
    }).pipe(Effect.provide([add.layer, model]))
  })

  it.effect("stops when a stop condition holds: isStepCount, hasToolCall, or one's own", () => {
    const half = [ToolCall("half", { of: 2 }, { id: "h" })]
    const sum = [ToolCall("add", { a: 1, b: 1 }, { id: "s" })]
    const turns = (stopWhen: Orchestrator.StopCondition | ReadonlyArray<Orchestrator.StopCondition>) => {
      const model = scripted(sum, half, sum, half)
      return Orchestrator.run({ prompt: "go", toolkit: add.toolkit, stopWhen }).pipe(
        Effect.andThen(TestModel.requests),
        Effect.map((requests) => requests.length),
        Effect.provide(model)
      )
    }
    return Effect.gen(function*() {
      assert.strictEqual(yield* turns(Orchestrator.isStepCount(3)), 3)
      assert.strictEqual(yield* turns(Orchestrator.hasToolCall("half")), 2)
      assert.strictEqual(yield* turns([Orchestrator.isStepCount(3), Orchestrator.hasToolCall("add")]), 1)
      assert.strictEqual(yield* turns(({ steps }) => steps.at(-1)?.toolResults[0]?.result === 1), 2)
      assert.strictEqual(yield* turns([]), 5)
    }).pipe(Effect.provide(add.layer))
  })

  it.effect("sums usage over turns and leaves what nobody reported unknown", () =>
    Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "sum", toolkit: add.toolkit })
      assert.strictEqual(result.usage.inputTokens.total, 12)
      assert.strictEqual(result.usage.outputTokens.total, 12)
      assert.strictEqual(result.usage.inputTokens.cacheRead, undefined)
      assert.deepStrictEqual(result.steps.map(({ usage }) => usage.inputTokens.total), [5, 7, undefined])
    }).pipe(Effect.provide([
      add.layer,
      scripted([
        ToolCall("add", { a: 1, b: 1 }, { id: "c1" }),
        TestModel.finish("tool-calls", { usage: { inputTokens: 5, outputTokens: 5 } })
      ], [
        ToolCall("half", { of: 2 }, { id: "c2" }),
        TestModel.finish("tool-calls", { usage: { inputTokens: 7, outputTokens: 7 } })
      ], "done")
    ])))

  it.effect("fails with the model's own AiError while no call was made", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "sum", toolkit: add.toolkit }))
      assert.strictEqual(error._tag, "AiError")
    }).pipe(Effect.provide([add.layer, scripted(["I", TestModel.fail(aiError)])])))

  it.effect("answers a call of a tool without a handler with that fault, and its siblings run", () => {
    const other = ToolPolicy.define({
      add: ToolPolicy.tool({ success: Schema.Finite, handler: () => Effect.succeed(0) })
    })
    return Effect.gen(function*() {
      const run = Orchestrator.run({ prompt: "sum", toolkit: add.toolkit })
      const result = yield* (run as Effect.Effect<Effect.Success<typeof run>, Effect.Error<typeof run>>).pipe(
        Effect.provide([other.layer, scripted(two)])
      )
      assert.deepStrictEqual(statuses(result.toolResults), ["c1 ok", "c2 HandlerFailed"])
      assert.include(String(failureOf(result.toolResults, "c2")["message"]), "no handler for \"half\"")
    })
  })
})

describe("Orchestrator.stream", () => {
  const collect = Stream.runCollect(Orchestrator.stream({ prompt: "sum", toolkit: add.toolkit, runId: "r" }))

  it.effect("gives the same results as run", () =>
    Effect.gen(function*() {
      const parts = yield* collect.pipe(Effect.provide(scripted(two, "It is 3.")))
      const result = yield* Orchestrator.run({ prompt: "sum", toolkit: add.toolkit, runId: "r" }).pipe(
        Effect.provide(scripted(two, "It is 3."))
      )
      const last = parts.at(-1)
      assert.isTrue(last?.type === "run-finish")
      if (last?.type !== "run-finish") return
      assert.deepStrictEqual(results(parts), result.toolResults)
      assert.deepStrictEqual(last.prompt, result.prompt)
      assert.deepStrictEqual(last.usage, result.usage)
      assert.strictEqual(last.text, result.text)
      assert.strictEqual(last.finishReason, result.finishReason)
      assert.deepStrictEqual(last.report.calls.map(({ callId, status }) => [callId, status]), [
        ["c1", "success"],
        ["c2", "failure"]
      ])
      assert.deepStrictEqual(
        result.report.calls.map(({ callId, status }) => [callId, status]),
        last.report.calls.map(({ callId, status }) => [callId, status])
      )
    }).pipe(Effect.provide(add.layer)))

  it.effect("tells a call's life in order, the run's start first and its finish last", () =>
    Effect.gen(function*() {
      const parts = yield* collect
      assert.strictEqual(parts[0]?.type, "run-start")
      assert.strictEqual(parts.at(-1)?.type, "run-finish")
      const life = parts.flatMap((part) =>
        ("callId" in part && part.callId === "c1") || ("id" in part && part.id === "c1") ? [part.type] : []
      )
      assert.deepStrictEqual(life, [
        "tool-params-start",
        "tool-params-delta",
        "tool-params-end",
        "tool-call",
        "tool-queued",
        "tool-started",
        "tool-result"
      ])
      assert.deepStrictEqual(
        parts.filter(({ type }) => /^(run|step)-/.test(type)).map(({ type }) => type),
        ["run-start", "step-start", "step-finish", "step-start", "step-finish", "run-finish"]
      )
    }).pipe(Effect.provide([add.layer, scripted(two, "It is 3.")])))

  it.effect("gives each result as it lands, in order of completion", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ work: stage.tool() })
    const model = scripted([ToolCall("work", { id: "a" }, { id: "a" }), ToolCall("work", { id: "b" }, { id: "b" })])
    return Effect.gen(function*() {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(Orchestrator.stream({ prompt: "go", toolkit }), (part) =>
          Effect.sync(() => {
            if (part.type === "tool-result") seen.push(part.id)
          }))
      )
      yield* settle
      yield* stage.open("b")
      assert.deepStrictEqual(seen, ["b"])
      yield* stage.open("a")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(seen, ["b", "a"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("reads the model only while fewer than 256 parts wait unread", () => {
    const stage = new Stage()
    let sent = 0
    const chunks = Array.from({ length: 2000 }, () => [
      TestModel.wait(Effect.sync(() => sent++)),
      { type: "text-delta", id: "t", delta: "x" } as const
    ]).flat()
    const model = scripted([TestModel.wait(stage.gate("model").await), { type: "text-start", id: "t" }, ...chunks, {
      type: "text-end",
      id: "t"
    }, TestModel.finish("stop")])
    return Effect.gen(function*() {
      let read = 0
      const fiber = yield* Effect.forkChild(Stream.runForEach(
        Orchestrator.stream({ prompt: "go", toolkit: add.toolkit }),
        () => Effect.andThen(Effect.sync(() => read++), stage.gate("reader").await)
      ))
      yield* settle
      assert.strictEqual(read, 1)
      yield* stage.open("model")
      // What waits unread, plus the few chunks that are on their way inside the model's stream.
      assert.isAtLeast(sent, 250)
      assert.isBelow(sent, 256 + 32)
      const before = sent
      yield* settle
      assert.strictEqual(sent, before)
      yield* stage.open("reader")
      yield* Fiber.join(fiber)
      assert.strictEqual(sent, 2000)
      assert.strictEqual(read, 2000 + 7)
    }).pipe(Effect.provide([add.layer, model]))
  })

  it.effect("keeps the newest 64 progress parts of a call for a slow reader, and its result", () => {
    const stage = new Stage()
    const numbers = Array.from({ length: 1000 }, (_, i) => i)
    const { layer, toolkit } = ToolPolicy.define({
      count: ToolPolicy.tool({
        success: Schema.Finite,
        handler: (_, { preliminary }) =>
          stage.gate("handler").await.pipe(
            Effect.andThen(Effect.forEach(numbers, preliminary, { discard: true })),
            Effect.as(-1)
          )
      })
    })
    return Effect.gen(function*() {
      const progress: Array<unknown> = []
      let final: unknown
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(Orchestrator.stream({ prompt: "go", toolkit }), (part) => {
          if (part.type === "tool-progress") progress.push(part.result)
          if (part.type === "tool-result") final = part.result
          return part.type === "tool-started" ? stage.gate("reader").await : Effect.void
        })
      )
      yield* settle
      yield* stage.open("handler")
      yield* stage.open("reader")
      yield* Fiber.join(fiber)
      assert.strictEqual(final, -1)
      assert.deepStrictEqual(progress, numbers.slice(-64))
    }).pipe(Effect.provide([layer, scripted([ToolCall("count", {}, { id: "a" })])]))
  })

  it.effect("stops the run's calls for CallerGone when the reader leaves", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ work: stage.tool() })
    const model = scripted([ToolCall("work", { id: "a" }, { id: "a" })])
    return Effect.gen(function*() {
      yield* Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.takeUntil(({ type }) => type === "tool-started"),
        Stream.runDrain
      )
      yield* settle
      assert.deepStrictEqual(stage.interrupted, ["a"])
      assert.strictEqual(stage.running.size, 0)
    }).pipe(Effect.provide([layer, model]))
  })
})

describe("Orchestrator options", () => {
  const options = { prompt: "go", toolkit: add.toolkit }
  const bad: ReadonlyArray<readonly [option: string, given: object]> = [
    ["prompt", { prompt: [] }],
    ["prompt", { prompt: " " }],
    ["maxSteps", { maxSteps: 0 }],
    ["maxSteps", { maxSteps: 1.5 }],
    ["maxSteps", { maxSteps: Number.NaN }],
    ["toolCallConcurrency", { toolCallConcurrency: -1 }],
    ["maxToolCalls", { maxToolCalls: 0 }],
    ["activeTools", { activeTools: ["add", "subtract"] }],
    ["timeout.total", { timeout: { total: 0 } }],
    ["timeout.model", { timeout: { model: "-1 seconds" } }],
    ["timeout.tool", { timeout: { tool: "soon" } }],
    ["failover", { failover: add.layer }],
    ["completion", { completion: null }]
  ]
  it.effect.each(bad)("refuses %s in %j and starts nothing", ([option, given]) => {
    const model = scripted(two)
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ ...options, ...given }))
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "InvalidOptions")
      if (error._tag !== "OrchestratorError" || error.reason._tag !== "InvalidOptions") return
      assert.strictEqual(error.reason.option, option)
      assert.include(error.message, option)
      assert.isFalse(error.isRetryable)
      assert.strictEqual((yield* TestModel.requests).length, 0)
      const streamed = yield* Effect.flip(Stream.runDrain(Orchestrator.stream({ ...options, ...given })))
      assert.strictEqual(streamed._tag, "OrchestratorError")
    }).pipe(Effect.provide([add.layer, model]))
  })

  it.effect("refuses a tool whose annotations make no sense", () => {
    const wrong = ToolPolicy.define({
      wrong: ToolPolicy.tool({ annotations: { concurrency: 0 }, handler: () => Effect.void })
    })
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit: wrong.toolkit }))
      assert.strictEqual(error._tag === "OrchestratorError" ? error.reason._tag : "", "InvalidOptions")
      assert.include(error.message, "Concurrency of tool \"wrong\" is 0")
    }).pipe(Effect.provide([wrong.layer, scripted()]))
  })

  it.effect("refuses a runId that is live and takes it again when its run has ended", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ work: stage.tool() })
    const model = scripted([ToolCall("work", { id: "a" }, { id: "a" })])
    return Effect.gen(function*() {
      const run = Orchestrator.run({ prompt: "go", toolkit, runId: "same" })
      const first = yield* Effect.forkChild(run)
      yield* settle
      const error = yield* Effect.flip(run)
      assert.include(error.message, "a run named \"same\" is live")
      yield* stage.open("a")
      yield* Fiber.join(first)
      assert.strictEqual((yield* run).runId, "same")
    }).pipe(Effect.provide([layer, model, Orchestrator.layerRuns()]))
  })

  it.effect("gives runs without a runId different names", () =>
    Effect.gen(function*() {
      const run = Orchestrator.run(options)
      const [a, b] = yield* Effect.all([run, run])
      assert.notStrictEqual(a.runId, b.runId)
    }).pipe(Effect.provide([add.layer, scripted()])))

  it.effect("reads defaults from the environment, keeps the rest, and lets a run's own options win", () => {
    const model = scripted(two, two, two, two)
    const environment = ConfigProvider.layer(ConfigProvider.fromUnknown({
      TOOLFORMER_MAX_STEPS: "2",
      TOOLFORMER_TOOL_CALL_CONCURRENCY: "7",
      TOOLFORMER_TIMEOUT_TOTAL: "30 seconds"
    }))
    return Effect.gen(function*() {
      const config = yield* Orchestrator.Config
      assert.strictEqual(config.toolCallConcurrency, 7)
      assert.strictEqual(config.maxToolCalls, 10_000)
      assert.strictEqual((yield* Orchestrator.run(options)).steps.length, 2)
      assert.strictEqual((yield* Orchestrator.run({ ...options, maxSteps: 1 })).steps.length, 1)
    }).pipe(Effect.provide([add.layer, model, Orchestrator.layerConfig.pipe(Layer.provide(environment))]))
  })

  it.effect("fails to build layerConfig on a value that is no number", () =>
    Effect.gen(function*() {
      const environment = ConfigProvider.layer(ConfigProvider.fromUnknown({ TOOLFORMER_MAX_STEPS: "many" }))
      const error = yield* Effect.flip(
        Effect.provide(Orchestrator.Config, Orchestrator.layerConfig.pipe(Layer.provide(environment)))
      )
      assert.strictEqual(error._tag, "ConfigError")
    }))

  it.effect("refuses a default from Config that makes no sense", () =>
    Effect.gen(function*() {
      const config = yield* Orchestrator.Config
      const run = Orchestrator.run(options).pipe(
        Effect.provideService(Orchestrator.Config, { ...config, maxRepeats: 0 })
      )
      assert.include((yield* Effect.flip(run)).message, "maxRepeats")
    }).pipe(Effect.provide([add.layer, scripted()])))
})
