import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { call, calls, says, scripted } from "../model.ts"

describe("ToolPolicy.Concurrency across runs", () => {
  it.effect("rejects the waiting calls of every run, each through its own run, when the only permit is stuck", () =>
    Effect.gen(function*() {
      const released = Deferred.makeUnsafe<void>()
      const promise = Effect.runPromise(Deferred.await(released))
      const { layer, toolkit } = ToolPolicy.define({
        deaf: ToolPolicy.tool({
          annotations: { concurrency: 1, timeout: "1 second" },
          handler: () => Effect.orDie(Executor.promise(() => promise))
        })
      })
      const run = (id: string) =>
        Effect.forkChild(
          Effect.provide(Orchestrator.run({ prompt: "go", toolkit }), [
            layer,
            scripted(calls(call(id, "deaf"), call(`${id}2`, "deaf")), says("ok"))
          ])
        )
      const first = yield* run("a")
      yield* TestClock.adjust(0)
      const second = yield* run("b")
      yield* TestClock.adjust("2 seconds")
      const statuses = (fiber: typeof first) =>
        Effect.map(Fiber.join(fiber), (result) => result.report.calls.map(({ status }) => status))
      assert.deepStrictEqual(yield* statuses(first), ["TimedOut", "Rejected"])
      assert.deepStrictEqual(yield* statuses(second), ["Rejected", "Rejected"])
      // The permit comes back when the promise really ends; then the tool runs again.
      yield* Deferred.succeed(released, undefined)
      yield* Effect.promise(() => promise)
      const third = yield* run("c")
      yield* TestClock.adjust(0)
      yield* Effect.promise(() => promise)
      assert.deepStrictEqual(yield* statuses(third), ["success", "success"])
    }))
})
