/**
 * Chat Completions sends calls as fragments, and says neither when a call is complete nor, on many servers, whose fragment it
 * is. This is the assembly: by id, then by index, then the last open call. Pure data with one rule above all: two calls are
 * never merged; text that cannot be attributed makes the call it went to unparsable, and that call alone is answered so.
 *
 * A call seals when a later one opens and its own text is one complete JSON object, else when the turn finishes.
 */
import * as ToolCall from "../../domain/ToolCall.ts"
import { argumentText, count, field, text } from "./openAiJson.ts"
import { metadata, sendArguments } from "./openAiParts.ts"
import type { Part, Raise } from "./openAiParts.ts"

/** What one entry of `tool_calls` says. */
export interface Fragment {
  readonly id: string | undefined
  readonly index: number | undefined
  readonly name: string | undefined
  readonly text: string
  readonly extra: unknown
}

interface Call {
  id: string | undefined
  readonly index: number | undefined
  name: string
  text: string
  extra: unknown
  startedAs: string | undefined
  sent: number
  sealed: boolean
  /** Part of it may be lost: it never seals. */
  lossy: boolean
  /** Calls that fragments of this one may have belonged to. */
  suspects: Set<Call> | undefined
  completeAt: number
  complete: boolean
}

/** The calls of one choice. Mutable inside; one per choice and response. */
export interface Calls {
  readonly all: Array<Call>
  readonly open: Set<Call>
  readonly byId: Map<string, Array<Call>>
  readonly byIndex: Map<number, Call>
  last: Call | undefined
}

export const make = (): Calls => ({ all: [], open: new Set(), byId: new Map(), byIndex: new Map(), last: undefined })

/** Reads one entry; the name may stand outside `function` on some servers. */
export const fragment = (entry: unknown, position: number | undefined): Fragment => {
  const called = field(entry, "function")
  return {
    id: text(field(entry, "id")),
    index: count(field(entry, "index")) ?? position,
    name: text(field(called, "name")) ?? text(field(entry, "name")),
    text: argumentText(field(called, "arguments") ?? field(entry, "arguments")),
    extra: field(entry, "extra_content")
  }
}

const isBlank = (call: Call): boolean => call.text.trim() === ""

const isComplete = (call: Call): boolean => {
  if (call.completeAt !== call.text.length) {
    call.completeAt = call.text.length
    call.complete = ToolCall.isCompleteObject(call.text)
  }
  return call.complete
}

const canGrow = (call: Call): boolean => !call.sealed && !isComplete(call)

/** Takes the fragments of one event. */
export const take = (
  calls: Calls,
  fragments: ReadonlyArray<Fragment>,
  raise: Raise,
  newId: () => string
): Array<Part> => {
  const parts: Array<Part> = []
  const touched = new Set<Call>()
  for (const piece of fragments) {
    const owner = ownerOf(calls, piece, touched)
    if (owner === undefined) continue
    const call = owner === "new" ? open(calls, piece, raise, newId, parts) : owner
    touched.add(call)
    grow(calls, call, piece)
    if (call.id !== undefined && call.name !== "" && call.text !== "") sendArguments(call, call.id, raise, newId, parts)
  }
  return parts
}

// `undefined`: the fragment says nothing, or repeats what is known.
const ownerOf = (calls: Calls, piece: Fragment, touched: ReadonlySet<Call>): Call | "new" | undefined => {
  const same = piece.id === undefined ? undefined : calls.byId.get(piece.id)
  if (same !== undefined) return ownerById(piece, same, touched)
  if (piece.id !== undefined) return ownerOfNewId(calls, piece, touched)
  return piece.index === undefined ? ownerOfNothing(calls, piece, touched) : ownerByIndex(calls, piece, piece.index)
}

// A known id is that call's, unless a second call bears it: one that says its name at another index, or anew when the first is full.
const ownerById = (
  piece: Fragment,
  same: ReadonlyArray<Call>,
  touched: ReadonlySet<Call>
): Call | "new" | undefined => {
  const call = same.find((candidate) => candidate.index === piece.index) ?? same[same.length - 1]!
  if (piece.name === undefined) return call.sealed ? undefined : call
  const elsewhere = piece.index !== undefined && call.index !== undefined && piece.index !== call.index
  if (elsewhere || (piece.index === undefined && touched.has(call))) return "new"
  if (isComplete(call) && piece.text.trim() !== "") return piece.text === call.text ? undefined : "new"
  return call.sealed ? undefined : call
}

// An id never seen: a new call, or one whose id rotates, or one whose arguments came first.
const ownerOfNewId = (calls: Calls, piece: Fragment, touched: ReadonlySet<Call>): Call | "new" | undefined => {
  const at = piece.index === undefined ? calls.last : calls.byIndex.get(piece.index)
  const free = at !== undefined && canGrow(at) && !(piece.index === undefined && touched.has(at))
  if (piece.name === undefined) return free ? at : "new"
  if (at === undefined || at.sealed || (piece.index === undefined && touched.has(at))) return "new"
  if (at.name === "") return at
  const sameName = at.name === piece.name && canGrow(at)
  return sameName && (at.id === undefined || (piece.index !== undefined && !isBlank(at))) ? at : "new"
}

const ownerByIndex = (calls: Calls, piece: Fragment, index: number): Call | "new" | undefined => {
  const at = calls.byIndex.get(index)
  const says = piece.name !== undefined || piece.text.trim() !== ""
  if (at === undefined) return shifted(calls, piece) ?? (says ? "new" : undefined)
  if (piece.name !== undefined && at.name !== "") {
    if (piece.name === at.name && canGrow(at)) return at
    return canGrow(at) && isBlank(at) && piece.text === "" ? at : "new"
  }
  if (!at.sealed && (at.name === "" || canGrow(at))) return at
  if (!says) return undefined
  if (calls.last !== undefined && calls.last !== at && canGrow(calls.last)) return calls.last
  return at.sealed ? undefined : at
}

// Arguments at an index nobody opened, while the newest call has none: the server counts its fragments from elsewhere.
const shifted = (calls: Calls, piece: Fragment): Call | undefined =>
  piece.name === undefined && calls.last !== undefined && !calls.last.sealed && calls.last.name !== "" &&
    isBlank(calls.last)
    ? calls.last
    : undefined

const ownerOfNothing = (calls: Calls, piece: Fragment, touched: ReadonlySet<Call>): Call | "new" | undefined => {
  const last = calls.last
  if (piece.name === undefined) {
    if (last === undefined || last.sealed) return piece.text.trim() === "" ? undefined : "new"
    for (const other of calls.open) {
      if (other !== last && canGrow(other)) (last.suspects ??= new Set()).add(other)
    }
    return last
  }
  const continues = last !== undefined && !last.sealed && !touched.has(last) &&
    (last.name === "" || (last.name === piece.name && canGrow(last)))
  return continues ? last : "new"
}

const open = (calls: Calls, piece: Fragment, raise: Raise, newId: () => string, parts: Array<Part>): Call => {
  for (const earlier of calls.open) if (isComplete(earlier)) seal(calls, earlier, raise, newId, parts)
  const call: Call = {
    id: undefined,
    index: piece.index,
    name: "",
    text: "",
    extra: undefined,
    startedAs: undefined,
    sent: 0,
    sealed: false,
    lossy: false,
    suspects: undefined,
    completeAt: 0,
    complete: false
  }
  calls.all.push(call)
  calls.open.add(call)
  calls.last = call
  return call
}

const grow = (calls: Calls, call: Call, piece: Fragment): void => {
  if (call.id === undefined && piece.id !== undefined) call.id = piece.id
  if (piece.id !== undefined) {
    const same = calls.byId.get(piece.id)
    if (same === undefined) calls.byId.set(piece.id, [call])
    else if (!same.includes(call)) same.push(call)
  }
  if (piece.index !== undefined) calls.byIndex.set(piece.index, call)
  if (piece.name !== undefined && piece.name !== call.name && call.startedAs === undefined) call.name += piece.name
  call.text += piece.text
  call.extra ??= piece.extra
}

const seal = (
  calls: Calls,
  call: Call,
  raise: Raise,
  newId: () => string,
  parts: Array<Part>,
  spoiled = false
): void => {
  if (call.lossy) return
  const id = sendArguments(call, call.id, raise, newId, parts)
  const raised = raise.call(call.name, spoiled ? spoiledText(call.text) : call.text)
  parts.push({ type: "tool-params-end", id })
  parts.push({
    type: "tool-call",
    id,
    name: raised.name,
    params: raised.params,
    ...metadata({ extraContent: call.extra })
  })
  call.sealed = true
  calls.open.delete(call)
}

// No JSON, so the engine answers `InvalidInput` and the model reads why.
const spoiledText = (text: string): string => `(the provider did not say which call these arguments belong to) ${text}`

/** The turn is over. `cut`: it ended inside its output, so only calls whose text is one complete object seal. */
export const finish = (calls: Calls, cut: boolean, raise: Raise, newId: () => string): Array<Part> => {
  const parts: Array<Part> = []
  const spoiled = new Set<Call>()
  for (const call of calls.open) {
    if (call.suspects !== undefined && !isComplete(call)) call.suspects.forEach((suspect) => spoiled.add(suspect))
  }
  for (const call of calls.open) {
    const complete = isComplete(call)
    if (complete || !cut) seal(calls, call, raise, newId, parts, spoiled.has(call) && !complete)
  }
  return [...parts, ...announce(calls, raise, newId)]
}

/** What is open and not yet announced gets its `tool-params-start`, so that the engine knows of it. */
export const announce = (calls: Calls, raise: Raise, newId: () => string): Array<Part> => {
  const parts: Array<Part> = []
  for (const call of calls.open) sendArguments(call, call.id, raise, newId, parts)
  return parts
}

/** An event was lost: the calls open now may miss a part of their arguments. */
export const lose = (calls: Calls): void => {
  for (const call of calls.open) call.lossy = true
}
