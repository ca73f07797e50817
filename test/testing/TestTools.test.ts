import { assert, describe, it } from "@effect/vitest"
import { Tool, Toolkit } from "effect/ai"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { CancelReason, Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { settle, statuses } from "../stage.ts"

const Search = Tool.make("search", {
  parameters: Schema.Struct({ query: Schema.String, limit: Schema.optionalKey(Schema.FiniteFromString) }),
  success: Schema.String,
  failure: Schema.Struct({ status: Schema.Finite })
})
const Note = Tool.make("note", { success: Schema.String }).annotate(ToolPolicy.Grace, "1 second")
const toolkit = Toolkit.make(Search, Note)
type Tools = typeof toolkit.tools

const search = (query: string) => Executor.call(Search, { query })
const note = Executor.call(Note, {})

/** Starts an effect and moves time; gives how it ended, or `undefined` while it runs. */
const after = <A, E, R>(duration: Duration.Input, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* settle
    yield* TestClock.adjust(duration)
    yield* settle
    return fiber.pollUnsafe()
  })

const scripted = (script: TestTools.Script<Tools>) => Effect.provide(TestTools.layer(toolkit, script))

/** The message of what a constructor dies with. */
const dyingOf = (make: () => unknown): string => {
  try {
    make()
  } catch (error) {
    return (error as Error).message
  }
  return "it did not die"
}

const only = Effect.map(TestTools.calls, (calls) => {
  assert.lengthOf(calls, 1)
  return calls[0]!
})

describe("TestTools: what a handler does", () => {
  it.effect("gives a result after 1 millisecond of virtual time, or after as long as it is told", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* after(0, search("a")))
      assert.deepStrictEqual(yield* after(1, search("a")), Exit.succeed("found"))
      assert.isUndefined(yield* after("4999 millis", note))
      assert.deepStrictEqual(yield* after("5 seconds", note), Exit.succeed("noted"))
    }).pipe(scripted({
      search: TestTools.succeed("found"),
      note: TestTools.succeed("noted", { after: "5 seconds" })
    })))

  it.effect("with no latency ends in its first step; with an infinite one never", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* search("a"), "found")
      assert.deepInclude(yield* only, { startedAt: 0, endedAt: 0, startedAs: 0, endedAs: 1, status: "success" })
      assert.isUndefined(yield* after("1000 days", note))
    }).pipe(scripted({
      search: TestTools.succeed("found", { after: 0 }),
      note: TestTools.succeed("noted", { after: "Infinity" })
    })))

  it.effect("fails with the tool's own failure, which is the model's result", () =>
    Effect.gen(function*() {
      const exit = yield* after("2 seconds", Effect.flip(search("a")))
      assert.deepStrictEqual<unknown>(exit, Exit.succeed({ status: 404 }))
      assert.deepInclude(yield* only, { status: "failure", result: { status: 404 }, startedAt: 0, endedAt: 2000 })
    }).pipe(scripted({ search: TestTools.fail({ status: 404 }, { after: "2 seconds" }) })))

  it.effect("dies, which is that call's HandlerFailed", () =>
    Effect.gen(function*() {
      const defect = new Error("a bug")
      yield* Effect.gen(function*() {
        const exit = yield* after(3, Effect.flip(note))
        assert.deepInclude(Exit.isSuccess(exit!) && exit.value, { _tag: "HandlerFailed" })
        const { result, status } = yield* only
        assert.strictEqual(status, "defect")
        assert.strictEqual(result, defect)
      }).pipe(scripted({ note: TestTools.die(defect, { after: 3 }) }))
    }))

  it.effect("reports progress, value by value, and then its result", () =>
    Effect.gen(function*() {
      const parts: Array<readonly [at: number, what: unknown]> = []
      const run = Orchestrator.stream({ prompt: "go", toolkit }).pipe(Stream.runForEach((part) =>
        Effect.clockWith((clock) =>
          Effect.sync(() => {
            if (part.type === "tool-progress") parts.push([clock.currentTimeMillisUnsafe(), part.result])
            if (part.type === "tool-result") parts.push([clock.currentTimeMillisUnsafe(), part.result])
          })
        )
      ))
      yield* after("1 minute", run)
      assert.deepStrictEqual(parts, [[1000, "1 of 2"], [2000, "2 of 2"], [2001, "done"]])
    }).pipe(Effect.provide([
      TestModel.script([ToolCall("note"), "thanks"]),
      TestTools.layer(toolkit, {
        note: TestTools.progress(["1 of 2", "2 of 2"], TestTools.succeed("done"), { every: "1 second" })
      })
    ])))

  it.effect("runs an effect that the list of behaviours does not have, with the call in hand", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(search("cats"))
      yield* settle
      assert.lengthOf(yield* TestTools.running, 1)
      yield* TestTools.open("mine")
      assert.match(yield* Fiber.join(fiber), /^search_\d+ search \{"query":"cats"\} 1 1$/)
      assert.strictEqual(yield* note, "plain")
    }).pipe(scripted({
      search: TestTools.effect(({ attempt, gate, id, name, nth, params }) =>
        Effect.as(gate("mine"), `${id} ${name} ${JSON.stringify(params)} ${nth} ${attempt}`)
      ),
      note: TestTools.effect(Effect.succeed("plain"))
    })))

  it.effect("never ends, and is interrupted for a typed reason", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(note))
      yield* settle
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(
        [(yield* only).status, (yield* only).endedAt, (yield* only).reason],
        ["running", undefined, undefined]
      )
      yield* Fiber.interrupt(fiber)
      assert.deepInclude(yield* only, {
        status: "interrupted",
        reason: CancelReason.callerGone,
        result: undefined,
        startedAt: 0,
        endedAt: 3_600_000
      })
    }).pipe(scripted({ note: TestTools.never })))
})

describe("TestTools: handlers that do not stop", () => {
  /** A call that is interrupted 1 second after its start; time goes on from there. */
  const interrupted = Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(note)
    yield* settle
    yield* TestClock.adjust("1 second")
    yield* Effect.forkChild(Fiber.interrupt(fiber))
    yield* settle
  })
  const statusAfter = (duration: Duration.Input) =>
    Effect.gen(function*() {
      yield* TestClock.adjust(duration)
      yield* settle
      return (yield* only).status
    })

  const endures = (name: string, behaviour: TestTools.BehaviourOf<typeof Note>, endedAt: number, at = endedAt - 1000) =>
    it.effect(name, () =>
      Effect.gen(function*() {
        yield* interrupted
        assert.strictEqual((yield* only).status, "running")
        assert.strictEqual(yield* statusAfter(at - 1), "running")
        assert.strictEqual(yield* statusAfter(1), "interrupted")
        assert.deepInclude(yield* only, { endedAt, reason: CancelReason.callerGone, result: undefined })
      }).pipe(scripted({ note: behaviour })))

  endures("are deaf for as long as they are told, from their start", TestTools.deaf({ for: "5 seconds" }), 5000)
  endures("are deaf while a behaviour goes on", TestTools.deaf(TestTools.succeed("late", { after: 4000 })), 4000)
  endures("have a finalizer that takes its time", TestTools.stuckFinalizer({ for: "5 seconds" }), 6000)
  endures(
    "leave a promise behind that settles when it likes",
    TestTools.deafPromise(TestTools.succeed("late", { after: "5 seconds" })),
    5000
  )

  for (
    const [name, behaviour] of [
      ["deaf", TestTools.deaf()],
      ["deafPromise", TestTools.deafPromise()],
      ["stuckFinalizer", TestTools.stuckFinalizer()]
    ] as const
  ) {
    it.effect(`never end by themselves: ${name}`, () =>
      Effect.gen(function*() {
        yield* interrupted
        assert.strictEqual(yield* statusAfter("1000 days"), "running")
        assert.deepStrictEqual((yield* TestTools.running).map(({ name }) => name), ["note"])
      }).pipe(scripted({ note: behaviour })))
  }

  it.effect("outlive their call, which is answered when its grace is over, and are reported as abandoned", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, runId: "r" }))
      yield* settle
      yield* Orchestrator.cancel({ runId: "r", callId: "call-1" })
      yield* settle
      yield* TestClock.adjust("1 second")
      const { report, toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(toolResults), ["call-1 Cancelled"])
      assert.deepStrictEqual(report.abandoned.map(({ callId }) => callId), ["call-1"])
      assert.deepInclude(yield* only, { id: "call-1", status: "running" })
    }).pipe(Effect.provide([
      TestModel.script([ToolCall("note"), "thanks"]),
      TestTools.layer(toolkit, { note: TestTools.deaf() })
    ])))

  it.effect("end with their result when nobody interrupts them", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* after("3 seconds", note), Exit.succeed("one"))
      assert.deepStrictEqual(yield* after("3 seconds", note), Exit.succeed("two"))
      const failed = yield* after("1 second", search("a"))
      assert.deepStrictEqual(Exit.isFailure(failed!) && Cause.squash(failed.cause), { status: 500 })
      yield* TestTools.assertComplete
      assert.deepStrictEqual((yield* TestTools.calls).map(({ status }) => status), ["success", "success", "failure"])
    }).pipe(scripted({
      note: [
        TestTools.deaf(TestTools.succeed("one", { after: "3 seconds" })),
        TestTools.deafPromise(TestTools.succeed("two", { after: "3 seconds" }))
      ],
      search: TestTools.deafPromise(TestTools.fail({ status: 500 }))
    })))

  it.effect("are deaf for a time, and never end after it", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(note)
      yield* settle
      yield* TestClock.adjust("1 day")
      assert.strictEqual((yield* only).status, "running")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* only).status, "interrupted")
    }).pipe(scripted({ note: TestTools.deaf({ for: "5 seconds" }) })))
})

describe("TestTools: gates", () => {
  it.effect("hold a call until the test opens them, by the call's id or by a name", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* settle
      assert.deepStrictEqual((yield* TestTools.running).map(({ id }) => id), ["call-1", "call-2"])
      yield* TestTools.open("both")
      yield* settle
      assert.deepStrictEqual((yield* TestTools.running).map(({ id }) => id), ["call-1"])
      yield* TestTools.open("call-1")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(toolResults.map(({ result }) => result), ["about a", "noted"])
    }).pipe(Effect.provide([
      TestModel.script([[ToolCall("search", { query: "a" }), ToolCall("note")], "thanks"]),
      TestTools.layer(toolkit, {
        search: ({ query }) => TestTools.gate(`about ${query}`),
        note: TestTools.gate("noted", { name: "both" })
      })
    ])))

  it.effect("that were opened before stay open, and a behaviour behind one is played", () =>
    Effect.gen(function*() {
      yield* TestTools.open("a", "b")
      assert.strictEqual(yield* note, "passed")
      assert.strictEqual(yield* note, "passed")
      assert.deepStrictEqual<unknown>(yield* Effect.flip(search("x")), { status: 1 })
    }).pipe(scripted({
      note: TestTools.gate("passed", { name: "a" }),
      search: TestTools.gate(TestTools.fail({ status: 1 }, { after: 0 }), { name: "b" })
    })))

  it.effect("are those of one layer", () =>
    Effect.gen(function*() {
      const script: TestTools.Script<Tools> = { note: TestTools.gate("in", { name: "a" }) }
      yield* Effect.provide(TestTools.open("a"), TestTools.layer(toolkit, script))
      assert.isUndefined(yield* after("1 day", Effect.provide(note, TestTools.layer(toolkit, script))))
    }))
})

describe("TestTools: the script", () => {
  it.effect("is one behaviour for all calls, a list in the order of starts, or a function of parameters and number", () =>
    Effect.gen(function*() {
      const values = yield* Effect.forEach(["a", "b", "c"], search)
      assert.deepStrictEqual(values, ["a 1", "b 2", "c 3"])
      assert.deepStrictEqual([yield* note, yield* note], ["first", "second"])
      yield* TestTools.assertComplete
    }).pipe(scripted({
      search: ({ query }, nth) => TestTools.succeed(`${query} ${nth}`, { after: 0 }),
      note: [TestTools.succeed("first", { after: 0 }), TestTools.succeed("second", { after: 0 })]
    })))

  it.effect("gives a function the decoded parameters", () =>
    Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepInclude(yield* only, { params: { query: "a", limit: 5 }, result: "6", id: "call-1" })
    }).pipe(Effect.provide([
      TestModel.script([ToolCall("search", { query: "a", limit: "5" }), "thanks"]),
      TestTools.layer(toolkit, { search: ({ limit }) => TestTools.succeed(`${(limit ?? 0) + 1}`, { after: 0 }) })
    ])))

  const beyond =
    "call 2 of tool \"note\" has no behaviour: its list has 1 behaviour, one for each start of its handler " +
    "(retries and hedges are starts too)"
  const unscripted = "tool \"search\" was called, and the script does not name it: add it, as in " +
    "TestTools.layer(toolkit, { \"search\": TestTools.succeed(...) })"

  it.effect("that is used up is a call's defect, which says so, and so is a tool it does not name", () =>
    Effect.gen(function*() {
      yield* note
      const failure = yield* Effect.flip(note)
      assert.include(JSON.stringify(failure), JSON.stringify(beyond).slice(1, -1))
      const other = yield* Effect.flip(search("a"))
      assert.include(JSON.stringify(other), JSON.stringify(unscripted).slice(1, -1))
      assert.deepStrictEqual((yield* TestTools.calls).map(({ status }) => status), ["success", "defect", "defect"])
      const error = yield* Effect.flip(TestTools.assertComplete)
      assert.strictEqual(error.message, `${beyond}\n${unscripted}`)
      assert.deepStrictEqual(error.reason, { _tag: "BeyondList", tool: "note", nth: 2, of: 1 })
      assert.deepStrictEqual(error.others, [{ _tag: "Unscripted", tool: "search", nth: 1 }])
    }).pipe(scripted({ note: [TestTools.succeed("a", { after: 0 })] })))

  it.effect("that is not used up fails assertComplete, naming the tool and how often it was called", () =>
    Effect.gen(function*() {
      yield* note
      const error = yield* Effect.flip(TestTools.assertComplete)
      assert.strictEqual(
        error.message,
        "tool \"search\" was called 0 times, and its list has 1 behaviour: " +
          "take what is too much off the list, or look why it was not called again\n" +
          "tool \"note\" was called once, and its list has 3 behaviours: " +
          "take what is too much off the list, or look why it was not called again"
      )
      assert.deepStrictEqual(error.reason, { _tag: "ListLeft", tool: "search", used: 0, of: 1 })
    }).pipe(scripted({
      note: Array.from({ length: 3 }, () => TestTools.succeed("a", { after: 0 })),
      search: [TestTools.never]
    })))

  it.effect("may be empty, and complete", () => TestTools.assertComplete.pipe(scripted({})))

  it("dies at once on a tool that is not there, naming the nearest and all there are", () => {
    assert.strictEqual(
      dyingOf(() => TestTools.layer(toolkit, { serch: TestTools.never } as never)),
      "TestTools.layer: the toolkit has no tool \"serch\" to be scripted; did you mean \"search\"? It has \"search\", \"note\""
    )
    assert.strictEqual(
      dyingOf(() => TestTools.layer(toolkit, { weather: TestTools.never } as never)),
      "TestTools.layer: the toolkit has no tool \"weather\" to be scripted. It has \"search\", \"note\""
    )
  })

  it("dies at once on what is no behaviour, naming its place", () => {
    const message = (place: string, value: string) =>
      `TestTools: tool "note": ${place} is ${value}, which is no behaviour; wrap a result in TestTools.succeed`
    assert.strictEqual(
      dyingOf(() => TestTools.layer(toolkit, { note: "a" } as never)),
      message("its script", "a")
    )
    assert.strictEqual(
      dyingOf(() => TestTools.layer(toolkit, { note: [TestTools.never, 7] } as never)),
      message("item 2 of its list", "7")
    )
    assert.match(
      dyingOf(() => TestTools.layer(toolkit, { note: Effect.succeed("a") } as never)),
      /^TestTools: tool "note": its script is .*, which is no behaviour; wrap an Effect in TestTools.effect$/
    )
  })

  it.effect("whose function gives no behaviour is that call's defect", () =>
    Effect.gen(function*() {
      const failure = yield* Effect.flip(note)
      assert.include(JSON.stringify(failure), "call 1 is a, which is no behaviour; wrap a result in TestTools.succeed")
    }).pipe(scripted({ note: (() => "a") as never })))

  it("dies on durations that make no sense, with the value", () => {
    const dying: ReadonlyArray<readonly [() => unknown, string]> = [
      [() => TestTools.succeed("a", { after: -1 }), "TestTools.succeed: after is -1"],
      [() => TestTools.succeed("a", { after: NaN }), "TestTools.succeed: after is NaN"],
      [() => TestTools.fail("a", { after: "-1 second" as never }), "TestTools.fail: after is -1 second"],
      [() => TestTools.die("a", { after: "soon" as never }), "TestTools.die: after is soon"],
      [() => TestTools.deaf({ for: "-Infinity" }), "TestTools.deaf: for is -Infinity"],
      [() => TestTools.stuckFinalizer({ for: -0.5 }), "TestTools.stuckFinalizer: for is -0.5"],
      [() => TestTools.progress([], TestTools.never, { every: NaN }), "TestTools.progress: every is NaN"]
    ]
    for (const [make, message] of dying) {
      assert.strictEqual(dyingOf(make), `${message}; it must be a duration of at least 0`)
    }
  })

  it.effect("serves tools named like members of Object.prototype, each its own", () => {
    const names = ["constructor", "toString", "__proto__"]
    const strange = Toolkit.make(...names.map((name) => Tool.make(name, { success: Schema.String })))
    const script = Object.fromEntries(names.slice(0, 2).map((name) => [name, TestTools.succeed(name, { after: 0 })]))
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit: strange })
      assert.deepStrictEqual(statuses(toolResults), ["call-1 ok", "call-2 ok", "call-3 HandlerFailed"])
      assert.deepStrictEqual((yield* Effect.flip(TestTools.assertComplete)).reason, {
        _tag: "Unscripted",
        tool: "__proto__",
        nth: 1
      })
    }).pipe(Effect.provide([
      TestModel.script([names.map((name) => ToolCall(name)), "thanks"]),
      TestTools.layer(strange, script as never)
    ]))
  })
})

describe("TestTools: the record", () => {
  it.effect("says who ran with whom by order, when all of it is one millisecond", () =>
    Effect.gen(function*() {
      const one = yield* Effect.forkChild(search("one"), { startImmediately: true })
      const two = yield* Effect.forkChild(search("two"), { startImmediately: true })
      yield* TestTools.open("one")
      yield* Fiber.join(one)
      const three = yield* Effect.forkChild(search("three"), { startImmediately: true })
      yield* TestTools.open("two", "three")
      yield* Fiber.join(two)
      yield* Fiber.join(three)
      const calls = yield* TestTools.calls
      assert.deepStrictEqual(calls.map(({ endedAs, startedAs }) => [startedAs, endedAs]), [[0, 2], [1, 4], [3, 5]])
      assert.deepStrictEqual(calls.map(({ endedAt, startedAt }) => [startedAt, endedAt]), [[0, 0], [0, 0], [0, 0]])
      assert.deepStrictEqual(calls.map(({ nth }) => nth), [1, 2, 3])
      assert.strictEqual(yield* TestTools.maxConcurrent, 2)
      assert.deepStrictEqual(yield* TestTools.running, [])
    }).pipe(scripted({ search: ({ query }) => TestTools.gate(query, { name: query }) })))

  it.effect("has the calls of one decision together, whatever order they end in", () =>
    Effect.gen(function*() {
      yield* after("1 minute", Orchestrator.run({ prompt: "go", toolkit }))
      assert.strictEqual(yield* TestTools.maxConcurrent, 50)
      const calls = yield* TestTools.calls
      assert.deepStrictEqual(calls.map(({ id }) => id), Array.from({ length: 50 }, (_, i) => `call-${i + 1}`))
      assert.deepStrictEqual(calls.map(({ endedAt }) => endedAt), Array.from({ length: 50 }, (_, i) => 50 - i))
    }).pipe(Effect.provide([
      TestModel.script([Array.from({ length: 50 }, (_, i) => ToolCall("search", { query: `${50 - i}` })), "thanks"]),
      TestTools.layer(toolkit, { search: ({ query }) => TestTools.succeed("", { after: Number(query) }) }),
      Layer.succeed(Orchestrator.Config, { ...Orchestrator.Config.defaultValue(), toolCallConcurrency: 50 })
    ])))

  it.effect("has an entry for each attempt of a call that is retried, all with its id", () => {
    const Flaky = Tool.make("flaky", { success: Schema.String, failure: Schema.String })
      .annotate(Tool.Idempotent, true)
      .annotate(ToolPolicy.Retry, { attempts: 3, base: "1 second", while: () => true })
    const flaky = Toolkit.make(Flaky)
    return Effect.gen(function*() {
      yield* after("1 minute", Orchestrator.run({ prompt: "go", toolkit: flaky }))
      assert.deepStrictEqual(
        (yield* TestTools.calls).map(({ attempt, id, nth, status }) => [id, nth, attempt, status]),
        [["call-1", 1, 1, "failure"], ["call-1", 2, 2, "failure"], ["call-1", 3, 3, "success"]]
      )
      assert.strictEqual(yield* TestTools.maxConcurrent, 1)
      yield* TestTools.assertComplete
    }).pipe(Effect.provide([
      TestModel.script([ToolCall("flaky"), "thanks"]),
      TestTools.layer(flaky, {
        flaky: [TestTools.fail("busy"), TestTools.fail("busy"), TestTools.succeed("at last")]
      })
    ]))
  })

  it.effect("has an entry for each hedged attempt, the losers interrupted as superseded", () => {
    const Slow = Tool.make("slow", { success: Schema.String })
      .annotate(Tool.Readonly, true)
      .annotate(ToolPolicy.Hedge, { after: "100 millis" })
    const slow = Toolkit.make(Slow)
    return Effect.gen(function*() {
      yield* after("1 minute", Orchestrator.run({ prompt: "go", toolkit: slow }))
      assert.deepStrictEqual(
        (yield* TestTools.calls).map(({ attempt, endedAt, id, status }) => [id, attempt, status, endedAt]),
        [["call-1", 1, "interrupted", 101], ["call-1", 2, "success", 101]]
      )
      assert.deepStrictEqual((yield* TestTools.calls)[0]?.reason, CancelReason.superseded("attempt 2"))
      assert.strictEqual(yield* TestTools.maxConcurrent, 2)
    }).pipe(Effect.provide([
      TestModel.script([ToolCall("slow"), "thanks"]),
      TestTools.layer(slow, { slow: [TestTools.never, TestTools.succeed("fast")] })
    ]))
  })

  it.effect("is what it was when it was read", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(note)
      yield* settle
      const before = yield* only
      yield* TestTools.open("a")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual([before.status, (yield* only).status], ["running", "success"])
    }).pipe(scripted({ note: TestTools.gate("a", { name: "a" }) })))

  it.effect("begins anew with each build of the layer", () =>
    Effect.gen(function*() {
      const layer = TestTools.layer(toolkit, { note: [TestTools.succeed("a", { after: 0 })] })
      const program = Effect.andThen(note, Effect.andThen(TestTools.assertComplete, TestTools.calls))
      for (let i = 0; i < 2; i++) assert.lengthOf(yield* Effect.provide(program, layer, { local: true }), 1)
    }))

  it.effect("of makeUnsafe is one for all builds of its layer, and is read without the layer", () =>
    Effect.gen(function*() {
      const tools = TestTools.makeUnsafe(toolkit, { note: TestTools.succeed("a", { after: 0 }) })
      for (let i = 0; i < 2; i++) yield* Effect.provide(note, tools.layer, { local: true })
      assert.lengthOf(tools.calls, 2)
      assert.deepStrictEqual([tools.running, tools.maxConcurrent], [[], 1])
    }))

  it.effect("serves stock effect/ai as well, under the ids of its calls", () =>
    Effect.gen(function*() {
      const handlers = yield* toolkit
      const found = yield* Effect.flatMap(handlers.handle("search", { query: "a" }, "wire-7"), Stream.runCollect)
      assert.deepStrictEqual(found.map(({ result }) => result), ["found"])
      yield* Effect.flatMap(handlers.handle("search", { query: "a" }), Stream.runCollect)
      assert.deepStrictEqual((yield* TestTools.calls).map(({ id }) => id), ["wire-7", "search-2"])
    }).pipe(scripted({ search: TestTools.succeed("found", { after: 0 }) })))
})

describe("TestTools.recorderUnsafe", () => {
  const parameters = Schema.Struct({ query: Schema.String })
  const defined = () => {
    const tools = TestTools.recorderUnsafe()
    return {
      tools,
      ...ToolPolicy.define({
        find: ToolPolicy.tool({
          parameters,
          success: Schema.String,
          failure: Schema.String,
          handler: tools.handler("find", [TestTools.fail("busy"), TestTools.succeed("found", { after: "2 seconds" })])
        }),
        wait: ToolPolicy.tool({
          parameters,
          success: Schema.String,
          handler: tools.handler("wait", ({ query }) => TestTools.gate(`waited for ${query}`, { name: query }))
        })
      })
    }
  }

  it.effect("scripts and records the handlers of tools that are defined in one piece", () => {
    const { layer, toolkit, tools } = defined()
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(tools.running.map(({ id, params }) => [id, params]), [["call-2", { query: "cats" }]])
      yield* tools.open("cats")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(statuses((yield* Fiber.join(fiber)).toolResults), [
        "call-1 \"busy\"",
        "call-2 ok",
        "call-3 ok"
      ])
      assert.deepStrictEqual(
        tools.calls.map(({ endedAt, name, nth, result, status }) => [name, nth, status, result, endedAt]),
        [
          ["find", 1, "failure", "busy", 1],
          ["wait", 1, "success", "waited for cats", 3_600_000],
          ["find", 2, "success", "found", 3_602_000]
        ]
      )
      assert.strictEqual(tools.maxConcurrent, 2)
    }).pipe(Effect.provide([
      layer,
      TestModel.script([
        [ToolCall("find", { query: "dogs" }), ToolCall("wait", { query: "cats" })],
        ToolCall("find", { query: "cats" }),
        "thanks"
      ])
    ]))
  })

  it.effect("is the TestTools of its layer", () => {
    const { layer, toolkit, tools } = defined()
    return Effect.gen(function*() {
      assert.match(String(yield* Effect.flip(TestTools.assertComplete)), /"find" was called 0 times.*2 behaviours/)
      const fiber = yield* Effect.forkChild(Executor.call(toolkit.tools.wait, { query: "cats" }))
      yield* settle
      assert.lengthOf(yield* TestTools.running, 1)
      yield* TestTools.open("cats")
      assert.strictEqual(yield* Fiber.join(fiber), "waited for cats")
      assert.deepStrictEqual(yield* TestTools.calls, tools.calls)
      assert.strictEqual(yield* TestTools.maxConcurrent, 1)
    }).pipe(Effect.provide([layer, tools.layer]))
  })

  it.effect("tells MockOrchestrator of a call beyond its list", () => {
    const { layer, toolkit, tools } = defined()
    const find = ToolCall("find", { query: "cats" })
    return Effect.gen(function*() {
      const error = yield* Effect.flip(MockOrchestrator.execute("go"))
      assert.match(error.message, /call 3 of tool "find" has no behaviour: its list has 2 behaviours/)
    }).pipe(Effect.provide(
      MockOrchestrator.layer({ toolkit }).pipe(
        Layer.provideMerge([layer, tools.layer, TestModel.script([[find, find, find], "thanks"])])
      )
    ))
  })

  it("takes each name once, and behaviours only", () => {
    const tools = TestTools.recorderUnsafe()
    tools.handler("a", TestTools.never)
    assert.match(dyingOf(() => tools.handler("a", TestTools.never)), /recorderUnsafe: tool "a" has a handler already/)
    assert.match(
      dyingOf(() => tools.handler("b", "found" as never)),
      /tool "b": its script is found, which is no behaviour/
    )
  })
})
