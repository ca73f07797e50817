import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer, Schedule, Schema } from "effect"
import { LanguageModel, Prompt, Tool, Toolkit } from "effect/ai"
import { TestClock } from "effect/testing"
import { CancelReason, Limiter, Orchestrator, Retry, Speculation, ToolPolicy } from "../../src/index.ts"
import {
  MockOrchestrator,
  TestLimiter,
  TestModel,
  TestPredictor,
  TestTools,
  ToolCall
} from "../../src/testing/index.ts"
import { aiError } from "../model.ts"
import { settle } from "../stage.ts"
import { harness, messageOf, read, search, toolkit } from "./kit.ts"

const { execute, expectCancelled, expectNoOtherCalls, expectNotCalled, expectOverlap, expectToolCalls } =
  MockOrchestrator
const [cats, dogs, birds] = [search("cats"), search("dogs"), search("birds")]

/** Declares, then executes. */
const run = (...declarations: ReadonlyArray<Effect.Effect<void, unknown, MockOrchestrator.MockOrchestrator>>) =>
  Effect.andThen(Effect.all(declarations), execute("go"))

/** Declares, executes, and gives the message of the failure. */
const failing = (
  ...declarations: ReadonlyArray<
    Effect.Effect<void, MockOrchestrator.ExpectationError, MockOrchestrator.MockOrchestrator>
  >
) => messageOf(Effect.andThen(Effect.all(declarations), execute("go")))

const twoTurns = `What happened:
20 ms, 2 calls, at most 1 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 search {"query":"cats"}   0-10 ms  [################                ]  succeeded
turn 2: the model answers 10-10 ms (tool-calls)
  call-2 search {"query":"dogs"}  10-20 ms  [                ################]  succeeded
turn 3: the model answers 20-20 ms (stop)`

const oneTurn = `What happened:
10 ms, 2 calls, at most 2 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 search {"query":"cats"}  0-10 ms  [################################]  succeeded
  call-2 search {"query":"dogs"}  0-10 ms  [################################]  succeeded
turn 2: the model answers 10-10 ms (stop)`

describe("MockOrchestrator.expectToolCalls", () => {
  it.effect("inParallel holds for calls of one decision", () =>
    Effect.gen(function*() {
      const execution = yield* run(expectToolCalls([cats, dogs]).inParallel(), expectNoOtherCalls())
      assert.strictEqual(execution.result.text, "done")
      assert.strictEqual(execution.maxConcurrentCalls, 2)
      assert.deepStrictEqual(execution.totalDuration, Duration.millis(10))
      assert.deepStrictEqual(execution.calls.map(({ id }) => id), ["call-1", "call-2"])
    }).pipe(Effect.provide(harness([[cats, dogs], "done"]))))

  it.effect("inParallel fails for calls of two turns, and says so", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(expectToolCalls([cats, dogs]).inParallel()),
        `1 expectation does not hold:

1. expectToolCalls([ToolCall("search", {"query":"cats"}), ToolCall("search", {"query":"dogs"})]).inParallel()
   They were not all at work at one moment: call-1 search {"query":"cats"} (0-10 ms) ended before call-2 search {"query":"dogs"} (10-20 ms) started
   call-2 was asked for in turn 2, after call-1 of turn 1 was answered: let the model make both in one turn.

${twoTurns}`
      )
    }).pipe(Effect.provide(harness([[cats], [dogs], "done"]))))

  it.effect("inParallel asks for a latency where calls took no time", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(expectToolCalls([cats, dogs]).inParallel()),
        `1 expectation does not hold:

1. expectToolCalls([ToolCall("search", {"query":"cats"}), ToolCall("search", {"query":"dogs"})]).inParallel()
   They were not all at work at one moment: call-1 search {"query":"cats"} (0-0 ms) ended before call-2 search {"query":"dogs"} (0-0 ms) started
   call-1 took no time, so nothing could run beside it: give it a latency, such as TestTools.succeed(value, { after: "1 millis" }).

What happened:
0 ms, 2 calls, at most 1 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 search {"query":"cats"}  0-0 ms  [|                               ]  succeeded; took no time
  call-2 search {"query":"dogs"}  0-0 ms  [|                               ]  succeeded; took no time
turn 2: the model answers 0-0 ms (stop)`
      )
    }).pipe(Effect.provide(harness([[cats, dogs], "done"], { search: TestTools.succeed("found", { after: 0 }) }))))

  it.effect("inParallel names the nearest calls of one that was not made", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(expectToolCalls([cats, birds]).inParallel()),
        `1 expectation does not hold:

1. expectToolCalls([ToolCall("search", {"query":"cats"}), ToolCall("search", {"query":"birds"})]).inParallel()
   ToolCall("search", {"query":"birds"}) was not called with these parameters; search was called 2 times
     near: call-1 search {"query":"cats"}: "query" is "cats", not "birds"
     near: call-2 search {"query":"dogs"}: "query" is "dogs", not "birds"

${oneTurn}`
      )
    }).pipe(Effect.provide(harness([[cats, dogs], "done"]))))

  it.effect("inOrder holds for calls of turns one after the other", () =>
    Effect.asVoid(run(expectToolCalls([cats, dogs]).inOrder())).pipe(
      Effect.provide(harness([[cats], [dogs], "done"]))
    ))

  it.effect("inOrder fails for calls that ran together", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(expectToolCalls([cats, dogs]).inOrder()),
        `1 expectation does not hold:

1. expectToolCalls([ToolCall("search", {"query":"cats"}), ToolCall("search", {"query":"dogs"})]).inOrder()
   ToolCall("search", {"query":"dogs"}) did not start after ToolCall("search", {"query":"cats"}) ended: call-2 search {"query":"dogs"} (0-10 ms) started while call-1 search {"query":"cats"} (0-10 ms) was at work
   Calls of one turn run in parallel: let the model ask for it in a later turn, or order them by ToolPolicy.Resources.

${oneTurn}`
      )
    }).pipe(Effect.provide(harness([[cats, dogs], "done"]))))

  it.effect("inAnyOrder holds for calls as often as they are listed", () =>
    Effect.asVoid(run(expectToolCalls([dogs, cats, cats]).inAnyOrder())).pipe(
      Effect.provide(harness([[cats], [dogs, cats], "done"]))
    ))

  it.effect("inAnyOrder fails on a call too many and one too few", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(expectToolCalls([cats, read("a"), dogs]).inAnyOrder()),
        `1 expectation does not hold:

1. expectToolCalls([ToolCall("search", {"query":"cats"}), ToolCall("read", {"path":"a"}), ToolCall("search", {"query":"dogs"})]).inAnyOrder()
   ToolCall("read", {"path":"a"}) was not called: no call of read was made, of 3 calls (search)
   call-3 search {"query":"cats"} was called more often than listed: 2 times (call-1, call-3)

What happened:
10 ms, 3 calls, at most 3 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 search {"query":"cats"}  0-10 ms  [################################]  succeeded
  call-2 search {"query":"dogs"}  0-10 ms  [################################]  succeeded
  call-3 search {"query":"cats"}  0-10 ms  [################################]  succeeded
turn 2: the model answers 10-10 ms (stop)`
      )
    }).pipe(Effect.provide(harness([[cats, dogs, cats], "done"]))))

  it.effect("anyTimes allows calls and asks for none", () =>
    Effect.gen(function*() {
      const anySearch = expectToolCalls([ToolCall("search"), ToolCall("read")]).anyTimes()
      yield* run(anySearch, expectNoOtherCalls())
    }).pipe(Effect.provide(harness([[cats, dogs], [cats], "done"]))))

  it.effect("leaves the only match of a special expectation to it", () =>
    Effect.asVoid(run(expectToolCalls([ToolCall("search"), ToolCall("search"), cats]).inParallel())).pipe(
      Effect.provide(harness([[cats, dogs, birds], "done"]))
    ))

  it.effect("compares parameters as the handler gets them", () =>
    Effect.asVoid(run(expectToolCalls([ToolCall("read", { lines: "07", path: "a" })]).inAnyOrder())).pipe(
      Effect.provide(harness([ToolCall("read", { path: "a", lines: "7", extra: true }), "done"]))
    ))

  it.effect("verifies each execute's own expectations, over several with one history", () =>
    Effect.gen(function*() {
      yield* expectToolCalls([cats]).inAnyOrder()
      const { result } = yield* execute({ prompt: "go", turnsLeft: "allow" })
      yield* expectToolCalls([dogs]).inAnyOrder()
      yield* expectNoOtherCalls()
      const again = yield* execute({ prompt: Prompt.concat(result.prompt, "and dogs?") })
      assert.deepStrictEqual(again.calls.map(({ id, startedAt }) => [id, startedAt]), [["call-2", 0]])
      assert.strictEqual(again.result.text, "two")
    }).pipe(Effect.provide(harness([[cats], "one", [dogs], "two"]))))
})

describe("MockOrchestrator, further expectations", () => {
  it.effect("expectNoOtherCalls fails on calls that no declaration names", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(expectToolCalls([birds]).anyTimes(), expectToolCalls([cats]).inAnyOrder(), expectNoOtherCalls()),
        `1 expectation does not hold:

1. expectNoOtherCalls()
   call-2 search {"query":"dogs"} (0-10 ms; succeeded) is named by no declaration; nearest is ToolCall("search", {"query":"cats"}): "query" is "dogs", not "cats"

${oneTurn}`
      )
    }).pipe(Effect.provide(harness([[cats, dogs], "done"]))))

  it.effect("expectNoOtherCalls counts: two declarations of one call are one call", () =>
    Effect.gen(function*() {
      const message = yield* failing(
        expectToolCalls([cats]).inParallel(),
        expectToolCalls([cats, dogs]).inOrder(),
        expectNoOtherCalls()
      )
      assert.include(
        message,
        `1. expectNoOtherCalls()
   call-3 search {"query":"cats"} (20-30 ms; succeeded) is one more than the 1 call that the declarations name`
      )
    }).pipe(Effect.provide(harness([[cats], [dogs], [cats], "done"]))))

  it.effect("expectNoOtherCalls allows a call as often as the declaration that lists it most often", () =>
    Effect.asVoid(run(
      expectToolCalls([cats, cats]).inAnyOrder(),
      expectToolCalls([cats]).inParallel(),
      expectNoOtherCalls()
    )).pipe(Effect.provide(harness([[cats, cats], "done"]))))

  it.effect("expectNoOtherCalls alone says that nothing is called", () =>
    Effect.asVoid(run(expectNoOtherCalls())).pipe(Effect.provide(harness(["done"]))))

  it.effect("expectNotCalled holds for a call that awaits approval, and fails for one that ran", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(expectNotCalled([ToolCall("pay")]), expectNotCalled([ToolCall("search")])),
        `1 expectation does not hold:

1. expectNotCalled([ToolCall("search")])
   call-1 search {"query":"cats"} was called: 0-10 ms, succeeded

What happened:
10 ms, 2 calls, at most 1 at work at once; finished (tool-calls), 1 call awaits approval
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 search {"query":"cats"}       0-10 ms  [################################]  succeeded
  call-2 pay {"query":"x"}        made at 0 ms  [................................]  awaits approval`
      )
    }).pipe(Effect.provide(harness([[cats, ToolCall("pay", { query: "x" })]]))))

  it.effect("expectOverlap holds for two calls that were at work at one moment, by id or as ToolCalls", () =>
    Effect.asVoid(run(expectOverlap("call-1", dogs), expectOverlap(cats, ToolCall("search")))).pipe(
      Effect.provide(harness([[cats, dogs], "done"]))
    ))

  it.effect("expectOverlap fails for calls one after the other", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* messageOf(
          Effect.andThen(expectOverlap("call-1", dogs), execute({ prompt: "go", toolCallConcurrency: 1 }))
        ),
        `1 expectation does not hold:

1. expectOverlap("call-1", ToolCall("search", {"query":"dogs"}))
   They were not all at work at one moment: call-1 search {"query":"cats"} (0-10 ms) ended before call-2 search {"query":"dogs"} (10-20 ms) started
   call-2 waited from 0 to 10 ms: of all tools at most 1 run at once (toolCallConcurrency).

What happened:
20 ms, 2 calls, at most 1 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 search {"query":"cats"}   0-10 ms  [################                ]  succeeded
  call-2 search {"query":"dogs"}  10-20 ms  [................################]  succeeded
turn 2: the model answers 20-20 ms (stop)`
      )
    }).pipe(Effect.provide(harness([[cats, dogs], "done"]))))

  it.effect("expectCancelled holds for any reason, a tag, and the whole reason", () =>
    Effect.asVoid(run(
      expectCancelled("call-1"),
      expectCancelled(cats, "Timeout"),
      expectCancelled("call-1", CancelReason.timeout("attempt", 5))
    )).pipe(Effect.provide(harness([[cats], "done"], {}, { timeout: { tool: "5 millis" } }))))

  it.effect("expectCancelled fails for another reason, and for a call that ended by itself", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(
          expectCancelled(cats, "Shutdown"),
          expectCancelled("call-1", CancelReason.timeout("attempt", 6)),
          expectCancelled(dogs)
        ),
        `3 expectations do not hold:

1. expectCancelled(ToolCall("search", {"query":"cats"}), "Shutdown")
   call-1 search {"query":"cats"} was cancelled for another reason: Timeout (timed out: the limit for one attempt is 5 ms), not Shutdown

2. expectCancelled("call-1", {"_tag":"Timeout","clock":"attempt","afterMillis":6})
   call-1 search {"query":"cats"} was cancelled for another reason: Timeout (timed out: the limit for one attempt is 5 ms), not {"_tag":"Timeout","clock":"attempt","afterMillis":6}

3. expectCancelled(ToolCall("search", {"query":"dogs"}))
   call-2 search {"query":"dogs"} was not cancelled: it failed with "none" at 2 ms

What happened:
5 ms, 2 calls, at most 2 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 search {"query":"cats"}  0-5 ms  [################################]  TimedOut: timed out: the limit for one attempt is 5 ms
  call-2 search {"query":"dogs"}  0-2 ms  [############                    ]  failed with "none"
turn 2: the model answers 5-5 ms (stop)`
      )
    }).pipe(Effect.provide(harness([[cats, dogs], "done"], {
      search: ({ query }) =>
        query === "cats"
          ? TestTools.succeed("x", { after: "10 millis" })
          : TestTools.fail("none", { after: "2 millis" })
    }, { timeout: { tool: "5 millis" } }))))

  it.effect("says which turns of the script were left, and lets a later execute play them", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* failing(),
        `1 expectation does not hold:

1. TestModel.assertComplete
   1 of 2 turns in the script never played:
     turn 2: says "more"
   Take what is too much off the script, or look why the model was not asked again. The requests made:
     1. at 0 ms, last message user: "go"
   Where a later execute is to play them: execute({ prompt, turnsLeft: "allow" }).

What happened:
0 ms, 0 calls; finished (stop)
turn 1: the model answers 0-0 ms (stop)`
      )
    }).pipe(Effect.provide(harness(["done", "more"]))))
})

describe("MockOrchestrator, what can never hold", () => {
  const refused = (
    declaration: Effect.Effect<void, MockOrchestrator.ExpectationError, MockOrchestrator.MockOrchestrator>
  ) =>
    Effect.gen(function*() {
      const message = yield* messageOf(declaration)
      // It is not declared.
      yield* execute("go")
      return message
    }).pipe(Effect.provide(harness(["done"], {}, { toolCallConcurrency: 3 })))

  it.effect("a tool that is not in the toolkit, with near names", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* refused(expectToolCalls([ToolCall("serch", { query: "cats" })]).inParallel()),
        `expectToolCalls(...).inParallel() with ToolCall("serch", {"query":"cats"}) can never hold: the toolkit has no tool "serch". Did you mean search? Tools: search, read, single, write, pay.`
      )
      assert.strictEqual(
        yield* refused(expectCancelled(ToolCall("toString"))),
        `expectCancelled(...) with ToolCall("toString") can never hold: the toolkit has no tool "toString". Tools: search, read, single, write, pay.`
      )
    }))

  it.effect("parameters that do not decode, with the path", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* refused(expectToolCalls([ToolCall("search", { query: 1 })]).anyTimes()),
        `expectToolCalls(...).anyTimes() with ToolCall("search", {"query":1}) can never hold: The arguments of search are not valid: Expected string
  at ["query"]. Expected keys: query. Received keys: query.
Parameters are given whole and as the model sends them (JSON, not decoded); ToolCall("search") alone stands for any call of the tool.`
      )
      assert.strictEqual(
        yield* refused(expectOverlap(ToolCall("search", "cats"), dogs)),
        `expectOverlap(...) with ToolCall("search", "cats") can never hold: The arguments of search are not valid: they are not one JSON object. Expected keys: query. Received keys: none.
Parameters are given whole and as the model sends them (JSON, not decoded); ToolCall("search") alone stands for any call of the tool.`
      )
    }))

  it.effect("parameters with a key that the tool does not know, at any depth, with the path", () => {
    const order = Tool.make("order", {
      parameters: Schema.Struct({
        item: Schema.Struct({ name: Schema.String, size: Schema.optionalKey(Schema.String) }),
        labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
      }),
      success: Schema.String
    })
    const call = (params: unknown) => ToolCall("order", params)
    return Effect.gen(function*() {
      for (
        const [params, path] of [[{ item: { name: "a" }, lables: {} }, "lables"], [
          { item: { name: "a", sise: "L" } },
          "sise"
        ]] as const
      ) {
        const message = yield* messageOf(expectToolCalls([call(params)]).inOrder())
        assert.include(message, `can never hold: the tool has no such parameter: Expected no excess property`)
        assert.match(message, new RegExp(`\n  at (\\["item"\\])?\\["${path}"\\]\n`))
      }
      yield* run(expectToolCalls([call({ item: { name: "a" }, labels: { any: "key" } })]).inOrder())
    }).pipe(Effect.provide(
      MockOrchestrator.layer({ toolkit: Toolkit.make(order) }).pipe(Layer.provideMerge([
        TestModel.script([call({ item: { name: "a" }, labels: { any: "key" } }), "done"]),
        TestTools.layer(Toolkit.make(order), { order: TestTools.succeed("ordered") })
      ]))
    ))
  })

  it.effect("parameters that a raw JSON Schema does not allow", () =>
    Effect.gen(function*() {
      const Raw = Tool.dynamic("raw", {
        parameters: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] }
      })
      const kit = Toolkit.make(Raw)
      const layer = MockOrchestrator.layer({ toolkit: kit }).pipe(
        Layer.provideMerge(
          Layer.mergeAll(
            TestModel.script([ToolCall("raw", { n: 1 }), "done"]),
            TestTools.layer(kit, { raw: TestTools.succeed(1) })
          )
        )
      )
      const message = yield* Effect.gen(function*() {
        const message = yield* messageOf(expectToolCalls([ToolCall("raw", { n: "1" })]).inOrder())
        yield* run(expectToolCalls([ToolCall("raw", { n: 1 })]).inOrder())
        return message
      }).pipe(Effect.provide(layer))
      assert.include(
        message,
        `expectToolCalls(...).inOrder() with ToolCall("raw", {"n":"1"}) can never hold: The arguments of raw are not valid:`
      )
    }))

  it.effect("an empty list, an unknown reason, what is no call", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* refused(expectToolCalls([]).inParallel()),
        `expectToolCalls([]).inParallel() can never hold: it lists no call. To say that no call is made, use expectNoOtherCalls()`
      )
      assert.strictEqual(
        yield* refused(expectCancelled(cats, "Timedout" as never)),
        `expectCancelled(ToolCall("search", {"query":"cats"}), "Timedout") can never hold: there is no reason "Timedout". Reasons: Timeout, Superseded, BranchCancelled, CallerGone, Misspeculated, BudgetSpent, Shutdown`
      )
      assert.strictEqual(
        yield* refused(expectToolCalls(["search" as never]).inOrder()),
        `expectToolCalls(...).inOrder() can never hold: "search" is no ToolCall; write ToolCall("name", parameters)`
      )
      assert.strictEqual(
        yield* refused(expectOverlap(7 as never, cats)),
        `expectOverlap(...) can never hold: 7 is no ToolCall and no call's id; write ToolCall("name", parameters)`
      )
    }))

  it.effect("an id that the script cannot make, or that is listed twice", () =>
    Effect.gen(function*() {
      const both = Effect.gen(function*() {
        const unknown = yield* messageOf(expectCancelled("call-3"))
        const tool = yield* messageOf(expectOverlap("search", "mine"))
        const twice = yield* messageOf(expectToolCalls([search("cats", "call-1"), search("cats", "call-1")]).inOrder())
        yield* run(expectToolCalls([search("cats", "call-1"), search("dogs", "mine")]).inParallel())
        return [unknown, tool, twice]
      })
      assert.deepStrictEqual(yield* Effect.provide(both, harness([[cats, search("dogs", "mine")], "done"])), [
        `expectCancelled("call-3") can never hold: the model's script makes no call with the id "call-3". Ids: call-1, mine`,
        `expectOverlap("search", "mine") can never hold: the model's script makes no call with the id "search". Ids: call-1, mine. "search" is a tool: write ToolCall("search") for any call of it`,
        `expectToolCalls([ToolCall("search", {"query":"cats"}, { id: "call-1" }), ToolCall("search", {"query":"cats"}, { id: "call-1" })]).inOrder() can never hold: it lists the id "call-1" twice, and an id is one call`
      ])
    }))

  it.effect("an id is not refused where a turn of the script is a function", () =>
    Effect.asVoid(run(expectCancelled("call-1", "Timeout"))).pipe(
      Effect.provide(harness([() => cats, "done"], {}, { timeout: { tool: "5 millis" } }))
    ))

  it.effect("what may just be is not refused", () =>
    Effect.asVoid(run(
      expectToolCalls([read("a"), read("a")]).inParallel(),
      expectToolCalls([ToolCall("single", { query: "x" })]).inParallel(),
      expectToolCalls([read("a"), ToolCall("single"), read("a")]).inParallel(),
      expectToolCalls([ToolCall("single"), ToolCall("single")]).inOrder()
    )).pipe(Effect.provide(harness(
      [[read("a"), ToolCall("single", { query: "x" }), read("a")], ToolCall("single", { query: "y" }), "done"],
      {},
      { toolCallConcurrency: 3 }
    ))))

  it.effect("more calls in parallel than may run", () =>
    Effect.gen(function*() {
      const single = (query: string) => ToolCall("single", { query })
      const write = (path: string) => ToolCall("write", { path })
      assert.strictEqual(
        yield* refused(expectToolCalls([cats, dogs, birds, cats]).inParallel()),
        `expectToolCalls([ToolCall("search", {"query":"cats"}), ToolCall("search", {"query":"dogs"}), ToolCall("search", {"query":"birds"}), ToolCall("search", {"query":"cats"})]).inParallel() can never hold: it lists 4 calls, and at most 3 run at once (toolCallConcurrency)`
      )
      assert.strictEqual(
        yield* refused(expectOverlap(single("a"), single("b"))),
        `expectOverlap(ToolCall("single", {"query":"a"}), ToolCall("single", {"query":"b"})) can never hold: it lists 2 calls of single, and at most 1 of it run at once (ToolPolicy.Concurrency)`
      )
      assert.strictEqual(
        yield* refused(expectToolCalls([write("a"), cats, write("a")]).inParallel()),
        `expectToolCalls([ToolCall("write", {"path":"a"}), ToolCall("search", {"query":"cats"}), ToolCall("write", {"path":"a"})]).inParallel() can never hold: a call of write and one of write touch the resource "file:a", and one of them writes it, so that they run one after the other (ToolPolicy.Resources)`
      )
    }))
})

describe("MockOrchestrator, failures", () => {
  const broken = harness([[cats, TestModel.wait("4 millis"), TestModel.fail(aiError)], "more"])

  it.effect("a failed run passes typed, its timeline is there, and verify looks at what was declared", () =>
    Effect.gen(function*() {
      yield* expectCancelled("call-1", "BranchCancelled")
      yield* expectNoOtherCalls()
      const error = yield* Effect.flip(execute("go"))
      assert.strictEqual(error._tag === "OrchestratorError" && error.reason._tag, "TurnBroken")
      const { calls, end } = yield* MockOrchestrator.timeline
      assert.deepStrictEqual(calls.map(({ endedAt, status }) => [endedAt, status]), [[4, "Cancelled"]])
      assert.match(end, /^failed: OrchestratorError \(TurnBroken\): The model's answer broke off/)
      yield* MockOrchestrator.verify
    }).pipe(Effect.provide(broken)))

  it.effect("verify says what does not hold of a failed run", () =>
    Effect.gen(function*() {
      yield* expectToolCalls([cats, dogs]).inAnyOrder()
      yield* Effect.flip(execute("go"))
      yield* expectNotCalled([cats])
      const message = yield* messageOf(MockOrchestrator.verify)
      assert.include(message, "2. expectNotCalled([ToolCall(\"search\", {\"query\":\"cats\"})])")
      assert.include(
        message,
        `1. expectToolCalls([ToolCall("search", {"query":"cats"}), ToolCall("search", {"query":"dogs"})]).inAnyOrder()
   ToolCall("search", {"query":"dogs"}) was not called with these parameters; search was called 1 time
     near: call-1 search {"query":"cats"}: "query" is "cats", not "dogs"`
      )
    }).pipe(Effect.provide(broken)))

  it.effect("an AiError before any call passes as it is", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(execute("go"))
      assert.strictEqual<unknown>(error, aiError)
      assert.deepStrictEqual(yield* MockOrchestrator.calls, [])
    }).pipe(Effect.provide(harness([TestModel.fail(aiError)]))))

  it.effect("the next execute is refused until a failed run's expectations are verified", () =>
    Effect.gen(function*() {
      yield* expectToolCalls([cats]).inAnyOrder()
      yield* Effect.flip(execute("go"))
      assert.strictEqual(
        yield* messageOf(execute("go")),
        `1 expectation was declared and never verified, since the run failed: AiError (InternalProviderError): ScriptedModel.streamText: Internal provider error: the line went dead. Call verify where a run is meant to fail:
  expectToolCalls([ToolCall("search", {"query":"cats"})]).inAnyOrder()`
      )
      yield* Effect.flip(MockOrchestrator.verify)
      const { result } = yield* execute("go")
      assert.strictEqual(result.text, "more")
    }).pipe(Effect.provide(harness([TestModel.fail(aiError), "more"]))))

  it.effect("an interrupted execute leaves its timeline", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(execute("go"))
      yield* settle
      yield* TestClock.adjust("5 millis")
      yield* Fiber.interrupt(fiber)
      const { calls, end, totalMillis } = yield* MockOrchestrator.timeline
      assert.deepStrictEqual(calls.map(({ startedAt, status }) => [startedAt, status]), [[0, "pending"]])
      assert.deepStrictEqual([end, totalMillis], ["failed: interrupted", 0])
    }).pipe(Effect.provide(harness([[cats], "done"], {}, { clock: "manual" }))))

  it.effect("a run that waits for what no clock moves is stuck, and it is said who waits", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* messageOf(execute("go")),
        `The run is stuck: nothing happens any more at 10 ms of virtual time: what is not over waits for something that no clock moves. Not answered:
  call-2 search {"query":"dogs"}: at work since 0 ms
What it waits for has to come from elsewhere: open its gate (TestTools.open), complete its Deferred. Where the test acts while it runs: clock: "manual". For real I/O: clock: "live".

What happened:
10 ms, 2 calls, at most 2 at work at once; failed: stuck
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 read {"path":"a"}        0-10 ms  [################################]  succeeded
  call-2 search {"query":"dogs"}   0-? ms  [################################]  not answered`
      )
    }).pipe(Effect.provide(harness([[read("a"), dogs], "done"], { search: TestTools.never }))))

  it.live("a limiter that was built in real time is named where a run in virtual time waits for it", () => {
    const paid = Tool.make("paid", { success: Schema.String }).annotate(ToolPolicy.Service, "google")
    const test = Effect.provide(
      execute("go"),
      MockOrchestrator.layer({ toolkit: Toolkit.make(paid) }).pipe(Layer.provideMerge([
        TestModel.script([[ToolCall("paid"), ToolCall("paid")], "done"]),
        TestTools.layer(Toolkit.make(paid), { paid: TestTools.succeed("paid") }),
        Limiter.layer({ services: { google: Limiter.slidingWindow({ limit: 1, window: "10 seconds" }) } })
      ]))
    )
    return Effect.gen(function*() {
      assert.include(
        yield* messageOf(test),
        `
  call-2 paid {}: not answered; never started
What never started waits for a limit or a lock: look at the limiter (TestLimiter's permits and delays), and at who holds ToolPolicy.Concurrency and ToolPolicy.Resources. The test has no TestClock, so only the run is in virtual time; a Limiter, or another layer that waits, is in real time. Provide TestClock.layer() to the whole test, its layers too (it.effect does).

What happened:`
      )
      assert.deepStrictEqual((yield* Effect.provide(test, TestClock.layer())).totalDuration, Duration.millis(10_001))
    })
  })

  it.effect("a call that the script of the tools has no behaviour for fails, whatever else was expected", () =>
    Effect.gen(function*() {
      assert.include(
        yield* failing(expectToolCalls([cats, dogs]).inOrder()),
        `1 expectation does not hold:

1. TestTools: a behaviour for each call
   call 2 of tool "search" has no behaviour: its list has 1 behaviour, one for each start of its handler (retries and hedges are starts too)

What happened:`
      )
      const none = MockOrchestrator.layer({ toolkit }).pipe(
        Layer.provideMerge([TestModel.script([cats, "done"]), TestTools.layer(toolkit, {})])
      )
      assert.include(
        yield* Effect.provide(failing(expectToolCalls([cats]).inOrder()), none),
        `1. TestTools: a behaviour for each call
   tool "search" was called, and the script does not name it: add it, as in TestTools.layer(toolkit, { "search": TestTools.succeed(...) })`
      )
    }).pipe(Effect.provide(harness([cats, dogs, "done"], { search: [TestTools.succeed("found")] }))))

  it.effect("a list of behaviours that is not used up is no failure of the run", () =>
    Effect.asVoid(execute("go")).pipe(
      Effect.provide(harness([cats, "done"], { search: [TestTools.succeed("found"), TestTools.succeed("more")] }))
    ))

  it.effect("what is declared after the last run fails when the layer closes, and says so", () =>
    Effect.gen(function*() {
      const late = Effect.andThen(execute("go"), expectToolCalls([cats]).inOrder())
      const exit = yield* Effect.exit(Effect.provide(late, harness([cats, "done"])))
      const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
      assert.strictEqual(
        reason?._tag === "Die" && reason.defect instanceof Error && reason.defect.message,
        `1 expectation was declared and never verified. What is declared after the last execute comes too late: declare first, then execute:
  expectToolCalls([ToolCall("search", {"query":"cats"})]).inOrder()`
      )
    }))

  it.effect("what was declared and never verified fails when the layer closes", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.provide(expectToolCalls([cats]).inOrder(), harness(["done"])))
      assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.length === 1)
      const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
      assert.strictEqual(
        reason?._tag === "Die" && reason.defect instanceof Error && reason.defect.message,
        `1 expectation was declared and never verified. Call execute after declaring them:
  expectToolCalls([ToolCall("search", {"query":"cats"})]).inOrder()`
      )
    }))

  it.effect("a listed call is one as JSON says it", () =>
    Effect.gen(function*() {
      const Any = Tool.make("any", {
        parameters: Schema.Struct({ n: Schema.Unknown, gone: Schema.optional(Schema.String) }),
        success: Schema.String
      })
      const anyKit = Toolkit.make(Any)
      const mock = MockOrchestrator.layer({ toolkit: anyKit }).pipe(Layer.provideMerge(Layer.mergeAll(
        TestModel.script([[ToolCall("any", { n: [null, {}] }), ToolCall("any", { n: 1, gone: undefined })], "done"]),
        TestTools.layer(anyKit, { any: TestTools.succeed("x") })
      )))
      const alike = expectToolCalls([
        ToolCall("any", { n: [Number.NaN, { gone: undefined }] }),
        ToolCall("any", { n: 1, gone: undefined })
      ]).inAnyOrder()
      yield* Effect.provide(Effect.andThen(alike, execute("go")), mock)
    }))

  it.effect("expectNotCalled speaks of each that it lists", () =>
    Effect.gen(function*() {
      assert.include(
        yield* failing(expectNotCalled([cats, dogs])),
        "call-1 search {\"query\":\"dogs\"} was called: 0-10 ms"
      )
    }).pipe(Effect.provide(harness([[dogs], "done"]))))

  it.effect("one call that writes may be listed in parallel", () =>
    run(expectToolCalls([ToolCall("write", { path: "a" })]).inParallel()).pipe(
      Effect.provide(harness([[ToolCall("write", { path: "a" })], "done"]))
    ))

  it.effect("a run that nobody awaited is not verified either", () =>
    Effect.gen(function*() {
      const forgotten = Effect.andThen(
        expectToolCalls([dogs]).inOrder(),
        Effect.forkDetach(execute("go"), { startImmediately: true })
      )
      const exit = yield* Effect.exit(Effect.provide(forgotten, harness([[cats], "done"])))
      const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
      assert.strictEqual(
        reason?._tag === "Die" && reason.defect instanceof Error && reason.defect.message,
        `1 expectation was declared and never verified, and their run is not over. Await execute, or join its fiber:
  expectToolCalls([ToolCall("search", {"query":"dogs"})]).inOrder()`
      )
    }))

  it.effect("every harness starts alike: what is drawn at random, and what retries may spend", () =>
    Effect.gen(function*() {
      const Flaky = Tool.make("flaky", { success: Schema.String, failure: Schema.String })
        .annotate(Tool.Idempotent, true)
        .annotate(ToolPolicy.Retry, { attempts: 8, while: () => true })
      const flaky = Toolkit.make(Flaky)
      const mock = MockOrchestrator.layer({ toolkit: flaky }).pipe(Layer.provideMerge(Layer.mergeAll(
        TestModel.script([[ToolCall("flaky")], "done"]),
        TestTools.layer(flaky, { flaky: TestTools.fail("no") })
      )))
      const once = Effect.map(execute("go"), ({ timeline }) => timeline.calls.map(({ spans }) => spans))
      const each = Array.from({ length: 10 }, () => Effect.provide(once, mock, { local: true }))
      const [first, ...others] = yield* Effect.all(each)
      assert.lengthOf(first![0]!, 8)
      for (const other of others) assert.deepStrictEqual(other, first)
    }))

  it.effect("harnesses of one toolkit run beside each other", () =>
    Effect.gen(function*() {
      const each = [cats, dogs].map((call) =>
        Effect.provide(run(expectToolCalls([call]).inOrder()), harness([[call], "done"]), { local: true })
      )
      const both = yield* Effect.all(each, { concurrency: 2 })
      assert.deepStrictEqual(both.map(({ calls }) => calls.length), [1, 1])
    }))

  it.effect("turns that no later execute played fail when the layer closes", () =>
    Effect.gen(function*() {
      const once = Effect.asVoid(execute({ prompt: "go", turnsLeft: "allow" }))
      const exit = yield* Effect.exit(Effect.provide(once, harness(["done", "more"])))
      const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
      assert.include(
        reason?._tag === "Die" && reason.defect instanceof Error ? reason.defect.message : "",
        "turn 2: says \"more\""
      )
    }))

  it.effect("closing never hides what failed first", () =>
    Effect.gen(function*() {
      const failed = Effect.andThen(expectToolCalls([cats]).inOrder(), Effect.fail("first"))
      assert.deepStrictEqual(yield* Effect.exit(Effect.provide(failed, harness(["done"]))), Exit.fail("first"))
    }))

  it.effect("nothing is told of a run before the first", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* messageOf(MockOrchestrator.maxConcurrentCalls),
        "maxConcurrentCalls tells of a run, and there was none yet. Call execute first."
      )
      yield* execute("go")
      assert.strictEqual(yield* MockOrchestrator.maxConcurrentCalls, 0)
      assert.deepStrictEqual(yield* MockOrchestrator.totalDuration, Duration.zero)
    }).pipe(Effect.provide(harness(["done"]))))
})

const Web = Tool.make("web", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
  .annotate(ToolPolicy.Service, "google")
const webKit = Toolkit.make(Web)

describe("MockOrchestrator, runs", () => {
  it.effect("beside each other are refused where something is declared, and apart where nothing is", () =>
    Effect.gen(function*() {
      const both = Effect.all([execute("a"), execute("b")], { concurrency: 2 })
      const [a, b] = yield* both
      assert.deepStrictEqual([a, b].map(({ calls }) => calls.length), [1, 1])
      yield* expectToolCalls([cats]).inAnyOrder()
      const first = yield* Effect.forkChild(execute("c"), { startImmediately: true })
      assert.strictEqual(
        yield* messageOf(execute("d")),
        `A run was started while another of the same MockOrchestrator is under way, and it cannot be told which of them is to do what was declared. Execute one after the other, or give each a MockOrchestrator of its own. Declared:
  expectToolCalls([ToolCall("search", {"query":"cats"})]).inAnyOrder()`
      )
      yield* Fiber.join(first)
    }).pipe(Effect.provide(Layer.provideMerge(
      MockOrchestrator.layer({ toolkit }),
      Layer.mergeAll(
        TestModel.script([], { otherwise: ({ prompt }) => prompt.content.at(-1)!.role === "tool" ? "done" : cats }),
        TestTools.layer(toolkit, { search: TestTools.succeed("x", { after: "5 millis" }) })
      )
    ))))

  it.effect("take what the caller has in its context before what the layer was built with", () =>
    Effect.gen(function*() {
      const config = yield* Orchestrator.Config
      const { maxConcurrentCalls } = yield* execute({ prompt: "go", turnsLeft: "allow" }).pipe(
        Effect.provideService(Orchestrator.Config, { ...config, toolCallConcurrency: 1 })
      )
      assert.deepStrictEqual([maxConcurrentCalls, (yield* execute("go")).maxConcurrentCalls], [1, 2])
    }).pipe(
      Effect.provide(harness([[cats, dogs], "one", [cats, dogs], "two"])),
      (effect) =>
        Effect.flatMap(
          Orchestrator.Config,
          (config) => Effect.provideService(effect, Orchestrator.Config, { ...config, toolCallConcurrency: 7 })
        )
    ))

  const theirs = () => Effect.succeed("the application's")

  it.effect("ask the model and the handlers of the layer, whatever the application around them has", () =>
    Effect.gen(function*() {
      const { calls, result } = yield* run(expectToolCalls([cats]).inOrder())
      assert.deepStrictEqual([result.text, calls[0]?.result], ["scripted", "scripted"])
    }).pipe(
      Effect.provide(
        MockOrchestrator.layer({ toolkit }).pipe(Layer.provide([
          TestModel.script([cats, "scripted"]),
          TestTools.layer(toolkit, { search: TestTools.succeed("scripted") })
        ]))
      ),
      Effect.provide(Layer.merge(
        toolkit.toLayer({ search: theirs, read: theirs, single: theirs, write: theirs, pay: theirs }),
        Layer.provide(
          Layer.effect(LanguageModel.LanguageModel, LanguageModel.LanguageModel),
          TestModel.script([], { otherwise: "the application's" })
        )
      ))
    ))

  it.effect("go through an approval: asked for, then approved, then run", () =>
    Effect.gen(function*() {
      const pay = ToolCall("pay", { query: "x" })
      yield* expectNotCalled([pay])
      const { calls, result } = yield* execute({ prompt: "go", turnsLeft: "allow" })
      assert.deepStrictEqual(calls.map(({ status }) => status), ["awaits-approval"])
      const [pending] = result.pendingApprovals
      const yes = Prompt.toolApprovalResponsePart({ approvalId: pending!.approvalId, approved: true })
      yield* expectToolCalls([pay]).inAnyOrder()
      yield* expectNoOtherCalls()
      const approved = yield* execute({
        prompt: Prompt.concat(result.prompt, Prompt.fromMessages([Prompt.toolMessage({ content: [yes] })]))
      })
      assert.deepStrictEqual(approved.calls.map(({ id, params, step }) => [id, params, step]), [
        ["call-1", { query: "x" }, 0]
      ])
    }).pipe(Effect.provide(harness([ToolCall("pay", { query: "x" }), "paid"]))))

  it.effect("know the work of an answer that broke off under the id that adopted it, once", () =>
    Effect.gen(function*() {
      yield* expectToolCalls([cats, dogs]).inParallel()
      yield* expectToolCalls([cats, dogs]).inAnyOrder()
      yield* expectNoOtherCalls()
      const { calls, timeline } = yield* execute("go")
      assert.deepStrictEqual(
        calls.map(({ adoptedFrom, attempts, id }) => [id, adoptedFrom, attempts]),
        [["call-2", ["call-1"], 1], ["call-3", [], 1]]
      )
      assert.deepStrictEqual([calls[0]!.startedAt, calls[0]!.endedAt], [0, 10])
      assert.strictEqual(timeline.turns[0]!.asked, 2)
    }).pipe(Effect.provide(
      harness([[cats, TestModel.wait("4 millis"), TestModel.fail(aiError)], [cats, dogs], "done"]).pipe(
        Layer.provide(Retry.layer({ base: "1 nanos" }))
      )
    )))

  it.effect("say that a limit kept calls apart", () =>
    Effect.gen(function*() {
      const web = (query: string) => ToolCall("web", { query })
      const message = yield* failing(expectToolCalls([web("a"), web("b")]).inParallel())
      assert.include(
        message,
        "call-2 waited from 0 to 7 ms: a limit held it for 7 ms (Limiter)."
      )
    }).pipe(Effect.provide(
      MockOrchestrator.layer({ toolkit: webKit }).pipe(Layer.provideMerge(Layer.mergeAll(
        TestModel.script([[ToolCall("web", { query: "a" }), ToolCall("web", { query: "b" })], "done"]),
        TestTools.layer(webKit, { web: TestTools.succeed("x", { after: "7 millis" }) }),
        TestLimiter.layer({ permits: { google: 1 } })
      )))
    )))

  it.effect("with a manual clock take the time that the test gives them", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(execute("go"))
      yield* TestClock.adjust("9 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.deepStrictEqual((yield* Fiber.join(fiber)).totalDuration, Duration.millis(10))
    }).pipe(Effect.provide(harness([[cats], "done"], {}, { clock: "manual" }))))

  it.effect("are told in their own times where the test moves the clock far at once", () =>
    Effect.gen(function*() {
      yield* expectCancelled("call-1", "BranchCancelled")
      const fiber = yield* Effect.forkChild(execute("go"))
      yield* TestClock.adjust("3 minutes")
      yield* Orchestrator.cancel({ runId: "moved", callId: "call-1" }, CancelReason.branchCancelled("enough"))
      const { calls, totalDuration } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([calls[0]!.startedAt, calls[0]!.endedAt], [0, 180_000])
      assert.deepStrictEqual(totalDuration, Duration.minutes(3))
    }).pipe(Effect.provide(
      harness([[cats], "done"], { search: TestTools.never }, { clock: "manual", runId: "moved" })
    )))

  it.effect("with a live clock go on while the test's clock stands", () =>
    Effect.gen(function*() {
      const { calls, totalDuration } = yield* execute("go")
      assert.isAtLeast(Duration.toMillis(totalDuration), 9)
      assert.isAtLeast(calls[0]!.endedAt! - calls[0]!.startedAt!, 9)
    }).pipe(Effect.provide(harness([[cats], "done"], {}, { clock: "live" }))))

  it.effect("give what Orchestrator.run gives", () =>
    Effect.gen(function*() {
      const scripts = [
        [["Look: ", cats, dogs], [ToolCall("nothing"), ToolCall("search", { query: 1 })], ["a", "b"]],
        [[cats, ToolCall("pay", { query: "x" })]],
        [[cats, cats], [TestModel.call(dogs, { open: true })], "done"],
        [["Half an ", cats, TestModel.wait("4 millis"), TestModel.fail(aiError)], ["Whole", cats], "done"],
        ["just text"]
      ]
      for (const turns of scripts) {
        const options = { prompt: "go", runId: "r" }
        const retried = Layer.provideMerge(harness(turns), Retry.layer({ schedule: Schedule.spaced("2 millis") }))
        const ours = yield* Effect.provide(execute(options), retried)
        const fiber = yield* Effect.forkChild(
          Effect.provide(Orchestrator.run({ ...options, toolkit }), Layer.fresh(retried))
        )
        yield* TestClock.adjust("1 minute")
        yield* settle
        assert.deepStrictEqual(ours.result, (yield* Fiber.join(fiber)) as never)
      }
    }))
})

describe("MockOrchestrator.assertNoOrphans", () => {
  const Work = Tool.make("work", { success: Schema.String }).annotate(ToolPolicy.Grace, "20 millis")
  const kit = Toolkit.make(Work)
  const working = (handler: Effect.Effect<string>, options: Partial<MockOrchestrator.Options<typeof kit.tools>> = {}) =>
    MockOrchestrator.layer({ toolkit: kit, ...options }).pipe(
      Layer.provideMerge(
        Layer.merge(TestModel.script([ToolCall("work"), "done"]), kit.toLayer({ work: () => handler }))
      )
    )

  it.effect("holds where everything has ended, of an execution and of the last one", () =>
    Effect.gen(function*() {
      const { assertNoOrphans } = yield* execute("go")
      yield* assertNoOrphans()
      yield* MockOrchestrator.assertNoOrphans()
    }).pipe(Effect.provide(working(Effect.as(Effect.sleep("1 seconds"), "ok")))))

  it.effect("fails on a fiber that a handler left behind", () =>
    Effect.gen(function*() {
      const { assertNoOrphans } = yield* execute("go")
      const message = `1 orphan, still alive after the run:
  a sleep of call call-1 (work) that ends at 60005 ms, in a fiber started at 5 ms

What happened:
5 ms, 1 call, at most 1 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 work {}  0-5 ms  [################################]  succeeded
turn 2: the model answers 5-5 ms (stop)`
      assert.strictEqual(yield* messageOf(assertNoOrphans()), message)
      assert.strictEqual(yield* messageOf(MockOrchestrator.assertNoOrphans({ abandoned: "allow" })), message)
    }).pipe(Effect.provide(working(
      Effect.andThen(Effect.sleep("5 millis"), Effect.as(Effect.forkDetach(Effect.sleep("1 minute")), "ok"))
    ))))

  it.effect("fails on an abandoned handler, unless those are allowed", () =>
    Effect.gen(function*() {
      const { assertNoOrphans } = yield* execute("go")
      assert.strictEqual(
        yield* messageOf(assertNoOrphans()),
        `2 orphans, still alive after the run:
  a sleep of call call-1 (work) that ends at 60000 ms, in a fiber started at 0 ms (abandoned)
  1 handler of work that did not stop when told to, abandoned and still at work (abandoned)
Where handlers that do not stop are meant to be abandoned: assertNoOrphans({ abandoned: "allow" }).

What happened:
50 ms, 1 call, at most 1 at work at once; finished (stop)
turn 1: the model answers 0-0 ms (tool-calls)
  call-1 work {}  0-50 ms  [################################]  TimedOut: timed out: the limit for one attempt is 30 ms; its handler did not stop and was abandoned
turn 2: the model answers 50-50 ms (stop)`
      )
      yield* assertNoOrphans({ abandoned: "allow" })
    }).pipe(Effect.provide(working(
      Effect.uninterruptible(Effect.as(Effect.sleep("1 minute"), "ok")),
      { timeout: { tool: "30 millis" } }
    ))))
})

it("has a schema, as errors of ours have", () => {
  const error = new MockOrchestrator.ExpectationError({ reason: { _tag: "NothingExecuted", asked: "calls" } })
  const json = Schema.encodeSync(MockOrchestrator.ExpectationError)(error)
  assert.deepStrictEqual(Schema.decodeUnknownSync(MockOrchestrator.ExpectationError)(json).reason, error.reason)
})

describe("MockOrchestrator with guesses", () => {
  const guessing = (turns: Parameters<typeof harness>[0], script: Parameters<typeof TestPredictor.script>[0]) =>
    Layer.fresh(
      harness(turns, { search: TestTools.succeed("found", { after: "800 millis" }) }).pipe(
        Layer.provideMerge(Layer.merge(Speculation.layer(), TestPredictor.script(script)))
      )
    )

  it.effect("tells which guesses began, which call claimed one, and what was thrown away", () =>
    Effect.gen(function*() {
      yield* MockOrchestrator.expectToolCalls([search("cats"), search("dogs")]).inOrder()
      const { calls, guesses, totalDuration } = yield* MockOrchestrator.execute("Cats or dogs?")
      const foreseen = guesses.filter(({ predictor }) => predictor === "test")
      assert.deepStrictEqual(foreseen.map(({ claimedBy, outcome, params }) => [params, outcome, claimedBy]), [
        [{ query: "cats" }, "claimed", "call-1"],
        [{ query: "birds" }, "refuted", undefined]
      ])
      assert.strictEqual(calls[0]?.claimed, foreseen[0]?.id)
      // The call began with its guess, when the model was asked.
      assert.deepStrictEqual([calls[0]?.startedAt, calls[0]?.queuedAt, calls[0]?.endedAt], [0, 1000, 1000])
      assert.strictEqual(Duration.toMillis(totalDuration), 1000 + 700 + 800 + 1000)
      assert.deepStrictEqual((yield* TestPredictor.questions).map(({ question }) => question.step), [1, 2, 3])
      yield* settle
      assert.deepStrictEqual((yield* TestPredictor.verdicts).map(({ right }) => right), [true, false])
      assert.strictEqual((yield* TestPredictor.finishedRuns).length, 1)
    }).pipe(Effect.provide(guessing(
      [[TestModel.wait("1 second"), search("cats")], [TestModel.wait("700 millis"), search("dogs")], [
        TestModel.wait("1 second"),
        "Both."
      ]],
      [search("cats"), search("birds")]
    ))))
})
