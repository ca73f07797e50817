import { assert, describe, it } from "@effect/vitest"
import type * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { createServer } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import OpenAIClient, { AzureOpenAI } from "openai"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import { chatEvent, decision, done, events, json, responsesEvent, utf8 } from "../replay/server.ts"
import { provider } from "./openAiServer.ts"

const mount = provider()

const options = { prompt: "hi", disableToolCallResolution: true, toolCallValidation: "deferred" } as const
const streamed = LanguageModel.streamText(options).pipe(Stream.runCollect)
const errorOf = (effect: Effect.Effect<unknown, AiError.AiError, LanguageModel.LanguageModel>) => Effect.flip(effect)

const failing = (status: number, body: unknown, headers: Record<string, string> = {}) => ({
  status,
  headers: { "content-type": "application/json", ...headers },
  chunks: [utf8(typeof body === "string" ? body : JSON.stringify(body))]
})

describe("OpenAi.layer", () => {
  it.live("asks a server with a base URL over Chat Completions, streamed", () =>
    Effect.gen(function*() {
      const { layer, seen } = mount({}, events(decision("chat", [{ id: "call_1", name: "f", arguments: "{\"n\":1}" }])))
      const parts = yield* Effect.provide(streamed, layer)
      assert.deepStrictEqual(
        parts.filter((part) => part.type === "tool-call").map((part) => [part.id, part.name, part.params]),
        [["call_1", "f", { n: 1 }]]
      )
      assert.match(seen[0]!.url, /\/v1\/chat\/completions$/)
      assert.strictEqual(seen[0]!.body["stream"], true)
    }))

  it.live("asks over Responses when told to", () =>
    Effect.gen(function*() {
      const { layer, seen } = mount(
        { api: "responses" },
        events(decision("responses", [{ id: "call_1", name: "f", arguments: "{\"n\":1}" }]))
      )
      const parts = yield* Effect.provide(streamed, layer)
      assert.deepStrictEqual(parts.filter((part) => part.type === "tool-call").map((part) => part.params), [{ n: 1 }])
      assert.match(seen[0]!.url, /\/v1\/responses$/)
    }))

  it.live("asks through the fetch that Effect's reference holds where it is built, for itself alone", () =>
    Effect.gen(function*() {
      const { layer, seen } = mount({}, done("chat"))
      const asked: Array<string> = []
      const noting: typeof fetch = (input, init) => {
        asked.push(`${init?.method} ${typeof input === "string" ? input : "no text"}`)
        return fetch(input, init)
      }
      yield* Effect.provide(streamed, layer.pipe(Layer.provide(Layer.succeed(FetchHttpClient.Fetch, noting))))
      assert.strictEqual(asked.length, 1)
      assert.match(asked[0]!, /^POST http.*\/v1\/chat\/completions$/)
      const later = Effect.provideService(streamed, FetchHttpClient.Fetch, noting)
      yield* Effect.provide(later, layer)
      assert.deepStrictEqual([asked.length, seen.length], [1, 2])
    }))

  it.live("asks through a global fetch that was replaced after the layer was built", () =>
    Effect.gen(function*() {
      const { layer } = mount({}, done("chat"))
      const real = globalThis.fetch
      let asked = 0
      const replaced = Effect.acquireUseRelease(
        Effect.sync(() => {
          globalThis.fetch = (input, init) => {
            asked++
            return real(input, init)
          }
        }),
        () => streamed,
        () => Effect.sync(() => void (globalThis.fetch = real))
      )
      yield* Effect.provide(Effect.andThen(streamed, replaced), layer)
      assert.strictEqual(asked, 1)
    }))

  it.live("gives the names of provider and model", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual([yield* Model.ProviderName, yield* Model.ModelName], ["openai", "m"])
    }).pipe(Effect.provide(mount({}, done("chat")).layer)))

  it.live("answers a whole text on both wires, and both refuse to call the vendor without a key", () =>
    Effect.gen(function*() {
      const chat = mount(
        {},
        json({ id: "c", model: "m", choices: [{ index: 0, message: { content: "Hi" }, finish_reason: "stop" }] })
      )
      assert.strictEqual((yield* Effect.provide(LanguageModel.generateText({ prompt: "x" }), chat.layer)).text, "Hi")
      const responses = mount(
        { api: "responses" },
        json({
          id: "r",
          object: "response",
          status: "completed",
          output: [{ type: "message", id: "msg_1", content: [{ type: "output_text", text: "Hi" }] }]
        })
      )
      assert.strictEqual(
        (yield* Effect.provide(LanguageModel.generateText({ prompt: "x" }), responses.layer)).text,
        "Hi"
      )
      const error = yield* errorOf(LanguageModel.generateText({ prompt: "x" })).pipe(
        Effect.provide(OpenAi.layer({ model: "m" }))
      )
      assert.strictEqual(error.reason._tag === "AuthenticationError" && error.reason.kind, "MissingKey")
    }))

  it.live("generates objects end to end, on both wires", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({
        city: Schema.String,
        days: Schema.optionalKey(Schema.Int),
        tags: Schema.Array(Schema.String)
      })
      const text = JSON.stringify({ city: "Łódź", days: null, tags: ["a"] })
      const ask = LanguageModel.generateObject({ prompt: "x", schema, objectName: "trip" })
      const chat = mount({}, json({ choices: [{ index: 0, message: { content: text }, finish_reason: "stop" }] }))
      assert.deepStrictEqual((yield* Effect.provide(ask, chat.layer)).value, { city: "Łódź", tags: ["a"] })
      assert.deepInclude(chat.seen[0]!.body["response_format"], { type: "json_schema" })
      const responses = mount(
        { api: "responses" },
        json({
          object: "response",
          status: "completed",
          output: [{ type: "message", content: [{ type: "output_text", text }] }]
        })
      )
      assert.deepStrictEqual((yield* Effect.provide(ask, responses.layer)).value, { city: "Łódź", tags: ["a"] })
      assert.deepInclude((responses.seen[0]!.body["text"] as { format: object }).format, {
        type: "json_schema",
        name: "trip",
        strict: true
      })
    }))

  it.live("hands on request ids and rate limits with the first part and the last", () =>
    Effect.gen(function*() {
      const headers = {
        "x-request-id": "req_1",
        "x-ratelimit-remaining-requests": "9",
        "openai-processing-ms": "12",
        "set-cookie": "private"
      }
      const answer = done("chat")
      const parts = yield* Effect.provide(
        streamed,
        mount({}, { ...answer, headers: { ...answer.headers, ...headers } }).layer
      )
      const { "set-cookie": _, ...kept } = headers
      const first = parts.find((part) => part.type === "response-metadata")
      assert.deepInclude((first!.metadata as unknown as { openai: { headers: object } }).openai.headers, kept)
      const last = parts.at(-1)
      assert.isTrue(last?.type === "finish" && last.response?.status === 200)
      assert.notInclude(JSON.stringify(parts), "private")
    }))

  it.live("emits what one chunk of the network holds as one array, before the next chunk comes", () =>
    Effect.gen(function*() {
      let release = (): void => undefined
      const server = createServer((_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write(
          Buffer.concat(
            decision("chat", [{ id: "a", name: "f", arguments: "{}" }, { id: "b", name: "f", arguments: "{}" }], 99)
              .slice(0, 3)
          )
        )
        release = () =>
          void response.end(
            Buffer.concat([utf8(chatEvent({ delta: {}, finish_reason: "tool_calls" })), utf8("data: [DONE]\n\n")])
          )
      })
      yield* Effect.acquireRelease(
        Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
        () =>
          Effect.promise(() =>
            new Promise<void>((resolve) => {
              server.closeAllConnections()
              server.close(() => resolve())
            })
          )
      )
      const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
      const arrays: Array<ReadonlyArray<string>> = []
      yield* LanguageModel.streamText(options).pipe(
        Stream.mapArray((parts) => {
          arrays.push(parts.map((part) => part.type))
          // The first call is sealed while the server still holds the rest back.
          if (parts.some((part) => part.type === "tool-call")) release()
          return parts
        }),
        Stream.runDrain,
        Effect.provide(OpenAi.layer({ model: "m", baseURL }))
      )
      assert.includeMembers([...arrays[0]!], ["response-metadata", "tool-params-start", "tool-call"])
    }).pipe(Effect.scoped))
})

describe("OpenAi, a client of the user's own", () => {
  it.live("asks once whatever the client's retries are, and maps what its errors keep", () =>
    Effect.gen(function*() {
      const { baseURL, seen } = mount({}, failing(503, { error: { message: "busy" } }, { "retry-after-ms": "20" }))
      const client = new OpenAIClient({ apiKey: "k", baseURL, maxRetries: 5 })
      const failure = yield* errorOf(streamed).pipe(Effect.provide(OpenAi.layer({ model: "m", client })))
      assert.strictEqual(failure.reason._tag, "InternalProviderError")
      assert.include(failure.message, "busy")
      assert.strictEqual(Duration.toMillis(failure.retryAfter!), 20)
      assert.strictEqual(seen.length, 1)
    }))

  it.live("speaks to Azure through the SDK's own client", () =>
    Effect.gen(function*() {
      const { baseURL, seen } = mount({}, done("chat"))
      const client = new AzureOpenAI({ apiKey: "azure-key", baseURL, apiVersion: "2025-01-01" })
      yield* streamed.pipe(Effect.provide(OpenAi.layer({ model: "my-deployment", client })))
      assert.match(seen[0]!.url, /\/chat\/completions\?api-version=2025-01-01$/)
      assert.strictEqual(seen[0]!.headers["api-key"], "azure-key")
    }))

  it.live("speaks to Azure's v1 endpoint by base URL, header and query", () =>
    Effect.gen(function*() {
      const { layer, seen } = mount(
        { headers: { "api-key": "azure-key" }, query: { "api-version": "preview" } },
        done("chat")
      )
      yield* streamed.pipe(Effect.provide(layer))
      assert.match(seen[0]!.url, /\?api-version=preview$/)
      assert.strictEqual(seen[0]!.headers["api-key"], "azure-key")
    }))
})

describe("OpenAi, telemetry", () => {
  it.live("writes model, usage and finish reason on the span of the request, and no content", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const { layer } = mount({}, events(decision("chat", [{ id: "a", name: "f", arguments: "{\"secret\":1}" }])))
      yield* streamed.pipe(Effect.provide(layer), Effect.provideService(Tracer.Tracer, tracer))
      const attributes = Object.fromEntries(spans.flatMap((span) => [...span.attributes]))
      assert.deepInclude(attributes, { "gen_ai.request.model": "m", "gen_ai.operation.name": "chat" })
      assert.deepStrictEqual(attributes["gen_ai.response.finish_reasons"], ["tool-calls"])
      assert.notInclude(JSON.stringify(attributes), "secret")
    }))
})

describe("OpenAi.layerConfig", () => {
  const environment = (values: Record<string, string>) =>
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(values))

  it.live("reads key, server and model, and sends the key", () =>
    Effect.gen(function*() {
      const { baseURL, seen } = mount({}, done("chat"))
      yield* streamed.pipe(
        Effect.provide(OpenAi.layerConfig()),
        environment({ OPENAI_BASE_URL: baseURL, OPENAI_MODEL: "from-env", OPENAI_API_KEY: "sk-from-env" })
      )
      assert.strictEqual(seen[0]!.body["model"], "from-env")
      assert.strictEqual(seen[0]!.headers.authorization, "Bearer sk-from-env")
    }))

  it.live("fails with a ConfigError when no model is named", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(streamed.pipe(Effect.provide(OpenAi.layerConfig()), environment({})))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, "OPENAI_MODEL")
    }))
})

describe("OpenAi, errors", () => {
  const table: ReadonlyArray<readonly [status: number, error: object, tag: string, isRetryable: boolean]> = [
    [400, { message: "bad", param: "temperature" }, "InvalidRequestError", false],
    [400, { message: "too long", code: "context_length_exceeded" }, "InvalidRequestError", false],
    [400, { message: "no", code: "content_policy_violation" }, "ContentPolicyError", false],
    [400, { message: "no", code: "content_filter" }, "ContentPolicyError", false],
    [401, { message: "key" }, "AuthenticationError", false],
    [403, { message: "country" }, "AuthenticationError", false],
    [404, { message: "model", code: "model_not_found" }, "InvalidRequestError", false],
    [408, {}, "InternalProviderError", true],
    [409, {}, "InternalProviderError", true],
    [413, { message: "large" }, "InvalidRequestError", false],
    [422, { message: "field" }, "InvalidRequestError", false],
    [429, { message: "slow", code: "rate_limit_exceeded" }, "RateLimitError", true],
    [429, { message: "pay", code: "insufficient_quota", type: "insufficient_quota" }, "QuotaExhaustedError", false],
    [500, {}, "InternalProviderError", true],
    [503, {}, "InternalProviderError", true],
    [529, {}, "InternalProviderError", true]
  ]
  for (const [status, error, tag, isRetryable] of table) {
    it.live(`${status} ${JSON.stringify(error)} is ${tag}, asked once, on both methods`, () =>
      Effect.gen(function*() {
        const { layer, seen } = mount({}, failing(status, { error }))
        for (const ask of [streamed, LanguageModel.generateText({ prompt: "x" })]) {
          const failure = yield* errorOf(ask as typeof streamed).pipe(Effect.provide(layer))
          assert.strictEqual(failure.reason._tag, tag)
          assert.strictEqual(failure.isRetryable, isRetryable)
        }
        assert.strictEqual(seen.length, 2)
      }))
  }

  const waits: ReadonlyArray<readonly [headers: Record<string, string>, millis: number | undefined]> = [
    [{ "retry-after-ms": "150" }, 150],
    [{ "retry-after": "2" }, 2000],
    [{ "retry-after": "0" }, 0],
    [{ "retry-after": "-5" }, 0],
    [{ "retry-after": "1.5" }, 1500],
    [{ "retry-after": "soon" }, undefined],
    [{}, undefined],
    [{ "retry-after": "86400" }, 86_400_000],
    [{ "retry-after-ms": "20", "retry-after": "9" }, 20],
    [{ "retry-after": "Thu, 01 Jan 1970 00:00:09 GMT" }, 0]
  ]
  for (const [headers, millis] of waits) {
    it.live(`P1: ${JSON.stringify(headers)} is a wait of ${millis} ms, on 429 and on 503`, () =>
      Effect.gen(function*() {
        for (const status of [429, 503]) {
          const failure = yield* errorOf(streamed).pipe(Effect.provide(mount({}, failing(status, {}, headers)).layer))
          assert.strictEqual(
            failure.retryAfter === undefined ? undefined : Duration.toMillis(failure.retryAfter),
            millis
          )
        }
      }))
  }

  it.live("P1: an HTTP date is a wait from now, by Effect's clock", () =>
    Effect.gen(function*() {
      const date = new Date(Date.now() + 60_000).toUTCString()
      const failure = yield* errorOf(streamed).pipe(
        Effect.provide(mount({}, failing(429, {}, { "retry-after": date })).layer)
      )
      const millis = Duration.toMillis(failure.retryAfter!)
      assert.isTrue(millis > 30_000 && millis <= 60_000, String(millis))
    }))

  it.live("P4: the body is there, cut to 8 KiB, and shows no key, wherever the provider quotes it", () =>
    Effect.gen(function*() {
      const apiKey = "my-local-key-123"
      const body = {
        error: { message: `bad key ${apiKey} and sk-proj-abcdefgh1234`, code: "x" },
        more: "y".repeat(100_000)
      }
      for (const key of [apiKey, Redacted.make(apiKey)]) {
        for (
          const answer of [
            failing(400, body),
            failing(200, body),
            failing(502, `<html>${apiKey}</html>`),
            failing(200, `<html>${apiKey}</html>`)
          ]
        ) {
          const failure = yield* errorOf(streamed).pipe(Effect.provide(mount({ apiKey: key }, answer).layer))
          const shown = JSON.stringify(failure) + failure.message + String(failure)
          assert.notInclude(shown, apiKey)
          assert.notInclude(shown, "abcdefgh1234")
          const reason = failure.reason as { readonly http?: { readonly body?: string } }
          assert.isTrue(reason.http?.body !== undefined && reason.http.body.length <= 8193)
        }
      }
    }))

  it.live("a refused connection, an unknown host and a reset socket are NetworkError, retryable", () =>
    Effect.gen(function*() {
      const server = createServer((request) => request.socket.destroy())
      yield* Effect.acquireRelease(
        Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
        () => Effect.promise(() => new Promise<void>((resolve) => server.close(() => resolve())))
      )
      const { port } = server.address() as AddressInfo
      for (
        const baseURL of [`http://127.0.0.1:${port}/v1`, "http://127.0.0.1:2/v1", "http://no-such-host.invalid/v1"]
      ) {
        for (const ask of [streamed, LanguageModel.generateText({ prompt: "x" })]) {
          const failure = yield* errorOf(ask as typeof streamed).pipe(
            Effect.provide(OpenAi.layer({ model: "m", baseURL }))
          )
          assert.strictEqual(failure.reason._tag, "NetworkError", baseURL)
          assert.isTrue(failure.isRetryable)
          assert.include(failure.message, baseURL)
        }
      }
    }).pipe(Effect.scoped))

  it.live("a server that never answers is NetworkError when the timeout is over", () =>
    Effect.gen(function*() {
      const server = createServer(() => undefined)
      yield* Effect.acquireRelease(
        Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
        () =>
          Effect.promise(() =>
            new Promise<void>((resolve) => {
              server.closeAllConnections()
              server.close(() => resolve())
            })
          )
      )
      const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
      const failure = yield* errorOf(streamed).pipe(
        Effect.provide(OpenAi.layer({ model: "m", baseURL, timeout: "50 millis" }))
      )
      assert.strictEqual(failure.reason._tag, "NetworkError")
      assert.match(failure.message, /timed out/i)
    }).pipe(Effect.scoped))

  it.live("P5: a socket that dies in the stream is NetworkError after the parts before it", () =>
    Effect.gen(function*() {
      const chunks = decision("responses", [{ id: "a", name: "f", arguments: "{\"n\":1}" }, {
        id: "b",
        name: "f",
        arguments: "{\"n\":2}"
      }])
      const { layer } = mount({ api: "responses" }, { ...events(chunks.slice(0, 6)), hangUp: true })
      const parts: Array<string> = []
      const failure = yield* LanguageModel.streamText(options).pipe(
        Stream.runForEach((part) => Effect.sync(() => void parts.push(`${part.type} ${"id" in part ? part.id : ""}`))),
        Effect.flip,
        Effect.provide(layer)
      )
      assert.include(parts, "tool-call a")
      assert.include(parts, "tool-params-start b")
      assert.notInclude(parts, "tool-call b")
      assert.strictEqual(failure.reason._tag, "NetworkError")
    }))
})

describe("OpenAi, interruption", () => {
  // A server that answers the headers and one event, then waits; it tells when its client has gone.
  const patient = Effect.fnUntraced(function*(first: string | undefined) {
    let gone = (): void => undefined
    let asked = (): void => undefined
    const closed = new Promise<void>((resolve) => (gone = resolve))
    const arrived = new Promise<void>((resolve) => (asked = resolve))
    const sockets = new Set<Socket>()
    const server = createServer((request, response) => {
      request.on("close", () => undefined)
      response.on("close", () => gone())
      if (first !== undefined) response.writeHead(200, { "content-type": "text/event-stream" }).write(first)
      asked()
    })
    server.on("connection", (socket) => sockets.add(socket))
    yield* Effect.acquireRelease(
      Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
      () =>
        Effect.promise(() =>
          new Promise<void>((resolve) => {
            sockets.forEach((socket) => socket.destroy())
            server.close(() => resolve())
          })
        )
    )
    return { baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, closed, arrived }
  })

  for (
    const [when, first] of [["before the headers", undefined], [
      "in the stream",
      chatEvent({ delta: { content: "Hi" } })
    ]] as const
  ) {
    it.live(`aborts the request ${when}: the server sees the close`, () =>
      Effect.gen(function*() {
        const server = yield* patient(first)
        const layer = OpenAi.layer({ model: "m", baseURL: server.baseURL })
        for (const ask of first === undefined ? [streamed, LanguageModel.generateText({ prompt: "x" })] : [streamed]) {
          const fiber = yield* Effect.forkChild(Effect.provide(ask as typeof streamed, layer))
          yield* Effect.promise(() => server.arrived)
          yield* Fiber.interrupt(fiber)
          yield* Effect.promise(() => server.closed)
        }
      }).pipe(Effect.scoped))
  }

  it.live("a reader that leaves aborts the request", () =>
    Effect.gen(function*() {
      const server = yield* patient(chatEvent({ delta: { content: "Hi" } }))
      yield* LanguageModel.streamText(options).pipe(
        Stream.take(1),
        Stream.runDrain,
        Effect.provide(OpenAi.layer({ model: "m", baseURL: server.baseURL }))
      )
      yield* Effect.promise(() => server.closed)
    }).pipe(Effect.scoped))

  it.live("a server that holds the line open after its end mark is not waited for", () =>
    Effect.gen(function*() {
      const server = yield* patient(
        responsesEvent({ type: "response.completed", response: { id: "r", status: "completed", output: [] } })
      )
      const parts = yield* streamed.pipe(
        Effect.provide(OpenAi.layer({ model: "m", baseURL: server.baseURL, api: "responses" }))
      )
      assert.strictEqual(parts.at(-1)?.type, "finish")
      yield* Effect.promise(() => server.closed)
    }).pipe(Effect.scoped))
})

describe("OpenAi, tools with strict schemas", () => {
  const Search = Tool.make("web.search", {
    parameters: Schema.Struct({ query: Schema.String, limit: Schema.optionalKey(Schema.Int) }),
    success: Schema.String
  })
  const toolkit = Toolkit.make(Search)

  it.live("takes the nulls and pairs of strict mode back into the tool's own form, under its own name", () =>
    Effect.gen(function*() {
      const { layer, seen } = mount({ strict: true }, (seen) => {
        const [tool] = seen.body["tools"] as ReadonlyArray<{ function: { name: string } }>
        return events(
          decision("chat", [{ id: "a", name: tool!.function.name, arguments: "{\"query\":\"x\",\"limit\":null}" }])
        )
      })
      const parts = yield* LanguageModel.streamText({ ...options, toolkit }).pipe(
        Stream.runCollect,
        Effect.provide(layer)
      )
      const call = parts.find((part) => part.type === "tool-call")
      assert.deepStrictEqual([call?.name, call?.params], ["web.search", { query: "x" }])
      const [tool] = seen[0]!.body["tools"] as ReadonlyArray<
        { function: { name: string; strict: boolean; parameters: object } }
      >
      assert.strictEqual(tool!.function.name, "web_search")
      assert.strictEqual(tool!.function.strict, true)
      assert.deepInclude(tool!.function.parameters, { required: ["query", "limit"], additionalProperties: false })
    }))
})
