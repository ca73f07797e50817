/** A streamed answer as one: deltas joined to texts, arguments left to the `tool-call` that has them whole. Pure. */
import * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import { shown } from "./turn.ts"

/** Fails where the stream has an `error` part: an answer in one piece has none. */
export const partsOf = (
  stream: ReadonlyArray<Response.StreamPartEncoded>
): Effect.Effect<Array<Response.PartEncoded>, AiError.AiError> => {
  const broken = stream.find((part) => part.type === "error")
  if (broken !== undefined) return Effect.fail(errorOf(broken.error))
  const texts = new Map<string, string>()
  for (const part of stream) {
    if (part.type !== "text-delta" && part.type !== "reasoning-delta") continue
    const key = `${part.type} ${part.id}`
    texts.set(key, (texts.get(key) ?? "") + part.delta)
  }
  return Effect.succeed(stream.flatMap((part) => partOf(part, texts)))
}

const partOf = (
  part: Response.StreamPartEncoded,
  texts: ReadonlyMap<string, string>
): ReadonlyArray<Response.PartEncoded> => {
  switch (part.type) {
    case "text-start":
      return [{ type: "text", text: texts.get(`text-delta ${part.id}`) ?? "" }]
    case "reasoning-start":
      return [{ type: "reasoning", text: texts.get(`reasoning-delta ${part.id}`) ?? "" }]
    case "text-delta":
    case "text-end":
    case "reasoning-delta":
    case "reasoning-end":
    case "tool-params-start":
    case "tool-params-delta":
    case "tool-params-end":
    case "error":
      return []
    default:
      return [part]
  }
}

const errorOf = (error: unknown): AiError.AiError =>
  AiError.make({
    module: "TestModel",
    method: "generateText",
    reason: new AiError.UnknownError({ description: `the script sends an error part: ${shown(error)}` })
  })
