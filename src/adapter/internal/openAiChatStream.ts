/**
 * Chat Completions, from its chunks to Effect's stream parts: a pure state machine, total on any JSON in any order. The calls
 * themselves are put together in `openAiChatCalls`.
 *
 * Source: platform.openai.com, API reference, "The chat completion chunk object"; and what Azure, Ollama, vLLM, llama.cpp,
 * Mistral, Groq, xAI, DeepSeek, Perplexity and Writer send under that name.
 */
import type * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Calls from "./openAiChatCalls.ts"
import { reasonFromBody } from "./openAiErrors.ts"
import { contentText, count, defined, field, isoDate, json, list, record, text } from "./openAiJson.ts"
import { finishPart, interrupted, metadata, unreadable } from "./openAiParts.ts"
import type { Decoder, Ending, Part, Parts, Raise, WireEvent } from "./openAiParts.ts"

// ---- event schema: the fields read; everything else is ignored, null and absent are the same ----
// { id, model, created, service_tier, system_fingerprint, usage, error, citations,
//   choices: [{ index, finish_reason, delta | message: { content, refusal, reasoning_content | reasoning, annotations, tool_calls, function_call } }] }

// ---- parser state ----

interface Choice {
  readonly calls: Calls.Calls
  readonly number: number
  block: { readonly type: "text" | "reasoning"; readonly id: string; readonly source: string } | undefined
  refusal: string
  finishReason: string | undefined
}

export interface State {
  readonly raise: Raise
  readonly choices: Map<number, Choice>
  readonly sources: Set<string>
  responseId: string | undefined
  announced: boolean
  generated: number
  blocks: number
  malformed: number
  usage: unknown
  details: Record<string, unknown>
  ending: Ending
}

const initial = (raise: Raise): State => ({
  raise,
  choices: new Map(),
  sources: new Set(),
  responseId: undefined,
  announced: false,
  generated: 0,
  blocks: 0,
  malformed: 0,
  usage: undefined,
  details: {},
  ending: { _tag: "Open" }
})

const newId = (state: State) => (): string => `call_${state.responseId ?? "local"}_${++state.generated}`

const choiceAt = (state: State, number: number): Choice => {
  const known = state.choices.get(number)
  if (known !== undefined) return known
  const choice: Choice = { calls: Calls.make(), number, block: undefined, refusal: "", finishReason: undefined }
  state.choices.set(number, choice)
  return choice
}

// ---- step ----

const step = (state: State, event: WireEvent): readonly [State, Parts] => {
  if (state.ending._tag !== "Open") return [state, []]
  switch (event._tag) {
    case "Done":
      return [state, finish(state)]
    case "Malformed":
      state.malformed++
      for (const choice of state.choices.values()) Calls.lose(choice.calls)
      return [state, []]
    case "Json":
      return [state, chunk(state, event)]
  }
}

const chunk = (state: State, event: Extract<WireEvent, { _tag: "Json" }>): Parts => {
  const { value } = event
  const error = field(value, "error")
  if ((error !== undefined && error !== null) || event.name === "error") {
    return fail(state, reasonFromBody(value, state.raise.secrets))
  }
  const parts: Array<Part> = []
  announce(state, value, parts)
  state.usage = record(field(value, "usage")) ?? record(field(field(value, "x_groq"), "usage")) ?? state.usage
  for (const citation of list(field(value, "citations"))) cite(state, citation, text(citation) ?? "", parts)
  list(field(value, "choices")).forEach((choice, position) => {
    takeChoice(state, choiceAt(state, count(field(choice, "index")) ?? position), choice, parts)
  })
  return parts
}

const announce = (state: State, value: unknown, parts: Array<Part>): void => {
  const id = text(field(value, "id"))
  state.details = {
    ...state.details,
    ...defined({
      serviceTier: text(field(value, "service_tier")),
      systemFingerprint: text(field(value, "system_fingerprint"))
    })
  }
  const modelId = text(field(value, "model"))
  if (state.announced || (id === undefined && modelId === undefined)) return
  state.announced = true
  state.responseId = id
  parts.push({
    type: "response-metadata",
    ...defined({ id, modelId, timestamp: isoDate(field(value, "created")) }),
    ...metadata({ headers: state.raise.response?.headers })
  })
}

const takeChoice = (state: State, choice: Choice, value: unknown, parts: Array<Part>): void => {
  const delta = record(field(value, "delta")) ?? record(field(value, "message"))
  if (delta !== undefined) takeDelta(state, choice, delta, parts)
  const reason = text(field(value, "finish_reason"))
  if (reason === undefined) return
  choice.finishReason = reason
  parts.push(...Calls.finish(choice.calls, !finishesWell(reason), state.raise, newId(state)))
}

const takeDelta = (state: State, choice: Choice, delta: unknown, parts: Array<Part>): void => {
  for (const source of ["reasoning_content", "reasoning"]) {
    const thought = text(field(delta, source))
    if (thought !== undefined) write(state, choice, "reasoning", source, thought, parts)
  }
  for (const piece of list(field(delta, "content"))) {
    const thought = contentText(field(piece, "thinking"))
    if (thought !== "") write(state, choice, "reasoning", "thinking", thought, parts)
  }
  const content = contentText(field(delta, "content"))
  if (content !== "") write(state, choice, "text", "content", content, parts)
  const refusal = text(field(delta, "refusal"))
  if (refusal !== undefined) {
    choice.refusal += refusal
    write(state, choice, "text", "refusal", refusal, parts)
  }
  for (const annotation of list(field(delta, "annotations"))) {
    const citation = field(annotation, "url_citation") ?? annotation
    cite(state, field(citation, "url"), text(field(citation, "title")) ?? "", parts)
  }
  takeCalls(state, choice, delta, parts)
}

const takeCalls = (state: State, choice: Choice, delta: unknown, parts: Array<Part>): void => {
  const pieces = list(field(delta, "tool_calls")).filter((entry) => record(entry) !== undefined)
    .map((entry) => Calls.fragment(entry, undefined))
  // Before tools there was one unnamed call in a choice.
  const legacy = record(field(delta, "function_call"))
  if (legacy !== undefined) pieces.push(Calls.fragment({ function: legacy }, undefined))
  if (pieces.length === 0) return
  if (choice.block?.type === "reasoning") close(choice, parts)
  parts.push(...Calls.take(choice.calls, pieces, state.raise, newId(state)))
}

// ---- raise ----

const write = (
  state: State,
  choice: Choice,
  type: "text" | "reasoning",
  source: string,
  delta: string,
  parts: Array<Part>
): void => {
  if (choice.block?.type !== type || choice.block.source !== source) {
    close(choice, parts)
    choice.block = { type, id: `${type}-${++state.blocks}`, source }
    parts.push({
      type: type === "text" ? "text-start" : "reasoning-start",
      id: choice.block.id,
      ...metadata({
        refusal: source === "refusal" ? true : undefined,
        field: type === "reasoning" ? source : undefined
      })
    })
  }
  parts.push({ type: type === "text" ? "text-delta" : "reasoning-delta", id: choice.block.id, delta })
}

const close = (choice: Choice, parts: Array<Part>): void => {
  if (choice.block === undefined) return
  parts.push({ type: choice.block.type === "text" ? "text-end" : "reasoning-end", id: choice.block.id })
  choice.block = undefined
}

const cite = (state: State, url: unknown, title: string, parts: Array<Part>): void => {
  if (typeof url !== "string" || state.sources.has(url) || !URL.canParse(url)) return
  state.sources.add(url)
  parts.push({ type: "source", sourceType: "url", id: `source-${state.sources.size}`, url, title })
}

const finish = (state: State): Parts => {
  const parts: Array<Part> = []
  for (const choice of state.choices.values()) {
    close(choice, parts)
    const cut = choice.finishReason === undefined || !finishesWell(choice.finishReason)
    parts.push(...Calls.finish(choice.calls, cut, state.raise, newId(state)))
  }
  if (state.malformed > 0) return [...parts, ...fail(state, unreadable(state.malformed))]
  state.ending = { _tag: "Finished" }
  const refusal = [...state.choices.values()].map((choice) => choice.refusal).join("")
  const reasons = [...state.choices.values()].map((choice) => choice.finishReason).filter((reason) =>
    reason !== undefined
  )
  parts.push(finishPart(state.raise, finishReason(state, reasons[0], refusal), usage(state.usage), {
    finishReason: reasons[0],
    refusal: refusal === "" ? undefined : refusal,
    usage: state.usage === undefined ? undefined : json(state.usage),
    ...state.details
  }))
  return parts
}

const finishReason = (state: State, reason: string | undefined, refusal: string): Response.FinishReason => {
  const choices = [...state.choices.values()]
  const called = choices.some((choice) => choice.calls.all.some((call) => call.sealed))
  // `[DONE]` alone is an end mark too; what it does not say is whether a call that is still open was meant to be.
  const silent = choices.length > 0 && choices.every((choice) => choice.calls.open.size === 0) ? "stop" : "unknown"
  const raised = reason === undefined ? silent : reasons[reason] ?? "other"
  if (raised === "stop" && refusal !== "") return "content-filter"
  return raised === "stop" && called ? "tool-calls" : raised
}

const reasons: { readonly [reason: string]: Response.FinishReason | undefined } = Object.assign(
  Object.create(null) as object,
  {
    stop: "stop",
    eos: "stop",
    eos_token: "stop",
    end_turn: "stop",
    stop_sequence: "stop",
    length: "length",
    max_tokens: "length",
    model_length: "length",
    tool_calls: "tool-calls",
    tool_use: "tool-calls",
    tool_call: "tool-calls",
    function_call: "tool-calls",
    content_filter: "content-filter",
    error: "error",
    insufficient_system_resource: "error"
  } as const
)

// After these the model had said what it wanted; after all others a call may be half.
const finishesWell = (reason: string): boolean => {
  const raised = reasons[reason]
  return raised === "stop" || raised === "tool-calls"
}

/** The vendor's count as Effect's. */
export const usage = (value: unknown): Response.FinishPartEncoded["usage"] => {
  const input = count(field(value, "prompt_tokens"))
  const output = count(field(value, "completion_tokens"))
  const cached = count(field(field(value, "prompt_tokens_details"), "cached_tokens")) ??
    count(field(value, "prompt_cache_hit_tokens"))
  const reasoning = count(field(field(value, "completion_tokens_details"), "reasoning_tokens"))
  return {
    inputTokens: defined({ total: input, cacheRead: cached, uncached: difference(input, cached) }),
    outputTokens: defined({ total: output, reasoning, text: difference(output, reasoning) })
  }
}

const difference = (total: number | undefined, part: number | undefined): number | undefined =>
  total === undefined || (part ?? 0) > total ? undefined : total - (part ?? 0)

const fail = (state: State, reason: AiError.AiErrorReason): Parts => {
  const parts: Array<Part> = []
  for (const choice of state.choices.values()) parts.push(...Calls.announce(choice.calls, state.raise, newId(state)))
  state.ending = { _tag: "Failed", reason }
  return parts
}

const interrupt = (state: State): readonly [State, Parts] => {
  if (state.ending._tag !== "Open") return [state, []]
  const choices = [...state.choices.values()]
  const over = choices.length > 0 && choices.every((choice) => choice.finishReason !== undefined)
  return [state, over ? finish(state) : fail(state, interrupted(state.malformed))]
}

// ---- a whole answer ----

const events = (whole: unknown): ReadonlyArray<WireEvent> => {
  const answer = numbered(whole)
  return Array.isArray(field(answer, "choices")) || field(answer, "error") !== undefined
    ? [{ _tag: "Json", name: "", value: answer }, { _tag: "Done" }]
    : [{ _tag: "Json", name: "error", value: answer }]
}

// In a whole answer a call's place is its index: two entries are always two calls.
const numbered = (whole: unknown): unknown => {
  const choices = field(whole, "choices")
  if (!Array.isArray(choices)) return whole
  return {
    ...record(whole),
    choices: choices.map((choice) => {
      const message = record(field(choice, "message"))
      const calls = field(message, "tool_calls")
      if (!Array.isArray(calls)) return choice
      const entries = calls.filter((call) => record(call) !== undefined)
      return {
        ...record(choice),
        message: { ...message, tool_calls: entries.map((call, index) => ({ ...record(call), index })) }
      }
    })
  }
}

export const decoder: Decoder<State> = { initial, step, interrupt, ending: (state) => state.ending, events }
