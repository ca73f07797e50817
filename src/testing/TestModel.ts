/**
 * A model for tests that does what a script says: a `LanguageModel` without a key and without a network.
 *
 * A script is a list of turns; each asking takes the next one. A turn says texts, makes calls, waits, breaks off; its times are on
 * the run's Clock, so that under `TestClock` nothing takes real time. The model notes what it was asked, and
 * {@link assertComplete} says whether script and askings fit.
 */
import type * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { lastMessageOf, requestLines } from "./internal/requestText.ts"
import { languageModel, Playing, type Script, scriptOf } from "./internal/scriptedModel.ts"
import { TestModel } from "./internal/service.ts"
import { argumentsOf, paramsOf } from "./internal/steps.ts"
import { TestModelError } from "./internal/TestModelError.ts"
import type {
  CallItem,
  ChunkedItem,
  ChunkItem,
  FailItem,
  FinishItem,
  Request,
  TextItem,
  Timing,
  Turn,
  UnfinishedItem,
  WaitItem
} from "./internal/turn.ts"
import { die, jsonOf, millisOf, piecesOf, shown } from "./internal/turn.ts"
import type { ToolCall } from "./ToolCall.ts"

export { TestModel } from "./internal/service.ts"
export {
  BeyondScript,
  ExchangesLeft,
  type Reason,
  RequestRefused,
  TestModelError,
  TurnsLeft
} from "./internal/TestModelError.ts"
export type {
  CallItem,
  ChunkedItem,
  ChunkItem,
  FailItem,
  FinishItem,
  Item,
  Request,
  StaticTurn,
  TextItem,
  Timing,
  Turn,
  UnfinishedItem,
  WaitItem
} from "./internal/turn.ts"
export { fromRecording, type FromRecordingOptions, record, RecordingError, type RecordOptions } from "./Recording.ts"

/**
 * Settings of a script. `otherwise`: what the model answers to every asking beyond the last turn; without it such an asking fails.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly otherwise?: Turn | undefined
}

/**
 * Makes a model that plays turns in order, one an asking.
 *
 * **Shape** A turn is a string (it says it), a `ToolCall` (it makes it), any other item, an array of items, or a function of the
 * {@link Request} that gives one of these. It ends with a finish part: `"tool-calls"` where it makes calls, `"length"` where a call
 * was left open, else `"stop"`, unless it says its own ({@link finish}, {@link truncated}, {@link unfinished}) or fails. Items that
 * follow each other without time between them arrive in one network chunk, the finish part with the last of them; {@link wait},
 * `after` and `chunks` begin another, and {@link chunk} makes one that stands alone. A call without an id gets the next of `call-1`,
 * `call-2` ... that stands nowhere in the script: those of known turns first, those of functions when they are asked. Each text item
 * is a text block of its own. `generateText` plays the same turns, with the same times, as one answer; a call left open is not in it.
 * `generateObject` reads the text as JSON.
 *
 * The script begins anew wherever the layer is built. One model may serve several runs at once: turns are taken in the order of
 * asking. Calls of tools that were not offered, repeated ids and encoded parts that make no sense are sent as they are: models do so.
 *
 * **Errors** An asking beyond the last turn fails with an `AiError` that is not retryable and says which asking it was, how many turns
 * there are, and the last message of the request; {@link assertComplete} remembers it. A turn that can never play dies here, naming
 * turn and item: no items, an item behind the end of its turn, parameters that are no JSON. In a function's turn that is a defect
 * of the asking.
 *
 * **Example** (Two calls, then an answer)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Orchestrator, ToolPolicy } from "effect-toolformer"
 * import { TestModel, ToolCall } from "effect-toolformer/Testing"
 *
 * const search = ToolPolicy.tool({
 *   parameters: Schema.Struct({ query: Schema.String }),
 *   success: Schema.String,
 *   handler: ({ query }) => Effect.succeed(`about ${query}`)
 * })
 * const { layer, toolkit } = ToolPolicy.define({ search })
 *
 * const model = TestModel.script([
 *   [ToolCall("search", { query: "fibers" }), ToolCall("search", { query: "layers" })],
 *   "Both found."
 * ])
 * const program = Effect.gen(function*() {
 *   const { text, toolResults } = yield* Orchestrator.run({ prompt: "Look it up.", toolkit })
 *   yield* TestModel.assertComplete
 *   return [text, ...toolResults.map(({ id, result }) => `${id}: ${result}`)]
 * })
 * const said = await Effect.runPromise(Effect.provide(program, [layer, model]))
 * said // => ["Both found.", "call-1: about fibers", "call-2: about layers"]
 * ```
 *
 * @see {@link make} for a program with several models
 * @category layers
 * @since 0.1.0
 */
export const script = (
  turns: ReadonlyArray<Turn>,
  options: Options = {}
): Layer.Layer<LanguageModel.LanguageModel | TestModel> => {
  const checked = scriptOf(turns, options.otherwise)
  return Layer.effectContext(
    Effect.map(
      build(checked),
      (made) =>
        Context.make(LanguageModel.LanguageModel, made.languageModel).pipe(Context.add(TestModel, made.testModel))
    )
  )
}

/**
 * A scripted model and its notes, side by side.
 *
 * @category models
 * @since 0.1.0
 */
export interface Made {
  readonly languageModel: typeof LanguageModel.LanguageModel.Service
  readonly testModel: typeof TestModel.Service
}

/**
 * Makes a model that plays turns in order, for a program that has several models.
 *
 * **Errors** As {@link script}.
 *
 * **Example** (The notes of two models)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { LanguageModel } from "effect/ai"
 * import { TestModel } from "effect-toolformer/Testing"
 *
 * const program = Effect.gen(function*() {
 *   const [one, two] = [yield* TestModel.make(["first"]), yield* TestModel.make(["second"])]
 *   const { text } = yield* two.languageModel.generateText({ prompt: "Hello?" })
 *   const asked = [yield* one.testModel.requests, yield* two.testModel.requests]
 *   return [text, ...asked.map((requests) => requests.length)]
 * })
 * await Effect.runPromise(program) // => ["second", 0, 1]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (turns: ReadonlyArray<Turn>, options: Options = {}): Effect.Effect<Made> =>
  build(scriptOf(turns, options.otherwise))

const build = (checked: Script): Effect.Effect<Made> =>
  Effect.suspend(() => {
    const playing = new Playing(checked)
    return Effect.map(languageModel(playing), (model) => ({
      languageModel: model,
      testModel: TestModel.of({
        requests: Effect.sync(() => [...playing.requests]),
        assertComplete: Effect.suspend(() => complete(playing)),
        scriptedCalls: checked.calls
      })
    }))
  })

const complete = ({ beyond, requests: asked, script: { turns } }: Playing): Effect.Effect<void, TestModelError> => {
  const lines = requestLines(asked)
  if (beyond !== undefined) {
    const lastMessage = lastMessageOf(beyond.prompt)
    const reason = { turns: turns.length, asking: beyond.number, lastMessage, requests: lines }
    return Effect.fail(new TestModelError({ reason: { _tag: "BeyondScript", ...reason } }))
  }
  if (asked.length >= turns.length) return Effect.void
  const left = turns.slice(asked.length).map((turn, index) => ({
    turn: asked.length + index + 1,
    says: typeof turn === "function" ? "a function of the request" : turn.says
  }))
  return Effect.fail(new TestModelError({ reason: { _tag: "TurnsLeft", turns: turns.length, left, requests: lines } }))
}

/**
 * Every request the model got, in the order of asking.
 *
 * @category running
 * @since 0.1.0
 */
export const requests: Effect.Effect<ReadonlyArray<Request>, never, TestModel> = Effect.flatMap(
  TestModel,
  (model) => model.requests
)

/**
 * Succeeds when each turn was asked for and nothing beyond them.
 *
 * **Errors** `TestModelError`: `TurnsLeft` names each turn that never played and what it would have said, `BeyondScript` the first
 * asking that found none. Of a recording `ExchangesLeft` and `RequestRefused`. All list the requests made.
 *
 * **Example** (A turn too much)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { LanguageModel } from "effect/ai"
 * import { TestModel } from "effect-toolformer/Testing"
 *
 * const program = LanguageModel.generateText({ prompt: "Hello?" }).pipe(
 *   Effect.andThen(Effect.flip(TestModel.assertComplete)),
 *   Effect.provide(TestModel.script(["Hello!", "Bye!"]))
 * )
 * const { reason } = await Effect.runPromise(program)
 * reason._tag === "TurnsLeft" && reason.left // => [{ turn: 2, says: 'says "Bye!"' }]
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const assertComplete: Effect.Effect<void, TestModelError, TestModel> = Effect.flatMap(
  TestModel,
  (model) => model.assertComplete
)

/**
 * Says a text, when and in as many pieces as `timing` says.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (said: string, timing: Timing = {}): TextItem => {
  const pieces = piecesOf(`text(${shown(said)})`, said, timing)
  return pieces.pieces.join("") === said
    ? { _tag: "Text", text: said, ...pieces }
    : die(`text(${shown(said)}), chunks: the pieces together are ${shown(pieces.pieces.join(""))}`)
}

/**
 * Makes a call, when and in as many pieces as `timing` says; `open`: its arguments begin and never end.
 *
 * **Shape** The pieces are cut from the arguments' JSON; those of an open call from that JSON without its last character. Pieces given
 * as strings may have other white space; those of an open call may be anything.
 *
 * @category constructors
 * @since 0.1.0
 */
export const call = (toolCall: ToolCall, options: Timing & { readonly open?: boolean | undefined } = {}): CallItem => {
  const where = `call(${shown(toolCall.name)})`
  const { open = false } = options
  const json = argumentsOf(where, toolCall)
  const pieces = piecesOf(where, open ? json.slice(0, -1) : json, options)
  const sent = pieces.pieces.join("")
  return open || sent === json || canonical(sent) === jsonOf(paramsOf(toolCall))
    ? { _tag: "Call", call: toolCall, open, ...pieces }
    : die(`${where}, chunks: the pieces together are ${sent}, and the parameters ${json}`)
}

const canonical = (sent: string): string | undefined =>
  Option.getOrUndefined(Result.getSuccess(Result.try(() => JSON.stringify(JSON.parse(sent)))))

/**
 * Is silent for a duration of the run's Clock, or until an effect has ended; for good with `wait(Effect.never)`.
 *
 * **Example** (A pause of a minute takes no time)
 *
 * ```ts
 * import { Effect, Fiber } from "effect"
 * import { LanguageModel } from "effect/ai"
 * import { TestClock } from "effect/testing"
 * import { TestModel } from "effect-toolformer/Testing"
 *
 * const program = Effect.gen(function*() {
 *   const asked = yield* Effect.forkChild(LanguageModel.generateText({ prompt: "Hello?" }))
 *   yield* TestClock.adjust("1 minute")
 *   return (yield* Fiber.join(asked)).text
 * })
 * const model = TestModel.script([[TestModel.wait("1 minute"), "Hello!"]])
 * await Effect.runPromise(Effect.provide(program, [model, TestClock.layer()])) // => "Hello!"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const wait = (until: Duration.Input | Effect.Effect<unknown>): WaitItem => ({
  _tag: "Wait",
  effect: Effect.isEffect(until) ? until : Effect.sleep(millisOf("wait", until))
})

/**
 * Breaks the answer off with an error of the model. Nothing can follow it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fail = (
  error: AiError.AiError,
  options: { readonly after?: Duration.Input | undefined } = {}
): FailItem => ({
  _tag: "Fail",
  error,
  afterMillis: options.after === undefined ? 0 : millisOf("fail, after", options.after)
})

/**
 * Ends the turn for a reason. Only silence, a failure and encoded parts can follow it.
 *
 * **Units** `usage` counts tokens; what is not given is unknown, not zero.
 *
 * @category constructors
 * @since 0.1.0
 */
export const finish = (
  reason: Response.FinishReason,
  options: {
    readonly usage?:
      | { readonly inputTokens?: number | undefined; readonly outputTokens?: number | undefined }
      | undefined
  } = {}
): FinishItem => ({
  _tag: "Finish",
  reason,
  inputTokens: tokens("inputTokens", options.usage?.inputTokens),
  outputTokens: tokens("outputTokens", options.usage?.outputTokens)
})

const tokens = (name: string, value: number | undefined): number | undefined =>
  value === undefined || (Number.isInteger(value) && value >= 0)
    ? value
    : die(`finish, usage.${name}: ${shown(value)} is no integer of at least 0`)

/**
 * Ends the turn where the model ran out of tokens: `finish("length")`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const truncated: FinishItem = finish("length")

/**
 * Ends the answer without a finish part, as a connection does that closes too early.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unfinished: UnfinishedItem = { _tag: "Unfinished" }

/**
 * Puts items into one network chunk that holds nothing else. What takes time cannot be in it.
 *
 * **Example** (Two calls without time between them, yet in two chunks)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { LanguageModel } from "effect/ai"
 * import { TestModel } from "effect-toolformer/Testing"
 *
 * const chunked = TestModel.script([[TestModel.chunk("One."), TestModel.chunk("Two.", TestModel.finish("stop"))]])
 * const sizes = LanguageModel.streamText({ prompt: "Count." }).pipe(
 *   Stream.chunks,
 *   Stream.map((parts) => parts.length),
 *   Stream.runCollect,
 *   Effect.provide(chunked)
 * )
 * await Effect.runPromise(sizes) // => [3, 4]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const chunk = (...items: ReadonlyArray<ChunkedItem>): ChunkItem =>
  items.length > 0 ? { _tag: "Chunk", items } : die("chunk without items")
