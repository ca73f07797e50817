/**
 * The Responses API numbers its items, names each call in `output_item.added`, streams its arguments, and says when it is
 * done. This keeps the calls of one response: found by item id, then by output index, then the last open one. The provider's own
 * `done` text wins over what the deltas added up to.
 */
import * as ToolCall from "../../domain/ToolCall.ts"
import { argumentText, count, field, text } from "./openAiJson.ts"
import { metadata, sendArguments } from "./openAiParts.ts"
import type { Part, Raise } from "./openAiParts.ts"

interface Call {
  itemId: string | undefined
  readonly outputIndex: number | undefined
  callId: string | undefined
  name: string
  text: string
  startedAs: string | undefined
  sent: number
  sealed: boolean
  /** The provider's `done` text. */
  done: string | undefined
}

/** The calls of one response. Mutable inside. */
export interface Calls {
  readonly all: Array<Call>
  readonly byItemId: Map<string, Array<Call>>
  readonly byIndex: Map<number, Array<Call>>
  readonly byCallId: Map<string, Array<Call>>
  last: Call | undefined
}

export const make = (): Calls => ({
  all: [],
  byItemId: new Map(),
  byIndex: new Map(),
  byCallId: new Map(),
  last: undefined
})

const at = <K>(map: ReadonlyMap<K, ReadonlyArray<Call>>, key: K | undefined): ReadonlyArray<Call> =>
  (key === undefined ? undefined : map.get(key)) ?? []

const enter = <K>(map: Map<K, Array<Call>>, key: K | undefined, call: Call): void => {
  if (key === undefined) return
  const known = map.get(key)
  if (known === undefined) map.set(key, [call])
  else known.push(call)
}

/** Whether a call of the response has sealed. */
export const anySealed = (calls: Calls): boolean => calls.all.some((call) => call.sealed)

// The newest match counts: a server that reuses a place means the call that stands there now.
const find = (calls: Calls, itemId: string | undefined, outputIndex: number | undefined): Call | undefined => {
  const same = at(calls.byItemId, itemId)
  const both = outputIndex === undefined ? undefined : same.findLast((call) => call.outputIndex === outputIndex)
  return both ?? same.at(-1) ?? at(calls.byIndex, outputIndex).at(-1)
}

/** `output_item.added` of a call. Said twice, it is one call. */
export const added = (
  calls: Calls,
  item: unknown,
  event: unknown,
  raise: Raise,
  parts: Array<Part>,
  newId: () => string
): void => {
  const { outputIndex, itemId, callId } = keys(item, event)
  const here = itemId === undefined ? at(calls.byIndex, outputIndex) : at(calls.byItemId, itemId)
  const said = here.some((call) =>
    call.itemId === itemId && call.outputIndex === outputIndex && call.callId === callId && !call.sealed
  )
  if (said) return
  const call = open(calls, item, event)
  call.text = argumentText(field(item, "arguments"))
  if (call.callId !== undefined && call.name !== "") sendArguments(call, call.callId, raise, newId, parts)
}

/** A fragment of arguments. Without an owner it opens a call of its own. */
export const delta = (calls: Calls, event: unknown, raise: Raise, parts: Array<Part>, newId: () => string): void => {
  const piece = argumentText(field(event, "delta"))
  const call = ownerOf(calls, event) ?? (piece === "" ? undefined : open(calls, undefined, event))
  if (call === undefined || call.sealed || call.done !== undefined) return
  call.text += piece
  if (call.callId !== undefined && call.name !== "") sendArguments(call, call.callId, raise, newId, parts)
}

/**
 * `function_call_arguments.done`: the whole text. It seals a call whose name and id are known, but only when the text is one
 * object: whether a half text was cut says the item's `status`, which comes next.
 */
export const argumentsDone = (
  calls: Calls,
  event: unknown,
  raise: Raise,
  parts: Array<Part>,
  newId: () => string
): void => {
  const call = ownerOf(calls, event) ?? open(calls, undefined, event)
  if (call.sealed) return
  call.done = typeof field(event, "arguments") === "string" ? argumentText(field(event, "arguments")) : undefined
  if (call.name === "") call.name = text(field(event, "name")) ?? ""
  const whole = call.done ?? call.text
  if (call.callId !== undefined && call.name !== "" && ToolCall.isCompleteObject(whole)) seal(call, raise, parts, newId)
}

/** `output_item.done` of a call, or the item as the last event repeats it: the provider's end mark. */
export const itemDone = (
  calls: Calls,
  item: unknown,
  event: unknown,
  raise: Raise,
  parts: Array<Part>,
  newId: () => string
): void => {
  const { outputIndex, itemId, callId } = keys(item, event)
  const waiting = at(calls.byCallId, callId).filter((call) => !call.sealed)
  const found = waiting.find((call) => call.outputIndex === outputIndex) ??
    waiting.find((call) => call.itemId === itemId) ?? find(calls, itemId, outputIndex)
  const call = found === undefined || isAnother(found, itemId, outputIndex, callId) ? open(calls, item, event) : found
  if (call.sealed) return
  if (call.itemId === undefined) enter(calls.byItemId, call.itemId = itemId, call)
  if (call.callId === undefined) enter(calls.byCallId, call.callId = callId, call)
  call.name = text(field(item, "name")) ?? call.name
  const said = field(item, "arguments")
  if (said !== undefined && said !== null) call.done = argumentText(said)
  if (field(item, "status") === "incomplete") call.done = undefined
  else seal(call, raise, parts, newId)
}

// A reused index or a reused item id with another call id is another call; with both the same it is one call all the same.
const isAnother = (
  found: Call,
  itemId: string | undefined,
  outputIndex: number | undefined,
  callId: string | undefined
): boolean =>
  callId !== undefined && found.callId !== undefined && found.callId !== callId &&
  !(found.itemId === itemId && found.outputIndex === outputIndex && !found.sealed)

/** Whether an item stands for a call that is known to be sealed. */
export const knows = (calls: Calls, item: unknown): boolean => {
  const callId = text(field(item, "call_id"))
  const itemId = text(field(item, "id"))
  const same = callId === undefined ? at(calls.byItemId, itemId) : at(calls.byCallId, callId)
  return same.some((call) => call.sealed && (call.done ?? call.text) === argumentText(field(item, "arguments")))
}

/** The response is over. `whole`: it ended well and no event was lost, so what lacks its end mark is complete too. */
export const finish = (calls: Calls, whole: boolean, raise: Raise, parts: Array<Part>, newId: () => string): void => {
  for (const call of calls.all) {
    if (call.sealed) continue
    if (whole) seal(call, raise, parts, newId)
    else sendArguments(call, call.callId, raise, newId, parts)
  }
}

const keys = (item: unknown, event: unknown) => ({
  outputIndex: count(field(event, "output_index")),
  itemId: text(field(item, "id")) ?? text(field(event, "item_id")),
  callId: text(field(item, "call_id"))
})

// By item id, then by index. An event that names neither belongs to the last open call.
const ownerOf = (calls: Calls, event: unknown): Call | undefined => {
  const { outputIndex, itemId } = keys(undefined, event)
  const found = find(calls, itemId, outputIndex)
  if (found !== undefined) return found
  const last = calls.last
  if (last === undefined || last.sealed) return undefined
  // An index that nobody opened is another call's, unless the last call has no place of its own.
  return outputIndex === undefined || last.outputIndex === undefined ? last : undefined
}

const open = (calls: Calls, item: unknown, event: unknown): Call => {
  const { outputIndex, itemId, callId } = keys(item, event)
  const call: Call = {
    itemId,
    outputIndex,
    callId,
    name: text(field(item, "name")) ?? "",
    text: "",
    startedAs: undefined,
    sent: 0,
    sealed: false,
    done: undefined
  }
  calls.all.push(call)
  enter(calls.byItemId, itemId, call)
  enter(calls.byIndex, outputIndex, call)
  enter(calls.byCallId, callId, call)
  calls.last = call
  return call
}

const seal = (call: Call, raise: Raise, parts: Array<Part>, newId: () => string): void => {
  const whole = call.done ?? call.text
  if (call.text === "") call.text = whole
  const id = sendArguments(call, call.callId, raise, newId, parts)
  const raised = raise.call(call.name, whole)
  parts.push({ type: "tool-params-end", id })
  parts.push({ type: "tool-call", id, name: raised.name, params: raised.params, ...metadata({ itemId: call.itemId }) })
  call.sealed = true
}
