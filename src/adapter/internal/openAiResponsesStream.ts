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
import * as Calls from "./openAiResponsesCalls.ts"

// ---- event schema: the events and fields read; everything else is ignored ----
// response.created | in_progress | completed | incomplete | failed { response: { id, model, created_at, status, usage, error, incomplete_details, output } }
// response.output_item.added | done { output_index, item: { id, type, status, call_id, name, arguments, content, summary, encrypted_content } }
// response.output_text.delta | done, refusal.delta | done, output_text.annotation.added { item_id, output_index, content_index }
// response.reasoning_summary_part.added, reasoning_summary_text.delta, reasoning_text.delta
// response.function_call_arguments.delta | done, response.custom_tool_call_input.delta | done
// error { code, message }

// ---- parser state ----

interface Block {
  readonly id: string
  readonly type: "text" | "reasoning"
  readonly item: string
  readonly outputIndex: number | undefined
  written: number
  parts: number
  /** Which field of the item the text came from, to send it back the same way. */
  source: "content" | "summary" | undefined
}

export interface State {
  readonly raise: Raise
  readonly calls: Calls.Calls
  /** Open text and reasoning, by place. */
  readonly blocks: Map<string, Block>
  readonly finishedItems: Set<number>
  readonly writtenItems: Set<string>
  readonly hosted: Set<string>
  readonly sources: Set<string>
  responseId: string | undefined
  announced: boolean
  generated: number
  opened: number
  malformed: number
  refusal: string
  ending: Ending
}

const initial = (raise: Raise): State => ({
  raise,
  calls: Calls.make(),
  blocks: new Map(),
  finishedItems: new Set(),
  writtenItems: new Set(),
  hosted: new Set(),
  sources: new Set(),
  responseId: undefined,
  announced: false,
  generated: 0,
  opened: 0,
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
      return cite(state, field(event, "annotation"), parts)
    case "response.completed":
    case "response.incomplete":
    case "response.done":
      return complete(state, type, field(event, "response"), parts)
    case "response.failed":
    case "error":
      return fail(state, reasonFromBody(failure(event), state.raise.secrets), parts)
    default:
      if (type === "" && record(field(event, "error")) !== undefined) fail(state, reasonFromBody(event, state.raise.secrets), parts)
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
      return write(state, block(state, "text", event, parts), delta, parts)
    case "response.refusal.delta":
      state.refusal += delta
      return write(state, block(state, "text", event, parts, true), delta, parts)
    case "response.reasoning_summary_part.added": {
      const thought = block(state, "reasoning", event, parts)
      thought.source = "summary"
      // Parts of a summary are paragraphs of one text.
      if (thought.parts++ > 0) write(state, thought, "\n\n", parts)
      return
    }
    default: {
      const thought = block(state, "reasoning", event, parts)
      thought.source = type === "response.reasoning_text.delta" ? "content" : "summary"
      return write(state, thought, delta, parts)
    }
  }
}

// ---- items ----

const isCall = (type: string | undefined): boolean => type === "function_call" || type === "custom_tool_call"

const itemAdded = (state: State, event: unknown, parts: Array<Part>): void => {
  const item = field(event, "item")
  const type = text(field(item, "type"))
  if (type === "function_call") Calls.added(state.calls, item, event, state.raise, parts, newId(state))
  else if (type === "reasoning") block(state, "reasoning", { ...record(event), item_id: field(item, "id") }, parts)
}

const itemDone = (state: State, item: unknown, event: unknown, parts: Array<Part>): void => {
  const outputIndex = count(field(event, "output_index"))
  if (outputIndex !== undefined) state.finishedItems.add(outputIndex)
  const type = text(field(item, "type"))
  if (isCall(type)) return Calls.itemDone(state.calls, item, event, state.raise, parts, newId(state))
  if (type === "message") return messageDone(state, item, event, parts)
  if (type === "reasoning") return reasoningDone(state, item, event, parts)
  if (type !== undefined) hostedDone(state, type, item, parts)
}

// Text that came as deltas is there already; a server without deltas, or a whole answer, has it only here.
const messageDone = (state: State, item: unknown, event: unknown, parts: Array<Part>): void => {
  const itemId = text(field(item, "id"))
  const streamed = written(state, itemId, count(field(event, "output_index")))
  list(field(item, "content")).forEach((piece, content_index) => {
    for (const annotation of list(field(piece, "annotations"))) cite(state, annotation, parts)
    const refusal = field(piece, "type") === "refusal" ? text(field(piece, "refusal")) : undefined
    const said = refusal ?? text(field(piece, "text"))
    if (streamed || said === undefined) return
    if (refusal !== undefined) state.refusal += refusal
    const at = { item_id: itemId, output_index: field(event, "output_index"), content_index }
    write(state, block(state, "text", at, parts, refusal !== undefined), said, parts)
  })
  closeItem(state, "text", itemId, count(field(event, "output_index")), parts, { itemId })
}

const reasoningDone = (state: State, item: unknown, event: unknown, parts: Array<Part>): void => {
  const itemId = text(field(item, "id"))
  const thought = block(state, "reasoning", { ...record(event), item_id: itemId }, parts)
  const summary = texts(field(item, "summary"))
  const content = texts(field(item, "content"))
  if (thought.written === 0) {
    thought.source = content.length > 0 && summary.length === 0 ? "content" : "summary"
    write(state, thought, (summary.length > 0 ? summary : content).join("\n\n"), parts)
  }
  closeItem(state, "reasoning", itemId, thought.outputIndex, parts, {
    itemId: itemId ?? thought.item,
    encryptedContent: text(field(item, "encrypted_content")),
    source: thought.source === "content" ? "content" : undefined
  })
}

const texts = (u: unknown): ReadonlyArray<string> => list(u).map((piece) => text(field(piece, "text"))).filter((piece) => piece !== undefined)

// Tools that the provider ran itself: its call, and its result where the tool was declared to us.
const hostedDone = (state: State, type: string, item: unknown, parts: Array<Part>): void => {
  const word = hostedWords[type]
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
    params: json(defined({ ...record(field(item, "action")), code: field(item, "code"), queries: field(item, "queries") })),
    providerExecuted: true,
    ...metadata({ itemId: id, itemType: type })
  })
  if (image !== undefined && /^[A-Za-z0-9+/]+={0,2}$/.test(image) && image.length % 4 === 0) {
    parts.push({ type: "file", mediaType: `image/${text(field(item, "output_format")) ?? "png"}`, data: image, ...metadata({ itemId: id }) })
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

const placeOf = (type: "text" | "reasoning", event: unknown): string => {
  const place = count(field(event, "output_index")) ?? text(field(event, "item_id")) ?? ""
  return type === "text" ? `text ${place} ${count(field(event, "content_index")) ?? 0}` : `reasoning ${place}`
}

const block = (state: State, type: "text" | "reasoning", event: unknown, parts: Array<Part>, refusal = false): Block => {
  const place = placeOf(type, event)
  const known = state.blocks.get(place)
  if (known !== undefined) return known
  const item = text(field(event, "item_id")) ?? ""
  const outputIndex = count(field(event, "output_index"))
  const made: Block = { id: `${type}-${++state.opened}`, type, item, outputIndex, written: 0, parts: 0, source: undefined }
  state.blocks.set(place, made)
  parts.push({
    type: type === "text" ? "text-start" : "reasoning-start",
    id: made.id,
    ...metadata({ itemId: item === "" ? undefined : item, refusal: refusal ? true : undefined })
  })
  return made
}

const write = (state: State, to: Block, delta: string, parts: Array<Part>): void => {
  if (delta === "") return
  to.written += delta.length
  state.writtenItems.add(to.item)
  if (to.outputIndex !== undefined) state.writtenItems.add(`#${to.outputIndex}`)
  parts.push({ type: to.type === "text" ? "text-delta" : "reasoning-delta", id: to.id, delta })
}

const written = (state: State, itemId: string | undefined, outputIndex: number | undefined): boolean =>
  outputIndex === undefined ? itemId !== undefined && state.writtenItems.has(itemId) : state.writtenItems.has(`#${outputIndex}`)

const closeItem = (
  state: State,
  type: "text" | "reasoning",
  itemId: string | undefined,
  outputIndex: number | undefined,
  parts: Array<Part>,
  fields: Record<string, unknown>
): void => {
  for (const [place, open] of state.blocks) {
    if (open.type !== type) continue
    if (open.outputIndex === undefined || outputIndex === undefined ? open.item !== itemId : open.outputIndex !== outputIndex) continue
    state.blocks.delete(place)
    parts.push({ type: type === "text" ? "text-end" : "reasoning-end", id: open.id, ...metadata(fields) })
  }
}

const cite = (state: State, annotation: unknown, parts: Array<Part>): void => {
  const title = text(field(annotation, "title"))
  const url = text(field(annotation, "url"))
  const file = text(field(annotation, "file_id"))
  const key = `${text(field(annotation, "type")) ?? ""} ${url ?? file ?? ""} ${count(field(annotation, "start_index")) ?? count(field(annotation, "index")) ?? ""}`
  if ((url === undefined && file === undefined) || state.sources.has(key)) return
  state.sources.add(key)
  const id = `source-${state.sources.size}`
  if (url !== undefined) {
    if (!URL.canParse(url)) return
    parts.push({ type: "source", sourceType: "url", id, url, title: title ?? "", ...metadata(positions(annotation)) })
    return
  }
  const fileName = text(field(annotation, "filename"))
  parts.push({
    type: "source",
    sourceType: "document",
    id,
    mediaType: "text/plain",
    title: title ?? fileName ?? file!,
    ...(fileName === undefined ? undefined : { fileName }),
    ...metadata({ ...positions(annotation), fileId: file })
  })
}

const positions = (annotation: unknown) => ({
  startIndex: count(field(annotation, "start_index")),
  endIndex: count(field(annotation, "end_index")),
  index: count(field(annotation, "index"))
})

const complete = (state: State, type: string, response: unknown, parts: Array<Part>): void => {
  announce(state, response, parts)
  const status = text(field(response, "status"))
  const why = text(field(field(response, "incomplete_details"), "reason"))
  if (status === "failed" || status === "cancelled") return fail(state, reasonFromBody(field(response, "error") ?? response, state.raise.secrets), parts)
  const cut = type === "response.incomplete" || status === "incomplete" || why !== undefined
  list(field(response, "output")).forEach((item, output_index) => {
    if (state.finishedItems.has(output_index) || Calls.knows(state.calls, item)) return
    if (isCall(text(field(item, "type"))) && cut && field(item, "status") !== "completed") return
    itemDone(state, item, { output_index }, parts)
  })
  closeAll(state, parts)
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
  } as Response.FinishPartEncoded["usage"]
}

const difference = (total: number | undefined, part: number | undefined): number | undefined =>
  total === undefined || (part ?? 0) > total ? undefined : total - (part ?? 0)

const closeAll = (state: State, parts: Array<Part>): void => {
  for (const open of state.blocks.values()) {
    parts.push({ type: open.type === "text" ? "text-end" : "reasoning-end", id: open.id })
  }
  state.blocks.clear()
}

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
