/**
 * What goes over the wire for a prompt, seen by a real server.
 */
import { assert, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Names from "../../src/adapter/internal/openAiNames.ts"
import type * as OpenAi from "../../src/adapter/OpenAi.ts"
import { done, faultsOfHistory } from "../replay/server.ts"
import { provider } from "./openAiServer.ts"

const mount = provider()

type Fields = { readonly [key: string]: unknown }

const Weather = Tool.make("weather", {
  description: "Tells it.",
  parameters: Schema.Struct({ city: Schema.String, days: Schema.optionalKey(Schema.Int) }),
  success: Schema.String
})
const raw = { type: "object", properties: { q: { type: "string" } }, required: ["q"] }
const Raw = Tool.dynamic("raw.tool", { parameters: raw, success: Schema.Unknown })
const Odd = Tool.make("odd", {
  parameters: Schema.Union([Schema.Struct({ a: Schema.String }), Schema.Struct({ b: Schema.Int })]),
  success: Schema.String
})
const Loose = Tool.make("loose", { parameters: Schema.Struct({ n: Schema.Int }), success: Schema.String }).annotate(
  Tool.Strict,
  false
)
const toolkit = Toolkit.make(Weather, Raw, Odd, Loose)

const ask = Effect.fnUntraced(
  function*(
    api: "chat" | "responses",
    prompt: Prompt.RawInput,
    options: Partial<OpenAi.Options> = {},
    more: object = {}
  ) {
    const { layer, seen } = mount({ api, ...options }, done(api))
    yield* LanguageModel.streamText({
      prompt,
      disableToolCallResolution: true,
      toolCallValidation: "deferred",
      ...more
    }).pipe(Stream.runDrain, Effect.provide(layer))
    return seen[0]!.body
  }
)

const messages = (body: Fields) => body["messages"] as ReadonlyArray<Fields>
const input = (body: Fields) => body["input"] as ReadonlyArray<Fields>

const png = new Uint8Array([137, 80, 78, 71])
const history = Prompt.make([
  { role: "system", content: "Be brief." },
  {
    role: "user",
    content: [
      { type: "text", text: "Look:" },
      { type: "file", mediaType: "image/png", data: png },
      {
        type: "file",
        mediaType: "image/jpeg",
        data: new URL("https://a.example/b.jpg"),
        options: { openai: { imageDetail: "low" } }
      },
      { type: "file", mediaType: "application/pdf", fileName: "c.pdf", data: "JVBERg==" }
    ]
  },
  {
    role: "assistant",
    content: [
      { type: "reasoning", text: "hm", options: { openai: { itemId: "rs_1", encryptedContent: "gAAA" } } },
      { type: "text", text: "I ask." },
      {
        type: "tool-call",
        id: "call_1",
        name: "weather",
        params: { city: "Łódź" },
        options: { openai: { itemId: "fc_1" } }
      },
      { type: "tool-call", id: "call_2", name: "raw.tool", params: "{broken" },
      { type: "reasoning", text: "left over", options: { openai: { itemId: "rs_2" } } }
    ]
  },
  {
    role: "tool",
    content: [
      { type: "tool-result", id: "call_1", name: "weather", isFailure: false, result: "sunny" },
      {
        type: "tool-result",
        id: "call_2",
        name: "raw.tool",
        isFailure: false,
        result: { pages: 1 },
        modelOutput: [{ type: "text", text: "seen" }, { type: "file", mediaType: "image/png", data: png }]
      }
    ]
  }
] as never)

describe("OpenAi request, Chat Completions", () => {
  it.live("lowers every kind of message", () =>
    Effect.gen(function*() {
      const body = yield* ask("chat", history, {}, { toolkit })
      const [system, user, assistant, first, second, files] = messages(body)
      assert.deepStrictEqual(system, { role: "system", content: "Be brief." })
      assert.deepStrictEqual(user!["content"], [
        { type: "text", text: "Look:" },
        { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw==" } },
        { type: "image_url", image_url: { url: "https://a.example/b.jpg", detail: "low" } },
        { type: "file", file: { filename: "c.pdf", file_data: "data:application/pdf;base64,JVBERg==" } }
      ])
      assert.deepStrictEqual(assistant, {
        role: "assistant",
        content: "I ask.",
        tool_calls: [
          { id: "call_1", type: "function", function: { name: "weather", arguments: "{\"city\":\"Łódź\"}" } },
          { id: "call_2", type: "function", function: { name: "raw_tool", arguments: "{broken" } }
        ]
      })
      assert.deepStrictEqual(first, { role: "tool", tool_call_id: "call_1", content: "sunny" })
      assert.deepStrictEqual(second!["content"], "seen\n(1 file(s) of this result follow in the next user message)")
      assert.deepStrictEqual((files!["content"] as ReadonlyArray<Fields>)[1], {
        type: "image_url",
        image_url: { url: "data:image/png;base64,iVBORw==" }
      })
      assert.deepStrictEqual(faultsOfHistory("chat", body), [])
    }))

  it.live("sends tools strict where that can be, a raw JSON Schema as it is, and what has no strict form plain", () =>
    Effect.gen(function*() {
      const tools = (yield* ask("chat", "x", { strict: true }, { toolkit }))["tools"] as ReadonlyArray<
        { readonly function: Fields }
      >
      assert.deepStrictEqual(tools.map((tool) => [tool.function["name"], tool.function["strict"]]), [
        ["weather", true],
        ["raw_tool", undefined],
        ["odd", undefined],
        ["loose", undefined]
      ])
      assert.deepStrictEqual(tools[1]!.function["parameters"], raw)
      assert.strictEqual(tools[0]!.function["description"], "Tells it.")
      const plain = (yield* ask("chat", "x", {}, { toolkit }))["tools"] as ReadonlyArray<{ readonly function: Fields }>
      assert.deepStrictEqual(plain.map((tool) => tool.function["strict"]), [undefined, undefined, undefined, undefined])
    }))

  it.live("lowers the choice of tools", () =>
    Effect.gen(function*() {
      const choose = (toolChoice: unknown) =>
        Effect.map(ask("chat", "x", { parallelToolCalls: false }, { toolkit, toolChoice }), (body) => body)
      assert.strictEqual((yield* choose("auto"))["tool_choice"], "auto")
      assert.strictEqual((yield* choose("none"))["tool_choice"], "none")
      assert.strictEqual((yield* choose("required"))["tool_choice"], "required")
      assert.deepStrictEqual((yield* choose({ tool: "raw.tool" }))["tool_choice"], {
        type: "function",
        function: { name: "raw_tool" }
      })
      const some = yield* choose({ mode: "required", oneOf: ["weather"] })
      assert.deepStrictEqual([
        some["tool_choice"],
        (some["tools"] as ReadonlyArray<unknown>).length,
        some["parallel_tool_calls"]
      ], ["required", 1, false])
      const none = yield* ask("chat", "x", { parallelToolCalls: false })
      assert.isFalse("tools" in none || "tool_choice" in none || "parallel_tool_calls" in none)
    }))

  it.live("names settings as the server knows them, and lets body win", () =>
    Effect.gen(function*() {
      const body = yield* ask("chat", "x", {
        request: {
          temperature: 0.5,
          topP: 0.9,
          maxOutputTokens: 7,
          reasoningEffort: "low",
          body: { seed: 1, stream_options: undefined }
        }
      })
      assert.deepInclude(body, { temperature: 0.5, top_p: 0.9, max_tokens: 7, reasoning_effort: "low", seed: 1 })
      assert.isFalse("stream_options" in body)
    }))

  it.live("sends reasoning back under the field it came in, and to nobody else", () =>
    Effect.gen(function*() {
      const prompt = (field: string | undefined) =>
        Prompt.make([
          { role: "user", content: [{ type: "text", text: "x" }] },
          {
            role: "assistant",
            content: [{ type: "reasoning", text: "hm", options: field === undefined ? {} : { openai: { field } } }, {
              type: "text",
              text: "y"
            }]
          },
          { role: "user", content: [{ type: "text", text: "z" }] }
        ] as never)
      assert.strictEqual(messages(yield* ask("chat", prompt("reasoning_content")))[1]!["reasoning_content"], "hm")
      assert.deepStrictEqual(Object.keys(messages(yield* ask("chat", prompt(undefined)))[1]!), ["role", "content"])
    }))

  it.live("splits a message of 300 calls into messages of at most 128, each with its results behind it", () =>
    Effect.gen(function*() {
      const ids = Array.from({ length: 300 }, (_, n) => `call_${n}`)
      const body = yield* ask(
        "chat",
        Prompt.make([
          { role: "user", content: [{ type: "text", text: "x" }] },
          {
            role: "assistant",
            content: [
              { type: "text", text: "many" },
              ...ids.map((id) => ({ type: "tool-call", id, name: "weather", params: {} }))
            ]
          },
          {
            role: "tool",
            content: ids.map((id) => ({ type: "tool-result", id, name: "weather", isFailure: false, result: id }))
          }
        ] as never)
      )
      const counts = messages(body).filter((message) => message["role"] === "assistant").map((message) =>
        (message["tool_calls"] as ReadonlyArray<unknown>).length
      )
      assert.deepStrictEqual(counts, [128, 128, 44])
      assert.deepStrictEqual(faultsOfHistory("chat", body), [])
      assert.deepStrictEqual(
        messages(body).filter((message) => message["role"] === "tool").map((message) => message["content"]),
        ids
      )
    }))

  it.live("says what it cannot send, typed", () =>
    Effect.gen(function*() {
      const video = Prompt.make(
        [{
          role: "user",
          content: [{ type: "file", mediaType: "video/mp4", data: new URL("https://a.example/v.mp4") }]
        }] as never
      )
      const error = yield* Effect.flip(ask("chat", video))
      assert.strictEqual((error as { reason: { _tag: string } }).reason._tag, "InvalidUserInputError")
    }))
})

describe("OpenAi request, Responses", () => {
  it.live("lowers every kind of item, reasoning with its id and content before what it led to", () =>
    Effect.gen(function*() {
      const body = yield* ask("responses", history, {}, { toolkit })
      const [system, user, ...rest] = input(body)
      assert.deepStrictEqual(system, { role: "system", content: "Be brief." })
      assert.deepStrictEqual(user!["content"], [
        { type: "input_text", text: "Look:" },
        { type: "input_image", image_url: "data:image/png;base64,iVBORw==", detail: "auto" },
        { type: "input_image", image_url: "https://a.example/b.jpg", detail: "low" },
        { type: "input_file", filename: "c.pdf", file_data: "data:application/pdf;base64,JVBERg==" }
      ])
      assert.deepStrictEqual(rest, [
        { type: "reasoning", id: "rs_1", encrypted_content: "gAAA", summary: [{ type: "summary_text", text: "hm" }] },
        { role: "assistant", content: [{ type: "output_text", text: "I ask." }] },
        { type: "function_call", call_id: "call_1", name: "weather", arguments: "{\"city\":\"Łódź\"}", id: "fc_1" },
        { type: "function_call", call_id: "call_2", name: "raw_tool", arguments: "{broken" },
        { type: "function_call_output", call_id: "call_1", output: "sunny" },
        {
          type: "function_call_output",
          call_id: "call_2",
          output: [{ type: "input_text", text: "seen" }, {
            type: "input_image",
            image_url: "data:image/png;base64,iVBORw==",
            detail: "auto"
          }]
        }
      ])
      assert.deepStrictEqual(faultsOfHistory("responses", body), [])
    }))

  it.live("says strict of every tool, since this API takes silence for yes", () =>
    Effect.gen(function*() {
      const tools = (yield* ask("responses", "x", { strict: true }, { toolkit }))["tools"] as ReadonlyArray<Fields>
      assert.deepStrictEqual(tools.map((tool) => [tool["type"], tool["name"], tool["strict"]]), [
        ["function", "weather", true],
        ["function", "raw_tool", false],
        ["function", "odd", false],
        ["function", "loose", false]
      ])
    }))

  it.live("offers tools that the provider runs", () =>
    Effect.gen(function*() {
      const WebSearch = Tool.providerDefined({
        id: "openai.web_search",
        customName: "search",
        providerName: "web_search",
        args: Schema.Struct({ search_context_size: Schema.String }),
        success: Schema.Unknown
      })
      const kit = Toolkit.make(WebSearch({ search_context_size: "low" }) as never)
      const body = yield* ask("responses", "x", {}, { toolkit: kit })
      assert.deepStrictEqual(body["tools"], [{ type: "web_search", search_context_size: "low" }])
    }))

  it.live("names settings as this API knows them", () =>
    Effect.gen(function*() {
      const body = yield* ask("responses", "x", {
        request: {
          maxOutputTokens: 7,
          reasoningEffort: "low",
          body: { store: false, include: ["reasoning.encrypted_content"] }
        }
      })
      assert.deepInclude(body, {
        max_output_tokens: 7,
        reasoning: { effort: "low" },
        store: false,
        include: ["reasoning.encrypted_content"],
        stream: true
      })
    }))
})

describe("openAiNames", () => {
  const names = [
    "plain",
    "with.dot",
    "with_dot",
    "with dot",
    "",
    "🧨",
    "a".repeat(65),
    `${"a".repeat(64)}b`,
    "__proto__",
    "constructor",
    "x".repeat(10_000)
  ]

  it("gives every name one that fits the wire, no two the same, and takes it back", () => {
    const map = Names.make(names)
    const wires = names.map(map.toWire)
    for (const wire of wires) assert.match(wire, /^[a-zA-Z0-9_-]{1,64}$/)
    assert.strictEqual(new Set(wires).size, names.length)
    assert.deepStrictEqual(wires.map(map.fromWire), names)
    assert.strictEqual(map.toWire("with_dot"), "with_dot")
  })

  it("leaves names that the model made up as they are, and never confuses them with offered ones", () => {
    const map = Names.make(["with.dot"])
    assert.strictEqual(map.fromWire("made_up"), "made_up")
    assert.strictEqual(map.fromWire("toString"), "toString")
    assert.notStrictEqual(map.toWire("with dot"), map.toWire("with.dot"))
  })

  it("shortens long ids, the same for a call and its result, never two to one", () => {
    const wireId = Names.ids(40)
    const long = Array.from({ length: 50 }, (_, n) => `${"call_".repeat(20)}${n}`)
    const wires = long.map(wireId)
    for (const wire of wires) assert.isTrue(wire.length <= 40)
    assert.strictEqual(new Set(wires).size, 50)
    assert.deepStrictEqual(long.map(wireId), wires)
    assert.strictEqual(wireId("call_1"), "call_1")
  })
})
