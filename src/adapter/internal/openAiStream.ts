/**
 * One streamed response, from bytes to parts: the framer and an API's decoder in a row, and what to do with a body that is
 * no event stream. Pure: the driver only brings bytes and asks how it stands.
 */
import { reasonFromText } from "./openAiErrors.ts"
import { parse } from "./openAiJson.ts"
import type { Decoder, Ending, Part, Parts, Raise, WireEvent } from "./openAiParts.ts"
import * as Sse from "./openAiSse.ts"

/** A response being read. Mutable inside; one per response. */
export interface State<S> {
  readonly raise: Raise
  readonly decoder: Decoder<S>
  readonly framer: Sse.State
  inner: S
  ending: Ending
}

export const initial = <S>(decoder: Decoder<S>, raise: Raise): State<S> => ({
  raise,
  decoder,
  framer: Sse.initial(),
  inner: decoder.initial(raise),
  ending: { _tag: "Open" }
})

/** Takes the next bytes; answers all parts they complete, at once. */
export const push = <S>(state: State<S>, bytes: Uint8Array): Parts => {
  const parts: Array<Part> = []
  for (const event of Sse.push(state.framer, bytes)) step(state, toWire(event), parts)
  return parts
}

/** The bytes are over, well or not. Afterwards the ending is never `Open`. */
export const end = <S>(state: State<S>): Parts => {
  const parts: Array<Part> = []
  const { body, events } = Sse.end(state.framer)
  if (body !== undefined) takeBody(state, body, parts)
  for (const event of events) {
    const wire = toWire(event)
    // A last event without its end that is no JSON was torn; the interruption tells so.
    if (wire._tag !== "Malformed") step(state, wire, parts)
  }
  const [inner, last] = state.decoder.interrupt(state.inner)
  state.inner = inner
  parts.push(...last)
  if (state.ending._tag === "Open") state.ending = state.decoder.ending(inner)
  return parts
}

/** A whole answer, not streamed: the same states, the same parts. */
export const whole = <S>(
  decoder: Decoder<S>,
  raise: Raise,
  body: string
): { readonly parts: Parts; readonly ending: Ending } => {
  const state = initial(decoder, raise)
  const parts: Array<Part> = []
  takeBody(state, body, parts)
  const [inner, last] = decoder.interrupt(state.inner)
  return {
    parts: [...parts, ...last],
    ending: state.ending._tag === "Open" ? decoder.ending(inner) : state.ending
  }
}

const takeBody = <S>(state: State<S>, body: string, parts: Array<Part>): void => {
  const value = parse(body.charCodeAt(0) === 0xfeff ? body.slice(1) : body)
  if (typeof value !== "object" || value === null) {
    state.ending = { _tag: "Failed", reason: reasonFromText(body, state.raise.secrets) }
    return
  }
  for (const event of state.decoder.events(value)) step(state, event, parts)
}

const step = <S>(state: State<S>, event: WireEvent, parts: Array<Part>): void => {
  if (state.ending._tag !== "Open") return
  const [inner, more] = state.decoder.step(state.inner, event)
  state.inner = inner
  for (const part of more) parts.push(part)
  state.ending = state.decoder.ending(inner)
}

const toWire = (event: Sse.SseEvent): WireEvent => {
  if (event.data.trim() === "[DONE]") return { _tag: "Done" }
  const value = parse(event.data)
  return value === undefined ? { _tag: "Malformed", text: event.data } : { _tag: "Json", name: event.name, value }
}
