import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { compile } from "../../src/engine/internal/CompiledTool.ts"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"

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
            scripted([ToolCall("deaf", {}, { id }), ToolCall("deaf", {}, { id: `${id}2` })], "ok")
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

describe("ToolPolicy.Concurrency and calls made under a call of the same tool", () => {
  // A tool of cap 1 whose root call makes three calls of itself at once.
  const family = (leaf: Effect.Effect<void>) => {
    const watch = { running: 0, peak: 0 }
    const made: { call?: (n: number) => Effect.Effect<void> } = {}
    const { layer, toolkit } = ToolPolicy.define({
      tree: ToolPolicy.tool({
        parameters: Schema.Struct({ depth: Schema.Finite }),
        annotations: { concurrency: 1, timeout: "1 minute" },
        handler: ({ depth }): Effect.Effect<void> =>
          depth > 0
            ? Effect.forEach([1, 2, 3], () => made.call!(depth - 1), { concurrency: "unbounded", discard: true })
            : Effect.acquireUseRelease(
              Effect.sync(() => {
                watch.running++
                watch.peak = Math.max(watch.peak, watch.running)
              }),
              () => leaf,
              () => Effect.sync(() => watch.running--)
            )
      })
    })
    made.call = (depth) => Executor.call(toolkit.tools.tree, { depth }).pipe(Effect.provide(layer), Effect.orDie)
    return { layer, toolkit, watch, call: made.call }
  }

  it.effect("lends the permit to one of them at a time, at any depth", () =>
    Effect.gen(function*() {
      const { call, toolkit, watch } = family(Effect.sleep("1 second"))
      const fiber = yield* Effect.forkChild(call(2))
      yield* TestClock.adjust("9 seconds")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(watch.peak, 1)
      assert.strictEqual(compile(toolkit.tools.tree).permits!.used, 0)
    }))

  it.effect("stays within the cap when the lender is gone before the borrower has ended", () =>
    Effect.gen(function*() {
      const released = Deferred.makeUnsafe<void>()
      const { call, toolkit } = family(Effect.uninterruptible(Deferred.await(released)))
      const permits = compile(toolkit.tools.tree).permits!
      const fiber = yield* Effect.forkChild(call(1))
      yield* TestClock.adjust(0)
      yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust("1 second")
      assert.isDefined(fiber.pollUnsafe(), "the caller is free after the grace")
      assert.strictEqual(permits.used, 1, "the permit stays with the handler that still runs")
      yield* Deferred.succeed(released, undefined)
      yield* TestClock.adjust(0)
      assert.strictEqual(permits.used, 0)
      assert.strictEqual(permits.waiters.size + permits.nested.size, 0)
      const next = yield* Effect.forkChild(call(0))
      yield* TestClock.adjust(0)
      assert.isDefined(next.pollUnsafe(), "and the tool runs again")
    }))
})
