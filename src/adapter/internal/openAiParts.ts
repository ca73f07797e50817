/**
 * What both wires are raised to: Effect's encoded stream parts, the words that the decoders share, and the fold from stream
 * parts to the parts of a whole answer. Pure.
 */
import * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import { defined } from "./openAiJson.ts"

/** The key of our metadata and options on parts. */
export const provider = "openai"

export type Part = Response.StreamPartEncoded
export type Parts = ReadonlyArray<Part>

/** What a decoder needs to know of the request. */
export interface Raise {
  /** A wire name and argument text as the engine's name and params. */
  readonly call: (name: string, argumentText: string) => { readonly name: string; readonly params: unknown }
  /** A tool that the provider runs, by the provider's word for it; nothing where its call must not be shown. */
  readonly hosted: (word: string) => { readonly name: string; readonly declared: boolean } | undefined
  /** Status and the headers worth handing on. */
  readonly response: { readonly status: number; readonly headers: Readonly<Record<string, string>> } | undefined
  /** Texts that no error may show. */
  readonly secrets: ReadonlyArray<string>
}

/** One event of a stream: JSON with its SSE name, the `[DONE]` mark, or a text that is no JSON. */
export type WireEvent =
  | { readonly _tag: "Json"; readonly name: string; readonly value: unknown }
  | { readonly _tag: "Done" }
  | { readonly _tag: "Malformed"; readonly text: string }

/** How a stream stands: reading, over with its end mark, or broken for a reason. */
export type Ending =
  | { readonly _tag: "Open" }
  | { readonly _tag: "Finished" }
  | { readonly _tag: "Failed"; readonly reason: AiError.AiErrorReason }

/**
 * A wire's decoder. `step` never throws and takes any JSON; after an `ending` that is not `Open` it answers no parts.
 * `interrupt` says that no more bytes come: the calls still open get their `tool-params-start`, and the ending tells the rest.
 */
export interface Decoder<State> {
  readonly initial: (raise: Raise) => State
  readonly step: (state: State, event: WireEvent) => readonly [State, Parts]
  readonly interrupt: (state: State) => readonly [State, Parts]
  readonly ending: (state: State) => Ending
  /** A whole answer (not streamed) as the events that a stream would have sent. */
  readonly events: (whole: unknown) => ReadonlyArray<WireEvent>
}

/** Metadata under our key, without undefined fields; nothing at all where no field is defined. */
export const metadata = (fields: Record<string, unknown>): { readonly metadata?: never } => {
  const own = defined(fields)
  return (Object.keys(own).length === 0 ? {} : { metadata: { [provider]: own } }) as never
}

export const finishPart = (
  raise: Raise,
  reason: Response.FinishReason,
  usage: Response.FinishPartEncoded["usage"],
  fields: Record<string, unknown> = {}
): Response.FinishPartEncoded => ({
  type: "finish",
  reason,
  usage,
  ...(raise.response === undefined ? undefined : { response: raise.response }),
  ...metadata(fields)
})

/** The reason of a stream that stopped before its end mark. */
export const interrupted = (malformed: number): AiError.AiErrorReason =>
  malformed > 0 ? unreadable(malformed) : new AiError.NetworkError({
    reason: "TransportError",
    method: "POST",
    url: "",
    description: "the response stream ended before the provider's end mark"
  })

/** The reason of a turn with events that were no JSON: what they said is lost, so the turn cannot count as whole. */
export const unreadable = (malformed: number): AiError.AiErrorReason =>
  new AiError.InvalidResponseError({ description: `${malformed} event(s) of the response stream were not valid JSON` })

/**
 * Stream parts as the parts of a whole answer: deltas joined, what is only for streams left out. A call that never sealed is
 * not there.
 */
export const whole = (parts: Parts): Array<Response.PartEncoded> => {
  const result: Array<Response.PartEncoded | undefined> = []
  const open = new Map<
    string,
    { readonly at: number; readonly type: "text" | "reasoning"; text: string; metadata: object }
  >()
  for (const part of parts) {
    switch (part.type) {
      case "text-start":
      case "reasoning-start":
        open.set(part.type.slice(0, -6) + part.id, {
          at: result.push(undefined) - 1,
          type: part.type === "text-start" ? "text" : "reasoning",
          text: "",
          metadata: part.metadata ?? {}
        })
        break
      case "text-delta":
      case "reasoning-delta": {
        const block = open.get(part.type.slice(0, -6) + part.id)
        if (block !== undefined) block.text += part.delta
        break
      }
      case "text-end":
      case "reasoning-end": {
        const block = open.get(part.type.slice(0, -4) + part.id)
        if (block !== undefined) {
          result[block.at] = { type: block.type, text: block.text, metadata: merge(block.metadata, part.metadata) }
        }
        break
      }
      case "tool-params-start":
      case "tool-params-delta":
      case "tool-params-end":
      case "error":
        break
      default:
        result.push(part)
    }
  }
  return result.filter((part) => part !== undefined)
}

const merge = (start: object, end: object | undefined): never => {
  const both = {
    ...(start as Record<string, object>)[provider],
    ...(end as Record<string, object> | undefined)?.[provider]
  }
  return (Object.keys(both).length === 0 ? {} : { [provider]: both }) as never
}

/** A call that is being sent on: what of it the stream has seen. */
export interface Sending {
  readonly name: string
  readonly text: string
  startedAs: string | undefined
  sent: number
}

/** Sends what the stream has not seen of a call, under the wire's id or a new one, and says which. */
export const sendArguments = (
  call: Sending,
  wireId: string | undefined,
  raise: Raise,
  newId: () => string,
  parts: Array<Part>
): string => {
  if (call.startedAs === undefined) {
    call.startedAs = wireId ?? newId()
    parts.push({ type: "tool-params-start", id: call.startedAs, name: raise.call(call.name, "").name })
  }
  if (call.sent < call.text.length) {
    parts.push({ type: "tool-params-delta", id: call.startedAs, delta: call.text.slice(call.sent) })
    call.sent = call.text.length
  }
  return call.startedAs
}
