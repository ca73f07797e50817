/**
 * `LanguageModel` for OpenAI's API and for every server that speaks it: Azure, Ollama, vLLM, llama.cpp, LM Studio and others by
 * `baseURL`. Over the official `openai` SDK (an optional peer) with its retries off.
 *
 * Two wires: `"responses"` (the vendor's newer one, where each call has its own end mark) and `"chat"` (Chat Completions, which
 * the others speak). Decoding is a pure state machine per wire, total on any input; a call is handed on the moment it is complete.
 * This module makes no decision about tools and retries nothing: the engine and the user's schedule do.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Telemetry from "effect/ai/Telemetry"
import * as Config from "effect/Config"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import OpenAI from "openai"
import * as ChatRequest from "./internal/openAiChatRequest.ts"
import * as ChatStream from "./internal/openAiChatStream.ts"
import type { Settings, Unsupported } from "./internal/openAiContent.ts"
import * as Http from "./internal/openAiHttp.ts"
import type { Json } from "./internal/openAiJson.ts"
import { whole } from "./internal/openAiParts.ts"
import type { Decoder, Part, Parts, Raise } from "./internal/openAiParts.ts"
import * as ResponsesRequest from "./internal/openAiResponsesRequest.ts"
import * as ResponsesStream from "./internal/openAiResponsesStream.ts"
import * as Tools from "./internal/openAiTools.ts"

/**
 * Settings of the model itself, under one name for both wires. `body` is merged into the request's body last, as it is: for
 * what only one server knows. A key with the value `undefined` there takes the field out.
 *
 * **Units** `maxOutputTokens`: tokens, reasoning included. `temperature`, `topP`: as the provider defines them.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestSettings {
  readonly temperature?: number | undefined
  readonly topP?: number | undefined
  readonly maxOutputTokens?: number | undefined
  readonly reasoningEffort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | undefined
  readonly serviceTier?: string | undefined
  readonly body?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Where the model is and how to ask it.
 *
 * **Shape**
 * - `model`: the provider's name of the model (on Azure: of the deployment).
 * - `api`: the wire. Default `"responses"`, or `"chat"` when `baseURL` is set.
 * - `apiKey`: the key; a local server needs none. Without one the vendor's own endpoint answers every request
 *   `AuthenticationError` with `kind: "MissingKey"`, before anything is sent.
 * - `baseURL`: the server, up to and with `/v1`. Default the vendor's. `OPENAI_BASE_URL` is read by {@link layerConfig} only.
 * - `provider`: the provider's name, by which limits, pauses and circuits know the server. Default `"openai"`, for every server.
 * - `headers`, `query`: sent with every request. Azure: `baseURL: "https://NAME.openai.azure.com/openai/v1"`,
 *   `headers: { "api-key": key }`, or an `AzureOpenAI` of the SDK as `client`.
 * - `parallelToolCalls`: whether one decision may hold several calls. Unset: the provider's default (it may).
 * - `strict`: whether tools that do not say (`Tool.Strict`) ask for strict schemas. Default true at the vendor, false where
 *   `baseURL` is set. A schema that has no strict form goes out plain; a raw JSON Schema (`Tool.dynamic`) always as it is.
 * - `client`: an SDK client of your own; the other connection options are then its own.
 *
 * **Units** `timeout`: from the request to the response's headers, one attempt. Default 10 minutes (the SDK's). The engine's
 * `timeout.model` bounds the whole turn.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly model: string
  readonly api?: "responses" | "chat" | undefined
  readonly apiKey?: Redacted.Redacted | string | undefined
  readonly baseURL?: string | undefined
  readonly provider?: string | undefined
  readonly organization?: string | undefined
  readonly project?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly query?: Readonly<Record<string, string>> | undefined
  readonly parallelToolCalls?: boolean | undefined
  readonly strict?: boolean | undefined
  readonly request?: RequestSettings | undefined
  readonly timeout?: Duration.Input | undefined
  readonly client?: OpenAI | undefined
}

const vendorURL = "https://api.openai.com/v1"

interface Connection {
  readonly client: OpenAI
  readonly api: Http.Api
  readonly settings: Settings
  readonly strict: boolean
  readonly timeoutMillis: number | undefined
  readonly secrets: ReadonlyArray<string>
  readonly missingKey: boolean
}

// Effect's own reference decides. The global is looked up anew for each request, so that a replaced one is seen.
const fetchOf = (context: Context.Context<never>): typeof fetch =>
  (context.mapUnsafe.get(FetchHttpClient.Fetch.key) as typeof fetch | undefined) ??
    ((input, init) => globalThis.fetch(input, init))

const connect = (options: Options, base: typeof fetch): Connection => {
  const apiKey = typeof options.apiKey === "object" ? Redacted.value(options.apiKey) : options.apiKey
  const vendor = options.baseURL === undefined && options.client === undefined
  const secret = /^(authorization|proxy-authorization|api-key|x-api-key|cookie)$/i
  const headers = Object.entries(options.headers ?? {})
  return {
    client: options.client ?? new OpenAI({
      // Given in full, so that the SDK reads nothing from the environment behind our back.
      apiKey: apiKey ?? "none",
      adminAPIKey: null,
      webhookSecret: null,
      organization: options.organization ?? null,
      project: options.project ?? null,
      baseURL: options.baseURL ?? vendorURL,
      defaultHeaders: options.headers ?? {},
      defaultQuery: options.query ?? {},
      maxRetries: 0,
      logLevel: "off",
      fetch: Http.failingFetch(base)
    }),
    api: options.api ?? (vendor ? "responses" : "chat"),
    settings: { model: options.model, vendor, parallelToolCalls: options.parallelToolCalls, ...options.request },
    strict: options.strict ?? vendor,
    timeoutMillis: options.timeout === undefined
      ? undefined
      : Duration.toMillis(Duration.fromInputUnsafe(options.timeout)),
    secrets: [
      ...(apiKey === undefined ? [] : [apiKey]),
      ...headers.filter(([name]) => secret.test(name)).map(([, value]) => value)
    ],
    missingKey: vendor && apiKey === undefined && !headers.some(([name]) => secret.test(name))
  }
}

interface Prepared {
  readonly request: Http.Request
  readonly raise: Raise
}

// Everything before the network. What the prompt cannot say on this wire is the user's to change.
const prepare = (
  connection: Connection,
  method: Http.Request["method"],
  options: LanguageModel.ProviderOptions
): Effect.Effect<Prepared, AiError.AiError> =>
  Effect.suspend(() => {
    if (connection.missingKey) {
      return Effect.fail(Http.fail(
        method,
        new AiError.AuthenticationError({
          kind: "MissingKey",
          description: "pass apiKey, or set OPENAI_API_KEY and use OpenAi.layerConfig"
        })
      ))
    }
    return Effect.try({
      try: () => {
        const tools = Tools.lower(options, connection.strict)
        const lower = connection.api === "chat" ? ChatRequest.lower : ResponsesRequest.lower
        return { tools, body: lower(connection.settings, options, tools, method === "streamText") }
      },
      catch: (error) =>
        Http.fail(
          method,
          new AiError.InvalidUserInputError({ description: `the request cannot be written: ${String(error)}` })
        )
    }).pipe(Effect.flatMap(({ body, tools }) =>
      isUnsupported(body)
        ? Effect.fail(Http.fail(method, new AiError.InvalidUserInputError({ description: body.description })))
        : Effect.succeed({
          request: { ...connection, method, body },
          raise: { call: tools.call, hosted: tools.hostedCall, response: undefined, secrets: connection.secrets }
        })
    ))
  })

const isUnsupported = (body: Json | Unsupported): body is Unsupported => "_tag" in body && body._tag === "Unsupported"

// The two wires differ in state only.
const decoderOf = (api: Http.Api): Decoder<never> =>
  (api === "chat" ? ChatStream.decoder : ResponsesStream.decoder) as never

const annotateRequest = (connection: Connection, options: LanguageModel.ProviderOptions): void =>
  Telemetry.addGenAIAnnotations(options.span, {
    provider: { name: "openai" },
    operation: { name: "chat" },
    request: {
      model: connection.settings.model,
      temperature: connection.settings.temperature,
      topP: connection.settings.topP,
      maxTokens: connection.settings.maxOutputTokens
    }
  })

const annotateResponse = (options: LanguageModel.ProviderOptions, parts: Parts): void => {
  for (const part of parts) {
    if (part.type === "response-metadata") {
      Telemetry.addGenAIAnnotations(options.span, { response: { id: part.id, model: part.modelId } })
    } else if (part.type === "finish") {
      Telemetry.addGenAIAnnotations(options.span, {
        response: { finishReasons: [part.reason] },
        usage: { inputTokens: part.usage.inputTokens.total, outputTokens: part.usage.outputTokens.total }
      })
    }
  }
}

/**
 * What `LanguageModel.make` makes a model of, for who must see each request as Effect hands it to a provider.
 *
 * @see {@link make} for the model itself
 * @category models
 * @since 0.1.0
 */
export type Provider = Parameters<typeof LanguageModel.make>[0]

/**
 * Makes a {@link Provider}: the adapter without the model around it.
 *
 * @see {@link layer} for the usual door
 * @category constructors
 * @since 0.1.0
 */
export const makeProvider = (options: Options): Effect.Effect<Provider> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const connection = connect(options, fetchOf(context))
    const decoder = decoderOf(connection.api)
    return Effect.succeed({
      codecTransformer: Tools.codecTransformer,
      generateText: (options) =>
        Effect.flatMap(prepare(connection, "generateText", options), ({ raise, request }) => {
          annotateRequest(connection, options)
          return Http.generate(request, decoder, raise).pipe(
            Effect.tap((parts) => Effect.sync(() => annotateResponse(options, parts))),
            Effect.map(whole)
          )
        }),
      streamText: (options) =>
        Stream.unwrap(Effect.map(prepare(connection, "streamText", options), ({ raise, request }) => {
          annotateRequest(connection, options)
          return Stream.mapArray(Http.stream(request, decoder, raise), (parts: readonly [Part, ...Array<Part>]) => {
            annotateResponse(options, parts)
            return parts
          })
        }))
    })
  })

/**
 * Makes the model as a value; {@link layer} is the usual door.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<LanguageModel.LanguageModel> =>
  Effect.flatMap(makeProvider(options), LanguageModel.make)

/**
 * A `LanguageModel` that asks OpenAI or a server that speaks its API, together with its provider's and model's name.
 *
 * **Shape** Streamed: a call is `tool-params-start`, deltas, `tool-params-end`, `tool-call`, the last the moment the call is
 * complete (on `"chat"`: when the next one opens or the turn finishes). `params` is an object, or the text as sent where that was
 * no JSON object. A call cut off by the turn's end has no `tool-call`. `finish` comes last, with the token usage, the status and
 * the headers about limits and timing (`response`, and `metadata.openai` of `response-metadata`). A refusal is text marked
 * `metadata.openai.refusal`, its words again in `finish.metadata.openai.refusal`, and the reason `"content-filter"`.
 * Citations are `source` parts. Reasoning carries what the provider needs to take it back in the next turn.
 * Tool names that the wire does not take (dots, spaces, more than 64 characters) are sent under a name it takes, and mapped back.
 *
 * **Errors** `AiError`. A status is mapped to its reason, with `retryAfter` where the provider named a wait; a refused, reset or
 * interrupted connection is `NetworkError`; a body that is no answer `InvalidResponseError`. A stream that ends without the
 * provider's end mark, or with an event that was no JSON, fails after the parts it brought. Bodies in errors are cut to 8 KiB
 * and show no key. Interruption aborts the request.
 *
 * **Gotchas** `"chat"` with several choices (`body: { n: 2 }`) hands on the calls of all of them as one decision. Tools that the
 * provider runs (`Tool.providerDefined` with an `openai.` id) need `"responses"`; those that the client must run for the provider
 * (computer use, shell, apply patch) are not supported. `"chat"` takes no files in a tool's result: they follow as a user message.
 * Models of two servers in one program share limits, pauses and circuit unless one has a `provider` name of its own.
 * Requests go through the `fetch` that `FetchHttpClient.Fetch` holds where the layer is built (the global one where it holds
 * none); a `client` of your own keeps its own.
 *
 * **Example** (A local server)
 *
 * ```ts
 * import * as OpenAi from "effect-toolformer/OpenAi"
 *
 * const Ollama = OpenAi.layer({ model: "qwen3", baseURL: "http://localhost:11434/v1", provider: "ollama" })
 * Ollama.provider // => "ollama"
 * ```
 *
 * @see {@link layerConfig} to read key, server and model from the environment
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Provider extends string = "openai">(
  options: Options & { readonly provider?: Provider | undefined }
): Model.Model<Provider, LanguageModel.LanguageModel, never> =>
  Model.make(
    options.provider ?? "openai" as Provider,
    options.model,
    Layer.effect(LanguageModel.LanguageModel, make(options))
  )

/**
 * The same from Effect's `Config`: `OPENAI_API_KEY`, `OPENAI_BASE_URL` and `OPENAI_MODEL`, each only where `options` does not
 * say. A key or base URL may be missing, the model may not.
 *
 * **Errors** `ConfigError` when no model is named or a value cannot be read.
 *
 * **Example** (Key, server and model from the environment)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Model } from "effect/ai"
 * import * as OpenAi from "effect-toolformer/OpenAi"
 *
 * const environment = ConfigProvider.fromUnknown({ OPENAI_BASE_URL: "http://localhost:8080/v1", OPENAI_MODEL: "qwen3" })
 * const name = Effect.provide(Model.ModelName, OpenAi.layerConfig())
 * await Effect.runPromise(Effect.provideService(name, ConfigProvider.ConfigProvider, environment)) // => "qwen3"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Partial<Options> = {}
): Layer.Layer<LanguageModel.LanguageModel | Model.ProviderName | Model.ModelName, Config.ConfigError> =>
  Layer.unwrap(Effect.gen(function*() {
    const apiKey = options.apiKey ?? Option.getOrUndefined(yield* Config.option(Config.Redacted("OPENAI_API_KEY")))
    const baseURL = options.baseURL ?? Option.getOrUndefined(yield* Config.option(Config.String("OPENAI_BASE_URL")))
    const model = options.model ?? (yield* Config.String("OPENAI_MODEL"))
    return layer({ ...options, apiKey, baseURL, model })
  }))
