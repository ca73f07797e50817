/**
 * One recorded answer of a provider through everything we have: the pure decoder whole, byte by byte and cut anywhere, the adapter
 * over real HTTP whole and cut, the engine.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as ChatStream from "../../src/adapter/internal/openAiChatStream.ts"
import type { Decoder, Ending, Parts, Raise } from "../../src/adapter/internal/openAiParts.ts"
import * as ResponsesStream from "../../src/adapter/internal/openAiResponsesStream.ts"
import * as Wire from "../../src/adapter/internal/openAiStream.ts"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import * as ToolCall from "../../src/domain/ToolCall.ts"
import * as Engine from "./engine.ts"
import { differs, random, seedOf } from "./report.ts"
import { done, utf8 } from "./server.ts"
import type { Answer, Server } from "./server.ts"

/** A call as somebody else decoded it: `arguments` is the text as sent. */
export interface WantedCall {
  readonly id: string
  readonly name: string
  readonly arguments: string
}

export interface Exchange {
  readonly id: string
  readonly api: "chat" | "responses"
  readonly stream: boolean
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
  readonly calls: ReadonlyArray<WantedCall>
  /** Whether the turn ended inside its output (length, content filter). */
  readonly cut: boolean
  /** Whether the recorded body ends with the provider's own end mark and every event of it is JSON. */
  readonly whole: boolean
}

/** How a recorded body ends, read from its text: with the provider's end mark and no error, and whether the turn was cut. */
export const endsOf = (api: Exchange["api"], body: string): { readonly whole: boolean; readonly cut: boolean } => {
  const failed = api === "responses" &&
    /"type":\s*"(response\.failed|error)"|"status":\s*"failed",\s*"error":\s*\{/.test(body)
  const marked = api === "chat"
    ? /"finish_reason":\s*"[^"]/.test(body) || /^data: ?\[DONE\]/m.test(body)
    : /"type":\s*"response\.(completed|incomplete)"/.test(body) || /"object":\s*"response"/.test(body)
  const cut = api === "chat"
    ? /"finish_reason":\s*"(length|content_filter|max_tokens)"/.test(body)
    : /"incomplete_details":\s*\{/.test(body)
  return { whole: marked && !failed, cut }
}

interface Call {
  readonly id: string
  readonly name: string
  readonly params: unknown
}

const raise: Raise = {
  call: (name, text) => ({ name, params: ToolCall.parseArguments(text) }),
  hosted: (name) => ({ name, declared: false }),
  response: undefined,
  secrets: []
}

/** Reads a body byte by byte: which parts are there after each, and what the end of the body brings. */
export const reading = (exchange: Exchange): {
  readonly push: (bytes: Uint8Array) => Parts
  readonly end: () => { readonly parts: Parts; readonly ending: Ending }
} => {
  const state = Wire.initial(decoderOf(exchange.api), raise)
  return {
    push: (bytes) => Wire.push(state, bytes),
    end: () => ({ parts: Wire.end(state), ending: state.ending })
  }
}

const decoderOf = (api: Exchange["api"]): Decoder<never> =>
  (api === "chat" ? ChatStream.decoder : ResponsesStream.decoder) as never

// A turn that was cut holds half a call; what is no complete object then must not be handed on.
export const wanted = (exchange: Exchange): ReadonlyArray<Call> =>
  exchange.calls.filter((call) => !exchange.cut || typeof independentParse(call.arguments) === "object").map((
    call
  ) => ({ id: call.id, name: call.name, params: independentParse(call.arguments) }))

// The rule of fault P8, written down a second time: an object is an object, blank is {}, everything else stays text.
const independentParse = (text: string): unknown => {
  if (text.trim() === "") return {}
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : text
  } catch {
    return text
  }
}

const callsOf = (parts: ReadonlyArray<{ readonly type: string }>): ReadonlyArray<Call> =>
  (parts as ReadonlyArray<Call & { readonly type: string; readonly providerExecuted?: boolean }>)
    .filter((part) => part.type === "tool-call" && part.providerExecuted !== true)
    .map(({ id, name, params }) => ({ id, name, params }))

// Servers of old sent calls without ids; the adapter makes one up, and any will do.
const sameCalls = (what: string, calls: ReadonlyArray<Call>, all: ReadonlyArray<Call>): ReadonlyArray<string> =>
  differs(what, calls.map((call, at) => all[at] !== undefined && !all[at].id ? { ...call, id: all[at].id } : call), all)

// ---- the pure decoder ----

const decode = (
  exchange: Exchange,
  bytes: Uint8Array,
  size: number
): { readonly parts: Parts; readonly ending: Ending } => {
  const state = Wire.initial(decoderOf(exchange.api), raise)
  const parts: Array<Parts[number]> = []
  for (let at = 0; at < bytes.length; at += size) parts.push(...Wire.push(state, bytes.subarray(at, at + size)))
  parts.push(...Wire.end(state))
  return { parts, ending: state.ending }
}

const wellFormed = (parts: Parts, ending: Ending): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const started = new Set<string>()
  for (const [at, part] of parts.entries()) {
    if (part.type === "tool-params-start") started.add(part.id)
    if (part.type === "tool-call" && part.providerExecuted !== true && !started.has(part.id)) {
      faults.push(`call ${part.id} without its start`)
    }
    if (part.type === "finish" && at !== parts.length - 1) faults.push("finish is not the last part")
  }
  const finishes = parts.filter((part) => part.type === "finish").length
  if (ending._tag === "Open") faults.push("the stream's ending is open")
  if (finishes !== (ending._tag === "Finished" ? 1 : 0)) {
    faults.push(`${finishes} finish part(s) with ending ${ending._tag}`)
  }
  return faults
}

/** The law of cuts: what is emitted before a cut is what the whole emits first, with equal arguments; and the turn fails typed. */
const cutLaw = (
  what: string,
  parts: ReadonlyArray<{ readonly type: string }>,
  all: ReadonlyArray<Call>
): ReadonlyArray<string> => {
  const calls = callsOf(parts)
  return sameCalls(`${what}: calls before the cut`, calls, all.slice(0, calls.length))
}

/** Whole, byte by byte, and cut at 200 seeded places (every place where there are fewer). */
export const pure = (exchange: Exchange): ReadonlyArray<string> => {
  const bytes = utf8(exchange.body)
  const all = wanted(exchange)
  if (!exchange.stream) {
    const { ending, parts } = Wire.whole(decoderOf(exchange.api), raise, exchange.body)
    return [
      ...sameCalls("whole answer", callsOf(parts), all),
      ...wellFormed(parts, ending),
      ...expectEnding(exchange, ending)
    ]
  }
  const whole = decode(exchange, bytes, bytes.length)
  const single = decode(exchange, bytes, 1)
  const faults = [
    ...sameCalls("whole stream", callsOf(whole.parts), all),
    ...differs("byte by byte", single.parts, whole.parts),
    ...wellFormed(whole.parts, whole.ending),
    ...expectEnding(exchange, whole.ending)
  ]
  for (const at of cuts(exchange, bytes.length, 200)) {
    const cut = decode(exchange, bytes.subarray(0, at), 4096)
    faults.push(
      ...cutLaw(`cut at ${at}`, cut.parts, all),
      ...wellFormed(cut.parts, cut.ending).map((fault) => `cut at ${at}: ${fault}`)
    )
  }
  return faults
}

const cuts = (exchange: Exchange, length: number, count: number): ReadonlyArray<number> => {
  if (length <= count) return Array.from({ length }, (_, at) => at)
  const next = random(seedOf(exchange.id))
  return Array.from({ length: count }, () => Math.floor(next() * length))
}

const expectEnding = (exchange: Exchange, ending: Ending): ReadonlyArray<string> => {
  const expected = exchange.whole ? "Finished" : "Failed"
  const why = ending._tag === "Failed" ? ` (${ending.reason.message})` : ""
  return ending._tag === expected ? [] : [`the turn's ending is ${ending._tag}${why}, wanted ${expected}`]
}

// ---- the adapter over HTTP ----

interface Heard {
  readonly parts: ReadonlyArray<{ readonly type: string }>
  readonly error: AiError.AiError | undefined
  readonly defect: string | undefined
}

/** What a program hears from the adapter: its parts, then how it ended. */
export const hear = async (baseURL: string, api: Exchange["api"], stream: boolean): Promise<Heard> => {
  const parts: Array<{ readonly type: string }> = []
  const keep = (part: { readonly type: string }) => Effect.sync(() => void parts.push(part))
  const program = stream
    ? LanguageModel.streamText({ prompt: "go", disableToolCallResolution: true, toolCallValidation: "deferred" }).pipe(
      Stream.runForEach(keep)
    )
    : LanguageModel.generateText({ prompt: "go", disableToolCallResolution: true, toolCallValidation: "deferred" })
      .pipe(
        Effect.flatMap((response) => Effect.forEach(response.content, keep, { discard: true }))
      )
  const exit = await Effect.runPromiseExit(Effect.provide(program, OpenAi.layer({ model: "m", baseURL, api })))
  if (Exit.isSuccess(exit)) return { parts, error: undefined, defect: undefined }
  const failed = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
  const error = AiError.isAiError(failed) ? failed : undefined
  return { parts, error, defect: error === undefined ? JSON.stringify(exit.cause) : undefined }
}

// The recorded body in seeded pieces, so that chunk borders fall anywhere.
const pieces = (exchange: Exchange, bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  const next = random(seedOf(exchange.id) ^ 1)
  const result: Array<Uint8Array> = []
  for (let at = 0; at < bytes.length;) {
    const size = 1 + Math.floor(next() * 2 * Math.max(1, bytes.length / 12))
    result.push(bytes.subarray(at, at + size))
    at += size
  }
  return result
}

const answer = (exchange: Exchange, until?: number): Answer => {
  const bytes = utf8(exchange.body)
  const type = exchange.headers["content-type"] ?? (exchange.stream ? "text/event-stream" : "application/json")
  const { "transfer-encoding": _, ...headers } = exchange.headers
  return {
    status: 200,
    headers: { ...headers, "content-type": type },
    chunks: pieces(exchange, until === undefined ? bytes : bytes.subarray(0, until)),
    hangUp: until !== undefined
  }
}

/** Whole and, where it streams, cut at 5 seeded places, over real HTTP. */
export const overHttp = async (server: Server, exchange: Exchange): Promise<ReadonlyArray<string>> => {
  const all = wanted(exchange)
  const whole = await listen(server, exchange, answer(exchange))
  const faults = [
    ...sameCalls("over HTTP", callsOf(whole.parts), all),
    ...(whole.defect === undefined ? [] : [`over HTTP: ${whole.defect}`]),
    ...((whole.error === undefined) === exchange.whole
      ? []
      : [`over HTTP: ended with ${whole.error?.message ?? "no error"}`])
  ]
  for (const at of cuts(exchange, utf8(exchange.body).length, 5)) {
    const cut = await listen(server, exchange, answer(exchange, at))
    faults.push(...cutLaw(`HTTP cut at ${at}`, cut.parts, all))
    if (cut.defect !== undefined) faults.push(`HTTP cut at ${at}: ${cut.defect}`)
    const finished = cut.parts.some((part) => part.type === "finish")
    if (finished === (cut.error !== undefined)) {
      faults.push(`HTTP cut at ${at}: finish ${finished}, error ${cut.error?.message ?? "none"}`)
    }
  }
  return faults
}

const listen = async (server: Server, exchange: Exchange, said: Answer): Promise<Heard> => {
  const mount = server.mount(() => said)
  const heard = await hear(mount.baseURL, exchange.api, exchange.stream)
  mount.unmount()
  return heard
}

// ---- the engine ----

/** The decision through the Orchestrator: each call reaches its handler exactly once, with equal arguments, and has one result. */
export const throughEngine = async (server: Server, exchange: Exchange): Promise<ReadonlyArray<string>> => {
  if (exchange.calls.length === 0) return []
  const mount = server.mount((_, turn) => turn === 0 ? answer(exchange) : done(exchange.api))
  const names = [...new Set(exchange.calls.map((call) => call.name))]
  const outcome = await Engine.run({
    baseURL: mount.baseURL,
    api: exchange.api,
    tools: names.map((name) => ({ name, parameters: Engine.anyObject }))
  })
  mount.unmount()
  const runnable = wanted(exchange).filter((call) => typeof call.params !== "string")
  const faults = [
    ...differs("handlers got", sorted(outcome.ran), sorted(runnable)),
    ...(outcome.defect === undefined ? [] : [`engine: ${outcome.defect}`])
  ]
  if (!exchange.whole) return faults
  if (outcome.error !== undefined) return [...faults, `engine: ${outcome.error.message}`]
  return [
    ...faults,
    ...differs("results", outcome.results.map((result) => result.name), exchange.calls.map((call) => call.name)),
    ...(new Set(outcome.results.map((result) => result.id)).size === outcome.results.length
      ? []
      : ["two results share an id"])
  ]
}

const sorted = (calls: ReadonlyArray<{ readonly name: string; readonly params: unknown }>): ReadonlyArray<string> =>
  calls.map((call) => JSON.stringify([call.name, call.params])).sort()
