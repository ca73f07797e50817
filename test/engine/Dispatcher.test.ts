import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import { TestClock } from "effect/testing"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { failureOf, settle, Stage, statuses } from "../stage.ts"

const on = (keys: string): ReadonlyArray<ToolPolicy.Resource> =>
  keys.split(",").map((key) => key.startsWith("w:") ? { write: key.slice(2) } : { read: key.slice(2) })

/** `touch` says with `on` what it reads and writes: `"w:file,r:config"`. */
const setUp = () => {
  const stage = new Stage()
  return {
    stage,
    ...ToolPolicy.define({
      free: stage.tool(),
      capped: stage.tool({ concurrency: 2 }),
      single: stage.tool({ concurrency: 1, timeout: "1 hour" }),
      touch: ToolPolicy.tool({
        parameters: Schema.Struct({ id: Schema.String, on: Schema.String }),
        success: Schema.String,
        annotations: { resources: (params) => on(params.on) },
        handler: ({ id }) => stage.play(id)
      })
    })
  }
}

const touch = (id: string, on: string) => ToolCall("touch", { id, on }, { id })
const free = (id: string) => ToolCall("free", { id }, { id })
const capped = (id: string) => ToolCall("capped", { id }, { id })
const single = (id: string) => ToolCall("single", { id }, { id })

/** A call takes so many seconds of virtual time; those that are not named, 1. */
const lasting = (seconds: Readonly<Record<string, number>> = {}) => ({ id }: { readonly id: string }) =>
  TestTools.succeed(id, { after: Duration.seconds(seconds[id] ?? 1) })

const mock = (calls: ReadonlyArray<ToolCall>, seconds?: Readonly<Record<string, number>>) => {
  const { toolkit } = setUp()
  const script = lasting(seconds)
  return MockOrchestrator.layer({ toolkit }).pipe(
    Layer.provideMerge([
      scripted(calls),
      TestTools.layer(toolkit, { free: script, capped: script, single: script, touch: script })
    ])
  )
}

describe("ToolPolicy.Resources", () => {
  it.effect("runs writes of one key one after the other, in the order the model made them", () => {
    const [a, b, c, other] = [touch("a", "w:x"), touch("b", "w:x"), touch("c", "w:x"), touch("other", "w:y")] as const
    return Effect.gen(function*() {
      yield* MockOrchestrator.expectToolCalls([a, b, c]).inOrder()
      yield* MockOrchestrator.expectToolCalls([a, other]).inParallel()
      yield* MockOrchestrator.expectToolCalls([b, other]).inParallel()
      const { totalDuration } = yield* MockOrchestrator.execute("go")
      assert.strictEqual(Duration.toSeconds(totalDuration), 3 + 2 + 1)
    }).pipe(Effect.provide(mock([a, b, c, other], { a: 3, b: 2, other: 4 })))
  })

  it.effect("lets readers share and keeps writers apart from them, nobody overtaking", () => {
    const [r1, r2, r3, r4] = [touch("r1", "r:x"), touch("r2", "r:x"), touch("r3", "r:x"), touch("r4", "r:x")] as const
    const w = touch("w", "w:x")
    return Effect.gen(function*() {
      yield* MockOrchestrator.expectToolCalls([r1, r2]).inParallel()
      for (const read of [r1, r2]) yield* MockOrchestrator.expectToolCalls([read, w]).inOrder()
      for (const read of [r3, r4]) yield* MockOrchestrator.expectToolCalls([w, read]).inOrder()
      yield* MockOrchestrator.expectToolCalls([r3, r4]).inParallel()
      const { totalDuration } = yield* MockOrchestrator.execute("go")
      assert.strictEqual(Duration.toSeconds(totalDuration), 2 + 1 + 1)
    }).pipe(Effect.provide(mock([r1, r2, w, r3, r4], { r2: 2 })))
  })

  it.effect("takes several keys at once, so crossing calls do not wait for each other", () => {
    const calls = [touch("a", "w:x,w:y"), touch("b", "w:y,w:x"), touch("c", "w:x")]
    return Effect.gen(function*() {
      yield* MockOrchestrator.expectToolCalls(calls).inOrder()
      const { result, totalDuration } = yield* MockOrchestrator.execute("go")
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b ok", "c ok"])
      assert.strictEqual(Duration.toSeconds(totalDuration), 3)
    }).pipe(Effect.provide(mock(calls)))
  })

  it.effect("keeps the order when reading the first call's parameters takes longer", () => {
    const stage = new Stage()
    const Slow = Schema.String.pipe(Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transformEffect((id: string) =>
        Effect.as(id === "a" ? stage.gate("decode").await : Effect.void, id)
      ),
      encode: SchemaGetter.passthrough()
    }))
    const { layer, toolkit } = ToolPolicy.define({
      touch: ToolPolicy.tool({
        parameters: Schema.Struct({ id: Slow }),
        success: Schema.String,
        annotations: { resources: () => [{ write: "x" }] },
        handler: ({ id }) => stage.play(id)
      })
    })
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      assert.deepStrictEqual(stage.started, [])
      yield* stage.open("decode", "a", "b")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(stage.ended, ["a", "b"])
    }).pipe(Effect.provide([
      layer,
      scripted([ToolCall("touch", { id: "a" }, { id: "a" }), ToolCall("touch", { id: "b" }, { id: "b" })])
    ]))
  })

  it.effect("frees the key of a call that is cancelled while it waits, and of one that fails", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "b" })
      yield* Orchestrator.cancel({ runId: "r", callId: "a" })
      yield* settle
      assert.deepStrictEqual([...stage.running], ["c"])
      yield* stage.open("c")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a Cancelled", "b Cancelled", "c ok"])
    }).pipe(Effect.provide([layer, scripted([touch("a", "w:x"), touch("b", "w:x"), touch("c", "w:x")])]))
  })

  it.effect("of a tool whose function throws is that call's failure", () => {
    const { layer, toolkit } = ToolPolicy.define({
      touch: ToolPolicy.tool({
        parameters: Schema.Struct({ path: Schema.NullOr(Schema.String) }),
        annotations: { resources: ({ path }) => [{ write: path!.toLowerCase() }] },
        handler: () => Effect.void
      })
    })
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a HandlerFailed", "b ok"])
    }).pipe(Effect.provide([
      layer,
      scripted([ToolCall("touch", { path: null }, { id: "a" }), ToolCall("touch", { path: "X" }, { id: "b" })])
    ]))
  })
})

describe("ToolPolicy.Concurrency", () => {
  it.effect("caps a tool over two runs, and the waiting ones are served in turn", () => {
    const { layer, stage, toolkit } = setUp()
    const run = (...ids: ReadonlyArray<string>) =>
      Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit }).pipe(Effect.provide(scripted(ids.map(capped))))
      )
    return Effect.gen(function*() {
      const first = yield* run("a1", "a2", "a3", "a4")
      yield* settle
      const second = yield* run("b1", "b2")
      yield* settle
      assert.deepStrictEqual([...stage.running], ["a1", "a2"])
      for (const id of ["a2", "a1", "a3", "a4", "b1", "b2"]) {
        yield* stage.open(id)
        assert.isAtMost(stage.running.size, 2)
      }
      assert.deepStrictEqual(stage.started, ["a1", "a2", "a3", "a4", "b1", "b2"])
      assert.strictEqual((yield* Fiber.join(first)).toolResults.length, 4)
      assert.strictEqual((yield* Fiber.join(second)).toolResults.length, 2)
      assert.strictEqual(stage.peak, 2)
    }).pipe(Effect.provide(layer))
  })

  it.effect("holds no place of the run while it waits, and holds up nobody behind it", () => {
    const [a, b, c] = [single("a"), single("b"), free("c")] as const
    return Effect.gen(function*() {
      yield* MockOrchestrator.expectToolCalls([a, c]).inParallel()
      yield* MockOrchestrator.expectToolCalls([a, b]).inOrder()
      const { calls, totalDuration } = yield* MockOrchestrator.execute({ prompt: "go", toolCallConcurrency: 2 })
      assert.deepStrictEqual(calls.map(({ id, startedAt }) => [id, startedAt]), [["a", 0], ["b", 1000], ["c", 0]])
      assert.strictEqual(Duration.toSeconds(totalDuration), 2)
    }).pipe(Effect.provide(mock([a, b, c])))
  })

  it.effect("gives a free permit to a run that has a place when the oldest waiter's run has none", () => {
    const { layer, stage, toolkit } = setUp()
    const run = (...all: ReadonlyArray<ToolCall>) =>
      Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }).pipe(
          Effect.provide(scripted(all))
        )
      )
    return Effect.gen(function*() {
      const holder = yield* run(single("h"))
      yield* settle
      const full = yield* run(single("x"), free("f"))
      yield* settle
      const ready = yield* run(single("y"))
      yield* settle
      assert.deepStrictEqual([...stage.running], ["h", "f"])
      yield* stage.open("h")
      assert.deepStrictEqual([...stage.running], ["f", "y"])
      yield* stage.open("y")
      assert.deepStrictEqual([...stage.running], ["f"])
      yield* stage.open("f")
      assert.deepStrictEqual([...stage.running], ["x"])
      yield* stage.open("x")
      for (const fiber of [holder, full, ready]) yield* Fiber.join(fiber)
    }).pipe(Effect.provide(layer))
  })

  it.effect("forgets a waiting call that is cancelled: the permit goes to the next", () => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "b" })
      yield* stage.open("a")
      assert.deepStrictEqual([...stage.running], ["c"])
      yield* stage.open("c")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["a ok", "b Cancelled", "c ok"])
    }).pipe(Effect.provide([layer, scripted([single("a"), single("b"), single("c")])]))
  })

  it.effect("lets hundreds of calls that end at once pass one permit without growing the stack", () => {
    const { layer, toolkit } = ToolPolicy.define({
      quick: ToolPolicy.tool({ annotations: { concurrency: 1 }, handler: () => Effect.void })
    })
    const many = Array.from({ length: 5000 }, (_, i) => ToolCall("quick", {}, { id: `c${i}` }))
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.strictEqual(result.toolResults.filter(({ isFailure }) => !isFailure).length, 5000)
      assert.strictEqual((yield* Orchestrator.run({ prompt: "go", toolkit })).text, "done")
    }).pipe(Effect.provide([layer, scripted(many, TestModel.unfinished, many)]))
  })
})

describe("abandoned handlers", () => {
  /** `deaf` never stops when asked; it ends when its gate opens. */
  const deafTools = (annotations: ToolPolicy.Annotations<{ readonly id: string }> = {}) => {
    const stage = new Stage()
    const deaf = Latch.makeUnsafe(false)
    return {
      stage,
      deaf,
      ...ToolPolicy.define({
        deaf: ToolPolicy.tool({
          parameters: Schema.Struct({ id: Schema.String }),
          annotations: { timeout: "1 seconds", ...annotations },
          handler: stage.tools.handler("deaf", TestTools.deaf(TestTools.effect(deaf.await)))
        }),
        free: stage.tool(),
        single: stage.tool({ concurrency: 1 }),
        touch: stage.tool({ resources: () => [{ write: "x" }] })
      })
    }
  }
  const deafCall = (id: string) => ToolCall("deaf", { id }, { id })
  /** Until the timeout and the grace of a deaf call are over. */
  const second = "1250 millis"

  /** Every other call takes a second. */
  const deafMock = (
    annotations: ToolPolicy.Annotations<{ readonly id: string }>,
    ...turns: ReadonlyArray<TestModel.Turn>
  ) => {
    const { toolkit } = deafTools(annotations)
    const script = lasting()
    return MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge([
      scripted(...turns),
      TestTools.layer(toolkit, { deaf: TestTools.deaf(), free: script, single: script, touch: script })
    ]))
  }

  it.effect("keep the places of the run: when they hold all, what waits is Rejected", () => {
    const [c, d] = [free("c"), free("d")]
    return Effect.gen(function*() {
      yield* MockOrchestrator.expectNotCalled([c, d])
      const { result: { report, toolResults } } = yield* MockOrchestrator.execute({
        prompt: "go",
        toolCallConcurrency: 2
      })
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut", "b TimedOut", "c Rejected", "d Rejected"])
      assert.include(String(failureOf(toolResults, "c")["message"]), "all 2 places of this run")
      assert.strictEqual(report.abandoned.length, 2)
    }).pipe(Effect.provide(deafMock({}, [deafCall("a"), deafCall("b"), c, d])))
  })

  it.effect("keep their places in later turns of the run", () =>
    Effect.gen(function*() {
      yield* MockOrchestrator.expectNotCalled([free("c")])
      const { result } = yield* MockOrchestrator.execute({ prompt: "go", toolCallConcurrency: 1 })
      assert.deepStrictEqual(statuses(result.toolResults), ["a TimedOut", "c Rejected"])
    }).pipe(Effect.provide(deafMock({}, [deafCall("a")], [free("c")]))))

  it.effect("leave the other places usable, and give theirs back when they really end", () => {
    const { deaf, layer, stage, toolkit } = deafTools()
    const model = scripted([deafCall("a"), deafCall("b"), free("c")], [free("d"), free("e")])
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 3 }))
      yield* TestClock.adjust(second)
      yield* stage.open("c")
      assert.deepStrictEqual([...stage.running], ["a", "b", "d"])
      deaf.openUnsafe()
      yield* settle
      assert.deepStrictEqual([...stage.running], ["d", "e"])
      yield* stage.open("d", "e")
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("reject what waits for its tool's cap in every run, and new calls, until they end", () => {
    const { deaf, layer, stage, toolkit } = deafTools({ concurrency: 1 })
    const run = (id: string) =>
      Orchestrator.run({ prompt: "go", toolkit }).pipe(Effect.provide(scripted([deafCall(id)])))
    return Effect.gen(function*() {
      const first = yield* Effect.forkChild(run("a"))
      const other = yield* Effect.forkChild(run("b"))
      yield* TestClock.adjust(second)
      assert.deepStrictEqual(statuses((yield* Fiber.join(first)).toolResults), ["a TimedOut"])
      assert.deepStrictEqual(statuses((yield* Fiber.join(other)).toolResults), ["b Rejected"])
      assert.deepStrictEqual(statuses((yield* run("c")).toolResults), ["c Rejected"])
      deaf.openUnsafe()
      yield* settle
      assert.deepStrictEqual(statuses((yield* run("d")).toolResults), ["d ok"])
      assert.deepStrictEqual(stage.started, ["a", "d"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("reject what waits for their resource, in this turn and the next", () => {
    const [b, c] = [ToolCall("touch", { id: "b" }, { id: "b" }), ToolCall("touch", { id: "c" }, { id: "c" })]
    return Effect.gen(function*() {
      yield* MockOrchestrator.expectNotCalled([b, c])
      const { result: { toolResults }, totalDuration } = yield* MockOrchestrator.execute("go")
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut", "b Rejected", "c Rejected"])
      assert.include(String(failureOf(toolResults, "b")["message"]), "a resource held by deaf (a)")
      assert.deepStrictEqual(totalDuration, Duration.fromInputUnsafe(second))
    }).pipe(Effect.provide(deafMock({ resources: () => [{ write: "x" }] }, [deafCall("a"), b], [c])))
  })

  it.effect("reject what stepped aside for a tool's cap when they hold every place of its run", () => {
    const { layer, stage, toolkit } = deafTools()
    return Effect.gen(function*() {
      const holder = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit }).pipe(Effect.provide(scripted([single("h")])))
      )
      yield* settle
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: 1 }).pipe(
          Effect.provide(scripted([single("x"), deafCall("a")]))
        )
      )
      yield* TestClock.adjust(second)
      yield* stage.open("h")
      yield* Fiber.join(holder)
      const exit = fiber.pollUnsafe()
      yield* Fiber.interrupt(fiber)
      assert.isDefined(exit)
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), ["x Rejected", "a TimedOut"])
    }).pipe(Effect.provide(layer))
  })
})
