import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { spawnSync } from "node:child_process"
import { resolve } from "node:path"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, ToolCall } from "../../src/testing/index.ts"
import { advancing } from "../../src/testing/internal/virtualTime.ts"
import { RecordingError } from "../../src/testing/Recording.ts"
import { provider } from "../adapter/openAiServer.ts"
import { chatEvent, decision, done, events, json, utf8 } from "../replay/server.ts"
import type { Answer } from "../replay/server.ts"
import { folder, hear, inVirtualTime, plainError, play, record, settle } from "./recordings.ts"

const mount = provider()
const recordings = folder()

const apis = ["chat", "responses"] as const
const call = [{ id: "call_1", name: "f", arguments: "{\"city\":\"Zürich, 北京\"}" }]

const wholeAnswer = (api: typeof apis[number], text: string): Answer =>
  json(
    api === "chat"
      ? { id: "c", model: "m", choices: [{ index: 0, message: { content: text }, finish_reason: "stop" }] }
      : {
        id: "r",
        object: "response",
        status: "completed",
        output: [{ type: "message", id: "msg_1", content: [{ type: "output_text", text }] }]
      }
  )

// A recording made by hand: one exchange a turn, each of which says its word after `afterMillis`.
const written = (words: ReadonlyArray<string>, afterMillis = 0) => ({
  version: 1,
  provider: "openai",
  api: "chat",
  model: "m",
  exchanges: words.map((word) => ({
    request: {
      method: "POST",
      url: "http://localhost:9/v1/chat/completions",
      bodyJson: { model: "m", messages: [{ role: "user", content: word }], stream: true }
    },
    response: {
      status: 200,
      headers: { "content-type": "text/event-stream" },
      chunks: [
        { afterMillis, text: chatEvent({ delta: { content: word } }) },
        { afterMillis: 0, text: `${chatEvent({ delta: {}, finish_reason: "stop" })}data: [DONE]\n\n` }
      ]
    }
  }))
})

const textOf = (parts: ReadonlyArray<Readonly<Record<string, unknown>>>): string =>
  parts.filter((part) => part["type"] === "text-delta").map((part) => part["delta"]).join("")

const reasonOf = (file: string): Effect.Effect<RecordingError["reason"]> =>
  Effect.void.pipe(Effect.provide(play(file)), Effect.flip, Effect.map(({ reason }) => reason), Effect.orDie)

const defectOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined

describe("TestModel.record and TestModel.fromRecording", () => {
  for (const api of apis) {
    it.effect(`plays ${api}, streamed: the live parts, at the recorded times, none of them real`, () =>
      Effect.gen(function*() {
        const { layer, seen } = mount({ api }, { ...events(decision(api, call, 3)), everyMillis: 7 })
        // Under the TestClock: what is recorded is real time all the same.
        const live = yield* Effect.provide(hear(true), layer.pipe(record(recordings.of(`${api}.json`))))
        const [exchange] = recordings.json(`${api}.json`).exchanges
        assert.deepStrictEqual(exchange!.request.bodyJson, seen[0]!.body)
        assert.isAtLeast(exchange!.response.chunks!.length, 3, "the pieces of the network are kept")

        const replayed = yield* Effect.provide(inVirtualTime(hear(true)), play(recordings.of(`${api}.json`)))
        assert.isAtLeast(live.parts.length, 5)
        assert.deepStrictEqual(replayed.parts, live.parts)
        assert.strictEqual(replayed.error, undefined)
        let at = exchange!.response.afterMillis!
        const due = exchange!.response.chunks!.map(({ afterMillis }) => at += afterMillis)
        assert.isTrue(replayed.times.every((time) => due.includes(time)), `${replayed.times.join()} of ${due.join()}`)
        assert.strictEqual(replayed.times.at(-1), due.at(-1))
        assert.isAbove(new Set(replayed.times).size, 2, "not all at once")
      }))

    it.effect(`plays ${api}, whole`, () =>
      Effect.gen(function*() {
        const { layer } = mount({ api }, { ...wholeAnswer(api, "Grüezi"), everyMillis: 5 })
        const file = recordings.of(`${api}-whole.json`)
        const live = yield* TestClock.withLive(Effect.provide(hear(false), layer.pipe(record(file))))
        const { response } = recordings.json(`${api}-whole.json`).exchanges[0]!
        assert.isTrue("bodyJson" in response)
        const replayed = yield* Effect.provide(inVirtualTime(hear(false)), play(file))
        assert.deepStrictEqual(replayed.parts, live.parts)
        assert.deepStrictEqual(replayed.times.at(-1), response.afterMillis)
      }))

    it.effect(`plays failing statuses of ${api} as the same errors`, () =>
      Effect.gen(function*() {
        const answers: ReadonlyArray<Answer> = [
          { ...json({ error: { message: "slow down", code: "rate_limit" } }, 429), headers: { "retry-after": "7" } },
          json({ error: { message: "no such key", type: "invalid_request_error" } }, 401),
          { status: 500, headers: { "content-type": "text/plain" }, chunks: [utf8("oh no")] }
        ]
        for (const [index, answer] of answers.entries()) {
          for (const stream of [true, false]) {
            const { layer } = mount({ api }, answer)
            const file = recordings.of(`${api}-error-${index}-${stream}.json`)
            const live = yield* TestClock.withLive(Effect.provide(hear(stream), layer.pipe(record(file))))
            const replayed = yield* Effect.provide(inVirtualTime(hear(stream)), play(file))
            assert.isTrue(AiError.isAiError(live.error))
            assert.deepStrictEqual(plainError(replayed.error), plainError(live.error))
          }
        }
      }))

    it.effect(`plays a broken connection of ${api} as the same error after the same parts`, () =>
      Effect.gen(function*() {
        const pieces = decision(api, call, 3)
        const broken = { ...events(pieces.slice(0, 3), true), everyMillis: 3 }
        for (const answer of [broken, { ...broken, reset: true }]) {
          const { layer } = mount({ api }, answer)
          const file = recordings.of(`${api}-broken.json`)
          const live = yield* TestClock.withLive(Effect.provide(hear(true), layer.pipe(record(file))))
          const replayed = yield* Effect.provide(inVirtualTime(hear(true)), play(file))
          assert.deepStrictEqual(replayed.parts, live.parts)
          assert.isTrue(AiError.isAiError(live.error))
          assert.deepStrictEqual(plainError(replayed.error), plainError(live.error))
        }
      }))
  }

  it.effect("turns the date of a wait into its length, which is true at any time", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, {
        ...json({ error: { message: "slow down" } }, 429),
        headers: { "retry-after": new Date(Date.now() + 90_000).toUTCString() }
      })
      const file = recordings.of("date.json")
      yield* TestClock.withLive(Effect.provide(hear(true), layer.pipe(record(file))))
      const wait = Number(recordings.json("date.json").exchanges[0]!.response.headers!["retry-after"])
      assert.isAtLeast(wait, 60)
      assert.isAtMost(wait, 91)
    }))

  it.effect("plays a run of several turns with tools, and notes its requests", () =>
    Effect.gen(function*() {
      const sum = ToolPolicy.tool({
        parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
        success: Schema.Int,
        handler: ({ a, b }) => Effect.delay(Effect.succeed(a + b), 250)
      })
      const { layer: tools, toolkit } = ToolPolicy.define({ sum })
      const both = ["{\"a\":1,\"b\":2}", "{\"a\":3,\"b\":4}"].map((text, i) => ({
        id: `c${i}`,
        name: "sum",
        arguments: text
      }))
      const again = [{ id: "c2", name: "sum", arguments: "{\"a\":3,\"b\":7}" }]
      for (const api of apis) {
        const { layer, seen } = mount({ api }, (_, turn) => ({
          ...[events(decision(api, both, 5)), events(decision(api, again, 5)), done(api)][turn]!,
          everyMillis: 4
        }))
        const file = recordings.of(`${api}-run.json`)
        const run = Orchestrator.run({ prompt: "add", toolkit }).pipe(
          Effect.map(({ text, toolResults }) => [
            text,
            ...toolResults.map(({ id, result }) => `${id}: ${JSON.stringify(result)}`)
          ])
        )
        const notes = Effect.map(TestModel.requests, (requests) =>
          requests.map(({ method, number, prompt, tools }) => [number, method, tools, prompt.content.length]))
        const noting = Effect.gen(function*() {
          const said = yield* run
          yield* TestModel.assertComplete
          return [said, yield* notes] as const
        })
        const [live, noted] = yield* TestClock.withLive(Effect.provide(noting, [tools, layer.pipe(record(file))]))
        assert.deepStrictEqual([...live].sort(), ["c0: 3", "c1: 7", "c2: 10", "done"])
        assert.deepStrictEqual(
          recordings.json(`${api}-run.json`).exchanges.map(({ request }) =>
            request.bodyJson
          ),
          seen.map(
            ({ body }) => body
          )
        )

        const replay = Effect.gen(function*() {
          const said = yield* inVirtualTime(run)
          yield* TestModel.assertComplete
          assert.deepStrictEqual(yield* notes, noted, "the live run noted the same")
          return { said, requests: yield* TestModel.requests, ends: yield* Clock.currentTimeMillis }
        })
        const begins = yield* Clock.currentTimeMillis
        const { ends, requests, said } = yield* Effect.provide(replay, [tools, play(file)])
        assert.deepStrictEqual(said, live)
        assert.deepStrictEqual(requests.map(({ method, number, tools }) => [number, method, tools]), [
          [1, "streamText", ["sum"]],
          [2, "streamText", ["sum"]],
          [3, "streamText", ["sum"]]
        ])
        assert.isAtLeast(requests[1]!.at - requests[0]!.at, 250, "the tool's time is in it")
        assert.isAtLeast(ends - begins, 500)

        const advanced = yield* Effect.provide(Effect.andThen(advancing(run), TestModel.requests), [tools, play(file)])
        const since = (all: ReadonlyArray<TestModel.Request>) => all.map(({ at }) => at - all[0]!.at)
        assert.deepStrictEqual(since(advanced), since(requests), "the kit's own clock plays the same times")
      }
    }))

  it.effect("gives the names of provider and model", () =>
    Effect.gen(function*() {
      const file = recordings.of("names.json")
      const { baseURL } = mount({}, done("chat"))
      const layer = OpenAi.layer({ model: "qwen", baseURL, provider: "ollama" })
      const names = Effect.all([Model.ProviderName, Model.ModelName])
      yield* TestClock.withLive(Effect.provide(hear(true), layer.pipe(record(file))))
      assert.deepStrictEqual(yield* Effect.provide(names, play(file)), ["ollama", "qwen"])
    }))

  it.effect("waits as long as the recording says: an hour between two words takes no time", () =>
    Effect.gen(function*() {
      const file = recordings.write("hour.json", written(["late"], 3_600_000))
      const program = Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(hear(true, "late"))
        yield* settle
        yield* TestClock.adjust("59 minutes")
        assert.strictEqual(fiber.pollUnsafe(), undefined)
        yield* TestClock.adjust("1 minute")
        return yield* Fiber.join(fiber)
      })
      const { parts, times } = yield* Effect.provide(program, play(file))
      assert.strictEqual(textOf(parts), "late")
      assert.strictEqual(times.at(-1), 3_600_000)
    }))
})

describe("a recording in the harness", () => {
  it.effect("starts calls as their arguments arrive, runs them together, and leaves nothing alive", () =>
    Effect.gen(function*() {
      const sum = ToolPolicy.tool({
        parameters: Schema.Struct({ a: Schema.Int }),
        success: Schema.Int,
        handler: ({ a }) => Effect.delay(Effect.succeed(a), "5 seconds")
      })
      const { layer: tools, toolkit } = ToolPolicy.define({ sum })
      const exchange = (answer: ReadonlyArray<Uint8Array>, roles: ReadonlyArray<string>) => ({
        request: {
          url: "http://localhost:9/v1/chat/completions",
          bodyJson: {
            model: "m",
            stream: true,
            messages: roles.map((role) => ({ role })),
            tools: [{ function: { name: "sum" } }]
          }
        },
        response: {
          afterMillis: 500,
          status: 200,
          headers: { "content-type": "text/event-stream" },
          chunks: answer.map((bytes) => ({ afterMillis: 1000, text: Buffer.from(bytes).toString() }))
        }
      })
      const calls = [1, 2].map((a) => ({ id: `c${a}`, name: "sum", arguments: `{"a":${a}}` }))
      const file = recordings.write("harness.json", {
        ...written([]),
        exchanges: [
          exchange(decision("chat", calls), ["user"]),
          exchange(done("chat").chunks, ["user", "assistant", "tool", "tool"])
        ]
      })
      const program = Effect.gen(function*() {
        yield* MockOrchestrator.expectToolCalls([ToolCall("sum", { a: 1 }), ToolCall("sum", { a: 2 })]).inParallel()
        const execution = yield* MockOrchestrator.execute("go")
        yield* execution.assertNoOrphans()
        return execution
      })
      const layer = MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge([play(file), tools]))
      const { calls: made, totalDuration } = yield* Effect.provide(program, layer)
      // The first call is whole when the second one opens, the second with the end mark.
      assert.deepStrictEqual(made.map(({ endedAt, id, startedAt }) => [id, startedAt, endedAt]), [
        ["c1", 3500, 8500],
        ["c2", 5500, 10_500]
      ])
      assert.strictEqual(Duration.toMillis(totalDuration), 12_000)
    }))
})

describe("matching", () => {
  const said = (prompt: string, stream = true) => Effect.map(hear(stream, prompt), ({ error }) => error)
  const mismatch = (error: unknown, ...patterns: ReadonlyArray<RegExp>) => {
    assert.isTrue(AiError.isAiError(error), String(error))
    assert.isFalse((error as AiError.AiError).isRetryable)
    for (const pattern of patterns) assert.match((error as AiError.AiError).message, pattern)
  }

  it.effect("refuses a request that is not the recorded one, and names exchange and difference", () =>
    Effect.gen(function*() {
      const file = recordings.write("two.json", written(["one", "two"]))
      const model = yield* Effect.provide(said("one"), play(file, { model: "other" }))
      mismatch(model, /two\.json/, /request 1 is not the one of exchange 1: model "other", recorded "m"/)

      const whole = yield* Effect.provide(said("one", false), play(file))
      mismatch(whole, /exchange 1: answer whole, recorded streamed/)

      const longer = LanguageModel.generateText({ prompt: "x" }).pipe(Effect.flip)
      mismatch(yield* Effect.provide(longer, play(file, { compare: false })), /answer whole, recorded streamed/)

      const prompt = [{ role: "system" as const, content: "be brief" }, { role: "user" as const, content: "one" }]
      const messages = Stream.runCollect(LanguageModel.streamText({ prompt })).pipe(Effect.flip)
      mismatch(
        yield* Effect.provide(messages, play(file)),
        /exchange 1: messages 2 \[system, user\], recorded 1 \[user\]/
      )

      const { toolkit } = ToolPolicy.define({
        look: ToolPolicy.tool({ parameters: Schema.Struct({}), success: Schema.Void, handler: () => Effect.void })
      })
      const tools = Stream.runCollect(
        LanguageModel.streamText({ prompt: "one", toolkit, disableToolCallResolution: true })
      )
        .pipe(Effect.flip) as Effect.Effect<unknown, never, LanguageModel.LanguageModel>
      mismatch(yield* Effect.provide(tools, play(file)), /exchange 1: tools \[look\], recorded \[\]/)
    }))

  it.effect("remembers a refusal, and fails on a request too many and on exchanges left over", () =>
    Effect.gen(function*() {
      const file = recordings.write("two.json", written(["one", "two"]))
      const incomplete = Effect.flip(TestModel.assertComplete)
      const left = yield* Effect.provide(Effect.andThen(said("one"), incomplete), play(file))
      assert.match(left.message, /1 of 2 exchanges .*never played:\n {2}exchange 2: POST .*answered 200/)

      const beyond = Effect.gen(function*() {
        yield* said("one")
        yield* said("two")
        yield* TestModel.assertComplete
        return [yield* said("three"), yield* incomplete] as const
      })
      const [error, complete] = yield* Effect.provide(beyond, play(file))
      mismatch(
        error,
        /has 2 exchange\(s\), and request 3 finds none left/,
        /last message of that request: user: "three"/
      )
      assert.match(complete.message, /request 3 finds none left/)

      const refused = yield* Effect.provide(Effect.andThen(said("one"), incomplete), play(file, { model: "other" }))
      assert.strictEqual(refused.reason._tag, "RequestRefused")
    }))

  it.effect("finds the exchange that fits, where told to, and takes each once", () =>
    Effect.gen(function*() {
      const recording = written(["one", "two"])
      recording.exchanges[1]!.request.bodyJson.messages.unshift({ role: "system", content: "be brief" })
      const file = recordings.write("fits.json", recording)
      const system = [{ role: "system" as const, content: "be brief" }, { role: "user" as const, content: "one" }]
      const brief = Stream.runCollect(LanguageModel.streamText({ prompt: system })).pipe(
        Effect.map((parts) => textOf(parts as never))
      )
      const program = Effect.gen(function*() {
        const words = [yield* brief, textOf((yield* hear(true)).parts)]
        yield* TestModel.assertComplete
        return [words, yield* Effect.flip(brief)] as const
      })
      const [words, error] = yield* Effect.provide(program, play(file, { match: "request" }))
      assert.deepStrictEqual(words, ["two", "one"])
      mismatch(error, /request 3 finds none left/)
      mismatch(yield* Effect.provide(Effect.flip(brief), play(file)), /exchange 1: messages/)
    }))

  it.effect("plays whatever is asked, where told to", () =>
    Effect.gen(function*() {
      const file = recordings.write("any.json", written(["one"]))
      const prompt = [{ role: "system" as const, content: "be brief" }, { role: "user" as const, content: "one" }]
      const brief = Stream.runCollect(LanguageModel.streamText({ prompt }))
      const parts = yield* Effect.provide(brief, play(file, { compare: false, model: "other" }))
      assert.strictEqual(textOf(parts as never), "one")
    }))

  it.effect("begins anew wherever the layer is built", () =>
    Effect.gen(function*() {
      const layer = play(recordings.write("anew.json", written(["one"])))
      for (let time = 0; time < 2; time++) assert.strictEqual(yield* Effect.provide(said("one"), layer), undefined)
    }))
})

describe("the file", () => {
  it.effect("says in one typed error why it cannot be played", () =>
    Effect.gen(function*() {
      const nowhere = yield* reasonOf(recordings.of("nowhere.json"))
      assert.strictEqual(nowhere._tag, "Unreadable")
      const malformed = yield* reasonOf(recordings.write("broken.json", "{ \"version\": 1, "))
      assert.strictEqual(malformed._tag, "Malformed")
      const recording = written(["one"])
      const wrong = {
        ...recording,
        exchanges: [{ ...recording.exchanges[0], response: { status: 200, chunks: [{ afterMillis: -1, text: "" }] } }]
      }
      const path = yield* reasonOf(recordings.write("path.json", wrong))
      assert.match(
        path._tag === "Malformed" ? path.issue : "",
        /\["exchanges"\]\[0\]\["response"\]\["chunks"\]\[0\]\["afterMillis"\]/
      )
      assert.deepStrictEqual(yield* reasonOf(recordings.write("version.json", { ...recording, version: 2 })), {
        _tag: "WrongVersion",
        found: "2",
        supported: 1
      })
      assert.strictEqual(
        (yield* reasonOf(recordings.write("none.json", { ...recording, exchanges: [] })))._tag,
        "Empty"
      )
      assert.strictEqual((yield* reasonOf(recordings.write("list.json", "[]")))._tag, "WrongVersion")
      const foreign = { ...recording.exchanges[0]!, request: { url: "https://api.anthropic.com/v1/messages" } }
      assert.deepStrictEqual(
        yield* reasonOf(
          recordings.write("foreign.json", { ...recording, exchanges: [...recording.exchanges, foreign] })
        ),
        { _tag: "Unplayable", exchanges: [{ exchange: 2, is: "anthropic" }] }
      )
    }))

  it.effect("tells in every message which file, and what to try", () =>
    Effect.sync(() => {
      const message = (reason: RecordingError["reason"]) => new RecordingError({ file: "a.json", reason }).message
      assert.match(
        message({ _tag: "Unplayable", exchanges: [{ exchange: 2, is: "google" }] }),
        /"a\.json".*exchange 2 \(google\)/
      )
      assert.match(message({ _tag: "PeerMissing", name: "openai", issue: "gone" }), /npm install openai$/)
      assert.match(
        message({ _tag: "SecretLeft", places: ["exchanges[0].request.url"] }),
        /nothing was written.*exchanges\[0\]/
      )
    }))

  it("needs the package openai only when it is played, and says how to get it", () => {
    const root = resolve(import.meta.dirname, "../..")
    const program = `
      import { registerHooks } from "node:module"
      registerHooks({
        resolve(specifier, context, next) {
          if (/^openai(\\/|$)/.test(specifier)) throw new Error("Cannot find package 'openai'")
          return next(specifier, context)
        }
      })
      const { TestModel } = await import("./src/testing/index.ts")
      const Effect = await import("effect/Effect")
      const Layer = await import("effect/Layer")
      const Files = await import("@effect/platform-node/NodeFileSystem")
      const layer = TestModel.fromRecording(process.argv[1]).pipe(Layer.provide(Files.layer))
      const error = await Effect.runPromise(Effect.flip(Effect.provide(Effect.void, layer)))
      process.stdout.write(error.reason._tag + "\\n" + error.message)
    `
    const file = recordings.write("peer.json", written(["one"]))
    const { stderr, stdout } = spawnSync(process.execPath, ["--input-type=module", "--eval", program, file], {
      cwd: root,
      encoding: "utf8"
    })
    assert.match(stdout, /^PeerMissing\n.*npm install openai$/, stderr)
  })

  it.effect("is written when the run fails, in a folder that was not there, and leaves nothing beside it", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, done("chat"))
      const file = recordings.of("deep/down/failed.json")
      const program = Effect.andThen(hear(true), Effect.fail("the test went wrong"))
      const exit = yield* TestClock.withLive(Effect.exit(Effect.provide(program, layer.pipe(record(file)))))
      assert.deepStrictEqual(exit, Exit.fail("the test went wrong"))
      const recording = recordings.json("deep/down/failed.json")
      assert.deepStrictEqual([recording.run, recording.exchanges.length], ["failed", 1])
      assert.deepStrictEqual(recordings.names().filter((name) => name.includes(".tmp")), [])
    }))

  it.effect("holds what came to its end when the run was interrupted, and says so", () =>
    Effect.gen(function*() {
      const { layer, seen } = mount({}, (_, turn) =>
        turn === 0 ? done("chat") : { ...events(decision("chat", call, 2).slice(0, 4)), stall: true })
      const file = recordings.of("interrupted.json")
      const program = Effect.andThen(hear(true), hear(true)).pipe(Effect.provide(layer.pipe(record(file))))
      const exit = yield* TestClock.withLive(Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(program)
        while (seen.length < 2) {
          yield* Effect.sleep(5)
        }
        yield* Effect.sleep(50)
        yield* Fiber.interrupt(fiber)
        return yield* Fiber.await(fiber)
      }))
      assert.isTrue(Exit.hasInterrupts(exit))
      const { exchanges, leftOut, run } = recordings.json("interrupted.json")
      assert.deepStrictEqual([run, leftOut, exchanges.length], ["interrupted", 1, 1])
      const error = yield* Effect.provide(inVirtualTime(Effect.andThen(hear(true), hear(true))), play(file))
      assert.match(String(error.error), /recorded run was interrupted/)
    }))

  it.effect("keeps what the run itself cancelled: silence on replay, and an error for who reads on", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, {
        ...events(decision("chat", call, 2).slice(0, 4)),
        stall: true
      })
      const file = recordings.of("cancelled.json")
      const first = LanguageModel.streamText({ prompt: "go", disableToolCallResolution: true }).pipe(
        Stream.take(3),
        Stream.runCollect
      )
      yield* TestClock.withLive(Effect.provide(first, layer.pipe(record(file))))
      const [exchange] = recordings.json("cancelled.json").exchanges
      assert.strictEqual(exchange!.response.ending, "cancelled")
      assert.strictEqual((yield* Effect.provide(inVirtualTime(first), play(file))).length, 3)
      const { error, times } = yield* Effect.provide(inVirtualTime(hear(true), 10_000), play(file))
      assert.match(String(error), /exchange 1 stops here, because the recorded run cancelled it/)
      assert.isAtLeast(times.length, 3)
    }))

  it.effect("holds concurrent requests in the order they began", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, (seen) => {
        const { content } = (seen.body["messages"] as ReadonlyArray<{ readonly content: string }>)[0]!
        return { ...events(decision("chat", call, 8)), everyMillis: content === "slow" ? 40 : 1 }
      })
      const file = recordings.of("concurrent.json")
      const both = Effect.all([hear(true, "slow"), hear(true, "fast")], { concurrency: "unbounded" })
      yield* TestClock.withLive(Effect.provide(both, layer.pipe(record(file))))
      const asked = recordings.json("concurrent.json").exchanges.map(({ request }) => JSON.stringify(request.bodyJson))
      assert.match(asked[0]!, /slow/)
      assert.match(asked[1]!, /fast/)
      const [slow, fast] = yield* Effect.provide(inVirtualTime(both), play(file))
      assert.isAbove(slow.times.at(-1)!, fast.times.at(-1)!)
    }))

  it.effect("is left alone by a run that asks nothing", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, done("chat"))
      const file = recordings.write("untouched.json", "as it was")
      yield* Effect.provide(Effect.void, layer.pipe(record(file)))
      assert.strictEqual(recordings.text("untouched.json"), "as it was")
    }))

  it.effect("that cannot be written is a defect that says why", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, done("chat"))
      const file = `${recordings.write("a-file", "x")}/below.json`
      const exit = yield* TestClock.withLive(Effect.exit(Effect.provide(hear(true), layer.pipe(record(file)))))
      const defect = defectOf(exit)
      assert.instanceOf(defect, RecordingError)
      assert.strictEqual(defect.reason._tag, "Unwritable")
    }))

  it.effect("holds requests to a model only, and not the one that fetched its token", () =>
    Effect.gen(function*() {
      const { baseURL, layer, seen } = mount({}, done("chat"))
      const withToken = Layer.unwrap(Effect.gen(function*() {
        const fetch = yield* FetchHttpClient.Fetch
        const body = "{\"grant_type\":\"client_credentials\"}"
        yield* Effect.promise(() =>
          fetch(`${baseURL}/oauth/token`, { method: "POST", body }).then((answer) => answer.text())
        )
        return layer
      }))
      const file = recordings.of("token.json")
      yield* Effect.provide(hear(true), withToken.pipe(record(file)))
      assert.strictEqual(seen.length, 2)
      assert.deepStrictEqual(recordings.json("token.json").exchanges.map(({ request }) => request.url), [
        `${baseURL}/chat/completions`
      ])
    }))

  it.effect("records a layer that was built before without recording", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, done("chat"))
      const file = recordings.of("shared.json")
      const inner = Effect.provide(hear(true), layer.pipe(record(file)))
      yield* TestClock.withLive(Effect.provide(Effect.andThen(hear(true), inner), layer))
      assert.strictEqual(recordings.json("shared.json").exchanges.length, 1)
    }))
})
