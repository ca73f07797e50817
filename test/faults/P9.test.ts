import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { encoded, scripted } from "../model.ts"
import { results, settle, Stage, statuses } from "../stage.ts"

const setUp = () => {
  const got: Array<string> = []
  return {
    got,
    ...ToolPolicy.define({
      echo: ToolPolicy.tool({
        parameters: Schema.Struct({ say: Schema.String }),
        success: Schema.String,
        handler: ({ say }, { toolCallId }) => Effect.sync(() => got.push(`${toolCallId} ${say}`)).pipe(Effect.as(say))
      })
    })
  }
}

const echo = (id: string, say: string) => ToolCall("echo", { say }, { id })

describe("P9: ids of calls", () => {
  it.effect("P9: duplicates: the second call gets an id of its own, both run, the wire's id stays in the metadata", () => {
    const { got, layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const parts = yield* Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit }))
      assert.deepStrictEqual(got, ["x one", "x_2 two", "x_3 three"])
      assert.deepStrictEqual(results(parts).map(({ id, result }) => [id, result]), [
        ["x", "one"],
        ["x_2", "two"],
        ["x_3", "three"]
      ])
      const made = parts.flatMap((part) => part.type === "tool-call" ? [[part.id, part.metadata["toolformer"]]] : [])
      assert.deepStrictEqual(made, [["x", undefined], ["x_2", { wireId: "x" }], ["x_3", { wireId: "x" }]])
      // Fragments carry the id their call will have.
      const starts = parts.flatMap((part) => part.type === "tool-params-start" ? [part.id] : [])
      assert.deepStrictEqual(starts, ["x", "x_2", "x_3"])
    }).pipe(Effect.provide([layer, scripted([echo("x", "one"), echo("x", "two"), echo("x", "three")])]))
  })

  it.effect("P9: duplicates open at the same time are told apart", () => {
    const { got, layer, toolkit } = setUp()
    const [startA, deltaA, endA, callA] = encoded(echo("x", "one"))
    const [startB, deltaB, endB, callB] = encoded(echo("x", "two"))
    const model = scripted([
      startA!,
      startB!,
      deltaA!,
      deltaB!,
      endA!,
      callA!,
      endB!,
      callB!,
      TestModel.finish("tool-calls")
    ])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(got, ["x one", "x_2 two"])
      assert.deepStrictEqual(statuses(result.toolResults), ["x ok", "x_2 ok"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P9: an empty id gets one that is free", () => {
    const { got, layer, toolkit } = setUp()
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(got, ["call_1 named", "call_2 one", "call_3 two"])
    }).pipe(Effect.provide([layer, scripted([echo("call_1", "named"), echo("", "one"), echo("", "two")])]))
  })

  it.effect("P9: an id of an earlier turn or an earlier run is taken", () => {
    const { got, layer, toolkit } = setUp()
    const model = scripted([echo("x", "one")], [echo("x", "two")], TestModel.unfinished, [echo("x", "three")])
    return Effect.gen(function*() {
      const first = yield* Orchestrator.run({ prompt: "go", toolkit, maxSteps: 2 })
      yield* Orchestrator.run({ prompt: first.prompt, toolkit, maxSteps: 1 })
      yield* Orchestrator.run({ prompt: first.prompt, toolkit, maxSteps: 1 })
      assert.deepStrictEqual(got, ["x one", "x_2 two", "x_3 three"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P9: one id is one call in the history, each with its one result", () => {
    const { layer, toolkit } = setUp()
    const model = scripted([echo("x", "one"), echo("x", "two"), echo("", "three")])
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      const requests = yield* TestModel.requests
      const ids = (type: string) =>
        requests[1]!.prompt.content.flatMap(({ content }) =>
          typeof content === "string"
            ? []
            : content.flatMap((part) => part.type === type && "id" in part ? [part.id] : [])
        )
      assert.deepStrictEqual(ids("tool-call"), ["x", "x_2", "call_1"])
      assert.deepStrictEqual(ids("tool-result"), ["x", "x_2", "call_1"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P9: a derived id does not collide with one the model sends later", () => {
    const { got, layer, toolkit } = setUp()
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(got, ["x one", "x_2 two", "x_2_2 three"])
    }).pipe(Effect.provide([layer, scripted([echo("x", "one"), echo("x", "two"), echo("x_2", "three")])]))
  })

  it.effect("P9: a call cut open under a duplicate id is answered under its own", () => {
    const { got, layer, toolkit } = setUp()
    const model = scripted([
      echo("x", "one"),
      TestModel.call(ToolCall("echo", {}, { id: "x" }), { open: true, chunks: ["{\"id\":"] })
    ])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["x ok", "x_2 Truncated"])
      assert.deepStrictEqual(got, ["x one"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("P9: a call without its opening parts is taken as it is", () => {
    const { got, layer, toolkit } = setUp()
    const bare = { type: "tool-call", id: "x", name: "echo", params: { say: "bare" } } as const
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(got, ["x bare", "x_2 bare"])
    }).pipe(Effect.provide([layer, scripted([bare, bare, TestModel.finish("tool-calls")])]))
  })

  it.effect("P9: cancel by a derived id stops that call and not its namesake", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ work: stage.tool() })
    const model = scripted([ToolCall("work", { id: "one" }, { id: "x" }), ToolCall("work", { id: "two" }, { id: "x" })])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "x_2" })
      yield* settle
      assert.deepStrictEqual(stage.interrupted, ["two"])
      yield* stage.open("one")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["x ok", "x_2 Cancelled"])
    }).pipe(Effect.provide([layer, model]))
  })
})
