/**
 * The embedded planner: a `LanguageModel` with no key and no network, for demos, tests and first steps.
 *
 * It is a planner, not a language model that writes. It cuts the request into clauses, chooses for each the tool whose
 * description is nearest by sentence embedding (Universal Sentence Encoder lite, whose weights lie inside an npm
 * package), fills the tool's parameters with typed extractors driven by its JSON schema, and fans out one call per
 * file, name or value. When the results are in it looks for calls they make possible, and otherwise answers with a
 * table made from templates.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Embedding from "./internal/localEmbedding.ts"
import { type Call, decide, type PlannedTool, type Situation, textsOf } from "./internal/localPlan.ts"
import type { Answer } from "./internal/localResult.ts"
import { summarise } from "./internal/localSummary.ts"

/**
 * Requests that a tool is for, in a user's words: the planner compares them with the request beside the description.
 * Two or three short sentences make the choice of a tool with an abstract description much surer.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Examples: Context.Reference<ReadonlyArray<string>> = Context.Reference<ReadonlyArray<string>>(
  "effect-toolformer/LocalModel/Examples",
  { defaultValue: () => [] }
)

/**
 * Settings of the planner.
 *
 * **Units** `threshold`: how near a tool must be to a clause, 0 to about 1.4 (cosine similarity plus up to 0.45 for
 * shared words). Default {@link defaultThreshold}. Lower finds more tools and calls more wrong ones.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly threshold?: number | undefined
}

/**
 * The threshold at which the figures of {@link layer} were measured.
 *
 * @category models
 * @since 0.1.0
 */
export const defaultThreshold = 0.45

/**
 * The planner as a `LanguageModel`.
 *
 * **Shape** Each turn is either calls (finish reason `tool-calls`) or a text (finish reason `stop`). A request that
 * needs a list first ("analyse every TypeScript file") takes two turns: the tool that finds, then one call per thing
 * found. `toolChoice` is honoured; a call is never made twice in one run; a tool whose required parameter has no value
 * in the request or in earlier results is not called, and the answer says so. Usage is unknown, not zero.
 *
 * **Units** Loads on first use in about 0.2 s and 215 MB, once per Layer; then about 4 ms for each new clause or
 * description.
 *
 * **Measured** At threshold 0.45. On 24 requests over 14 tools that were written before it first ran and never used to
 * change it: 21 of 22 tools found and none wrong; 26 of 29 calls right in every argument, 3 wrong ones made. On the
 * Berkeley Function Calling Leaderboard (parallel, parallel_multiple, multiple: 312 questions, two dozen of them read
 * while it was improved): 454 of 462 tools found with 6 wrong, but only 235 of 697 calls right in every argument:
 * free-form arguments are what it cannot do. On 130 questions that no offered tool fits it makes 11 calls. See
 * `test/adapter/LocalModelData.test.ts`.
 *
 * **Errors** `AiError` with reason `InvalidRequestError` when the optional packages are missing (the message says what
 * to install), and `UnsupportedSchemaError` for structured output, which it cannot write. Nothing else.
 *
 * **Gotchas** English only. Selection knows the tools' descriptions and the request, nothing of the world: it does not
 * reason, compare, rank or decide between results, reads no images, and reads only the last user message. Values are
 * taken as written: a name needs its capital letter, free text its quotes or a "for ...". Requests are read up to
 * 20,000 characters.
 *
 * **Example** (Two calls from one sentence, without a key)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { LanguageModel, Tool, Toolkit } from "effect/ai"
 * import * as LocalModel from "effect-toolformer/LocalModel"
 *
 * const toolkit = Toolkit.make(Tool.make("get_weather", {
 *   description: "Get the weather forecast for a city.",
 *   parameters: Schema.Struct({ city: Schema.String })
 * }))
 * const prompt = "What is the weather in Paris and in Rome?"
 * const asked = LanguageModel.generateText({ prompt, toolkit, disableToolCallResolution: true })
 * const { toolCalls } = await Effect.runPromise(Effect.provide(asked, LocalModel.layer()))
 * toolCalls.map((call) => call.params) // => [{ city: "Paris" }, { city: "Rome" }]
 * ```
 *
 * @see `effect-toolformer/OpenAi` for a language model, also one on your own machine
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<
  LanguageModel.LanguageModel | Model.ProviderName | Model.ModelName
> => Model.make("local", "embedded-planner", Layer.effect(LanguageModel.LanguageModel, make(options)))

/**
 * The planner as a service, for a Layer of your own.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<Context.Service.Shape<typeof LanguageModel.LanguageModel>> =>
  Effect.gen(function*() {
    const encoder = yield* Embedding.make
    const next = turn(encoder, options.threshold ?? defaultThreshold)
    return yield* LanguageModel.make({
      generateText: (request) => Effect.map(next(request), partsOf),
      streamText: (request) =>
        Stream.unwrap(Effect.map(next(request), (turn) => Stream.fromIterable(streamPartsOf(turn))))
    })
  })

// --- one turn

type Turn =
  | { readonly _tag: "calls"; readonly calls: ReadonlyArray<Call & { readonly id: string }> }
  | { readonly _tag: "text"; readonly text: string }

const turn = (encoder: Embedding.Encoder, threshold: number) =>
  Effect.fnUntraced(function*(request: LanguageModel.ProviderOptions) {
    if (request.responseFormat.type === "json") return yield* noStructuredOutput
    const offered = offeredTools(request)
    const history = historyOf(request.prompt)
    const tools = offered.tools.map(planned)
    const names = tools.map((tool) => tool.name)
    if (tools.length === 0) return text(summarise(history.answers, [], names))
    const vectors = yield* encoder.encode(textsOf(history.request, tools))
    const decision = decide({
      request: history.request,
      tools,
      answers: history.answers,
      made: history.made,
      threshold,
      required: offered.required && history.made.length === 0,
      today: yield* today,
      similarity: (a, b) => Embedding.cosine(vectors.get(a), vectors.get(b))
    })
    if (decision.calls.length === 0) return text(summarise(history.answers, decision.unfilled, names))
    const calls = decision.calls.map((call, i) => ({ ...call, id: `local_${history.count + i + 1}` }))
    const turn: Turn = { _tag: "calls", calls }
    return turn
  })

const text = (text: string): Turn => ({ _tag: "text", text })

const today = Effect.map(Clock.currentTimeMillis, (now) => now - (now % 86_400_000))

const noStructuredOutput = Effect.fail(AiError.make({
  module: "LocalModel",
  method: "generateObject",
  reason: new AiError.UnsupportedSchemaError({
    description:
      "the embedded planner chooses tools and cannot write structured output; use a language model for generateObject"
  })
}))

// --- what is offered

const offeredTools = (
  request: LanguageModel.ProviderOptions
): { tools: ReadonlyArray<Tool.Any>; required: boolean } => {
  const tools = request.tools.filter((tool) => !Tool.isProviderDefined(tool))
  const choice = request.toolChoice
  if (choice === "none") return { tools: [], required: false }
  if (typeof choice === "string") return { tools, required: choice === "required" }
  return "tool" in choice
    ? { tools: tools.filter((tool) => tool.name === choice.tool), required: true }
    : { tools: tools.filter((tool) => choice.oneOf.includes(tool.name)), required: choice.mode === "required" }
}

const plannedTools = new WeakMap<Tool.Any, PlannedTool>()

const planned = (tool: Tool.Any): PlannedTool => {
  const known = plannedTools.get(tool)
  if (known !== undefined) return known
  const made: PlannedTool = {
    name: tool.name,
    title: Option.getOrUndefined(Context.getOption(tool.annotations, Tool.Title)),
    description: Tool.getDescription(tool) ?? "",
    examples: Context.get(tool.annotations, Examples),
    readonly: Context.get(tool.annotations, Tool.Readonly),
    schema: Tool.getJsonSchema(tool)
  }
  plannedTools.set(tool, made)
  return made
}

// --- what was said

interface History {
  readonly request: string
  readonly answers: ReadonlyArray<Answer>
  readonly made: Situation["made"]
  /** Calls of the whole conversation: ids stay unique over it. */
  readonly count: number
}

const historyOf = (prompt: Prompt.Prompt): History => {
  const last = prompt.content.findLastIndex((message) => message.role === "user")
  const run = prompt.content.slice(last + 1)
  const calls = run.flatMap(callsOf)
  const byId = new Map(calls.map((call) => [call.id, call]))
  const results = run.flatMap(resultsOf)
  return {
    request: userText(prompt.content[last]),
    answers: results.map(({ id, isFailure, name, result }) => ({
      name,
      result,
      isFailure,
      params: byId.get(id)?.params
    })),
    made: calls.map(({ name, params }) => ({ name, params: params as Record<string, unknown> })),
    count: prompt.content.flatMap(callsOf).length
  }
}

const callsOf = (message: Prompt.Message): ReadonlyArray<Prompt.ToolCallPart> =>
  message.role === "assistant" ? message.content.filter((part) => part.type === "tool-call") : []

const resultsOf = (message: Prompt.Message): ReadonlyArray<Prompt.ToolResultPart> => {
  const parts: ReadonlyArray<Prompt.AssistantMessagePart | Prompt.ToolMessagePart> =
    message.role === "tool" || message.role === "assistant" ? message.content : []
  return parts.filter((part) => part.type === "tool-result")
}

const userText = (message: Prompt.Message | undefined): string =>
  message?.role === "user"
    ? message.content.flatMap((part) => part.type === "text" ? [part.text] : []).join("\n")
    : ""

// --- parts

const unknownUsage = {
  inputTokens: { uncached: undefined, total: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined }
}

const finish = (turn: Turn) => ({
  type: "finish" as const,
  reason: turn._tag === "calls" ? "tool-calls" as const : "stop" as const,
  usage: unknownUsage,
  response: undefined
})

const partsOf = (turn: Turn): Array<Response.PartEncoded> => [
  ...turn._tag === "text"
    ? [{ type: "text" as const, text: turn.text }]
    : turn.calls.map(({ id, name, params }) => ({ type: "tool-call" as const, id, name, params })),
  finish(turn)
]

const streamPartsOf = (turn: Turn): ReadonlyArray<Response.StreamPartEncoded> => [
  ...turn._tag === "text"
    ? [
      { type: "text-start" as const, id: "text" },
      { type: "text-delta" as const, id: "text", delta: turn.text },
      { type: "text-end" as const, id: "text" }
    ]
    : turn.calls.flatMap(({ id, name, params }) => [
      { type: "tool-params-start" as const, id, name },
      { type: "tool-params-delta" as const, id, delta: JSON.stringify(params) },
      { type: "tool-params-end" as const, id },
      { type: "tool-call" as const, id, name, params }
    ]),
  finish(turn)
]
