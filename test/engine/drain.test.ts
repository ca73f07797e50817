import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "effect/ai/Prompt"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Branch, CancelReason, Executor, Limiter, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { HandLimiter, limiterOf } from "../limiter.ts"
import { aiError, scripted } from "../model.ts"
import { retrying } from "../retry.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

const work = (id: string, name = "work") => ToolCall(name, { id }, { id })

const setUp = (annotations: ToolPolicy.Annotations<{ readonly id: string }> = {}) => {
  const stage = new Stage()
  return { stage, ...ToolPolicy.define({ work: stage.tool(annotations), late: stage.tool({ eager: "after-finish" }) }) }
}

const shutDown = { _tag: "Cancelled", reason: CancelReason.shutdown }

const reasonOf = (error: { readonly _tag: string }): unknown => "reason" in error ? error.reason : error

// How the calls ended that the error's history holds, in its order.
const answered = (error: { readonly _tag: string }): ReadonlyArray<string> => {
  const { content } = "prompt" in error ? error.prompt as Prompt.Prompt : Prompt.empty
  return statuses(
    content.flatMap((message) =>
      message.role === "tool" ? message.content.flatMap((part) => part.type === "tool-result" ? [part] : []) : []
    )
  )
}

describe("Orchestrator.drain", () => {
  it.effect("leaves an answer its good end that is read and not yet settled with its limit", () => {
    const { layer, toolkit } = setUp()
    const slow = limiterOf((_, use) => use({ settle: () => Effect.sleep(100), waitedMillis: 0, lost: Effect.never }))
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust(50)
      yield* Effect.forkChild(Orchestrator.drain())
      yield* TestClock.adjust(50)
      assert.strictEqual((yield* Fiber.join(fiber)).text, "read")
    }).pipe(
      Effect.provide([
        layer,
        scripted(["read", TestModel.finish("stop", { usage: { inputTokens: 5, outputTokens: 5 } })]),
        slow,
        Orchestrator.layerRuns()
      ])
    )
  })

  it.effect("starts nothing more at once, and gives what runs the grace to end", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted([work("a"), work("b"), work("c")])
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit, toolCallConcurrency: 1 }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip,
        Effect.forkChild
      )
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* settle
      assert.deepStrictEqual(statuses(results(parts)), ["b Cancelled", "c Cancelled"])
      assert.deepInclude(failureOf(results(parts), "b"), { reason: CancelReason.shutdown, executionStarted: false })
      const refused = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.deepStrictEqual<unknown>(reasonOf(refused), { _tag: "ShuttingDown" })
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(drain.pollUnsafe())
      yield* stage.open("a")
      yield* Fiber.join(drain)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasonOf(error), shutDown)
      assert.deepStrictEqual(answered(error), ["a ok", "b Cancelled", "c Cancelled"])
      assert.deepStrictEqual([stage.started, stage.interrupted], [["a"], []])
      assert.strictEqual((yield* TestModel.requests).length, 1)
    }).pipe(Effect.provide([layer, model, Orchestrator.layerRuns()]))
  })

  it.effect("stops what still runs after the grace, each call within its own", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      work: stage.tool(),
      deaf: ToolPolicy.tool({
        annotations: { grace: "500 millis" },
        handler: () => Effect.uninterruptible(stage.gate("deaf").await)
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* TestClock.adjust("2999 millis")
      assert.deepStrictEqual(stage.interrupted, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(stage.interrupted, ["a"])
      assert.isUndefined(drain.pollUnsafe())
      yield* TestClock.adjust("500 millis")
      yield* Fiber.join(drain)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasonOf(error), shutDown)
      assert.deepStrictEqual(answered(error), ["a Cancelled", "b Cancelled"])
    }).pipe(Effect.provide([layer, scripted([work("a"), ToolCall("deaf", {}, { id: "b" })]), Orchestrator.layerRuns()]))
  })

  it.effect("answers calls that wait for the turn's end, a resource, a limit or a cap, and those of an answer still read", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      work: stage.tool(),
      late: stage.tool({ eager: "after-finish" }),
      locked: stage.tool({ resources: () => [{ write: "x" }] }),
      limited: stage.tool({ service: "api" }),
      capped: stage.tool({ concurrency: 1 }),
      asked: stage.tool()
    })
    const first = [
      work("a"),
      work("b", "late"),
      work("c", "locked"),
      work("d", "locked"),
      work("e", "limited"),
      work("f", "limited"),
      work("g", "capped"),
      work("h", "capped")
    ]
    const model = scripted([
      ...first,
      TestModel.wait(stage.gate("model").await),
      work("i"),
      work("j", "nobody"),
      "so far"
    ])
    const limits = Limiter.layer({ services: { api: Limiter.permits(1) } })
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip,
        Effect.forkChild
      )
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* settle
      assert.deepStrictEqual(statuses(results(parts)), ["b", "d", "f", "h"].map((id) => `${id} Cancelled`))
      yield* stage.open("a", "c", "e", "g", "model")
      yield* Fiber.join(drain)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasonOf(error), shutDown)
      assert.deepStrictEqual(stage.started, ["a", "c", "e", "g"])
      assert.deepStrictEqual(answered(error), [
        "a ok",
        "b Cancelled",
        "c ok",
        "d Cancelled",
        "e ok",
        "f Cancelled",
        "g ok",
        "h Cancelled",
        "i Cancelled",
        "j Cancelled"
      ])
      assert.deepInclude(failureOf(results(parts), "i"), { reason: CancelReason.shutdown, executionStarted: false })
      assert.include(parts.map((part) => "delta" in part ? part.delta : ""), "so far")
    }).pipe(Effect.provide([layer, model, limits, Orchestrator.layerRuns()]))
  })

  it.effect("lets an answer without calls come to its end, and its run succeed", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted(["It is ", TestModel.wait(stage.gate("model").await)])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* settle
      yield* stage.open("model")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "It is ")
      yield* Fiber.join(drain)
    }).pipe(Effect.provide([layer, model, Orchestrator.layerRuns()]))
  })

  it.effect("breaks an answer off that has not ended within the grace", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(drain)
      assert.deepStrictEqual(reasonOf(yield* Fiber.join(fiber)), shutDown)
    }).pipe(
      Effect.provide([
        layer,
        scripted(["It ", TestModel.wait(Effect.never), TestModel.unfinished]),
        Orchestrator.layerRuns()
      ])
    )
  })

  it.effect("ends a run that the running call was the last of", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, maxSteps: 1 }))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* settle
      yield* stage.open("a")
      yield* Fiber.join(drain)
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a ok"])
    }).pipe(Effect.provide([layer, scripted([work("a")]), Orchestrator.layerRuns()]))
  })

  it.effect("does not ask the model for a turn that waits for its limit", () => {
    const { layer, toolkit } = setUp()
    const model = scripted("never")
    const limits = limiterOf(({ repeat }, use) =>
      repeat === true
        ? Effect.never
        : use({ settle: () => Effect.void, waitedMillis: 0, lost: Effect.never })
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      yield* Orchestrator.drain({ grace: "1 hour" })
      assert.deepStrictEqual(reasonOf(yield* Fiber.join(fiber)), shutDown)
      assert.strictEqual((yield* TestModel.requests).length, 0)
    }).pipe(Effect.provide([layer, model, limits, Orchestrator.layerRuns()]))
  })

  it.effect("does not let a limit ask the model once more", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted(() => [TestModel.wait(stage.gate("model").await), TestModel.fail(aiError)])
    // Asks again as soon as it is told of a failure, as an adaptive limiter does with a 429.
    const limits = limiterOf((_, use) => {
      const lease = { settle: () => Effect.void, waitedMillis: 0, lost: Effect.never }
      return Effect.retry(use(lease), { times: 5 })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "1 hour" }))
      yield* settle
      yield* stage.open("model")
      yield* Fiber.join(drain)
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "AiError")
      assert.strictEqual((yield* TestModel.requests).length, 1)
    }).pipe(Effect.provide([layer, model, limits, Orchestrator.layerRuns()]))
  })

  it.effect("waits for approved calls and asks no model after them", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ ask: { ...stage.tool(), needsApproval: true } })
    const model = scripted([work("yes", "ask")])
    return Effect.gen(function*() {
      const first = yield* Orchestrator.run({ prompt: "go", toolkit })
      const prompt = Prompt.concat(
        first.prompt,
        Prompt.make([{
          role: "tool",
          content: [{ type: "tool-approval-response", approvalId: "approval_yes", approved: true }]
        }])
      )
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt, toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* settle
      yield* stage.open("yes")
      yield* Fiber.join(drain)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasonOf(error), shutDown)
      assert.deepStrictEqual(answered(error), ["yes ok"])
      assert.strictEqual((yield* TestModel.requests).length, 1)
    }).pipe(Effect.provide([layer, model, Orchestrator.layerRuns()]))
  })

  it.effect("ends a run inside a handler in order too, and lets the handler call on", () => {
    const stage = new Stage()
    const failed: Array<ReadonlyArray<string>> = []
    const inner = ToolPolicy.define({ inner: stage.tool() })
    const outer = ToolPolicy.define({
      outer: ToolPolicy.tool({
        handler: () =>
          Orchestrator.run({ prompt: "go", toolkit: inner.toolkit }).pipe(
            Effect.flip,
            Effect.andThen((error) => Effect.sync(() => failed.push([...stage.ended, error._tag]))),
            Effect.andThen(Executor.call(inner.toolkit.tools.inner, { id: "after" })),
            Effect.provide([inner.layer, scripted([work("in", "inner")])]),
            Effect.orDie
          )
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit: outer.toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* settle
      yield* stage.open("in", "after")
      yield* Fiber.join(drain)
      assert.deepStrictEqual(answered(yield* Fiber.join(fiber)), ["out ok"])
      assert.deepStrictEqual(failed, [["in", "OrchestratorError"]])
      assert.deepStrictEqual(stage.ended, ["in", "after"])
    }).pipe(Effect.provide([outer.layer, scripted([ToolCall("outer", {}, { id: "out" })]), Orchestrator.layerRuns()]))
  })

  it.effect.each([["1 second", "1 minute"], ["1 minute", "1 second"]] as const)(
    "of %j and another one keeps the shorter grace, and both end then",
    ([first, second]) => {
      const { layer, stage, toolkit } = setUp()
      return Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
        yield* settle
        const one = yield* Effect.forkChild(Orchestrator.drain({ grace: first }))
        yield* settle
        const two = yield* Effect.forkChild(Orchestrator.drain({ grace: second }))
        yield* TestClock.adjust("999 millis")
        assert.deepStrictEqual(stage.interrupted, [])
        yield* TestClock.adjust("1 millis")
        yield* Fiber.joinAll([one, two])
        assert.deepStrictEqual(answered(yield* Fiber.join(fiber)), ["a Cancelled"])
      }).pipe(Effect.provide([layer, scripted([work("a")]), Orchestrator.layerRuns()]))
    }
  )

  it.effect("ends at once when nothing runs", () =>
    Orchestrator.drain({ grace: "1 hour" }).pipe(Effect.provide(Orchestrator.layerRuns())))

  it.effect("also stops a call that a broken answer had let go on", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted([work("a"), TestModel.wait(Effect.never), TestModel.unfinished])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.flip(Orchestrator.run({ prompt: "go", toolkit, timeout: { model: "1 second" } }))
      )
      yield* TestClock.adjust("1 second")
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "3 seconds" }))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(drain)
      assert.deepStrictEqual(stage.interrupted, ["a"])
      assert.deepStrictEqual(answered(yield* Fiber.join(fiber)), ["a Cancelled"])
    }).pipe(Effect.provide([layer, model, Orchestrator.layerRuns()]))
  })

  it.effect("happens when a layerRuns closes, and leaves other registries alone", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const scope = yield* Scope.make()
      const runs = yield* Layer.buildWithScope(Orchestrator.layerRuns({ grace: "1 seconds" }), scope)
      const run = Orchestrator.run({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: 1 })
      const inside = yield* Effect.forkChild(Effect.flip(Effect.provideContext(run, runs)))
      const outside = yield* Effect.forkChild(run)
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(stage.interrupted, [])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(answered(yield* Fiber.join(inside)), ["a Cancelled", "b Cancelled"])
      yield* stage.open("a", "b")
      assert.strictEqual((yield* Fiber.join(outside)).text, "done")
    }).pipe(Effect.provide([
      layer,
      scripted([work("a"), work("b")], [work("a"), work("b")]),
      Orchestrator.layerRuns()
    ]))
  })
})

describe("Orchestrator.drain, with Retry", () => {
  const Params = Schema.Struct({ id: Schema.String })
  // The first attempt fails at once, later ones wait at the call's gate; each then fails or not, as `end` says.
  const failing = (
    stage: Stage,
    end: "fails" | "succeeds",
    annotations: ToolPolicy.Annotations<{ readonly id: string }> = {}
  ) =>
    ToolPolicy.define({
      work: ToolPolicy.tool({
        parameters: Params,
        success: Schema.String,
        failure: Schema.String,
        annotations: { readonly: true, ...annotations },
        handler: ({ id }) =>
          Effect.suspend(() => stage.play(id).pipe(Effect.filterOrFail(() => end === "succeeds", () => "busy")))
      })
    })

  it.effect("answers a call that waits for its next attempt, and says that it had started", () => {
    const stage = new Stage()
    const { layer, toolkit } = failing(stage, "fails")
    return Effect.gen(function*() {
      yield* stage.open("a")
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip,
        Effect.forkChild
      )
      yield* settle
      assert.include(parts.map(({ type }) => type), "tool-retry")
      yield* Orchestrator.drain({ grace: "1 hour" })
      assert.deepStrictEqual(reasonOf(yield* Fiber.join(fiber)), shutDown)
      assert.deepInclude(failureOf(results(parts), "a"), { reason: CancelReason.shutdown, executionStarted: true })
      assert.deepStrictEqual(stage.started, ["a"])
    }).pipe(Effect.provide([layer, scripted([work("a")]), retrying([60_000]).layer, Orchestrator.layerRuns()]))
  })

  it.effect("lets the attempt that runs end, and makes none after it", () => {
    const stage = new Stage()
    const { layer, toolkit } = failing(stage, "fails")
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "1 hour" }))
      yield* settle
      yield* stage.open("a")
      yield* Fiber.join(drain)
      assert.deepStrictEqual(answered(yield* Fiber.join(fiber)), ["a \"busy\""])
      assert.deepStrictEqual(stage.started, ["a"])
    }).pipe(Effect.provide([layer, scripted([work("a")]), retrying([0]).layer, Orchestrator.layerRuns()]))
  })

  it.effect("begins no hedge, and takes back one that is on its way", () => {
    const stage = new Stage()
    const { layer, toolkit } = failing(stage, "succeeds", { hedge: { after: "1 second" }, service: "api" })
    const limiter = new HandLimiter({ api: 2 })
    return Effect.gen(function*() {
      const run = (id: string) =>
        Orchestrator.run({ prompt: "go", toolkit }).pipe(
          Effect.provide(scripted([work(id)])),
          Effect.flip,
          Effect.forkChild
        )
      const second = yield* run("b")
      yield* settle
      yield* TestClock.adjust("500 millis")
      const first = yield* run("a")
      yield* settle
      yield* TestClock.adjust("500 millis")
      // The hedge of b asks its limit; that of a is not due yet.
      assert.strictEqual([...limiter.waiting].length, 1)
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "1 hour" }))
      yield* settle
      assert.strictEqual([...limiter.waiting].length, 0)
      yield* TestClock.adjust("1 minute")
      yield* limiter.allow("api", 5)
      yield* settle
      assert.deepStrictEqual(stage.started, ["b", "a"])
      assert.strictEqual([...limiter.waiting].length, 0)
      yield* stage.open("a", "b")
      yield* Fiber.join(drain)
      assert.deepStrictEqual(answered(yield* Fiber.join(first)), ["a ok"])
      assert.deepStrictEqual(answered(yield* Fiber.join(second)), ["b ok"])
      assert.deepStrictEqual([stage.started, stage.interrupted], [["b", "a"], []])
    }).pipe(Effect.provide([layer, limiter.layer, Orchestrator.layerRuns()]))
  })

  it.effect("asks no model again, and keeps what a broken answer had started", () => {
    const { layer, stage, toolkit } = setUp({ readonly: true })
    const model = scripted([work("a"), TestModel.fail(aiError)])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "1 hour" }))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(stage.interrupted, [])
      yield* stage.open("a")
      yield* Fiber.join(drain)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasonOf(error), shutDown)
      assert.deepStrictEqual(answered(error), ["a ok"])
      assert.strictEqual((yield* TestModel.requests).length, 1)
    }).pipe(Effect.provide([layer, model, retrying([30_000, 0, 0]).layer, Orchestrator.layerRuns()]))
  })

  it.effect("does not ask again for an answer that breaks off after it", () => {
    const { layer, stage, toolkit } = setUp({ readonly: true })
    const model = scripted([work("a"), TestModel.wait(stage.gate("model").await), TestModel.fail(aiError)])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "1 hour" }))
      yield* settle
      yield* stage.open("model", "a")
      yield* Fiber.join(drain)
      const error = yield* Fiber.join(fiber)
      assert.deepInclude(reasonOf(error), { _tag: "TurnBroken", completed: ["a"] })
      assert.deepStrictEqual(answered(error), ["a ok"])
      assert.strictEqual((yield* TestModel.requests).length, 1)
    }).pipe(Effect.provide([layer, model, retrying([0, 0, 0]).layer, Orchestrator.layerRuns()]))
  })

  it.effect("lets a call of the answer still read join one that runs, which stays in its grace", () => {
    const { layer, stage, toolkit } = setUp({ readonly: true })
    const model = scripted([TestModel.chunk(work("a")), work("b"), TestModel.fail(aiError)], [
      ToolCall("work", { id: "a" }, { id: "c" }),
      TestModel.wait(stage.gate("model").await),
      ToolCall("work", { id: "b" }, { id: "d" })
    ])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* settle
      assert.strictEqual((yield* TestModel.requests).length, 2)
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "1 hour" }))
      yield* settle
      yield* stage.open("model")
      assert.deepStrictEqual(stage.interrupted, [])
      yield* stage.open("a", "b")
      yield* Fiber.join(drain)
      assert.deepStrictEqual(answered(yield* Fiber.join(fiber)), ["c ok", "d ok"])
      assert.deepStrictEqual(stage.started, ["a", "b"])
    }).pipe(Effect.provide([layer, model, retrying([0, 0, 0]).layer, Orchestrator.layerRuns()]))
  })
})

describe("Orchestrator.drain, with a group", () => {
  it.effect("lets running branches decide it within the grace, and hands on what was held back", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({ work: stage.tool({ group: "search" }) })
    const best = Branch.best({ score: (id: string) => ["b", "a", "c"].indexOf(id), keep: 1 })
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const fiber = yield* Orchestrator.stream({
        prompt: "go",
        toolkit,
        toolCallConcurrency: 2,
        completion: { search: best }
      }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip,
        Effect.forkChild
      )
      yield* settle
      // The second ends first and is held back: the others may be better.
      yield* stage.open("b")
      assert.deepStrictEqual(stage.started, ["a", "b", "c"])
      assert.deepStrictEqual(results(parts), [])
      const drain = yield* Effect.forkChild(Orchestrator.drain({ grace: "1 hour" }))
      yield* settle
      assert.deepStrictEqual(statuses(results(parts)), ["d Cancelled"])
      assert.deepInclude(failureOf(results(parts), "d"), { reason: CancelReason.shutdown, executionStarted: false })
      yield* stage.open("a", "c")
      yield* Fiber.join(drain)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(reasonOf(error), shutDown)
      const ended = answered(error)
      assert.deepStrictEqual(ended.map((line) => line.slice(0, 1)), ["a", "b", "c", "d"])
      assert.include(ended, "c ok")
      assert.deepStrictEqual(ended.filter((line) => line.endsWith(" ok")), ["c ok"])
      assert.strictEqual(results(parts).length, 4)
    }).pipe(Effect.provide([
      layer,
      scripted([work("a"), work("b"), work("c"), work("d")]),
      Orchestrator.layerRuns()
    ]))
  })
})

describe("Orchestrator.Runs", () => {
  it.effect("can answer stopped calls before their own grace is over", () => {
    const stage = new Stage()
    const { layer, toolkit } = ToolPolicy.define({
      slow: ToolPolicy.tool({
        annotations: { grace: "1 hour" },
        handler: () => Effect.uninterruptible(stage.gate("slow").await)
      }),
      work: stage.tool()
    })
    return Effect.gen(function*() {
      const runs = yield* Orchestrator.Runs
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "a" })
      runs.abandon()
      yield* stage.open("b")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["a Cancelled", "b ok"])
      assert.deepStrictEqual(report.abandoned.map(({ callId }) => callId), ["a"])
    }).pipe(Effect.provide([layer, scripted([ToolCall("slow", {}, { id: "a" }), work("b")]), Orchestrator.layerRuns()]))
  })
})
