/**
 * The Responses API, from its events to Effect's stream parts: a pure state machine, total on any JSON in any order. The calls
 * themselves are kept in `openAiResponsesCalls`.
 *
 * Source: platform.openai.com, API reference, "Streaming events"; and what Azure, LM Studio, DeepSeek and GitHub Copilot send
 * under that name. Item ids are not trusted to stay the same from event to event: places (`output_index`) are asked too.
 */
import type * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import { reasonFromBody } from "./openAiErrors.ts"
import { count, defined, field, isoDate, json, list, record, text } from "./openAiJson.ts"
import { finishPart, interrupted, metadata, unreadable } from "./openAiParts.ts"
import type { Decoder, Ending, Part, Parts, Raise, WireEvent } from "./openAiParts.ts"
import * as Blocks from "./openAiResponsesBlocks.ts"
import * as Calls from "./openAiResponsesCalls.ts"

// ---- event schema: the events and fields read; everything else is ignored ----
// response.created | in_progress | completed | incomplete | failed { response: { id, model, created_at, status, usage, error, incomplete_details, output } }
// response.output_item.added | done { output_index, item: { id, type, status, call_id, name, arguments, content, summary, encrypted_content } }
// response.output_text.delta | done, refusal.delta | done, output_text.annotation.added { item_id, output_index, content_index }
// response.reasoning_summary_part.added, reasoning_summary_text.delta, reasoning_text.delta
// response.function_call_arguments.delta | done
// error { code, message }

// ---- parser state ----

export interface State {
  readonly raise: Raise
  readonly calls: Calls.Calls
  readonly blocks: Blocks.Blocks
  readonly finishedItems: Set<number>
  readonly hosted: Set<string>
  responseId: string | undefined
  announced: boolean
  generated: number
  malformed: number
  refusal: string
  ending: Ending
}

const initial = (raise: Raise): State => ({
  raise,
  calls: Calls.make(),
  blocks: Blocks.make(),
  finishedItems: new Set(),
  hosted: new Set(),
  responseId: undefined,
  announced: false,
  generated: 0,
  malformed: 0,
  refusal: "",
  ending: { _tag: "Open" }
})

const newId = (state: State) => (): string => `call_${state.responseId ?? "local"}_${++state.generated}`

// ---- step ----

const step = (state: State, event: WireEvent): readonly [State, Parts] => {
  if (state.ending._tag !== "Open" || event._tag === "Done") return [state, []]
  if (event._tag === "Malformed") {
    state.malformed++
    return [state, []]
  }
  const parts: Array<Part> = []
  take(state, text(field(event.value, "type")) ?? event.name, event.value, parts)
  return [state, parts]
}

const take = (state: State, type: string, event: unknown, parts: Array<Part>): void => {
  switch (type) {
    case "response.created":
    case "response.in_progress":
    case "response.queued":
      return announce(state, field(event, "response"), parts)
    case "response.output_item.added":
      return itemAdded(state, event, parts)
    case "response.output_item.done":
      return itemDone(state, field(event, "item"), event, parts)
    case "response.function_call_arguments.delta":
      return Calls.delta(state.calls, event, state.raise, parts, newId(state))
    case "response.function_call_arguments.done":
      return Calls.argumentsDone(state.calls, event, state.raise, parts, newId(state))
    case "response.output_text.delta":
    case "response.refusal.delta":
    case "response.reasoning_text.delta":
    case "response.reasoning_summary_part.added":
    case "response.reasoning_summary_text.delta":
      return textEvent(state, type, event, parts)
    case "response.output_text.annotation.added":
      return Blocks.cite(state.blocks, field(event, "annotation"), parts)
    case "response.completed":
    case "response.incomplete":
    case "response.done":
      return complete(state, type, field(event, "response"), parts)
    case "response.failed":
    case "error":
      return fail(state, reasonFromBody(failure(event), state.raise.secrets), parts)
    default:
      if (type === "" && record(field(event, "error")) !== undefined) {
        fail(state, reasonFromBody(event, state.raise.secrets), parts)
      }
  }
}

const failure = (event: unknown): unknown => field(event, "error") ?? field(field(event, "response"), "error") ?? event

const announce = (state: State, response: unknown, parts: Array<Part>): void => {
  if (state.announced || record(response) === undefined) return
  state.announced = true
  state.responseId = text(field(response, "id"))
  parts.push({
    type: "response-metadata",
    ...defined({
      id: state.responseId,
      modelId: text(field(response, "model")),
      timestamp: isoDate(field(response, "created_at"))
    }),
    ...metadata({ headers: state.raise.response?.headers })
  })
}

const textEvent = (state: State, type: string, event: unknown, parts: Array<Part>): void => {
  const delta = text(field(event, "delta")) ?? ""
  switch (type) {
    case "response.output_text.delta":
      return Blocks.write(state.blocks, Blocks.block(state.blocks, "text", event, parts), delta, parts)
    case "response.refusal.delta":
      state.refusal += delta
      return Blocks.write(state.blocks, Blocks.block(state.blocks, "text", event, parts, true), delta, parts)
    case "response.reasoning_summary_part.added": {
      const thought = Blocks.block(state.blocks, "reasoning", event, parts)
      thought.source = "summary"
      // Parts of a summary are paragraphs of one text.
      if (thought.parts++ > 0) Blocks.write(state.blocks, thought, "\n\n", parts)
      return
    }
    default: {
      const thought = Blocks.block(state.blocks, "reasoning", event, parts)
      thought.source = type === "response.reasoning_text.delta" ? "content" : "summary"
      return Blocks.write(state.blocks, thought, delta, parts)
    }
  }
}

// ---- items ----

const itemAdded = (state: State, event: unknown, parts: Array<Part>): void => {
  const item = field(event, "item")
  const type = text(field(item, "type"))
  if (type === "function_call") Calls.added(state.calls, item, event, state.raise, parts, newId(state))
  else if (type === "reasoning") {
    Blocks.block(state.blocks, "reasoning", { ...record(event), item_id: field(item, "id") }, parts)
  }
}

const itemDone = (state: State, item: unknown, event: unknown, parts: Array<Part>): void => {
  const outputIndex = count(field(event, "output_index"))
  if (outputIndex !== undefined) state.finishedItems.add(outputIndex)
  const type = text(field(item, "type"))
  if (type === "function_call") return Calls.itemDone(state.calls, item, event, state.raise, parts, newId(state))
  if (type === "message") return messageDone(state, item, event, parts)
  if (type === "reasoning") return reasoningDone(state, item, event, parts)
  if (type !== undefined) hostedDone(state, type, item, parts)
}

// Text that came as deltas is there already; a server without deltas, or a whole answer, has it only here.
const messageDone = (state: State, item: unknown, event: unknown, parts: Array<Part>): void => {
  const itemId = text(field(item, "id"))
  const streamed = Blocks.written(state.blocks, itemId, count(field(event, "output_index")))
  list(field(item, "content")).forEach((piece, content_index) => {
    for (const annotation of list(field(piece, "annotations"))) Blocks.cite(state.blocks, annotation, parts)
    const refusal = field(piece, "type") === "refusal" ? text(field(piece, "refusal")) : undefined
    const said = refusal ?? text(field(piece, "text"))
    if (streamed || said === undefined) return
    if (refusal !== undefined) state.refusal += refusal
    const at = { item_id: itemId, output_index: field(event, "output_index"), content_index }
    Blocks.write(state.blocks, Blocks.block(state.blocks, "text", at, parts, refusal !== undefined), said, parts)
  })
  Blocks.closeItem(state.blocks, "text", itemId, count(field(event, "output_index")), parts, { itemId })
}

const reasoningDone = (state: State, item: unknown, event: unknown, parts: Array<Part>): void => {
  const itemId = text(field(item, "id"))
  const thought = Blocks.block(state.blocks, "reasoning", { ...record(event), item_id: itemId }, parts)
  const summary = texts(field(item, "summary"))
  const content = texts(field(item, "content"))
  if (thought.written === 0) {
    thought.source = content.length > 0 && summary.length === 0 ? "content" : "summary"
    Blocks.write(state.blocks, thought, (summary.length > 0 ? summary : content).join("\n\n"), parts)
  }
  Blocks.closeItem(state.blocks, "reasoning", itemId, thought.outputIndex, parts, {
    itemId: itemId ?? thought.item,
    encryptedContent: text(field(item, "encrypted_content")),
    source: thought.source === "content" ? "content" : undefined
  })
}

const texts = (u: unknown): ReadonlyArray<string> =>
  list(u).map((piece) => text(field(piece, "text"))).filter((piece) => piece !== undefined)

// Tools that the provider ran itself: its call, and its result where the tool was declared to us.
const hostedDone = (state: State, type: string, item: unknown, parts: Array<Part>): void => {
  // A custom tool cannot be declared through effect/ai; where one is called (xAI), the provider ran it.
  const word = type === "custom_tool_call" ? text(field(item, "name")) : hostedWords[type]
  const id = text(field(item, "id"))
  if (word === undefined || id === undefined || state.hosted.has(id)) return
  state.hosted.add(id)
  const hosted = state.raise.hosted(word)
  if (hosted === undefined) return
  const name = hosted.name
  const image = word === "image_generation" ? text(field(item, "result")) : undefined
  parts.push({
    type: "tool-call",
    id,
    name,
    params: json(
      defined({
        ...record(field(item, "action")),
        code: field(item, "code"),
        queries: field(item, "queries"),
        input: field(item, "input")
      })
    ),
    providerExecuted: true,
    ...metadata({ itemId: id, itemType: type })
  })
  if (image !== undefined && /^[A-Za-z0-9+/]+={0,2}$/.test(image) && image.length % 4 === 0) {
    parts.push({
      type: "file",
      mediaType: `image/${text(field(item, "output_format")) ?? "png"}`,
      data: image,
      ...metadata({ itemId: id })
    })
  }
  if (!hosted.declared) return
  parts.push({
    type: "tool-result",
    id,
    name,
    result: json(item),
    isFailure: field(item, "status") === "failed",
    providerExecuted: true,
    ...metadata({ itemId: id })
  })
}

const hostedWords: { readonly [type: string]: string | undefined } = Object.assign(Object.create(null) as object, {
  web_search_call: "web_search",
  file_search_call: "file_search",
  code_interpreter_call: "code_interpreter",
  image_generation_call: "image_generation",
  mcp_call: "mcp"
})

// ---- raise ----

const complete = (state: State, type: string, response: unknown, parts: Array<Part>): void => {
  announce(state, response, parts)
  const status = text(field(response, "status"))
  const why = text(field(field(response, "incomplete_details"), "reason"))
  if (status === "failed" || status === "cancelled") {
    return fail(state, reasonFromBody(field(response, "error") ?? response, state.raise.secrets), parts)
  }
  const cut = type === "response.incomplete" || status === "incomplete" || why !== undefined
  list(field(response, "output")).forEach((item, output_index) => {
    if (state.finishedItems.has(output_index) || Calls.knows(state.calls, item)) return
    if (text(field(item, "type")) === "function_call" && cut && field(item, "status") !== "completed") return
    itemDone(state, item, { output_index }, parts)
  })
  Blocks.closeAll(state.blocks, parts)
  Calls.finish(state.calls, !cut && state.malformed === 0, state.raise, parts, newId(state))
  if (state.malformed > 0) return fail(state, unreadable(state.malformed), parts)
  state.ending = { _tag: "Finished" }
  parts.push(finishPart(state.raise, finishReason(state, cut, why), usage(field(response, "usage")), {
    status,
    incompleteReason: why,
    refusal: state.refusal === "" ? undefined : state.refusal,
    serviceTier: text(field(response, "service_tier")),
    usage: record(field(response, "usage"))
  }))
}

const finishReason = (state: State, cut: boolean, why: string | undefined): Response.FinishReason => {
  if (why === "content_filter") return "content-filter"
  if (cut) return why === undefined || why === "max_output_tokens" || why === "max_tokens" ? "length" : "other"
  if (Calls.anySealed(state.calls)) return "tool-calls"
  return state.refusal === "" ? "stop" : "content-filter"
}

/** The vendor's count as Effect's. */
export const usage = (value: unknown): Response.FinishPartEncoded["usage"] => {
  const input = count(field(value, "input_tokens"))
  const output = count(field(value, "output_tokens"))
  const cached = count(field(field(value, "input_tokens_details"), "cached_tokens"))
  const reasoning = count(field(field(value, "output_tokens_details"), "reasoning_tokens"))
  return {
    inputTokens: defined({ total: input, cacheRead: cached, uncached: difference(input, cached) }),
    outputTokens: defined({ total: output, reasoning, text: difference(output, reasoning) })
  }
}

const difference = (total: number | undefined, part: number | undefined): number | undefined =>
  total === undefined || (part ?? 0) > total ? undefined : total - (part ?? 0)

const fail = (state: State, reason: AiError.AiErrorReason, parts: Array<Part>): void => {
  Calls.finish(state.calls, false, state.raise, parts, newId(state))
  state.ending = { _tag: "Failed", reason }
}

const interrupt = (state: State): readonly [State, Parts] => {
  const parts: Array<Part> = []
  if (state.ending._tag === "Open") fail(state, interrupted(state.malformed), parts)
  return [state, parts]
}

// ---- a whole answer ----

const events = (whole: unknown): ReadonlyArray<WireEvent> => {
  const error = field(whole, "error")
  if (!Array.isArray(field(whole, "output")) || (error !== undefined && error !== null)) {
    return [{ _tag: "Json", name: "error", value: whole }]
  }
  return [{ _tag: "Json", name: "", value: { type: "response.completed", response: whole } }]
}

export const decoder: Decoder<State> = { initial, step, interrupt, ending: (state) => state.ending, events }
