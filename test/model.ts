/**
 * A scripted model for engine tests: Effect's own `LanguageModel.make` over encoded parts, one array per network chunk. Each
 * turn of the run takes the next script; a script may see the prompt it was asked with.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

/** One network chunk; `wait` holds the stream until its effect has ended, `fail` breaks it. */
export type Chunk =
  | ReadonlyArray<Response.StreamPartEncoded>
  | { readonly after: Duration.Input; readonly parts: ReadonlyArray<Response.StreamPartEncoded> }
  | { readonly wait: Effect.Effect<unknown> }
  | { readonly fail: AiError.AiError }

export type Script = ReadonlyArray<Chunk> | ((prompt: Prompt.Prompt) => ReadonlyArray<Chunk>)

export const call = (id: string, name: string, params: unknown = {}): ReadonlyArray<Response.StreamPartEncoded> => [
  { type: "tool-params-start", id, name },
  { type: "tool-params-delta", id, delta: JSON.stringify(params) ?? "" },
  { type: "tool-params-end", id },
  { type: "tool-call", id, name, params }
]

/** A call whose arguments begin and never end. */
export const opened = (id: string, name: string, delta = "{\"id\":"): ReadonlyArray<Response.StreamPartEncoded> => [
  { type: "tool-params-start", id, name },
  { type: "tool-params-delta", id, delta }
]

/** The model's side is broken. */
export const aiError: AiError.AiError = AiError.make({
  module: "ScriptedModel",
  method: "streamText",
  reason: new AiError.InternalProviderError({ description: "the line went dead" })
})

export const text = (value: string): ReadonlyArray<Response.StreamPartEncoded> => [
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: value },
  { type: "text-end", id: "t" }
]

export const finish = (
  reason: Response.FinishReason = "tool-calls",
  tokens?: number
): ReadonlyArray<Response.StreamPartEncoded> => [{
  type: "finish",
  reason,
  response: undefined,
  usage: {
    inputTokens: { uncached: undefined, total: tokens, cacheRead: undefined, cacheWrite: undefined },
    outputTokens: { total: tokens, text: undefined, reasoning: undefined }
  }
}]

/** A turn that only says something. */
export const says = (value: string): Script => [[...text(value), ...finish("stop")]]

/** A turn of calls in one chunk. */
export const calls = (
  ...all: ReadonlyArray<ReadonlyArray<Response.StreamPartEncoded>>
): Script => [[...all.flat(), ...finish()]]

const play = (chunks: ReadonlyArray<Chunk>): Stream.Stream<Response.StreamPartEncoded, AiError.AiError> =>
  Stream.fromIterable(chunks).pipe(
    Stream.flatMap((chunk) => {
      if ("fail" in chunk) return Stream.fail(chunk.fail)
      if ("wait" in chunk) return Stream.drain(Stream.fromEffect(chunk.wait))
      if ("after" in chunk) {
        return Stream.unwrap(Effect.as(Effect.sleep(chunk.after), Stream.fromArray([...chunk.parts])))
      }
      return Stream.fromArray([...chunk])
    })
  )

/** What the model was asked with, turn by turn. */
export interface Request {
  readonly prompt: Prompt.Prompt
  readonly toolChoice: LanguageModel.ToolChoice<string>
  readonly tools: ReadonlyArray<string>
}

/** A model that plays the scripts in order, one a turn, keeps saying "done" after the last, and notes what it was asked. */
export const recording = (...scripts: ReadonlyArray<Script>) => {
  const requests: Array<Request> = []
  const layer: Layer.Layer<LanguageModel.LanguageModel> = Layer.effect(
    LanguageModel.LanguageModel,
    LanguageModel.make({
      generateText: () => Effect.succeed([]),
      streamText: ({ prompt, toolChoice, tools }) =>
        Stream.suspend(() => {
          const script = scripts[requests.length] ?? says("done")
          requests.push({ prompt, toolChoice, tools: tools.map(({ name }) => name) })
          return play(typeof script === "function" ? script(prompt) : script)
        })
    })
  )
  return { layer, requests }
}

/** A model that plays the scripts in order, one a turn, and keeps saying "done" after the last. */
export const scripted = (...scripts: ReadonlyArray<Script>): Layer.Layer<LanguageModel.LanguageModel> =>
  recording(...scripts).layer
