import { assert, describe, it } from "@effect/vitest"
import type * as Tool from "effect/ai/Tool"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { settle } from "../stage.ts"
import { runProgram } from "./child.ts"

describe("T4: what settles after its call was answered", () => {
  it(
    "T4: hundreds of late rejections are handled, under --unhandled-rejections=strict",
    { timeout: 30_000 },
    async () => {
      const { code, stderr, stdout } = await runProgram("lateRejections", "--unhandled-rejections=strict")
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(JSON.parse(stdout), {
        promises: 800,
        afterEnd: 0,
        results: 600,
        distinct: 600,
        late: { ours: 200, several: 200 }
      })
    }
  )

  const deaf = (handler: Parameters<typeof ToolPolicy.tool<typeof Tool.EmptyParams, Schema.String>>[0]["handler"]) =>
    ToolPolicy.define({
      work: ToolPolicy.tool({ success: Schema.String, annotations: { timeout: "1 seconds", grace: 0 }, handler })
    })

  // The model's second turn takes a minute, so the run is still there when the late end comes.
  const model = () => scripted([ToolCall("work", {}, { id: "a" })], [TestModel.wait("1 minute"), TestModel.unfinished])

  it.effect("T4: a late success is no second result; it is counted, by tool", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<string>()
      const { layer, toolkit } = deaf(() =>
        Effect.orDie(Executor.promise(() => Effect.runPromise(Deferred.await(gate))))
      )
      const results: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(
          Orchestrator.stream({ prompt: "go", toolkit }),
          (part) => Effect.sync(() => part.type === "tool-result" && results.push(part.id))
        ).pipe(Effect.provide([layer, model()]))
      )
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(results, ["a"])
      yield* Deferred.succeed(gate, "late")
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      const late = (yield* Metric.snapshot).find(({ id }) => id === "async_orchestrator_late_results_total")
      assert.deepStrictEqual(late?.attributes, { tool_name: "work" })
      assert.strictEqual(Number(late !== undefined && "count" in late.state ? late.state.count : 0), 1)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(results, ["a"])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("T4: late progress and a late end send no part", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<string>()
      const { layer, toolkit } = deaf((_, { preliminary }) =>
        Effect.uninterruptible(Deferred.await(gate).pipe(Effect.tap(() => preliminary("late progress"))))
      )
      const parts: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(Orchestrator.stream({ prompt: "go", toolkit }), (part) =>
          Effect.sync(() => parts.push(part.type))).pipe(Effect.provide([layer, model()]))
      )
      yield* TestClock.adjust("1 seconds")
      const before = parts.length
      assert.strictEqual(parts.at(-1), "step-start")
      yield* Deferred.succeed(gate, "late")
      yield* settle
      assert.strictEqual(parts.length, before)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
    }))
})
