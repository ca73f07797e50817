import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"

const Write = ToolPolicy.tool({
  parameters: Schema.Struct({ n: Schema.Finite }),
  success: Schema.Finite,
  annotations: { deadline: "2 seconds", resources: () => [{ write: "the file" }] },
  handler: ({ n }) => Effect.as(Effect.sleep("1500 millis"), n)
})
const AtTheEnd = ToolPolicy.tool({
  success: Schema.String,
  annotations: { deadline: "2 seconds", destructive: true },
  handler: () => Effect.succeed("done")
})

const statuses = (result: { readonly report: { readonly calls: ReadonlyArray<{ readonly status: string }> } }) =>
  result.report.calls.map(({ status }) => status)

describe("ToolPolicy.Deadline", () => {
  it.effect("counts from the seal while a call waits for a resource", () =>
    Effect.gen(function*() {
      const { layer, toolkit } = ToolPolicy.define({ write: Write })
      const model = scripted([
        ToolCall("write", { n: 1 }, { id: "a" }),
        ToolCall("write", { n: 2 }, { id: "b" }),
        ToolCall("write", { n: 3 }, { id: "c" })
      ], "ok")
      const fiber = yield* Effect.forkChild(Effect.provide(Orchestrator.run({ prompt: "go", toolkit }), [layer, model]))
      yield* TestClock.adjust("2 seconds")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result), ["success", "TimedOut", "TimedOut"])
      assert.strictEqual(result.report.totalMillis, 2000)
    }))

  it.effect("counts from the seal while a call waits for the end of the turn", () =>
    Effect.gen(function*() {
      const { layer, toolkit } = ToolPolicy.define({ wipe: AtTheEnd })
      const model = scripted([ToolCall("wipe", {}, { id: "a" }), TestModel.wait("3 seconds")], "ok")
      const fiber = yield* Effect.forkChild(Effect.provide(Orchestrator.run({ prompt: "go", toolkit }), [layer, model]))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(statuses(yield* Fiber.join(fiber)), ["TimedOut"])
    }))
})

describe("Orchestrator.Config", () => {
  it.effect("gives its tool timeout to calls from code as well", () =>
    Effect.gen(function*() {
      const { layer, toolkit } = ToolPolicy.define({ slow: ToolPolicy.tool({ handler: () => Effect.never }) })
      const defaults = yield* Orchestrator.Config
      const fiber = yield* Executor.call(toolkit.tools.slow, {}).pipe(
        Effect.flip,
        Effect.provide(layer),
        Effect.provideService(Orchestrator.Config, { ...defaults, timeout: { tool: "3 seconds" } }),
        Effect.forkChild
      )
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "TimedOut")
    }))
})
