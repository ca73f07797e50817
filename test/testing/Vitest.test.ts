import { assert, describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { CancelReason, ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import type { ExecutionMatchers } from "../../src/testing/Vitest.ts"
import { matchers } from "../../src/testing/Vitest.ts"

expect.extend(matchers)

const search = Tool.make("search", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
const book = Tool.make("book", { success: Schema.String }).annotate(ToolPolicy.Timeout, "5 seconds")
const toolkit = Toolkit.make(search, book)

const cats = ToolCall("search", { query: "cats" })
const dogs = ToolCall("search", { query: "dogs" })

const executed = (turns: Parameters<typeof TestModel.script>[0]) =>
  MockOrchestrator.execute("Cats or dogs?").pipe(
    Effect.provide(
      MockOrchestrator.layer({ toolkit, toolCallConcurrency: 200 }).pipe(Layer.provideMerge([
        TestModel.script(turns),
        TestTools.layer(toolkit, { search: TestTools.succeed("found", { after: "1 second" }), book: TestTools.never })
      ]))
    )
  )

// Two searches beside each other, a third after them, and a booking that is too slow.
const execution = executed([[cats, dogs], [ToolCall("search", { query: "both" }), ToolCall("book")], "Both."])

const messageOf = (assertion: () => void): string => {
  try {
    assertion()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return assert.fail("it passed")
}

type Execution = MockOrchestrator.Execution

const both = ToolCall("search", { query: "both" })
const birds = ToolCall("search", { query: "birds" })

describe("matchers", () => {
  it.effect("pass on what happened", () =>
    Effect.map(execution, (run) => {
      expect(run).toHaveCalled(cats)
      expect(run).toHaveToolCalls([dogs, cats])
      expect(run).toHaveOnlyToolCalls([dogs, cats, both, ToolCall("book")])
      expect(run).toHaveRunInParallel([cats, dogs])
      expect(run).toHaveRunInParallel([both, ToolCall("book", {})])
      expect(run).toHaveRunInOrder([dogs, ToolCall("book", undefined, { id: "call-4" })])
      expect(run).toHaveOverlapped("call-3", ToolCall("book"))
      expect(run).toHaveCancelled(ToolCall("book"))
      expect(run).toHaveCancelled("call-4", "Timeout")
      expect(run).toHaveCancelled("call-4", CancelReason.timeout("attempt", 5000))
      expect(run).toHaveMaxConcurrentCalls(2)
      expect(run).toHaveFinishedWithin("6 seconds")
    }))

  it.effect("pass behind .not on what did not happen", () =>
    Effect.map(execution, (run) => {
      expect(run).not.toHaveCalled(birds)
      expect(run).not.toHaveToolCalls([cats, cats])
      expect(run).not.toHaveOnlyToolCalls([cats, dogs])
      expect(run).not.toHaveRunInParallel([cats, both])
      expect(run).not.toHaveRunInOrder([cats, dogs])
      expect(run).not.toHaveOverlapped("call-2", both)
      expect(run).not.toHaveCancelled("call-1")
      expect(run).not.toHaveCancelled("call-4", "Superseded")
      expect(run).not.toHaveMaxConcurrentCalls(4)
      expect(run).not.toHaveFinishedWithin("5999 millis")
    }))

  it.effect("judge a promise of an execution", () =>
    Effect.promise(() => expect(Effect.runPromise(execution)).resolves.toHaveRunInParallel([cats, dogs])))

  it.effect("take the timeline of a run that failed", () =>
    Effect.gen(function*() {
      yield* Effect.flip(
        MockOrchestrator.execute({ prompt: "Cats?", timeout: { total: "500 millis" } })
      )
      expect({ timeline: yield* MockOrchestrator.timeline }).toHaveCancelled(cats, "Timeout")
    }).pipe(Effect.provide(
      MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge([
        TestModel.script([cats]),
        TestTools.layer(toolkit, { search: TestTools.never })
      ]))
    )))

  it.effect("take a run that made no call", () =>
    Effect.map(
      MockOrchestrator.execute("Hello").pipe(Effect.provide(
        MockOrchestrator.layer({ toolkit: Toolkit.empty }).pipe(Layer.provideMerge(TestModel.script(["Hello!"])))
      )),
      (run) => {
        expect(run).toHaveOnlyToolCalls([])
        expect(run).toHaveMaxConcurrentCalls(0)
        expect(messageOf(() => expect(run).toHaveCalled(cats))).toContain("the model made no calls")
      }
    ))
})

type Row = readonly [question: string, ask: (run: Execution) => void, said: string, more?: string]

const failures: ReadonlyArray<Row> = [
  [
    "toHaveCalled(ToolCall(\"serach\"))",
    (run) => expect(run).toHaveCalled(ToolCall("serach")),
    "ToolCall(\"serach\") was not called: no call of serach was made, of 4 calls (search, book)"
  ],
  [
    "not.toHaveCalled(ToolCall(\"search\", {\"query\":\"cats\"}))",
    (run) => expect(run).not.toHaveCalled(cats),
    "call-1 search {\"query\":\"cats\"} was called: 0-1000 ms, succeeded"
  ],
  [
    "toHaveToolCalls([ToolCall(\"search\", {\"query\":\"cats\"}), ToolCall(\"search\", {\"query\":\"birds\"})])",
    (run) => expect(run).toHaveToolCalls([cats, birds]),
    "ToolCall(\"search\", {\"query\":\"birds\"}) was not called with these parameters; search was called 3 times",
    "\"query\" is \"dogs\", not \"birds\""
  ],
  [
    "not.toHaveToolCalls([ToolCall(\"book\")])",
    (run) => expect(run).not.toHaveToolCalls([ToolCall("book")]),
    "each of them was called exactly as often as it is listed"
  ],
  [
    "toHaveOnlyToolCalls([])",
    (run) => expect(run).toHaveOnlyToolCalls([]),
    "call-1 search {\"query\":\"cats\"} (0-1000 ms; succeeded)",
    "call-4 book {}"
  ],
  [
    "not.toHaveOnlyToolCalls([ToolCall(\"search\"), ToolCall(\"search\"), ToolCall(\"search\"), ToolCall(\"book\")])",
    (run) =>
      expect(run).not.toHaveOnlyToolCalls([
        ToolCall("search"),
        ToolCall("search"),
        ToolCall("search"),
        ToolCall("book")
      ]),
    "each of them was called exactly as often as it is listed, and no other was made"
  ],
  [
    "toHaveRunInParallel([ToolCall(\"search\", {\"query\":\"cats\"}), ToolCall(\"search\", {\"query\":\"both\"})])",
    (run) => expect(run).toHaveRunInParallel([cats, both]),
    "call-1 search {\"query\":\"cats\"} (0-1000 ms) ended before call-3 search {\"query\":\"both\"} (1000-2000 ms) started"
  ],
  [
    "not.toHaveRunInParallel([ToolCall(\"search\", {\"query\":\"cats\"}), ToolCall(\"search\", {\"query\":\"dogs\"})])",
    (run) => expect(run).not.toHaveRunInParallel([cats, dogs]),
    "at one moment a call of each was at work"
  ],
  [
    "toHaveRunInOrder([ToolCall(\"search\", {\"query\":\"cats\"}), ToolCall(\"search\", {\"query\":\"dogs\"})])",
    (run) => expect(run).toHaveRunInOrder([cats, dogs]),
    "call-2 search {\"query\":\"dogs\"} (0-1000 ms) started while call-1 search {\"query\":\"cats\"} (0-1000 ms) was at work"
  ],
  [
    "not.toHaveRunInOrder([ToolCall(\"search\", {\"query\":\"cats\"}), ToolCall(\"book\")])",
    (run) => expect(run).not.toHaveRunInOrder([cats, ToolCall("book")]),
    "each started after the one before had ended"
  ],
  [
    "toHaveOverlapped(\"call-1\", \"call-3\")",
    (run) => expect(run).toHaveOverlapped("call-1", "call-3"),
    "call-3 was asked for in turn 2, after call-1 of turn 1 was answered"
  ],
  [
    "not.toHaveOverlapped(\"call-3\", \"call-4\")",
    (run) => expect(run).not.toHaveOverlapped("call-3", "call-4"),
    "at one moment both were at work"
  ],
  [
    "toHaveCancelled(\"call-1\")",
    (run) => expect(run).toHaveCancelled("call-1"),
    "call-1 search {\"query\":\"cats\"} was not cancelled: it succeeded at 1000 ms"
  ],
  [
    "toHaveCancelled(\"call-4\", \"Superseded\")",
    (run) => expect(run).toHaveCancelled("call-4", "Superseded"),
    "call-4 book {} was cancelled for another reason: Timeout"
  ],
  ["not.toHaveCancelled(\"call-4\")", (run) => expect(run).not.toHaveCancelled("call-4"), "it was cancelled"],
  [
    "toHaveMaxConcurrentCalls(3)",
    (run) => expect(run).toHaveMaxConcurrentCalls(3),
    "2 calls were at work at the fullest moment"
  ],
  [
    "not.toHaveMaxConcurrentCalls(2)",
    (run) => expect(run).not.toHaveMaxConcurrentCalls(2),
    "2 calls were at work at the fullest moment"
  ],
  [
    "toHaveFinishedWithin(\"2 seconds\")",
    (run) => expect(run).toHaveFinishedWithin("2 seconds"),
    "the run took 6000 ms on its clock, and the limit is 2000 ms"
  ],
  [
    "not.toHaveFinishedWithin(\"2 minutes\")",
    (run) => expect(run).not.toHaveFinishedWithin("2 minutes"),
    "the run took 6000 ms on its clock, and the limit is 120000 ms"
  ]
]

describe("a matcher that fails", () => {
  it.each(failures.map(([question, ask, said, more = said]) => [question, ask, said, more] as const))(
    "says why, and shows the run: %s",
    async (question, ask, said, more) => {
      const run = await Effect.runPromise(execution)
      const message = messageOf(() => ask(run))
      assert.strictEqual(message.split("\n")[0], `expect(execution).${question}`)
      for (const text of [said, more]) assert.include(message, text)
      assert.include(
        message,
        "\n\nWhat happened:\n6000 ms, 4 calls, at most 2 at work at once; finished (stop)\nturn 1"
      )
      assert.match(message, /call-4 book \{\} +1000-6000 ms/)
    }
  )

  it.effect("speaks of the call with the id that was asked for", () =>
    Effect.map(execution, (run) => {
      const third = ToolCall("search", undefined, { id: "call-3" })
      expect(run).toHaveRunInOrder([cats, third])
      expect(run).not.toHaveRunInParallel([cats, third])
      assert.include(
        messageOf(() => expect(run).toHaveRunInParallel([cats, third])),
        "expect(execution).toHaveRunInParallel([ToolCall(\"search\", {\"query\":\"cats\"}), ToolCall(\"search\", undefined, { id: \"call-3\" })])"
      )
    }))

  it.effect("shows the calls it speaks of, however many there are", () => {
    const calls = Array.from({ length: 200 }, (_, index) => ToolCall("search", { query: `query ${index}` }))
    return Effect.map(
      executed([calls.slice(0, 199), calls[199]!, "Done."]),
      (run) => {
        const message = messageOf(() => expect(run).toHaveRunInParallel([calls[99]!, calls[199]!]))
        assert.isBelow(message.split("\n").length, 80)
        assert.match(message, /^  call-100 search \{"query":"query 99"\}/m)
        assert.match(message, /^  call-200 search \{"query":"query 199"\}/m)
        assert.notMatch(message, /^  call-102 /m)
      }
    )
  })

  it.effect("fails behind .not on a call that was made and did not run, unless its end was asked about", () =>
    Effect.map(executed([[cats, ToolCall("search", { quary: "dogs" })], "Cats."]), (run) => {
      const wrong = ToolCall("search", { quary: "dogs" })
      expect(run).not.toHaveCancelled(wrong)
      expect(run).not.toHaveCalled(wrong)
      assert.include(
        messageOf(() => expect(run).not.toHaveRunInParallel([cats, wrong])),
        "Behind .not the calls still have to be there:\nToolCall(\"search\", {\"quary\":\"dogs\"}) did not run"
      )
    }))

  it.effect("fails behind .not, too, on calls that are not there", () =>
    Effect.map(execution, (run) => {
      const asks = [
        () => expect(run).not.toHaveToolCalls([cats, birds]),
        () => expect(run).not.toHaveRunInParallel([cats, birds]),
        () => expect(run).not.toHaveRunInOrder([birds, cats]),
        () => expect(run).not.toHaveOverlapped(birds, "call-1"),
        () => expect(run).not.toHaveCancelled(birds)
      ]
      for (const ask of asks) {
        assert.match(
          messageOf(ask),
          /Behind \.not the calls still have to be there:\nToolCall\("search", \{"query":"birds"\}\) was not called/
        )
      }
    }))
})

// Each is asked with and without `.not`, and fails both times.
type Unusable = readonly [said: string, ask: (subject: ExecutionMatchers<void>) => void, received?: readonly [unknown]]

const unusable: ReadonlyArray<Unusable> = [
  [
    "The value is no Execution: undefined. Give expect what MockOrchestrator.execute gives.",
    (subject) => subject.toHaveToolCalls([cats]),
    [undefined]
  ],
  ["The value is no Execution: {\"timeline\":[]}.", (subject) => subject.toHaveMaxConcurrentCalls(1), [{
    timeline: []
  }]],
  ["It is an Effect: yield* it first.", (subject) => subject.toHaveFinishedWithin("1 second"), [execution]],
  ["Nothing can be said: the list has no call.", (subject) => subject.toHaveToolCalls([])],
  ["Nothing can be said: the list has no call.", (subject) => subject.toHaveRunInParallel([])],
  ["Nothing can be said: the list has no call.", (subject) => subject.toHaveRunInOrder([])],
  [
    "\"search\" is no ToolCall; write ToolCall(\"name\", parameters).",
    (subject) => subject.toHaveRunInParallel([cats, "search"] as never)
  ],
  ["it takes a list of ToolCall(\"name\", parameters).", (subject) => subject.toHaveOnlyToolCalls(cats as never)],
  ["undefined is no ToolCall; write", (subject) => subject.toHaveCalled(undefined as never)],
  ["7 is no ToolCall and no call's id.", (subject) => subject.toHaveOverlapped(cats, 7 as never)],
  ["null is no ToolCall and no call's id.", (subject) => subject.toHaveCancelled(null as never)],
  ["a count of calls is an integer of at least 0.", (subject) => subject.toHaveMaxConcurrentCalls(Number.NaN)],
  ["it is no duration; write \"2 seconds\"", (subject) => subject.toHaveFinishedWithin("soon" as never)]
]

describe("a matcher that can say nothing", () => {
  it.each(unusable.map(([said, ask, received]) => [said, ask, received] as const))(
    "fails with and without .not: %s",
    async (said, ask, received) => {
      const run = await Effect.runPromise(execution)
      const subject = expect(received === undefined ? run : received[0])
      assert.include(messageOf(() => ask(subject)), said)
      assert.include(messageOf(() => ask(subject.not)), said)
    }
  )
})
