import { assert, describe, it } from "@effect/vitest"
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { Stage, statuses } from "../stage.ts"

const Id = Schema.Struct({ id: Schema.String })

/** Runs a run that would deadlock if a nested call waited for its parent's permit: a minute of the test's clock is plenty. */
const inAMinute = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust("1 minute")
    const exit = fiber.pollUnsafe()
    yield* Fiber.interrupt(fiber)
    assert.isDefined(exit, "the run is stuck")
    return yield* Fiber.join(fiber)
  })

describe("T9: a tool that calls the engine again, with one place", () => {
  it.effect("T9: finishes when it starts a run of its own", () => {
    const stage = new Stage()
    const inner = ToolPolicy.define({ leaf: stage.tool() })
    const outer = ToolPolicy.define({
      plan: ToolPolicy.tool({
        parameters: Id,
        success: Schema.String,
        handler: ({ id }) =>
          Orchestrator.run({ prompt: id, toolkit: inner.toolkit, toolCallConcurrency: 1 }).pipe(
            Effect.map(({ toolResults }) => statuses(toolResults).join(", ")),
            Effect.provide(
              scripted([
                ToolCall("leaf", { id: `${id}1` }, { id: `${id}1` }),
                ToolCall("leaf", { id: `${id}2` }, { id: `${id}2` })
              ])
            ),
            Effect.orDie
          )
      })
    })
    return Effect.gen(function*() {
      yield* stage.open("a1", "a2", "b1", "b2")
      const result = yield* inAMinute(
        Orchestrator.run({ prompt: "go", toolkit: outer.toolkit, toolCallConcurrency: 1 })
      )
      assert.deepStrictEqual(result.toolResults.map((part) => part.result), ["a1 ok, a2 ok", "b1 ok, b2 ok"])
      assert.strictEqual(stage.peak, 1)
    }).pipe(Effect.provide([
      Layer.provide(outer.layer, inner.layer),
      scripted([ToolCall("plan", { id: "a" }, { id: "a" }), ToolCall("plan", { id: "b" }, { id: "b" })])
    ]))
  })

  it.effect("T9: finishes when it calls itself under its own cap of 1", () => {
    const depth: Array<number> = []
    const Count = Schema.Struct({ left: Schema.Finite })
    type Tools = { readonly count: ReturnType<typeof countTool> }
    const countTool = () =>
      ToolPolicy.define({
        count: ToolPolicy.tool({ parameters: Count, success: Schema.Finite, handler: () => Effect.never })
      })
        .toolkit.tools.count
    const made: { toolkit?: { readonly tools: Tools } } = {}
    const { layer, toolkit } = ToolPolicy.define({
      count: ToolPolicy.tool({
        parameters: Count,
        success: Schema.Finite,
        annotations: { concurrency: 1 },
        handler: ({ left }): Effect.Effect<number> => {
          depth.push(left)
          if (left === 0) return Effect.succeed(0)
          return Effect.map(Executor.call(made.toolkit!.tools.count, { left: left - 1 }), (n) => n + 1).pipe(
            Effect.provide(layer),
            Effect.orDie
          )
        }
      })
    })
    made.toolkit = toolkit
    return Effect.gen(function*() {
      const result = yield* inAMinute(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }))
      assert.deepStrictEqual(result.toolResults.map((part) => part.result), [3, 1])
      assert.deepStrictEqual(depth, [3, 2, 1, 0, 1, 0])
    }).pipe(Effect.provide([
      layer,
      scripted([ToolCall("count", { left: 3 }, { id: "a" }), ToolCall("count", { left: 1 }, { id: "b" })])
    ]))
  })

  it.effect("T9: finishes through another tool and a nested run, and gives the permit back", () => {
    const { layer: leafLayer, toolkit: leafs } = ToolPolicy.define({
      shared: ToolPolicy.tool({
        parameters: Id,
        success: Schema.String,
        annotations: { concurrency: 1 },
        handler: ({ id }): Effect.Effect<string, never, LanguageModel.LanguageModel> =>
          id === "leaf" ? Effect.succeed("leaf") : nested(id)
      })
    })
    const nested = (id: string): Effect.Effect<string, never, LanguageModel.LanguageModel> =>
      Orchestrator.run({ prompt: id, toolkit: leafs as never, toolCallConcurrency: 1 }).pipe(
        Effect.map(({ toolResults }) => statuses(toolResults as never).join()),
        Effect.provide([leafLayer, scripted([ToolCall("shared", { id: "leaf" }, { id: "l" })])] as never),
        Effect.orDie
      ) as never
    return Effect.gen(function*() {
      const run = (id: string) =>
        Orchestrator.run({ prompt: "go", toolkit: leafs, toolCallConcurrency: 1 }).pipe(
          Effect.provide(scripted([ToolCall("shared", { id }, { id })]))
        )
      const [first, second] = yield* inAMinute(Effect.all([run("a"), run("b")], { concurrency: "unbounded" }))
      assert.deepStrictEqual(first.toolResults.map((part) => part.result), ["l ok"])
      assert.deepStrictEqual(second.toolResults.map((part) => part.result), ["l ok"])
      assert.deepStrictEqual(statuses((yield* inAMinute(run("leaf"))).toolResults), ["leaf ok"])
    }).pipe(Effect.provide(Layer.provide(leafLayer, scripted())))
  })
})
