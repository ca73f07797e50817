import { assert, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { compile } from "../../src/engine/internal/CompiledTool.ts"
import { CancelReason, Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { Rejected } from "../../src/policy/Limiter.ts"
import { TestLimiter, TestModel, ToolCall } from "../../src/testing/index.ts"
import { lease, limiterOf } from "../limiter.ts"
import { aiError, recording, scripted } from "../model.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

const Id = Schema.Struct({ id: Schema.String })

const setUp = () => {
  const stage = new Stage()
  return {
    stage,
    ...ToolPolicy.define({
      free: stage.tool(),
      api: stage.tool({ service: "api", timeout: "1 minute" }),
      patient: stage.tool({ service: "api", deadline: "5 seconds" }),
      single: stage.tool({ service: "api", concurrency: 1, timeout: "1 minute" })
    })
  }
}

const make = (name: string) => (id: string) => ToolCall(name, { id }, { id })
const [api, free, single, patient] = [make("api"), make("free"), make("single"), make("patient")]

const rejected = (reason: Rejected["reason"], retryAfterMillis?: number) =>
  new Rejected({
    reason,
    limit: "service \"api\", 1 call per 60 s",
    message: `service "api", 1 call per 60 s: ${reason}`,
    ...(retryAfterMillis === undefined ? undefined : { retryAfterMillis })
  })

describe("a call in the limiter", () => {
  it.effect("asks for its service, cost, run and deadline, once, and may not be repeated", () => {
    const stage = new Stage()
    const limiter = TestLimiter.makeUnsafe()
    const { layer, toolkit } = ToolPolicy.define({
      embed: ToolPolicy.tool({
        parameters: Schema.Struct({ text: Schema.String }),
        success: Schema.String,
        annotations: {
          service: "openai",
          deadline: "10 seconds",
          cost: { estimate: ({ text }) => text.length, calls: () => 2 }
        },
        handler: ({ text }) => stage.play(text)
      })
    })
    return Effect.gen(function*() {
      yield* stage.open("hello")
      const parts = yield* Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit, runId: "r" }))
      const [first] = parts
      assert.deepStrictEqual(first?.type === "run-start" && first.policies, ["limiter"])
      const asked = limiter.admissions.map(({ request }) => request).filter(({ service }) => service === "openai")
      assert.strictEqual(asked.length, 1)
      assert.deepInclude(asked[0], { service: "openai", tokens: 5, calls: 2, run: "r", repeat: false })
      assert.closeTo(asked[0]!.deadline as number, 10_000, 1)
      assert.deepStrictEqual(results(parts).map(({ id }) => id), ["c"])
    }).pipe(Effect.provide([layer, limiter.layer, scripted([ToolCall("embed", { text: "hello" }, { id: "c" })])]))
  })

  it.effect("starts in the step of its grant", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 0 } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      assert.deepStrictEqual(stage.started, [])
      const started = yield* Effect.map(limiter.allow("api", 1), () => [...stage.started])
      assert.deepStrictEqual(started, ["a"])
      yield* stage.open("a")
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide([layer, limiter.layer, scripted([api("a")])]))
  })

  it.effect("that waits for its limit holds no place", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 0 } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["b"])
      yield* stage.open("b", "c")
      assert.deepStrictEqual(stage.ended, ["b", "c"])
      yield* limiter.allow("api", 1)
      yield* stage.open("a")
      assert.strictEqual(stage.peak, 1)
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a ok", "b ok", "c ok"])
    }).pipe(Effect.provide([layer, limiter.layer, scripted([api("a"), free("b"), free("c")])]))
  })

  it.effect("that waits for its place holds nothing of its limit", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 1 } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a"])
      assert.deepStrictEqual(limiter.held.map(({ service }) => service), [undefined])
      // Somebody else takes the limit's only permit meanwhile, and has given it back when the place is free.
      yield* limiter.allow("api", 0)
      yield* limiter.allow("api", 1)
      yield* stage.open("a")
      assert.deepStrictEqual([...stage.running], ["b"])
      yield* stage.open("b")
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide([layer, limiter.layer, scripted([free("a"), api("b")])]))
  })

  it.effect("that waits for its tool's cap holds neither, over two runs, and they are served in turn", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 3 } })
    const run = (...all: ReadonlyArray<ToolCall>) =>
      Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 2 }).pipe(
          Effect.provide(scripted(all))
        )
      )
    return Effect.gen(function*() {
      const first = yield* run(single("a"), single("b"), free("c"))
      const second = yield* run(single("x"), api("y"))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a", "c", "y"])
      assert.strictEqual(limiter.held.length, 3)
      yield* stage.open("a")
      assert.deepStrictEqual([...stage.running], ["c", "y", "b"])
      yield* stage.open("b")
      assert.deepStrictEqual([...stage.running], ["c", "y", "x"])
      yield* stage.open("c", "x", "y")
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      assert.strictEqual(compile(toolkit.tools.single).permits!.used, 0)
      assert.strictEqual(limiter.held.length, 0)
    }).pipe(Effect.provide([layer, limiter.layer]))
  })

  it.effect("waits for its place after the grant where the limiter knows no gates", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe({ gate: "ignored" })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 2 }))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a", "c"])
      assert.strictEqual(limiter.held.length, 4)
      yield* stage.open("a", "b", "c", "d")
      assert.strictEqual(stage.peak, 2)
      yield* Fiber.join(fiber)
      assert.strictEqual(limiter.held.length, 0)
    }).pipe(Effect.provide([layer, limiter.layer, scripted([single("a"), single("b"), api("c"), api("d")])]))
  })

  it.effect("keeps its admission when it is abandoned, until its handler has really ended", () => {
    const released = Deferred.makeUnsafe<void>()
    const limiter = TestLimiter.makeUnsafe()
    const { layer, toolkit } = ToolPolicy.define({
      deaf: ToolPolicy.tool({
        annotations: { timeout: "1 second" },
        handler: () => Effect.uninterruptible(Deferred.await(released))
      }),
      promise: ToolPolicy.tool({
        annotations: { timeout: "1 second" },
        handler: () => Effect.orDie(Executor.promise(() => promise))
      })
    })
    const promise = Effect.runPromise(Deferred.await(released))
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a TimedOut", "b TimedOut"])
      assert.strictEqual(limiter.held.length, 2)
      yield* Deferred.succeed(released, undefined)
      yield* Effect.promise(() => promise)
      yield* settle
      assert.strictEqual(limiter.held.length, 0)
    }).pipe(
      Effect.provide([
        layer,
        limiter.layer,
        scripted([ToolCall("deaf", {}, { id: "a" }), ToolCall("promise", {}, { id: "b" })])
      ])
    )
  })

  it.effect("takes nothing when it is cancelled while it waits; its siblings run", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 0 } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "a" }, CancelReason.branchCancelled("enough"))
      assert.deepStrictEqual(limiter.waiting.map(({ request }) => request.service), ["api"])
      yield* limiter.allow("api", 1)
      yield* stage.open("b")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a Cancelled", "b ok"])
      assert.deepStrictEqual(stage.started, ["b"])
      assert.strictEqual(
        limiter.admissions.map(({ request }) => request).filter(({ service }) => service === "api").length,
        2
      )
      assert.strictEqual(
        limiter.admissions.filter(({ status }) => status === "released").length,
        1 + 2,
        "one call and two turns"
      )
    }).pipe(Effect.provide([layer, limiter.layer, scripted([api("a"), api("b")])]))
  })

  it.effect("is not started by what a stopped sibling gives back: nothing starts while a run is stopped", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.forEach([[1, true], [1, false], [4, true], [4, false]] as const, ([permits, usesGate]) => {
      const limiter = TestLimiter.makeUnsafe({ permits: { api: permits }, gate: usesGate ? "taken" : "ignored" })
      const started = stage.started.length
      return Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(
          Effect.exit(Orchestrator.run({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: 1 }))
        )
        yield* settle
        assert.deepStrictEqual(stage.started.slice(started), ["a"])
        yield* Orchestrator.cancel({ runId: "r" })
        yield* settle
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(stage.started.slice(started), ["a"])
        assert.strictEqual(limiter.held.length + limiter.waiting.length, 0)
      }).pipe(
        Effect.provide([limiter.layer, scripted([api("a"), api("b"), api("c"), api("d")])])
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("gives its place back when it is cancelled between its place and its grant", () => {
    const { layer, stage, toolkit } = setUp()
    // As a limiter whose store is far away: the place is kept while it asks.
    const limiter = limiterOf(({ gate, service }, use) =>
      service !== "api"
        ? use(lease)
        : Effect.suspend(() => {
          assert.isTrue(gate!.tryTake())
          return Effect.andThen(Effect.sleep("1 second"), use(lease))
        })
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: 1 })
      )
      yield* settle
      const { permits } = compile(toolkit.tools.single)
      assert.strictEqual(permits!.used, 1)
      yield* Orchestrator.cancel({ runId: "r", callId: "a" })
      assert.strictEqual(permits!.used, 0)
      yield* Effect.forkChild(Effect.provide(Orchestrator.run({ prompt: "go", toolkit }), scripted([single("c")])))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(stage.started, ["c"])
      yield* stage.open("c")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a Cancelled"])
    }).pipe(Effect.provide([layer, limiter, scripted([single("a")])]))
  })

  it.effect("starts after all that a stop of a group has to stop, whatever is free before", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      grouped: stage.tool({ group: "g", service: "api" }),
      other: stage.tool({ service: "api" })
    })
    // Grants everybody else when the first has ended; the last one has its place already.
    const eager = () => {
      const grants: Array<() => void> = []
      return limiterOf(({ gate, run, service }, use) =>
        Effect.suspend(() => {
          if (service !== "api") return use(lease)
          if (grants.push(() => {}) === 1) {
            assert.isTrue(gate!.tryTake())
            return Effect.ensuring(use(lease), Effect.sync(() => grants.forEach((grant) => grant())))
          }
          if (run === "taken") assert.isTrue(gate!.tryTake())
          return Effect.andThen(
            Effect.callback<void>((resume) =>
              void grants.push(() => {
                if (gate!.tryTake()) resume(Effect.void)
                else gate!.onFree(() => (gate!.tryTake(), resume(Effect.void)))
              })
            ),
            use(lease)
          )
        })
      )
    }
    return Effect.forEach(["free", "taken"], (runId) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        yield* Effect.forkChild(Stream.runForEach(
          Orchestrator.stream({ prompt: "go", toolkit, runId, toolCallConcurrency: runId === "free" ? 1 : 3 }),
          (part) =>
            Effect.sync(() => {
              if (part.type === "tool-result") seen.push(`result ${statuses([part])[0]}`)
              if (part.type === "tool-started") seen.push(`started ${part.callId}`)
            })
        ))
        yield* settle
        assert.deepStrictEqual(seen, ["started a"])
        yield* Orchestrator.cancel({ runId, group: "g" })
        yield* settle
        assert.deepStrictEqual(seen, ["started a", "result a Cancelled", "result b Cancelled", "started c"], runId)
        yield* Orchestrator.cancel({ runId })
      }).pipe(Effect.provide([
        layer,
        eager(),
        scripted([make("grouped")("a"), make("grouped")("b"), make("other")("c")])
      ])))
  })

  it.effect("has left the limiter when the next turn begins", () => {
    let inside = 0
    const before: Array<number> = []
    const limiter = limiterOf(({ service }, use) =>
      service === "model"
        ? Effect.suspend(() => (before.push(inside), use(lease)))
        : Effect.ensuring(Effect.suspend(() => (inside++, use(lease))), Effect.sync(() => inside--))
    )
    const { layer, toolkit } = ToolPolicy.define({
      slow: ToolPolicy.tool({ handler: () => Effect.yieldNow }),
      fast: ToolPolicy.tool({ handler: () => Effect.void })
    })
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(before, [0, 0, 0])
    }).pipe(
      Effect.provide([
        layer,
        limiter,
        scripted([ToolCall("slow", {}, { id: "a" })], [ToolCall("fast", {}, { id: "b" })])
      ])
    )
  })

  it.effect("is answered when its deadline is over, whatever the limiter does", () => {
    const { layer, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 0 } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("5 seconds")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepInclude(failureOf(toolResults, "a"), { _tag: "TimedOut", clock: "deadline", executionStarted: false })
      assert.deepInclude(report.calls[0], { limiterMillis: 5000, queuedMillis: 0, runMillis: 0, attempts: 0 })
      assert.strictEqual(limiter.waiting.length, 0)
    }).pipe(Effect.provide([layer, limiter.layer, scripted([patient("a")])]))
  })

  it.effect("counts as waiting for its place, not for a limit, when it is the place that is missing", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = TestLimiter.makeUnsafe()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }))
      yield* TestClock.adjust("5 seconds")
      yield* stage.open("a")
      const { report } = yield* Fiber.join(fiber)
      assert.deepInclude(report.calls[1], { status: "TimedOut", limiterMillis: 0, queuedMillis: 5000 })
    }).pipe(Effect.provide([layer, limiter.layer, scripted([free("a"), patient("b")])]))
  })

  it.effect("is rejected by name and time, and so is nobody else", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = limiterOf(({ service }, use) =>
      service === "api" ? Effect.fail(rejected("MaxWait", 1500)) : use(lease)
    )
    return Effect.gen(function*() {
      yield* stage.open("b")
      const { report, toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(toolResults), ["a Rejected", "b ok"])
      assert.deepStrictEqual(failureOf(toolResults, "a"), {
        _tag: "Rejected",
        tool: "api",
        callId: "a",
        limit: "service \"api\", 1 call per 60 s",
        retryAfterMillis: 1500,
        isRetryable: true,
        message: "api was not started: service \"api\", 1 call per 60 s. Try again in 2 s"
      })
      assert.deepInclude(report.calls[0], { status: "Rejected", attempts: 0 })
    }).pipe(Effect.provide([layer, limiter, scripted([api("a"), free("b")])]))
  })

  it.effect("may not be asked for again when the limit never holds what it asks for", () => {
    const { layer, toolkit } = setUp()
    const limiter = limiterOf(({ service }, use) =>
      service === "api" ? Effect.fail(rejected("OverCapacity")) : use(lease)
    )
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepInclude(failureOf(toolResults, "a"), {
        _tag: "Rejected",
        isRetryable: false,
        limit: "service \"api\", 1 call per 60 s: OverCapacity"
      })
    }).pipe(Effect.provide([layer, limiter, scripted([api("a")])]))
  })

  it.effect.each(
    [
      ["dies", () => Effect.die(new Error("broken")), "the limiter failed: Error: broken"],
      ["throws", () => {
        throw new Error("broken")
      }, "the limiter failed: Error: broken"],
      ["fails with something else", () => Effect.fail("what"), "the limiter failed: what"],
      ["does not run it", () => Effect.void, "the limiter ended without running it"],
      ["interrupts itself", () => Effect.interrupt, "the limiter interrupted itself"]
    ] as ReadonlyArray<readonly [string, () => Effect.Effect<unknown, unknown>, string]>
  )("is the one that fails when a limiter %s", ([, admit, words]) => {
    const { layer, stage, toolkit } = setUp()
    const limiter = limiterOf(({ service }, use) => service === "api" ? admit() : use(lease))
    return Effect.gen(function*() {
      yield* stage.open("b")
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(toolResults), ["a HandlerFailed", "b ok"])
      assert.include(failureOf(toolResults, "a")["message"], words)
      assert.deepStrictEqual(stage.started, ["b"])
    }).pipe(Effect.provide([layer, limiter, scripted([api("a"), free("b")])]))
  })

  it.effect("ends its admission as its handler ended, so that a limiter sees what the service said", () => {
    const seen: Array<string> = []
    const limiter = limiterOf(({ service }, use) =>
      service === undefined
        ? Effect.onExit(use(lease), (exit) => Effect.sync(() => seen.push(exit.toString().slice(0, 15))))
        : use(lease)
    )
    const { layer, toolkit } = ToolPolicy.define({
      fails: ToolPolicy.tool({ failure: Schema.String, handler: () => Effect.fail("429") }),
      works: ToolPolicy.tool({ handler: () => Effect.void })
    })
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(
        seen.map((exit) => exit.startsWith("Failure") || exit.includes("fail") ? "failed" : "ok"),
        [
          "failed",
          "ok"
        ]
      )
    }).pipe(
      Effect.provide([
        layer,
        limiter,
        scripted([ToolCall("fails", {}, { id: "a" }), ToolCall("works", {}, { id: "b" })])
      ])
    )
  })

  it.effect("starts once when a limiter runs it twice", () => {
    const { layer, stage, toolkit } = setUp()
    const limiter = limiterOf(({ service }, use) =>
      service === "api"
        ? Effect.andThen(Effect.all([use(lease), use(lease)], { concurrency: 2 }), use(lease))
        : use(lease)
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      assert.deepStrictEqual(stage.started, ["a"])
      yield* stage.open("a")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a ok"])
      assert.deepStrictEqual(stage.started, ["a"])
    }).pipe(Effect.provide([layer, limiter, scripted([api("a")])]))
  })

  it.effect("is stopped when a limiter takes its admission away, and leaves it when its handler has ended", () => {
    const { layer, stage, toolkit } = setUp()
    let left = 0
    const limiter = limiterOf(({ service }, use) =>
      service === "api"
        ? Effect.ensuring(Effect.timeoutOption(use(lease), "1 second"), Effect.sync(() => left++))
        : use(lease)
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a Cancelled"])
      assert.deepStrictEqual(stage.interrupted, ["a"])
      yield* settle
      assert.strictEqual(left, 1)
    }).pipe(Effect.provide([layer, limiter, scripted([api("a")])]))
  })

  it.effect("is rejected when every place of its run is held by calls that do not stop", () => {
    const released = Deferred.makeUnsafe<void>()
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 0 } })
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      api: stage.tool({ service: "api" }),
      free: stage.tool(),
      deaf: ToolPolicy.tool({
        annotations: { timeout: "1 second" },
        handler: () => Effect.uninterruptible(Deferred.await(released))
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }))
      yield* TestClock.adjust("2 seconds")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["d TimedOut", "a Rejected", "b Rejected"])
      assert.strictEqual(limiter.waiting.length, 0)
      yield* Deferred.succeed(released, undefined)
    }).pipe(Effect.provide([layer, limiter.layer, scripted([ToolCall("deaf", {}, { id: "d" }), free("a"), api("b")])]))
  })

  it.effect("is rejected in every run when every permit of its tool is stuck, and comes late to the same answer", () => {
    const released = Deferred.makeUnsafe<void>()
    const limiter = TestLimiter.makeUnsafe()
    const { layer, toolkit } = ToolPolicy.define({
      deaf: ToolPolicy.tool({
        annotations: { concurrency: 1, timeout: "1 second" },
        handler: () => Effect.uninterruptible(Deferred.await(released))
      })
    })
    const run = (id: string) =>
      Effect.forkChild(
        Effect.provide(
          Orchestrator.run({ prompt: "go", toolkit }),
          scripted([ToolCall("deaf", {}, { id }), ToolCall("deaf", {}, { id: `${id}2` })])
        )
      )
    return Effect.gen(function*() {
      const first = yield* run("a")
      yield* settle
      const second = yield* run("b")
      yield* TestClock.adjust("2 seconds")
      const third = yield* run("c")
      yield* settle
      assert.deepStrictEqual(statuses((yield* Fiber.join(first)).toolResults), ["a TimedOut", "a2 Rejected"])
      assert.deepStrictEqual(statuses((yield* Fiber.join(second)).toolResults), ["b Rejected", "b2 Rejected"])
      assert.deepStrictEqual(statuses((yield* Fiber.join(third)).toolResults), ["c Rejected", "c2 Rejected"])
      assert.strictEqual(compile(toolkit.tools.deaf).permits!.limited.size, 0)
      yield* Deferred.succeed(released, undefined)
      yield* settle
      assert.strictEqual(limiter.held.length, 0)
      const fourth = yield* run("d")
      yield* settle
      assert.deepStrictEqual(statuses((yield* Fiber.join(fourth)).toolResults), ["d ok", "d2 ok"])
    }).pipe(Effect.provide([layer, limiter.layer]))
  })

  it.effect("passes in a decision of 2,000 without overflowing the stack, 256 starts to a turn of the event loop", () => {
    const limiter = TestLimiter.makeUnsafe({ permits: { api: 3 } })
    let turn = 0
    let most = 0
    let inTurn = 0
    const { layer, toolkit } = ToolPolicy.define({
      api: ToolPolicy.tool({
        annotations: { service: "api" },
        handler: () =>
          Effect.sync(() => {
            if (inTurn++ === 0) setImmediate(() => (turn++, inTurn = 0))
            most = Math.max(most, inTurn)
          })
      })
    })
    const many = Array.from({ length: 2000 }, (_, i) => ToolCall("api", {}, { id: `c${i}` }))
    return Effect.gen(function*() {
      const { report } = yield* Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 30 })
      assert.isTrue(report.calls.every(({ status }) => status === "success"))
      assert.isAtMost(most, 256)
      assert.isAtLeast(turn, 6)
      assert.strictEqual(limiter.held.length, 0)
    }).pipe(Effect.provide([layer, limiter.layer, scripted(many)]))
  })
})

describe("ToolPolicy.Cost", () => {
  const setUp = (cost: unknown) =>
    ToolPolicy.define({
      embed: ToolPolicy.tool({
        parameters: Id,
        success: Schema.Finite,
        failure: Schema.String,
        annotations: { service: "api", cost: cost as never },
        handler: ({ id }) => id === "fails" ? Effect.fail("no") : Effect.succeed(7)
      }),
      free: ToolPolicy.tool({ parameters: Id, handler: () => Effect.void })
    })

  it.effect.each<readonly [string, () => unknown]>([
    ["0", () => 0],
    ["-1", () => -1],
    ["NaN", () => Number.NaN],
    ["1.5", () => 1.5],
    ["Infinity", () => Infinity],
    ["\"4\"", () => "4"],
    ["undefined", () => undefined],
    ["Error: oops", () => {
      throw new Error("oops")
    }]
  ])("that gives %s is its call's failure, naming the value, and nobody else's", ([shown, cost]) => {
    const limiter = TestLimiter.makeUnsafe()
    const { layer, toolkit } = setUp((params: { readonly id: string }) => params.id === "bad" ? cost() : 3)
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(toolResults), ["bad Rejected", "good ok", "free ok"])
      const failure = failureOf(toolResults, "bad")
      assert.include(failure["limit"], shown.replaceAll("\"", ""))
      assert.include(failure["limit"], "ToolPolicy.Cost")
      assert.isFalse(failure["isRetryable"])
      assert.deepStrictEqual(
        limiter.admissions.map(({ request }) => request).flatMap(({ service, tokens }) =>
          service === "api" ? [tokens] : []
        ),
        [3]
      )
    }).pipe(Effect.provide([
      layer,
      limiter.layer,
      scripted([make("embed")("bad"), make("embed")("good"), make("free")("free")])
    ]))
  })

  it.effect("is settled to the actual cost of a call that succeeded, and stays an estimate otherwise", () => {
    const limiter = TestLimiter.makeUnsafe()
    const { layer, toolkit } = setUp({ estimate: () => 3, actual: (result: number) => result * 10 })
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(limiter.settled, [70])
    }).pipe(Effect.provide([
      layer,
      limiter.layer,
      scripted([make("embed")("fails"), make("embed")("good"), make("free")("free")])
    ]))
  })

  it.effect.each([() => Number.NaN, () => -1, () => {
    throw new Error("oops")
  }])("stays an estimate when what it is afterwards makes no sense", (actual) => {
    const limiter = TestLimiter.makeUnsafe()
    const { layer, toolkit } = setUp({ estimate: () => 3, actual })
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(toolResults), ["good ok"])
      assert.deepStrictEqual(limiter.settled, [])
    }).pipe(Effect.provide([layer, limiter.layer, scripted([make("embed")("good")])]))
  })

  it("that is no function dies with the tool's name", () => {
    const { toolkit } = setUp({ estimate: 3 })
    assert.throws(() => ToolPolicy.read(toolkit.tools.embed), /ToolPolicy.Cost.estimate of tool "embed" is 3/)
  })
})

describe("the limiter on every path", () => {
  it.effect("is passed by calls from code, by governed toolkits, by calls under a call and by approved calls", () => {
    const limiter = TestLimiter.makeUnsafe()
    const outer: { call?: Effect.Effect<unknown, unknown> } = {}
    const { layer, toolkit } = ToolPolicy.define({
      inner: ToolPolicy.tool({
        success: Schema.Finite,
        annotations: { service: "inner" },
        handler: () => Effect.succeed(1)
      }),
      outer: ToolPolicy.tool({
        success: Schema.Finite,
        annotations: { service: "outer" },
        handler: () => Effect.as(Effect.orDie(outer.call!), 2)
      }),
      careful: ToolPolicy.tool({
        success: Schema.Finite,
        annotations: { service: "careful" },
        needsApproval: true,
        handler: () => Effect.succeed(3)
      })
    })
    outer.call = Effect.provide(Executor.call(toolkit.tools.inner, {}), layer)
    let seen = 0
    const services = () => {
      const asked = limiter.admissions.slice(seen)
      seen += asked.length
      return asked.map(({ request, service }) => `${service} ${request.run}`)
    }
    const model = TestModel.script([ToolCall("inner", {}, { id: "a" })])
    return Effect.gen(function*() {
      assert.strictEqual(yield* Executor.call(toolkit.tools.inner, {}), 1)
      assert.deepStrictEqual(services(), ["inner undefined"])
      const governed = yield* Executor.govern(toolkit)
      yield* Effect.provide(LanguageModel.generateText({ prompt: "go", toolkit: governed }), model)
      assert.deepStrictEqual(services(), ["inner undefined"])
      const asking = yield* Orchestrator.run({ prompt: "go", toolkit, runId: "r" }).pipe(
        Effect.provide(scripted([ToolCall("outer", {}, { id: "o" }), ToolCall("careful", {}, { id: "c" })]))
      )
      assert.deepStrictEqual(services(), ["model r", "outer r", "inner r"])
      const answer = Prompt.fromMessages([Prompt.toolMessage({
        content: [Prompt.toolApprovalResponsePart({ approvalId: "approval_c", approved: true })]
      })])
      const { toolResults } = yield* Orchestrator.run({
        prompt: Prompt.concat(asking.prompt, answer),
        toolkit,
        runId: "s",
        modelService: "llm"
      }).pipe(Effect.provide(scripted("done")))
      assert.deepStrictEqual(statuses(toolResults), ["c ok"])
      assert.deepStrictEqual(services(), ["careful s", "llm s"])
      assert.strictEqual(limiter.held.length, 0)
    }).pipe(Effect.provide([layer, limiter.layer]))
  })

  it.effect("lends the tool's permit to a call under a call of the same tool, as without a limiter", () => {
    const limiter = TestLimiter.makeUnsafe()
    const self: { call?: (depth: number) => Effect.Effect<void> } = {}
    let running = 0
    let peak = 0
    const { layer, toolkit } = ToolPolicy.define({
      tree: ToolPolicy.tool({
        parameters: Schema.Struct({ depth: Schema.Finite }),
        annotations: { concurrency: 1, timeout: "1 minute" },
        handler: ({ depth }): Effect.Effect<void> =>
          depth > 0
            ? Effect.forEach([1, 2, 3], () => self.call!(depth - 1), { concurrency: "unbounded", discard: true })
            : Effect.acquireUseRelease(
              Effect.sync(() => peak = Math.max(peak, ++running)),
              () => Effect.sleep("1 second"),
              () => Effect.sync(() => running--)
            )
      })
    })
    self.call = (depth) => Effect.orDie(Effect.provide(Executor.call(toolkit.tools.tree, { depth }), layer)) as never
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.provide(Executor.call(toolkit.tools.tree, { depth: 2 }), layer))
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(peak, 1)
      assert.strictEqual(limiter.held.length + limiter.waiting.length, 0)
      const permits = compile(toolkit.tools.tree).permits!
      assert.deepStrictEqual([permits.used, permits.limited.size], [0, 0])
    }).pipe(Effect.provide(limiter.layer))
  })
})

describe("a turn of the model in the limiter", () => {
  const { layer, toolkit } = ToolPolicy.define({ add: ToolPolicy.tool({ handler: () => Effect.void }) })
  const turns = (limiter: TestLimiter.TestLimiter["Service"]) =>
    limiter.admissions.map(({ request }) => request).flatMap(({ calls, repeat, service, tokens }) =>
      repeat === true ? [{ service, tokens, calls }] : []
    )
  const usage = (tokens: number): Response.StreamPartEncoded => ({
    type: "finish",
    reason: "stop",
    response: undefined,
    usage: {
      inputTokens: { uncached: undefined, total: tokens, cacheRead: undefined, cacheWrite: undefined },
      outputTokens: { total: tokens, text: undefined, reasoning: undefined }
    }
  })

  it.effect("asks for an estimate of its tokens and settles it to what it used", () => {
    const limiter = TestLimiter.makeUnsafe()
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "x".repeat(4000), toolkit })
      const [turn] = turns(limiter)
      assert.deepInclude(turn, { service: "model" })
      assert.isAtLeast(turn!.tokens!, 1000 + 256)
      assert.isAtMost(turn!.tokens!, 1000 + 256 + 100)
      assert.deepStrictEqual(limiter.settled, [246])
    }).pipe(Effect.provide([layer, limiter.layer, scripted(usage(123))]))
  })

  it.effect("counts what the history has grown by", () => {
    const limiter = TestLimiter.makeUnsafe()
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      const [first, second] = turns(limiter).map(({ tokens }) => tokens!)
      assert.isAbove(second!, first!)
      assert.deepStrictEqual(limiter.settled, [])
    }).pipe(Effect.provide([layer, limiter.layer, scripted([ToolCall("add", {}, { id: "a" })])]))
  })

  it.effect("takes its service and cost from the settings", () => {
    const limiter = TestLimiter.makeUnsafe()
    return Effect.gen(function*() {
      const config = yield* Orchestrator.Config
      const run = Orchestrator.run({ prompt: "go", toolkit }).pipe(
        Effect.provideService(Orchestrator.Config, { ...config, modelService: "llm", modelCost: () => 77 })
      )
      yield* run
      assert.deepStrictEqual(turns(limiter), [{ service: "llm", tokens: 77, calls: undefined }])
      const bad = yield* Effect.flip(
        Orchestrator.run({ prompt: "go", toolkit }).pipe(
          Effect.provideService(Orchestrator.Config, { ...config, modelCost: () => Number.NaN })
        )
      )
      assert.include(bad.message, "modelCost: it gave NaN")
    }).pipe(Effect.provide([layer, limiter.layer, scripted("ok")]))
  })

  it.effect("has the whole of timeout.model from its grant, and its wait is the limiter's in the report", () => {
    const limiter = limiterOf(({ service }, use) =>
      service === "model"
        ? Effect.andThen(Effect.sleep("10 seconds"), use({ ...lease, waitedMillis: 10_000 }))
        : use(lease)
    )
    const model = scripted([TestModel.wait("3 seconds"), usage(1)])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "4 seconds" } })
      )
      yield* TestClock.adjust("13 seconds")
      const { report } = yield* Fiber.join(fiber)
      assert.deepInclude(report, { totalMillis: 13_000, modelMillis: 3000 })
      assert.deepInclude(report.steps[0], { modelMillis: 3000, limiterMillis: 10_000 })
      assert.deepStrictEqual(report.criticalPath, [
        { kind: "limiter", step: 1, millis: 10_000 },
        { kind: "model", step: 1, millis: 3000 }
      ])
    }).pipe(Effect.provide([layer, limiter, model]))
  })

  it.effect("is stopped by timeout.model, counted from its grant", () => {
    const limiter = limiterOf((_, use) => Effect.andThen(Effect.sleep("10 seconds"), use(lease)))
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "4 seconds" } }))
      )
      yield* TestClock.adjust("13 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag === "OrchestratorError" ? error.reason._tag : error._tag, "TimedOut")
    }).pipe(Effect.provide([layer, limiter, scripted([TestModel.wait(Effect.never), TestModel.unfinished])]))
  })

  it.effect("that is rejected ends the run with the limit, the time and the history so far", () => {
    let turns = 0
    const limiter = limiterOf(({ service }, use) =>
      service === "model" && ++turns === 2 ? Effect.fail(rejected("MaxWait", 2000)) : use(lease)
    )
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.instanceOf(error, Orchestrator.OrchestratorError)
      if (!(error instanceof Orchestrator.OrchestratorError)) return
      assert.deepStrictEqual(error.reason, {
        _tag: "Rejected",
        limit: "service \"api\", 1 call per 60 s",
        message: "service \"api\", 1 call per 60 s: MaxWait",
        isRetryable: true,
        retryAfterMillis: 2000
      })
      assert.isTrue(error.isRetryable)
      assert.deepStrictEqual(error.retryAfter, Duration.seconds(2))
      assert.deepStrictEqual(error.prompt.content.map(({ role }) => role), ["user", "assistant", "tool"])
    }).pipe(Effect.provide([layer, limiter, scripted([ToolCall("add", {}, { id: "a" })])]))
  })

  it.effect("waits no longer when its run is cancelled, and takes nothing", () => {
    const limiter = TestLimiter.makeUnsafe({ permits: { model: 0 } })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit, runId: "r" })))
      yield* settle
      assert.strictEqual(limiter.waiting.length, 1)
      yield* Orchestrator.cancel({ runId: "r" })
      yield* settle
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(limiter.waiting.length + limiter.held.length, 0)
    }).pipe(Effect.provide([layer, limiter.layer, scripted("ok")]))
  })

  it.effect("may be asked again while nothing of its answer has been read, and not after", () => {
    // Repeats whatever fails, as an adaptive limiter does with a 429.
    const limiter = limiterOf(({ repeat }, use) =>
      repeat === true
        ? use(lease).pipe(Effect.catch(() => Effect.andThen(Effect.sleep("1 second"), use(lease))))
        : use(lease)
    )
    const early = recording(TestModel.fail(aiError), "ok")
    const late = recording(["half", TestModel.fail(aiError)], "ok")
    const run = (model: typeof early) =>
      Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "10 seconds" } }).pipe(
        Effect.provide([layer, limiter, model.layer])
      )
    return Effect.gen(function*() {
      const first = yield* Effect.forkChild(run(early))
      yield* TestClock.adjust("1 second")
      const result = yield* Fiber.join(first)
      assert.strictEqual(result.text, "ok")
      assert.strictEqual((yield* early.requests).length, 2)
      assert.deepInclude(result.report.steps[0], { limiterMillis: 1000, modelMillis: 0 })
      const error = yield* Effect.flip(run(late))
      assert.strictEqual(error._tag, "AiError")
      assert.strictEqual((yield* late.requests).length, 1)
    })
  })

  it.effect("has the whole of timeout.model each time it is asked", () => {
    const limiter = limiterOf((_, use) =>
      use(lease).pipe(Effect.catch(() => Effect.andThen(Effect.sleep("8 seconds"), use(lease))))
    )
    const model = scripted(TestModel.fail(aiError), [TestModel.wait("5 seconds"), "ok", TestModel.unfinished])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "10 seconds" } })
      )
      yield* TestClock.adjust("13 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "ok")
    }).pipe(Effect.provide([layer, limiter, model]))
  })
})
