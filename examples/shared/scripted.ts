/**
 * A model that says what the example wants, one script a turn: for examples that show what happens to given calls, whatever a
 * model would have decided. No key, no network.
 */
import { Effect, Layer, Stream } from "effect"
import { LanguageModel, type Response } from "effect/ai"

/** A call the model makes. */
export interface Call {
  readonly name: string
  readonly params: unknown
}

/** One turn: calls to make, or words to say. */
export type Turn = ReadonlyArray<Call> | string

const usage = {
  inputTokens: { uncached: undefined, total: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined }
}

const partsOf = (turn: Turn): ReadonlyArray<Response.StreamPartEncoded> =>
  typeof turn === "string"
    ? [
      { type: "text-start", id: "text" },
      { type: "text-delta", id: "text", delta: turn },
      { type: "text-end", id: "text" },
      { type: "finish", reason: "stop", usage, response: undefined }
    ]
    : [
      ...turn.flatMap(({ name, params }, index): ReadonlyArray<Response.StreamPartEncoded> => {
        const id = `call_${index}`
        return [
          { type: "tool-params-start", id, name },
          { type: "tool-params-delta", id, delta: JSON.stringify(params) },
          { type: "tool-params-end", id },
          { type: "tool-call", id, name, params }
        ]
      }),
      { type: "finish", reason: "tool-calls", usage, response: undefined }
    ]

/** Plays the turns in order, then says nothing more. */
export const scripted = (...turns: ReadonlyArray<Turn>): Layer.Layer<LanguageModel.LanguageModel> =>
  Layer.effect(
    LanguageModel.LanguageModel,
    Effect.suspend(() => {
      let asked = 0
      return LanguageModel.make({
        generateText: () => Effect.succeed([]),
        streamText: () => Stream.suspend(() => Stream.fromIterable(partsOf(turns[asked++] ?? "")))
      })
    })
  )
