import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { random } from "../random.ts"

const search = Tool.make("search", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
const read = Tool.make("read", { parameters: Schema.Struct({ file: Schema.String }), success: Schema.String })
const toolkit = Toolkit.make(search, read)

const broken = AiError.make({
  module: "Somewhere",
  method: "streamText",
  reason: new AiError.InternalProviderError({ description: "the line went dead" })
})

/** A part in a few words. */
const short = (part: Response.AnyPart): string => {
  switch (part.type) {
    case "text":
      return `text ${part.text}`
    case "text-delta":
    case "reasoning-delta":
    case "tool-params-delta":
      return `${part.type} ${part.id} ${part.delta}`
    case "tool-params-start":
      return `${part.type} ${part.id} ${part.name}`
    case "tool-call":
      return `tool-call ${part.id} ${part.name} ${JSON.stringify(part.params)}`
    case "finish":
      return `finish ${part.reason}`
    case "text-start":
    case "text-end":
    case "tool-params-end":
      return `${part.type} ${part.id}`
    default:
      return part.type
  }
}

const asking = { prompt: "go", toolkit, disableToolCallResolution: true, toolCallValidation: "deferred" } as const

/** One turn as it arrives: each network chunk, with its milliseconds since the asking. */
const asked = Effect.flatMap(Clock.currentTimeMillis, (start) => {
  const chunks: Array<{ readonly at: number; readonly parts: ReadonlyArray<string> }> = []
  return LanguageModel.streamText(asking).pipe(
    Stream.chunks,
    Stream.runForEach((parts) =>
      Effect.map(Clock.currentTimeMillis, (at) => void chunks.push({ at: at - start, parts: parts.map(short) }))
    ),
    Effect.as(chunks)
  )
})

const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust("1 hour")
    return yield* Fiber.join(fiber)
  })

/** The chunks of a script of one turn. */
const played = (turn: TestModel.Turn) => Effect.provide(inTime(asked), TestModel.script([turn]))

const kinds = "an item is a text, a ToolCall, or what TestModel.text, call, wait, fail, finish or chunk gives"

const dies = (make: () => unknown): string => {
  const exit = Effect.runSyncExit(Effect.sync(make))
  return Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? String(Cause.squash(exit.cause)) : "does not die"
}

const messageOf = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ message }) => message)

describe("TestModel.script", () => {
  describe("a turn", () => {
    it.effect("says a string in one chunk and stops", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* played("Hello"), [
          { at: 0, parts: ["text-start text-1", "text-delta text-1 Hello", "text-end text-1", "finish stop"] }
        ])
        assert.deepStrictEqual(yield* played(""), [
          { at: 0, parts: ["text-start text-1", "text-end text-1", "finish stop"] }
        ])
      }))

    it.effect("makes a call with its arguments, and finishes for its calls", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* played(ToolCall("search", { query: "a" }, { id: "x" })), [{
          at: 0,
          parts: [
            "tool-params-start x search",
            "tool-params-delta x {\"query\":\"a\"}",
            "tool-params-end x",
            "tool-call x search {\"query\":\"a\"}",
            "finish tool-calls"
          ]
        }])
      }))

    it.effect("sends items without time between them in one chunk, and each text as a block of its own", () =>
      Effect.gen(function*() {
        const chunks = yield* played(["One.", "Two.", ToolCall("search"), ToolCall("read")])
        assert.lengthOf(chunks, 1)
        assert.deepStrictEqual(
          chunks[0]?.parts.filter((part) => /delta|^tool-call|finish/.test(part)),
          [
            "text-delta text-1 One.",
            "text-delta text-2 Two.",
            "tool-params-delta call-1 {}",
            "tool-call call-1 search {}",
            "tool-params-delta call-2 {}",
            "tool-call call-2 read {}",
            "finish tool-calls"
          ]
        )
      }))

    it.effect("makes a chunk of items that stands alone", () =>
      Effect.gen(function*() {
        const { chunk, finish } = TestModel
        const sizes = (turn: TestModel.Turn) => Effect.map(played(turn), (all) => all.map(({ parts }) => parts.length))
        assert.deepStrictEqual(yield* sizes(["a", chunk("b", ToolCall("search")), "c", "d"]), [3, 7, 7])
        assert.deepStrictEqual(yield* sizes([chunk("a"), chunk("b", finish("stop"))]), [3, 4])
        assert.deepStrictEqual(yield* sizes([chunk("a")]), [3, 1])
      }))

    it.effect("waits for durations and effects, at their time", () =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const chunks = yield* played([
          "a",
          TestModel.wait("2 seconds"),
          "b",
          TestModel.text("c", { after: 500 }),
          "d",
          TestModel.call(ToolCall("search"), { after: "1 second" }),
          TestModel.wait(Effect.sleep("1 minute")),
          TestModel.wait(Effect.andThen(Deferred.succeed(gate, undefined), Deferred.await(gate)))
        ])
        assert.deepStrictEqual(chunks.map(({ at, parts }) => [at, parts.length]), [
          [0, 3],
          [2_000, 3],
          [2_500, 6],
          [3_500, 4],
          [63_500, 1]
        ])
      }))

    it.effect("cuts a text and arguments evenly, or as given, with a time between the pieces", () =>
      Effect.gen(function*() {
        const { call, text } = TestModel
        const deltas = (turn: TestModel.Turn) =>
          Effect.map(
            played(turn),
            (chunks) =>
              chunks.map(({ at, parts }) => `${at}: ${parts.filter((part) => part.includes("delta")).join(" | ")}`)
          )
        const hello = text("hello", { after: 1, chunks: 2, every: 10 })
        assert.deepStrictEqual(yield* deltas([hello]), ["1: text-delta text-1 he", "11: text-delta text-1 llo"])
        assert.deepStrictEqual(yield* deltas([text("a👍b", { chunks: 9 })]), [
          "0: text-delta text-1 a",
          "0: text-delta text-1 👍",
          "0: text-delta text-1 b"
        ])
        assert.deepStrictEqual(
          yield* deltas([
            call(ToolCall("search", { query: "a" }), { chunks: ["{ \"que", "ry\": \"a\"}"], every: "1 second" })
          ]),
          ["0: tool-params-delta call-1 { \"que", "1000: tool-params-delta call-1 ry\": \"a\"}"]
        )
        const whole = yield* played([call(ToolCall("search", { query: "a" }), { chunks: 3 })])
        assert.deepStrictEqual(whole.map(({ parts }) => parts.length), [2, 1, 4])
      }))

    it.effect("opens a call that never ends, and finishes as truncated", () =>
      Effect.gen(function*() {
        const opened = TestModel.call(ToolCall("search", { query: "a" }), { open: true })
        const cut = TestModel.call(ToolCall("search", {}), { open: true, chunks: ["{\"que"] })
        assert.deepStrictEqual(yield* played([opened, cut]), [{
          at: 0,
          parts: [
            "tool-params-start call-1 search",
            "tool-params-delta call-1 {\"query\":\"a\"",
            "tool-params-start call-2 search",
            "tool-params-delta call-2 {\"que",
            "finish length"
          ]
        }])
      }))

    it.effect("finishes as it says, with the tokens it says", () =>
      Effect.gen(function*() {
        const usage = { inputTokens: 5, outputTokens: 7 }
        const finishes = (turn: TestModel.Turn) =>
          LanguageModel.streamText(asking).pipe(
            Stream.filter((part) => part.type === "finish"),
            Stream.runCollect,
            Effect.map((parts) =>
              parts.map((part) => [part.reason, part.usage.inputTokens.total, part.usage.outputTokens.total])
            ),
            Effect.provide(TestModel.script([turn]))
          )
        assert.deepStrictEqual(yield* finishes(["a", TestModel.finish("content-filter", { usage })]), [[
          "content-filter",
          5,
          7
        ]])
        assert.deepStrictEqual(yield* finishes([ToolCall("search"), TestModel.truncated]), [[
          "length",
          undefined,
          undefined
        ]])
        assert.deepStrictEqual(yield* finishes(TestModel.finish("stop")), [["stop", undefined, undefined]])
        assert.deepStrictEqual(yield* finishes(["a", TestModel.unfinished]), [])
      }))

    it.effect.each([
      TestModel.fail(broken),
      TestModel.fail(broken, { after: "3 seconds" })
    ])("sends what was written before it fails", (failure) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const [error, at] = yield* LanguageModel.streamText(asking).pipe(
          Stream.runForEach((part) => Effect.sync(() => seen.push(short(part)))),
          Effect.flip,
          Effect.zip(Clock.currentTimeMillis),
          inTime,
          Effect.provide(TestModel.script([["half", failure]]))
        )
        assert.strictEqual(at, failure.afterMillis)
        assert.strictEqual(error, broken)
        assert.deepStrictEqual(seen, ["text-start text-1", "text-delta text-1 half", "text-end text-1"])
      }))

    it.effect("sends encoded parts as they are", () =>
      Effect.gen(function*() {
        const chunks = yield* played([
          { type: "reasoning-start", id: "r" },
          { type: "reasoning-delta", id: "r", delta: "hm" },
          { type: "reasoning-end", id: "r" },
          { type: "tool-call", id: "raw", name: "search", params: {} }
        ])
        assert.deepStrictEqual(chunks.map(({ parts }) => parts), [
          ["reasoning-start", "reasoning-delta r hm", "reasoning-end", "tool-call raw search {}", "finish tool-calls"]
        ])
      }))

    it.effect("may come from the request", () =>
      Effect.gen(function*() {
        const model = TestModel.script([
          "first",
          ({ at, method, number, prompt, tools }) => [
            `${number} at ${at} by ${method} with ${tools.join(" ")} of ${prompt.content.length}`,
            ToolCall("search")
          ]
        ])
        const [, second] = yield* Effect.provide(Effect.all([asked, asked]), model)
        assert.deepStrictEqual(
          second?.[0]?.parts.filter((part) => /delta|^tool-call/.test(part)),
          [
            "text-delta text-1 2 at 0 by streamText with search read of 1",
            "tool-params-delta call-1 {}",
            "tool-call call-1 search {}"
          ]
        )
      }))
  })

  describe("ids", () => {
    const idsOf = (turns: ReadonlyArray<TestModel.Turn>, options: TestModel.Options, times: number) =>
      Effect.all(Array.from({ length: times }, () => asked)).pipe(
        Effect.map((all) =>
          all.map((chunks) =>
            chunks.flatMap(({ parts }) => parts).filter((part) => part.startsWith("tool-call")).map((part) =>
              part.split(" ")[1]
            )
          )
        ),
        Effect.provide(TestModel.script(turns, options))
      )

    it.effect("are counted over the script, and skip those that are written", () =>
      Effect.gen(function*() {
        const ids = yield* idsOf(
          [
            [ToolCall("search"), ToolCall("search", {}, { id: "call-2" })],
            () => [ToolCall("search"), ToolCall("search", {}, { id: "call-6" }), ToolCall("search")],
            ToolCall("read"),
            { type: "tool-call", id: "call-4", name: "search", params: {} }
          ],
          {},
          4
        )
        assert.deepStrictEqual(ids, [["call-1", "call-2"], ["call-5", "call-6", "call-7"], ["call-3"], ["call-4"]])
      }))

    it.effect("skip those that are written in a later turn, or beyond the script", () =>
      Effect.gen(function*() {
        const later = ToolCall("search", {}, { id: "call-1" })
        assert.deepStrictEqual(yield* idsOf([ToolCall("read"), later], {}, 2), [["call-2"], ["call-1"]])
        assert.deepStrictEqual(yield* idsOf([ToolCall("read")], { otherwise: later }, 2), [["call-2"], ["call-1"]])
      }))

    it.effect("are new for each answer beyond the script", () =>
      Effect.gen(function*() {
        const otherwise = [ToolCall("search"), ToolCall("search", {}, { id: "mine" })]
        const ids = yield* idsOf([ToolCall("read")], { otherwise }, 3)
        assert.deepStrictEqual(ids, [["call-1"], ["call-2", "mine"], ["call-3", "mine"]])
      }))

    it.effect("are known beforehand, but for turns that are functions", () =>
      Effect.gen(function*() {
        const known = (turns: ReadonlyArray<TestModel.Turn>, options: TestModel.Options = {}) =>
          Effect.map(TestModel.make(turns, options), ({ testModel }) =>
            testModel.scriptedCalls.map((calls) =>
              calls?.map(({ id, name, params }) => [id, name, params])
            ))
        const turns = [[ToolCall("search"), TestModel.chunk(ToolCall("read", { file: "a" }))], "b", () => "c"]
        const calls = [[["call-1", "search", {}], ["call-2", "read", { file: "a" }]], [], undefined]
        assert.deepStrictEqual<unknown>(yield* known(turns), calls)
        assert.deepStrictEqual<unknown>(yield* known(turns, { otherwise: "done" }), calls)
        assert.deepStrictEqual<unknown>(yield* known(["a"], { otherwise: ToolCall("read") }), [[], undefined])
        assert.deepStrictEqual<unknown>(yield* known([], { otherwise: () => "d" }), [undefined])
      }))
  })

  describe("asking", () => {
    it.effect("takes the turns in its order, also from several runs at once", () =>
      Effect.gen(function*() {
        const one = Effect.map(asked, ([chunk]) => chunk?.parts[1])
        const all = yield* Effect.all([one, Effect.delay(one, 20), Effect.delay(one, 10)], { concurrency: 3 }).pipe(
          inTime,
          Effect.provide(TestModel.script([["one", TestModel.wait("1 minute")], "two", "three"]))
        )
        assert.deepStrictEqual(all, ["text-delta text-1 one", "text-delta text-1 three", "text-delta text-1 two"])
      }))

    it.effect("begins anew where the layer is built", () =>
      Effect.gen(function*() {
        const model = TestModel.script([() => ToolCall("search")])
        const one = yield* Effect.provide(asked, model)
        const again = yield* Effect.provide(asked, Layer.fresh(model))
        assert.include(one[0]?.parts ?? [], "tool-params-start call-1 search")
        assert.deepStrictEqual(again, one)
      }))

    it.effect("is recorded: prompt, tools, choice and time", () =>
      Effect.gen(function*() {
        const requests = yield* Effect.gen(function*() {
          yield* LanguageModel.streamText({ ...asking, prompt: "a", toolChoice: { tool: "read" } }).pipe(
            Stream.runDrain
          )
          yield* TestClock.adjust("5 seconds")
          yield* LanguageModel.generateText({ prompt: [{ role: "system", content: "b" }] })
          return yield* TestModel.requests
        }).pipe(Effect.provide(TestModel.script(["one", "two"])))
        assert.deepStrictEqual<unknown>(
          requests.map(({ prompt, ...request }) => ({ ...request, roles: prompt.content.map(({ role }) => role) })),
          [
            {
              number: 1,
              at: 0,
              method: "streamText",
              tools: ["search", "read"],
              toolChoice: { tool: "read" },
              roles: ["user"]
            },
            { number: 2, at: 5_000, method: "generateText", tools: [], toolChoice: "none", roles: ["system"] }
          ]
        )
      }))

    it.effect("can be left in the middle: no fiber and no timer stays", () =>
      Effect.gen(function*() {
        let over = 0
        const turn = ["a", TestModel.wait(Effect.onExit(Effect.sleep("1 hour"), () => Effect.sync(() => over++))), "b"]
        const fiber = yield* Effect.forkChild(Effect.provide(asked, TestModel.script([turn])))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(over, 0)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(over, 1)
        const first = yield* LanguageModel.streamText(asking).pipe(
          Stream.runHead,
          Effect.provide(TestModel.script([turn]))
        )
        assert.strictEqual(first._tag, "Some")
      }))

    it.effect("fails beyond the script, saying which asking, how many turns, and what was last said", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.andThen(asked, asked))
        assert.strictEqual(
          error.message,
          "TestModel.streamText: Asking 2 goes beyond the script, which has 1 turn. The last message of that request: " +
            "user: \"go\". Add a turn, or say with `otherwise` what the model answers beyond the script."
        )
        assert.isFalse(error.isRetryable)
        assert.strictEqual(
          yield* messageOf(TestModel.assertComplete),
          "Asking 2 goes beyond the script, which has 1 turn. The last message of that request: user: \"go\". Add a turn, or " +
            "say with `otherwise` what the model answers beyond the script. The requests made:\n" +
            "  1. at 0 ms, last message user: \"go\"\n" +
            "  2. at 0 ms, last message user: \"go\""
        )
      }).pipe(Effect.provide(TestModel.script(["one"]))))

    it.effect("keeps the first that went beyond", () =>
      Effect.gen(function*() {
        yield* Effect.flip(LanguageModel.generateText({ prompt: [] }))
        yield* Effect.flip(LanguageModel.generateText({ prompt: "again" }))
        const { reason } = yield* Effect.flip(TestModel.assertComplete)
        assert.deepStrictEqual(reason, {
          _tag: "BeyondScript",
          turns: 0,
          asking: 1,
          lastMessage: "none, its prompt is empty",
          requests: ["1. at 0 ms, last message none, its prompt is empty", "2. at 0 ms, last message user: \"again\""]
        })
      }).pipe(Effect.provide(TestModel.script([]))))

    it.effect("is answered otherwise beyond the script, and that is complete", () =>
      Effect.gen(function*() {
        const said = yield* Effect.all(Array.from({ length: 3 }, () => asked))
        assert.deepStrictEqual(said.map(([chunk]) => chunk?.parts[1]), [
          "text-delta text-1 one",
          "text-delta text-1 2",
          "text-delta text-1 3"
        ])
        yield* TestModel.assertComplete
      }).pipe(Effect.provide(TestModel.script(["one"], { otherwise: ({ number }) => String(number) }))))
  })

  describe("assertComplete", () => {
    it.effect("succeeds when each turn was asked for", () =>
      Effect.gen(function*() {
        yield* asked
        yield* asked
        yield* TestModel.assertComplete
      }).pipe(Effect.provide(TestModel.script(["one", "two"]))))

    it.effect("names each turn left over, what it would have said, and the requests", () =>
      Effect.gen(function*() {
        yield* asked
        assert.strictEqual(
          yield* messageOf(TestModel.assertComplete),
          `4 of 5 turns in the script never played:
  turn 2: says "Look.", calls search({"query":"a"}) as call-1, begins to call read({}) as call-2, finishes with "length"
  turn 3: a function of the request
  turn 4: says "oops", fails with InternalProviderError
  turn 5: sends a file part, ends without a finish part
Take what is too much off the script, or look why the model was not asked again. The requests made:
  1. at 0 ms, last message user: "go"`
        )
      }).pipe(Effect.provide(TestModel.script([
        "one",
        [
          "Look.",
          TestModel.wait("1 second"),
          ToolCall("search", { query: "a" }),
          TestModel.call(ToolCall("read"), { open: true }),
          TestModel.truncated
        ],
        () => "three",
        ["oops", TestModel.fail(broken)],
        [{ type: "file", mediaType: "text/plain", data: "" }, TestModel.unfinished]
      ]))))

    it.effect("says that the model was never asked, and cuts long lists", () =>
      Effect.gen(function*() {
        const message = yield* messageOf(TestModel.assertComplete)
        assert.match(message, /^12 of 12 turns in the script never played:\n {2}turn 1: says "a"\n/)
        assert.include(message, "  turn 10: says \"a\"\n  and 2 turns more\nTake what is too much off")
        assert.match(message, /The model was never asked\.$/)
      }).pipe(Effect.provide(TestModel.script(Array.from({ length: 12 }, () => "a")))))

    it.effect("shows the last message of a request, whatever it is, and the newest ten requests", () =>
      Effect.gen(function*() {
        const tool = { type: "tool-result", id: "x", name: "search", isFailure: false, result: { hits: 3 } } as const
        for (let i = 0; i < 10; i++) yield* LanguageModel.generateText({ prompt: "x".repeat(300) })
        yield* LanguageModel.generateText({ prompt: [{ role: "tool", content: [tool] }] })
        yield* LanguageModel.generateText({
          prompt: [{
            role: "assistant",
            content: [{ type: "tool-call", id: "y", name: "read", params: {}, providerExecuted: false }]
          }]
        })
        const { reason } = yield* Effect.flip(TestModel.assertComplete)
        assert.lengthOf(reason.requests, 11)
        assert.strictEqual(reason.requests[0], "2 earlier")
        assert.strictEqual(reason.requests[1], `3. at 0 ms, last message user: "${"x".repeat(199)}...`)
        assert.strictEqual(reason.requests[9], "11. at 0 ms, last message tool: search (x) gave {\"hits\":3}")
        assert.strictEqual(reason.requests[10], "12. at 0 ms, last message assistant: calls read({}) as y")
      }).pipe(Effect.provide(TestModel.script(Array.from({ length: 13 }, () => "a")))))
  })

  describe("generateText", () => {
    const ask = LanguageModel.generateText(asking)

    it.effect("plays the same turns, as one answer and with the same times", () =>
      Effect.gen(function*() {
        const turn = [
          TestModel.text("hello", { chunks: 3, every: "1 second" }),
          ToolCall("search", { query: "a" }),
          TestModel.call(ToolCall("read"), { open: true }),
          { type: "reasoning-start", id: "r" } as const,
          { type: "reasoning-delta", id: "r", delta: "hm" } as const,
          { type: "reasoning-end", id: "r" } as const,
          TestModel.finish("tool-calls", { usage: { inputTokens: 1, outputTokens: 2 } })
        ]
        const { content, at } = yield* Effect.all({ content: ask, at: Clock.currentTimeMillis }).pipe(
          Effect.map(({ at, content }) => ({ at, content: content.content })),
          inTime,
          Effect.provide(TestModel.script([turn]))
        )
        assert.deepStrictEqual(content.map(short), [
          "text hello",
          "tool-call call-1 search {\"query\":\"a\"}",
          "reasoning",
          "finish tool-calls"
        ])
        assert.strictEqual(at, 2_000)
      }))

    it.effect("serves generateObject: a text is its JSON", () =>
      Effect.gen(function*() {
        const schema = Schema.Struct({ city: Schema.String })
        const { value } = yield* LanguageModel.generateObject({ prompt: "go", schema })
        assert.deepStrictEqual(value, { city: "Paris" })
        const error = yield* Effect.flip(LanguageModel.generateObject({ prompt: "go", schema }))
        assert.strictEqual(error.reason._tag, "StructuredOutputError")
      }).pipe(Effect.provide(TestModel.script(["{\"city\":\"Paris\"}", "Paris"]))))

    it.effect("fails where the turn fails, and on an error part", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Effect.flip(ask), broken)
        assert.strictEqual(yield* messageOf(ask), "TestModel.generateText: the script sends an error part: \"boom\"")
        assert.match(
          yield* messageOf(ask),
          /^TestModel\.generateText: Asking 3 goes beyond the script, which has 2 turns\./
        )
      }).pipe(Effect.provide(TestModel.script([["a", TestModel.fail(broken)], { type: "error", error: "boom" }]))))
  })

  describe("make", () => {
    it.effect("gives each model its own notes", () =>
      Effect.gen(function*() {
        const one = yield* TestModel.make(["one"])
        const two = yield* TestModel.make(["two"])
        const { text } = yield* two.languageModel.generateText({ prompt: "go" })
        assert.strictEqual(text, "two")
        yield* two.testModel.assertComplete
        assert.match(yield* messageOf(one.testModel.assertComplete), /1 of 1 turn in the script never played/)
      }))
  })

  describe("a script that can never play dies where it is written", () => {
    const { call, chunk, fail, finish, script, text, truncated, unfinished, wait } = TestModel
    const cyclic: { self?: unknown } = {}
    cyclic.self = cyclic

    it.each<[string, () => unknown]>([
      ["turn 2 has no items; a turn that says nothing is TestModel.finish(\"stop\")", () => script(["a", []])],
      [
        "otherwise has no items; a turn that says nothing is TestModel.finish(\"stop\")",
        () => script([], { otherwise: [] })
      ],
      ["turn 1, item 2 can never play: TestModel.fail ends the turn before it", () => script([[fail(broken), "a"]])],
      [
        "turn 1, item 2 can never play: TestModel.unfinished ends the turn before it",
        () => script([[unfinished, wait(1)]])
      ],
      [
        "turn 1, item 3 can never play: TestModel.finish(\"length\") ends the turn before it",
        () => script([["a", truncated, "b"]])
      ],
      [
        "turn 1, item 2 can never play: TestModel.finish(\"stop\") ends the turn before it",
        () => script([[finish("stop"), chunk(ToolCall("search"))]])
      ],
      [
        "turn 1, item 2 can never play: its finish part ends the turn before it",
        () => script([[{ type: "finish", reason: "stop", usage: {} as never }, "a"]])
      ],
      [`turn 1, item 1 is no item of a turn: 7; ${kinds}`, () => script([[7 as never]])],
      [`turn 1, item 1 is no item of a turn: {"_tag":"Say"}; ${kinds}`, () => script([{ _tag: "Say" } as never])],
      [`turn 1, item 1 holds no item of a turn: null; ${kinds}`, () => script([[chunk(null as never)]])],
      ["turn 1, item 1: the parameters of search are no JSON", () => script([[ToolCall("search", cyclic)]])],
      ["turn 1, item 1: the parameters of search are no JSON", () => script([[ToolCall("search", () => 1)]])],
      [
        "turn 1, item 1: an item of TestModel.chunk has a time or chunks of its own",
        () => script([[chunk(text("a", { after: 1 }))]])
      ],
      [
        "turn 1, item 1: an item of TestModel.chunk has a time or chunks of its own",
        () => script([[chunk(text("ab", { chunks: 2 }))]])
      ],
      ["chunk without items", () => chunk()],
      ["wait: NaN is no finite duration of at least 0", () => wait(Number.NaN)],
      ["wait: -1 is no finite duration of at least 0", () => wait(-1)],
      ["wait: \"Infinity\" is no finite duration of at least 0", () => wait("Infinity")],
      ["wait: \"soon\" is no finite duration of at least 0", () => wait("soon" as never)],
      ["text(\"a\"), after: NaN is no finite duration of at least 0", () => text("a", { after: Number.NaN })],
      ["text(\"a\"), every: -5 is no finite duration of at least 0", () => text("a", { every: -5 })],
      ["fail, after: NaN is no finite duration of at least 0", () => fail(broken, { after: Number.NaN })],
      ["text(\"a\"), chunks: 0 is no integer of at least 1 and no list of pieces", () => text("a", { chunks: 0 })],
      [
        "text(\"a\"), chunks: NaN is no integer of at least 1 and no list of pieces",
        () => text("a", { chunks: Number.NaN })
      ],
      ["text(\"a\"), chunks: an empty list; give at least one piece", () => text("a", { chunks: [] })],
      ["text(\"ab\"), chunks: the pieces together are \"ac\"", () => text("ab", { chunks: ["a", "c"] })],
      [
        "call(\"search\"), chunks: the pieces together are {\"a\":2}, and the parameters {\"a\":1}",
        () => call(ToolCall("search", { a: 1 }), { chunks: ["{\"a\":", "2}"] })
      ],
      [
        "call(\"search\"), chunks: the pieces together are {, and the parameters {}",
        () => call(ToolCall("search"), { chunks: ["{"] })
      ],
      ["call(\"search\"): the parameters of search are no JSON", () => call(ToolCall("search", 1n))],
      [
        "finish, usage.inputTokens: -1 is no integer of at least 0",
        () => finish("stop", { usage: { inputTokens: -1 } })
      ],
      [
        "finish, usage.outputTokens: 0.5 is no integer of at least 0",
        () => finish("stop", { usage: { outputTokens: 0.5 } })
      ]
    ])("saying: %s", (message, make) => assert.strictEqual(dies(make), `RangeError: TestModel: ${message}`))

    it.effect("or where a function gives it, naming the asking", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(asked)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.include(
          Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "",
          "turn 1 (a function, asked as number 1) has no items"
        )
      }).pipe(Effect.provide(TestModel.script([() => []]))))

    it.effect("but silence and failure may follow the finish part", () =>
      Effect.gen(function*() {
        const chunks = yield* played(["a", truncated, wait("1 second")])
        assert.deepStrictEqual(chunks.map(({ parts }) => parts.at(-1)), ["finish length"])
        const error = yield* asked.pipe(Effect.flip, Effect.provide(script([["a", truncated, fail(broken)]])))
        assert.strictEqual(error, broken)
      }))
  })

  it.effect("sends the parts of a script under any cut: 300 random scripts", () =>
    Effect.gen(function*() {
      for (let seed = 1; seed <= 300; seed++) {
        const { chunks, turns } = randomScript(seed)
        const whole = Effect.provide(inTime(Effect.all(turns.map(() => asked))), TestModel.script(turns))
        const bare = TestModel.script(turns.map((turn) => turn.map(uncut)))
        const [cut, plain] = [yield* whole, yield* Effect.provide(inTime(Effect.all(turns.map(() => asked))), bare)]
        assert.deepStrictEqual(cut.map(joined), plain.map(joined), `seed ${seed}`)
        assert.deepStrictEqual(plain.map((turn) => turn.length), turns.map(() => 1), `seed ${seed}`)
        assert.deepStrictEqual(cut.map((turn) => turn.length), chunks, `seed ${seed}`)
        assert.deepStrictEqual(cut.map((turn) => [...turn].sort((a, b) => a.at - b.at)), cut, `seed ${seed}`)
      }
    }))

  describe("in a run", () => {
    it.effect("may call a tool that is not there, which the run answers", () =>
      Effect.gen(function*() {
        const { layer, toolkit } = ToolPolicy.define({
          work: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("ok") })
        })
        const { toolResults } = yield* Effect.gen(function*() {
          const result = yield* Orchestrator.run({ prompt: "go", toolkit })
          yield* TestModel.assertComplete
          return result
        }).pipe(Effect.provide([layer, TestModel.script([[ToolCall("wrok"), ToolCall("work")], "done"])]))
        assert.deepStrictEqual(
          toolResults.map(({ id, isFailure, name }) => [id, name, isFailure]),
          [["call-1", "wrok", true], ["call-2", "work", false]]
        )
      }))
  })
})

/** The deltas of one id joined, so that only the cut is lost. */
const joined = (turn: ReadonlyArray<{ readonly parts: ReadonlyArray<string> }>): ReadonlyArray<string> => {
  const parts: Array<string> = []
  for (const part of turn.flatMap(({ parts }) => parts)) {
    const head = /^\S+-delta \S+ /.exec(part)?.[0]
    if (head !== undefined && parts.at(-1)?.startsWith(head) === true) parts.push(parts.pop() + part.slice(head.length))
    else parts.push(part)
  }
  return parts
}

const uncut = (item: TestModel.TextItem | TestModel.CallItem): TestModel.Item =>
  item._tag === "Text" ? item.text : item.open ? TestModel.call(item.call, { open: true }) : item.call

/** Turns of cut texts and calls, and in how many network chunks each arrives. */
const randomScript = (seed: number) => {
  const { int, chance, pick } = random(seed)
  const turns = Array.from({ length: int(1, 3) }, () =>
    Array.from({ length: int(1, 5) }, () => {
      const query = pick(["", "a", "fibers and layers", "👍👎", "\"quoted\"\n"])
      const timing = {
        chunks: int(1, 6),
        ...(chance(0.5) ? { after: int(1, 50) } : {}),
        ...(chance(0.5) ? { every: 7 } : {})
      }
      return chance(0.5)
        ? TestModel.text(query, timing)
        : TestModel.call(ToolCall(pick(["search", "read"]), { query }), { ...timing, open: chance(0.2) })
    }))
  const chunks = turns.map((turn) =>
    turn.reduce(
      (count, { afterMillis, pieces }, index) =>
        count + pieces.length - (index > 0 && pieces.length === 1 && afterMillis === 0 ? 1 : 0),
      0
    )
  )
  return { turns, chunks }
}
