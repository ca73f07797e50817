/** A stop is the last word on a call, whatever its retry policy would say of how its attempt ended. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { CancelReason, Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { Retry } from "../../src/policy/Retry.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { results, settle, Stage, statuses } from "../stage.ts"

/** Tries everything again at once, and says so without a step in between. */
const eager = Layer.succeed(Retry, {
  begin: () => ({
    pauseMillis: () => 0,
    refusedMillis: () => undefined,
    failed: () => Effect.succeed(5),
    succeeded: () => {}
  })
})

const observe = (cleanUp: Effect.Effect<void>, stop: (runId: string) => Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    let starts = 0
    const parts: Array<AnyPart> = []
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        success: Schema.String,
        annotations: { readonly: true, grace: "1 second" },
        handler: () => Effect.onInterrupt(Effect.suspend(() => (starts++, Effect.never)), () => cleanUp)
      })
    })
    const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit, runId: "stops" }).pipe(
      Stream.runForEach((part) => Effect.sync(() => void parts.push(part as AnyPart))),
      Effect.exit,
      Effect.provide([layer, eager, scripted([ToolCall("work", {}, { id: "a" })])]),
      Effect.forkChild
    )
    yield* TestClock.adjust(10)
    yield* stop("stops")
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(fiber)
    const own = parts.flatMap((part) => "callId" in part ? [part.type] : [])
    return { starts, own, answers: statuses(results(parts)) }
  })

describe("a call that is stopped", () => {
  const cleanUps = { "at once": Effect.void, "after a clean-up": Effect.asVoid(Effect.sleep(100)) }
  const reasons = [
    CancelReason.timeout("total", 10),
    CancelReason.timeout("deadline", 10),
    CancelReason.branchCancelled(),
    CancelReason.shutdown
  ]
  for (const [when, cleanUp] of Object.entries(cleanUps)) {
    it.effect.each(reasons)(
      `has no further attempt when its handler ends ${when}: %o`,
      (reason) =>
        Effect.gen(function*() {
          const whole = yield* observe(cleanUp, (runId) => Orchestrator.cancel({ runId }, reason))
          const one = yield* observe(cleanUp, (runId) => Orchestrator.cancel({ runId, callId: "a" }, reason))
          const status = reason._tag === "Timeout" ? "TimedOut" : "Cancelled"
          for (const seen of [whole, one]) {
            assert.deepStrictEqual(seen, {
              starts: 1,
              own: ["tool-queued", "tool-started", "tool-cancelled"],
              answers: [`a ${status}`]
            })
          }
        })
    )
  }
})

describe("a call whose caller is stopped", () => {
  it.effect("does not start any more, even where the caller's handler cannot be interrupted", () => {
    const stage = new Stage()
    const inner = ToolPolicy.define({ inner: stage.tool({ concurrency: 1 }) })
    const seen: Array<unknown> = []
    const { layer, toolkit } = ToolPolicy.define({
      outer: ToolPolicy.tool({
        success: Schema.String,
        annotations: { grace: "1 second" },
        handler: () =>
          Executor.call(inner.toolkit.tools.inner, { id: "late" }).pipe(
            Effect.tapError((failure) => Effect.sync(() => seen.push((failure as { readonly _tag: string })._tag))),
            Effect.uninterruptible,
            Effect.orDie
          )
      })
    })
    return Effect.gen(function*() {
      const holder = yield* Effect.forkChild(Executor.call(inner.toolkit.tools.inner, { id: "first" }))
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "nested" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "nested", callId: "a" })
      yield* settle
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a Cancelled"])
      assert.deepStrictEqual(seen, ["Cancelled"])
      yield* stage.open("first", "late")
      yield* Fiber.join(holder)
      assert.deepStrictEqual(stage.started, ["first"])
    }).pipe(Effect.provide([Layer.provideMerge(layer, inner.layer), scripted([ToolCall("outer", {}, { id: "a" })])]))
  })
})

describe("a call that waits for a resource", () => {
  it.effect("is not begun by the stop that frees it", () => {
    const started: Array<string> = []
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        parameters: Schema.Struct({ id: Schema.String }),
        success: Schema.String,
        annotations: { readonly: true, grace: "1 second", resources: () => [{ write: "file" }] },
        handler: ({ id }) => Effect.suspend(() => (started.push(id), Effect.never))
      })
    })
    return Effect.gen(function*() {
      const both = [ToolCall("work", { id: "a" }, { id: "a" }), ToolCall("work", { id: "b" }, { id: "b" })]
      const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit, timeout: { total: 100 } }).pipe(
        Stream.runForEach(() => Effect.void),
        Effect.exit,
        Effect.provide([layer, eager, scripted(both)]),
        Effect.forkChild
      )
      yield* TestClock.adjust(100)
      assert.isDefined(fiber.pollUnsafe(), "the run has ended with its calls")
      assert.deepStrictEqual(started, ["a"])
    })
  })
})
