/** A turn of the model that is asked again: what counts, what is adopted, what the history keeps. */
import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import type * as Prompt from "effect/ai/Prompt"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Branch, CancelReason, Orchestrator, ToolPolicy } from "../../src/index.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import { Retry } from "../../src/policy/Retry.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, encoded, recording, scripted } from "../model.ts"
import { refused, retrying } from "../retry.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

const setUp = (...scripts: ReadonlyArray<TestModel.Turn>) => setUpWith([0, 0, 0], [], ...scripts)

const setUpWith = (
  delays: ReadonlyArray<number>,
  pauses: ReadonlyArray<number>,
  ...scripts: ReadonlyArray<TestModel.Turn>
) => {
  const stage = new Stage()
  const model = recording(...scripts)
  const retry = retrying(delays, pauses)
  const { layer, toolkit } = ToolPolicy.define({
    look: stage.tool({ readonly: true }),
    save: stage.tool(),
    drop: stage.tool({ destructive: true }),
    ask: { ...stage.tool(), needsApproval: true }
  })
  return { stage, model, retry, toolkit, provided: Layer.mergeAll(layer, model.layer, retry.layer) }
}

const look = (id: string, what = id) => ToolCall("look", { id: what }, { id })
const save = (id: string, what = id) => ToolCall("save", { id: what }, { id })

/** The ids of the calls and of the results in the history. */
const shown = (prompt: Prompt.Prompt) => {
  const parts = prompt.content.flatMap(({ content }) =>
    typeof content === "string" ? [] : content as ReadonlyArray<{ readonly type: string }>
  )
  const ids = (type: string) =>
    parts.flatMap((part) => part.type === type ? [(part as never as { id: string }).id] : [])
  return { calls: ids("tool-call"), results: ids("tool-result") }
}

const wellFormed = (prompt: Prompt.Prompt, ids: ReadonlyArray<string>) =>
  assert.deepStrictEqual(shown(prompt), { calls: ids, results: ids } as never)

const collect = <A, E, R>(stream: Stream.Stream<A, E, R>) => {
  const parts: Array<AnyPart> = []
  return Effect.map(
    Effect.forkChild(Stream.runForEach(stream, (part) => Effect.sync(() => void parts.push(part as AnyPart)))),
    (fiber) => ({ fiber, parts })
  )
}

const typesOf = (parts: ReadonlyArray<AnyPart>, id: string) =>
  parts.flatMap((part) =>
    ("callId" in part && part.callId === id) || ("id" in part && part.id === id && part.type.startsWith("tool-"))
      ? [part.type]
      : []
  )

describe("a turn that fails and is asked again", () => {
  it.effect("has the text, the calls and the history of the answer that counts, and the usage of both", () => {
    const { model, provided, retry, stage, toolkit } = setUp(
      [
        "lost ",
        TestModel.finish("tool-calls", { usage: { inputTokens: 5, outputTokens: 5 } }),
        TestModel.fail(aiError)
      ],
      ["kept", TestModel.finish("stop", { usage: { inputTokens: 7, outputTokens: 7 } })]
    )
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.strictEqual(result.text, "kept")
      assert.strictEqual(result.usage.inputTokens.total, 12)
      assert.strictEqual(result.steps[0]?.usage.outputTokens.total, 12)
      assert.lengthOf(result.steps, 1)
      assert.notInclude(JSON.stringify(result.prompt), "lost")
      assert.deepInclude(result.report.steps[0], { attempts: 2, step: 1 })
      assert.deepStrictEqual((yield* model.requests)[1]?.prompt, (yield* model.requests)[0]?.prompt)
      assert.deepStrictEqual(retry.told, { begun: ["model"], failed: [aiError], succeeded: 1 })
      assert.deepStrictEqual(stage.started, [])
    }).pipe(Effect.provide(provided))
  })

  it.effect("waits as long as the policy says, and says so in a step-retry part", () => {
    const { model, provided, toolkit } = setUpWith(
      [1000, 3000],
      [],
      TestModel.fail(aiError),
      TestModel.fail(aiError),
      "done"
    )
    return Effect.gen(function*() {
      const { fiber, parts } = yield* collect(Orchestrator.stream({ prompt: "go", toolkit }))
      yield* TestClock.adjust(999)
      assert.lengthOf(yield* model.requests, 1)
      yield* TestClock.adjust(1)
      assert.lengthOf(yield* model.requests, 2)
      yield* TestClock.adjust(2999)
      assert.lengthOf(yield* model.requests, 2)
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      const retries = parts.filter((part) => part.type === "step-retry")
      assert.deepStrictEqual(retries, [
        { type: "step-retry", step: 1, attempt: 1, delayMillis: 1000, message: aiError.message, time: 0 },
        { type: "step-retry", step: 1, attempt: 2, delayMillis: 3000, message: aiError.message, time: 1000 }
      ])
      const start = parts.find((part) => part.type === "run-start")
      assert.deepStrictEqual(start?.policies, ["retry"])
      const end = parts.at(-1)
      assert.strictEqual(end?.type === "run-finish" ? end.report.modelMillis : 0, 4000)
    }).pipe(Effect.provide(provided))
  })

  it.effect("keeps a service's pause before every asking, the first too, and counts it as a limit's", () => {
    const { model, provided, toolkit } = setUpWith([1000], [500, 0, 250], TestModel.fail(aiError), "done")
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust(499)
      assert.lengthOf(yield* model.requests, 0)
      yield* TestClock.adjust(1)
      assert.lengthOf(yield* model.requests, 1)
      yield* TestClock.adjust(1000)
      assert.lengthOf(yield* model.requests, 1)
      yield* TestClock.adjust(250)
      const { report } = yield* Fiber.join(fiber)
      assert.deepInclude(report.steps[0], { limiterMillis: 750, modelMillis: 1000 })
    }).pipe(
      Effect.provide(provided)
    )
  })

  it.effect("fails as it would have failed when the policy lets the failure stand", () => {
    const { model, provided, toolkit } = setUp(TestModel.fail(refused))
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit })), refused)
      assert.lengthOf(yield* model.requests, 1)
    }).pipe(Effect.provide(provided))
  })

  it.effect("lets a defect of the model through, and asks nobody again", () => {
    const { model, provided, retry, toolkit } = setUp([
      TestModel.wait(Effect.die(new Error("a bug in the adapter"))),
      TestModel.unfinished
    ])
    return Effect.gen(function*() {
      assert.include(String(yield* Effect.exit(Orchestrator.run({ prompt: "go", toolkit }))), "a bug in the adapter")
      assert.lengthOf(yield* model.requests, 1)
      assert.deepStrictEqual(retry.told.failed, [])
    }).pipe(Effect.provide(provided))
  })

  it.effect("is interrupted while it waits to ask again", () => {
    const { model, provided, stage, toolkit } = setUpWith([1000], [], [save("a"), TestModel.fail(aiError)])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust(500)
      assert.deepStrictEqual([...stage.running], ["a"])
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(stage.interrupted, ["a"])
      yield* TestClock.adjust(5000)
      assert.lengthOf(yield* model.requests, 1)
    }).pipe(Effect.provide(provided))
  })
})

describe("calls of an answer that broke off", () => {
  it.effect("are adopted by equal calls of the next: finished ones give their result, running ones are joined", () => {
    const { provided, stage, toolkit } = setUp(
      [save("a"), look("b"), TestModel.wait(Effect.suspend(() => stage.gate("broken").await)), TestModel.fail(aiError)],
      [save("x", "a"), look("y", "b")]
    )
    return Effect.gen(function*() {
      const { fiber, parts } = yield* collect(Orchestrator.stream({ prompt: "go", toolkit }))
      yield* settle
      yield* stage.open("a")
      yield* stage.open("broken")
      assert.deepStrictEqual(statuses(results(parts)), ["a ok", "x ok"])
      assert.deepStrictEqual([...stage.running], ["b"])
      yield* stage.open("b")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(results(parts)), ["a ok", "x ok", "b ok", "y ok"])
      assert.deepStrictEqual(stage.started, ["a", "b"])
      const adopted = parts.flatMap((part) => part.type === "tool-adopted" ? [[part.callId, part.from]] : [])
      assert.deepStrictEqual(adopted, [["x", "a"], ["y", "b"]])
      const call = ["tool-params-start", "tool-params-delta", "tool-params-end", "tool-call"]
      assert.deepStrictEqual(typesOf(parts, "y"), [...call, "tool-adopted", "tool-result"])
      const end = parts.at(-1)
      assert.isTrue(end?.type === "run-finish")
      if (end?.type !== "run-finish") return
      wellFormed(end.prompt, ["x", "y"])
      assert.deepStrictEqual(
        end.report.calls.map(({ adoptedFrom, attempts, callId }) => [callId, attempts, adoptedFrom]),
        [
          ["a", 1, undefined],
          ["b", 1, undefined],
          ["x", 0, "a"],
          ["y", 0, "b"]
        ]
      )
    }).pipe(Effect.provide(provided))
  })

  it.effect("with the same wire id get one of their own when they are made again", () => {
    const { model, provided, stage, toolkit } = setUp([save("a"), TestModel.fail(aiError)], save("a"))
    return Effect.gen(function*() {
      yield* stage.open("a")
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      wellFormed(result.prompt, ["a_2"])
      assert.deepStrictEqual(stage.started, ["a"])
      assert.deepStrictEqual(statuses(result.toolResults), ["a_2 ok"])
      assert.include(JSON.stringify((yield* model.requests)[2]?.prompt), "\"wireId\":\"a\"")
    }).pipe(Effect.provide(provided))
  })

  it.effect("are counted: two equal calls need two earlier ones, and key order does not matter", () => {
    const { provided, stage, toolkit } = setUp(
      [save("a", "same"), save("b", "same"), TestModel.fail(aiError)],
      [save("x", "same"), save("y", "same"), save("z", "same")]
    )
    return Effect.gen(function*() {
      yield* stage.open("same")
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.lengthOf(stage.started, 3)
      assert.deepStrictEqual(result.report.calls.map(({ adoptedFrom }) => adoptedFrom), [
        undefined,
        undefined,
        "a",
        "b",
        undefined
      ])
    }).pipe(Effect.provide(provided))
  })

  it.effect("that nobody adopts: repeatable ones are interrupted, others finish, and both stay before the new calls", () => {
    const { model, provided, stage, toolkit } = setUp(
      [save("a"), look("b"), ToolCall("drop", { id: "c" }, { id: "c" }), TestModel.fail(aiError)],
      ["anew", look("d")]
    )
    return Effect.gen(function*() {
      const { fiber, parts } = yield* collect(Orchestrator.stream({ prompt: "go", toolkit }))
      yield* settle
      assert.deepStrictEqual(stage.interrupted, ["b"])
      yield* stage.open("a", "d")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["a ok", "b Cancelled", "c NotStarted", "d ok"])
      assert.include(String(failureOf(results(parts), "b")["message"]), "its next one did not make this call")
      const { content } = (yield* model.requests)[2]!.prompt.content[1]!
      assert.deepStrictEqual(
        (content as ReadonlyArray<Prompt.Part>).map((part) =>
          part.type === "text" ? part.text : "id" in part ? part.id : ""
        ),
        [
          "anew",
          "a",
          "b",
          "d"
        ]
      )
      wellFormed((yield* model.requests)[2]!.prompt, ["a", "b", "d"])
      assert.deepStrictEqual(stage.started, ["a", "b", "d"])
    }).pipe(Effect.provide(provided))
  })

  it.effect("that wrote are told to the model in one more turn when the next answer asks for nothing", () => {
    const { model, provided, stage, toolkit } = setUp([save("a"), TestModel.fail(aiError)], "nothing", "saved")
    return Effect.gen(function*() {
      yield* stage.open("a")
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.strictEqual(result.text, "saved")
      wellFormed((yield* model.requests)[2]!.prompt, ["a"])
    }).pipe(Effect.provide(provided))
  })

  it.effect("that only read end the run with the next answer", () => {
    const { model, provided, toolkit } = setUp([look("a"), TestModel.fail(aiError)], "all")
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.strictEqual(result.text, "all")
      assert.lengthOf(yield* model.requests, 2)
      wellFormed(result.prompt, ["a"])
    }).pipe(Effect.provide(provided))
  })

  it.effect("that were stopped run afresh where they may be repeated, and are not begun again where not", () => {
    const { provided, stage, toolkit } = setUp(
      [save("a"), look("b"), TestModel.wait(Effect.suspend(() => stage.gate("broken").await)), TestModel.fail(aiError)],
      [save("x", "a"), look("y", "b")]
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      for (const callId of ["a", "b"]) {
        yield* Orchestrator.cancel({ runId: "r", callId }, CancelReason.branchCancelled("no"))
      }
      yield* stage.open("broken")
      assert.deepStrictEqual(stage.started, ["a", "b", "b"])
      yield* stage.open("b")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["b Cancelled", "x Cancelled", "y ok"])
      assert.deepInclude(failureOf(result.toolResults, "x"), { callId: "x", executionStarted: true })
    }).pipe(Effect.provide(provided))
  })

  it.effect("that are being stopped are not joined where they may be repeated: the new call runs afresh", () => {
    let starts = 0
    const { layer, toolkit } = ToolPolicy.define({
      look: ToolPolicy.tool({
        success: Schema.String,
        annotations: { readonly: true, grace: "1 minute" },
        handler: () =>
          Effect.suspend(() => ++starts === 1 ? Effect.never : Effect.succeed("seen")).pipe(
            Effect.onInterrupt(() => Effect.sleep("5 seconds"))
          )
      })
    })
    const model = recording(
      [ToolCall("look", {}, { id: "a" }), TestModel.wait("2 seconds"), TestModel.fail(aiError)],
      ToolCall("look", {}, { id: "b" })
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* TestClock.adjust("1 second")
      yield* Orchestrator.cancel({ runId: "r", callId: "a" })
      yield* TestClock.adjust("1 minute")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["a Cancelled", "b ok"])
      assert.strictEqual(starts, 2)
    }).pipe(Effect.provide([layer, model.layer, retrying([0]).layer]))
  })

  it.effect("are stopped with the call that joined them", () => {
    const { provided, stage, toolkit } = setUp([save("a"), TestModel.fail(aiError)], save("x", "a"))
    return Effect.gen(function*() {
      const { fiber, parts } = yield* collect(Orchestrator.stream({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "x" }), 1)
      yield* settle
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.interrupted, ["a"])
      assert.deepStrictEqual(statuses(results(parts)), ["a Cancelled", "x Cancelled"])
      assert.deepStrictEqual(
        parts.flatMap((part) => part.type === "tool-cancelled" ? [[part.callId, part.executionStarted]] : []),
        [
          ["x", true],
          ["a", true]
        ]
      )
    }).pipe(Effect.provide(provided))
  })

  it.effect("may be adopted once more when the answer that adopted them breaks off too", () => {
    const { provided, stage, toolkit } = setUp(
      [save("a"), TestModel.fail(aiError)],
      [save("b", "a"), save("c"), TestModel.fail(aiError)],
      [save("d", "a"), save("e", "c")]
    )
    return Effect.gen(function*() {
      const { fiber, parts } = yield* collect(Orchestrator.stream({ prompt: "go", toolkit }))
      yield* settle
      yield* stage.open("a", "c")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.started, ["a", "c"])
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["a ok", "b ok", "c ok", "d ok", "e ok"])
      const end = parts.at(-1)
      if (end?.type === "run-finish") wellFormed(end.prompt, ["d", "e"])
      assert.strictEqual(end?.type, "run-finish")
    }).pipe(Effect.provide(provided))
  })

  it.effect("keep maxToolCalls: what ran before counts, what is adopted does not", () => {
    const { provided, stage, toolkit } = setUp(
      [save("a"), save("b"), TestModel.fail(aiError)],
      [save("x", "a"), save("y", "b"), save("z")]
    )
    return Effect.gen(function*() {
      yield* stage.open("a", "b", "z")
      const result = yield* Orchestrator.run({ prompt: "go", toolkit, maxToolCalls: 2 })
      assert.deepStrictEqual(statuses(result.toolResults), ["x ok", "y ok", "z Rejected"])
    }).pipe(Effect.provide(provided))
  })

  it.effect("count once for the detector of loops", () => {
    const turn: ReadonlyArray<TestModel.Turn> = [[look("a", "same"), TestModel.fail(aiError)], look("b", "same")]
    const { provided, stage, toolkit } = setUp(...turn, ...turn, ...turn, "done")
    return Effect.gen(function*() {
      yield* stage.open("same")
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.lengthOf(result.steps, 4)
    }).pipe(
      Effect.provideService(Orchestrator.Config, {
        maxSteps: 20,
        toolCallConcurrency: 30,
        maxToolCalls: 100,
        maxRepeats: 3,
        timeout: {}
      }),
      Effect.provide(provided)
    )
  })

  it.effect("that waited for approval ask for it anew", () => {
    const { provided, toolkit } = setUp(
      [ToolCall("ask", { id: "a" }, { id: "a" }), TestModel.fail(aiError)],
      ToolCall("ask", { id: "a" }, { id: "b" })
    )
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(result.pendingApprovals.map(({ callId }) => callId), ["b"])
      assert.deepStrictEqual(shown(result.prompt), { calls: ["b"], results: [] })
    }).pipe(Effect.provide(provided))
  })

  it.effect("and of all its answers stand in the error when the last asking fails too", () => {
    const { provided, stage, toolkit } = setUp(
      [
        save("a"),
        look("b"),
        ToolCall("drop", { id: "c" }, { id: "c" }),
        TestModel.call(ToolCall("save", {}, { id: "half" }), { open: true, chunks: ["{\"id\":"] }),
        TestModel.fail(aiError)
      ],
      [save("x", "a"), TestModel.fail(refused)]
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      yield* stage.open("a")
      const error = yield* Fiber.join(fiber)
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "TurnBroken")
      if (error._tag !== "OrchestratorError" || error.reason._tag !== "TurnBroken") return
      assert.strictEqual(error.reason.error, refused)
      assert.deepStrictEqual(error.reason.completed, ["b", "c", "x"])
      assert.deepStrictEqual(error.reason.incomplete, ["half"])
      wellFormed(error.prompt, ["b", "c", "x"])
      assert.deepStrictEqual(stage.interrupted, ["b"])
    }).pipe(Effect.provide(provided))
  })

  it.effect("that were held back for a good end stay so, though the broken answer had one", () => {
    const { provided, stage, toolkit } = setUp(
      [TestModel.finish("tool-calls"), TestModel.fail(aiError)],
      [ToolCall("drop", { id: "c" }, { id: "c" }), TestModel.wait(Effect.suspend(() => stage.gate("model").await))]
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      assert.deepStrictEqual(stage.started, [])
      yield* stage.open("model", "c")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["c ok"])
    }).pipe(Effect.provide(provided))
  })

  it.effect("that never started are no repetition", () => {
    const drop = (id: string) => ToolCall("drop", { id: "same" }, { id })
    const turn: ReadonlyArray<TestModel.Turn> = [[drop("a"), TestModel.fail(aiError)], look("b")]
    const { provided, stage, toolkit } = setUp(...turn, ...turn, drop("a"), "done")
    return Effect.gen(function*() {
      yield* stage.open("same", "b")
      const config = yield* Orchestrator.Config
      const result = yield* Effect.provideService(
        Orchestrator.run({ prompt: "go", toolkit }),
        Orchestrator.Config,
        { ...config, maxRepeats: 2 }
      )
      assert.strictEqual(result.text, "done")
      assert.deepStrictEqual(stage.started.filter((id) => id === "same"), ["same"])
    }).pipe(Effect.provide(provided))
  })

  it.effect("stay without the provider's id of the item, which ties them to an answer that is gone", () => {
    const made = encoded(save("a")).map((part) =>
      part.type === "tool-call"
        ? { ...part, metadata: { openai: { itemId: "fc_1", signature: "kept" }, toolformer: { wireId: "w" } } }
        : part
    )
    const { model, provided, stage, toolkit } = setUp([...made, TestModel.fail(aiError)], "nothing", "done")
    return Effect.gen(function*() {
      yield* stage.open("a")
      yield* Orchestrator.run({ prompt: "go", toolkit })
      const history = JSON.stringify((yield* model.requests)[2]!.prompt)
      assert.include(history, "\"openai\":{\"signature\":\"kept\"}")
      assert.include(history, "\"wireId\":\"w\"")
      assert.notInclude(history, "fc_1")
    }).pipe(Effect.provide(provided))
  })

  it.effect("that never started stand in the error once, however often they were made", () => {
    const drop = (id: string) => ToolCall("drop", { id: "same" }, { id })
    const { provided, stage, toolkit } = setUp([drop("a"), TestModel.fail(aiError)], [
      drop("b"),
      TestModel.fail(refused)
    ])
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "TurnBroken")
      if (error._tag !== "OrchestratorError" || error.reason._tag !== "TurnBroken") return
      assert.deepStrictEqual(error.reason.completed, ["b"])
      wellFormed(error.prompt, ["b"])
      assert.deepStrictEqual(stage.started, [])
    }).pipe(Effect.provide(provided))
  })
})

describe("groups of a turn that is asked again", () => {
  it.effect("end with the broken answer, and adopting calls are branches of the next answer's", () => {
    const { provided, stage, toolkit } = setUp(
      [look("a"), look("b"), save("c"), TestModel.fail(aiError)],
      [look("x", "a"), look("y", "b"), look("z")]
    )
    const completion = { search: { tools: ["look"], policy: Branch.first(1) } } as const
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, completion }))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a", "b", "c", "z"])
      yield* stage.open("b")
      assert.deepStrictEqual(stage.interrupted, ["a", "z"])
      yield* stage.open("c")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result.toolResults), ["c ok", "x Cancelled", "y ok", "z Cancelled"])
      assert.deepInclude(failureOf(result.toolResults, "x")["reason"], { _tag: "Superseded", by: "y" })
      const decided = result.report.groups.filter(({ outcome }) => outcome === "decided")
      assert.deepStrictEqual(decided.map(({ winners }) => winners), [["y"]])
      assert.deepStrictEqual(stage.started, ["a", "b", "c", "z"])
    }).pipe(Effect.provide(provided))
  })
})

describe("a handler that changes its parameters", () => {
  it.effect("is not started again by the same call of the next answer", () => {
    const params = () => ({ what: { path: "a" }, list: [1] })
    const started: Array<unknown> = []
    const { layer, toolkit } = ToolPolicy.define({
      save: ToolPolicy.tool({
        parameters: Schema.Struct({ what: Schema.Unknown, list: Schema.Unknown }),
        success: Schema.Finite,
        handler: ({ list, what }) =>
          Effect.sync(() => {
            Object.assign(what as object, { path: "b" })
            ;(list as Array<number>).pop()
            return started.push(what)
          })
      })
    })
    const model = recording(
      [ToolCall("save", params(), { id: "a" }), TestModel.fail(aiError)],
      ToolCall("save", params(), { id: "b" })
    )
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.lengthOf(started, 1)
      assert.deepStrictEqual(statuses(result.toolResults), ["b ok"])
    }).pipe(Effect.provide([layer, model.layer, retrying([0]).layer]))
  })
})

describe("a turn that is asked again under limits", () => {
  it.effect("passes them anew each time, and a limit's own repetition is open to it again", () => {
    const limited = AiError.make({
      module: "ScriptedModel",
      method: "streamText",
      reason: new AiError.RateLimitError({ retryAfter: Duration.seconds(1) })
    })
    const { model, provided, retry, toolkit } = setUp(
      ["lost", TestModel.fail(aiError)],
      TestModel.fail(limited),
      "done"
    )
    const limits = Limiter.layer({ onExceeded: "adaptive", services: { model: Limiter.permits(1) } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "done")
      assert.lengthOf(yield* model.requests, 3)
      assert.deepStrictEqual(retry.told.failed, [aiError])
    }).pipe(Effect.provide([provided, limits]))
  })
})

describe("a Retry that throws", () => {
  it.effect("is none: the turn is asked once, and its failure stands", () => {
    const broken = Layer.succeed(Retry, { begin: () => assert.fail("a mistake") })
    const { layer, toolkit } = ToolPolicy.define({ idle: ToolPolicy.tool({ handler: () => Effect.void }) })
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit })), aiError)
    }).pipe(Effect.provide([layer, scripted(TestModel.fail(aiError)), broken]))
  })
})
