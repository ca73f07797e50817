/**
 * Server-sent events from bytes, cut anywhere. Pure and incremental; total on any bytes.
 *
 * The SDK's own stream throws on a line that is no JSON and hides what came before it, so we take its raw response and frame
 * it here: `\n`, `\r\n`, `\r`, comments, several `data` lines, a BOM, code points split over chunks.
 * A body that is no event stream at all (an error as JSON, a proxy's HTML page, a server that ignores `stream`) is told apart by
 * its first visible character and kept whole.
 */

/** One event. `name` is the `event` field, empty where there was none. */
export interface SseEvent {
  readonly name: string
  readonly data: string
}

/** What a body proved to be; `unknown` until its first visible character. */
export type Mode = "unknown" | "events" | "body"

/** Bytes seen so far and not yet an event. Mutable inside; one per response. */
export interface State {
  mode: Mode
  readonly decoder: TextDecoder
  readonly body: Array<string>
  bodyLength: number
  line: Array<string>
  lineLength: number
  name: string
  data: Array<string>
  afterCarriageReturn: boolean
}

/** The longest body or line that is kept, in UTF-16 units; what is longer is cut, and then is no JSON. */
export const maxBodyLength = 64 * 1024 * 1024

export const initial = (): State => ({
  mode: "unknown",
  decoder: new TextDecoder("utf-8"),
  body: [],
  bodyLength: 0,
  line: [],
  lineLength: 0,
  name: "",
  data: [],
  afterCarriageReturn: false
})

/** Takes the next bytes; answers the events they complete. */
export const push = (state: State, bytes: Uint8Array): ReadonlyArray<SseEvent> =>
  feed(state, state.decoder.decode(bytes, { stream: true }))

/**
 * The bytes are over. An event without its closing blank line is handed on too, since servers forget it; a torn one is no
 * JSON and is told by that. `body` is the whole text where it was no event stream.
 */
export const end = (state: State): { readonly events: ReadonlyArray<SseEvent>; readonly body: string | undefined } => {
  const events = feed(state, state.decoder.decode())
  if (state.mode !== "events") return { events: [], body: state.body.join("") }
  const last: Array<SseEvent> = []
  takeLine(state, last)
  dispatch(state, last)
  return { events: [...events, ...last], body: undefined }
}

const feed = (state: State, text: string): ReadonlyArray<SseEvent> => {
  if (text === "") return []
  if (state.mode === "events") return lines(state, text)
  if (state.bodyLength < maxBodyLength) state.body.push(text)
  state.bodyLength += text.length
  if (state.mode === "body") return []
  const first = /[^\s\uFEFF]/.exec(text)
  if (first === null) return []
  state.mode = first[0] === "{" || first[0] === "[" || first[0] === "<" ? "body" : "events"
  if (state.mode === "body") return []
  state.body.length = 0
  return lines(state, text.slice(first.index))
}

const lines = (state: State, text: string): ReadonlyArray<SseEvent> => {
  const events: Array<SseEvent> = []
  let start = state.afterCarriageReturn && text.charCodeAt(0) === 10 ? 1 : 0
  state.afterCarriageReturn = false
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code !== 10 && code !== 13) continue
    keep(state, text.slice(start, i))
    takeLine(state, events)
    if (code === 13 && i + 1 === text.length) state.afterCarriageReturn = true
    else if (code === 13 && text.charCodeAt(i + 1) === 10) i++
    start = i + 1
  }
  if (start < text.length) keep(state, text.slice(start))
  return events
}

const keep = (state: State, piece: string): void => {
  if (state.lineLength < maxBodyLength) state.line.push(piece)
  state.lineLength += piece.length
}

const takeLine = (state: State, events: Array<SseEvent>): void => {
  const line = state.line.length === 1 ? state.line[0]! : state.line.join("")
  state.line = []
  state.lineLength = 0
  if (line === "") return dispatch(state, events)
  const colon = line.indexOf(":")
  const name = colon === -1 ? line : line.slice(0, colon)
  const value = colon === -1 ? "" : line.slice(line.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1)
  if (name === "data") state.data.push(value)
  else if (name === "event") state.name = value
}

const dispatch = (state: State, events: Array<SseEvent>): void => {
  const data = state.data.join("\n")
  if (data.trim() !== "") events.push({ name: state.name, data })
  state.data = []
  state.name = ""
}
