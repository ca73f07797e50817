/** What is decided leaves no timer behind, also while its run goes on. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as Branch from "../../src/engine/Branch.ts"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { makeWatch, watchedClock } from "../laws/decision.ts"
import { scripted } from "../model.ts"
import { Stage, statuses } from "../stage.ts"

/** Runs one turn of two calls that are over at once, and looks while the model still speaks. */
const sleepsAfter = (
  annotations: ToolPolicy.Annotations<{ readonly id: string }>,
  policy: Branch.Completion<unknown> | undefined
) =>
  Effect.gen(function*() {
    const stage = new Stage()
    const watch = makeWatch()
    const clock = yield* watchedClock(watch)
    const { layer, toolkit } = ToolPolicy.define({ work: stage.tool(annotations) })
    yield* stage.open("a")
    const fiber = yield* Orchestrator.run({
      prompt: "go",
      toolkit,
      ...(policy === undefined ? undefined : { completion: { one: { tools: ["work"], policy } } })
    }).pipe(
      Effect.provide([
        layer,
        scripted([ToolCall("work", { id: "a" }, { id: "a" }), ToolCall("work", { id: "b" }, { id: "b" })], [
          "and",
          TestModel.wait("1 minute")
        ])
      ]),
      Effect.provideContext(clock),
      Effect.forkChild
    )
    yield* TestClock.adjust(10)
    yield* stage.open("b")
    yield* TestClock.adjust(10)
    const { sleeping } = watch
    yield* TestClock.adjust("2 minutes")
    return { sleeping, statuses: statuses((yield* Fiber.join(fiber)).toolResults) }
  }) as Effect.Effect<{ readonly sleeping: number; readonly statuses: ReadonlyArray<string> }>

describe("timers", () => {
  it.effect("of a group end with its decision, those of its branches with their answers", () =>
    Effect.gen(function*() {
      const policy = Branch.first(1, { timeout: "5 seconds" }).pipe(Branch.within("9 seconds"))
      assert.deepStrictEqual(yield* sleepsAfter({}, policy), { sleeping: 1, statuses: ["a ok", "b Cancelled"] })
      const all = Branch.all({ timeout: "5 seconds" }).pipe(Branch.within("9 seconds"))
      assert.deepStrictEqual(yield* sleepsAfter({}, all), { sleeping: 1, statuses: ["a ok", "b ok"] })
    }))

  it.effect("of a call's attempts, hedges, limits and grace end with the call", () =>
    Effect.gen(function*() {
      const annotations = {
        idempotent: true,
        timeout: "5 seconds",
        deadline: "9 seconds",
        hedge: { after: "3 seconds" },
        retry: { base: "4 seconds" }
      } as const
      assert.deepStrictEqual(yield* sleepsAfter(annotations, undefined), { sleeping: 1, statuses: ["a ok", "b ok"] })
    }))

  it.effect("of the model's turn end with its answer, while calls still run", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const watch = makeWatch()
      const clock = yield* watchedClock(watch)
      const { layer, toolkit } = ToolPolicy.define({ work: stage.tool() })
      const fiber = yield* Orchestrator.run({
        prompt: "go",
        toolkit,
        timeout: { model: { firstByte: "20 seconds", idle: "20 seconds", total: "30 seconds" } }
      }).pipe(
        Effect.provide([layer, scripted([ToolCall("work", { id: "a" }, { id: "a" }), TestModel.wait(5)])]),
        Effect.provideContext(clock),
        Effect.forkChild
      )
      yield* TestClock.adjust(1)
      assert.strictEqual(watch.sleeping, 3, "the model's next part, its idle clock and its total")
      yield* TestClock.adjust(10)
      assert.deepStrictEqual([...stage.running], ["a"])
      assert.strictEqual(watch.sleeping, 0)
      yield* stage.open("a")
      yield* Fiber.join(fiber)
    }))
})
