/**
 * A turn as what its stream does, step by step: parts that arrive together, a wait, an end by failure. Pure.
 *
 * Items that follow each other without time between them join one chunk, the finish part with the last of them.
 */
import type * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import type { ToolCall } from "../ToolCall.ts"
import { isToolCall } from "../ToolCall.ts"
import type { CallItem, ChunkedItem, ChunkItem, FinishItem, Item, Pieces, StaticTurn, TextItem } from "./turn.ts"
import { die, isTagged, itemsOf, jsonOf, piecesOf, shown } from "./turn.ts"

export type Parts = readonly [Response.StreamPartEncoded, ...Array<Response.StreamPartEncoded>]

export type Step =
  | { readonly _tag: "Parts"; readonly parts: Parts }
  | { readonly _tag: "Wait"; readonly effect: Effect.Effect<unknown> }
  | { readonly _tag: "Fail"; readonly error: AiError.AiError }

/** `calls`: those it makes or opens, each with the id it has on the wire. `says`: the turn in a few words. */
export interface Steps {
  readonly steps: ReadonlyArray<Step>
  readonly calls: ReadonlyArray<ToolCall & { readonly id: string }>
  readonly says: string
}

/** Ids for calls that were given none: `call-1`, `call-2` ..., but for those that stand in the script. */
export class Ids {
  private next = 0
  private readonly taken: Set<string>
  constructor(taken: Iterable<string> = []) {
    this.taken = new Set(taken)
  }
  reserve(turn: StaticTurn): void {
    for (const item of itemsOf(turn)) for (const id of idsIn(item)) this.taken.add(id)
  }
  make(): string {
    do this.next++
    while (this.taken.has(`call-${this.next}`))
    return `call-${this.next}`
  }
  copy(): Ids {
    const copy = new Ids(this.taken)
    copy.next = this.next
    return copy
  }
}

const idsIn = (item: Item): ReadonlyArray<string> => {
  if (!isItem(item) || typeof item === "string") return []
  if (!isTagged(item)) return item.type === "tool-call" || item.type === "tool-params-start" ? [item.id] : []
  if (item._tag === "Chunk") return item.items.flatMap(idsIn)
  const call = item._tag === "ToolCall" ? item : item._tag === "Call" ? item.call : undefined
  return call?.id === undefined ? [] : [call.id]
}

/** What a turn does. Dies, naming `where`, on one that can never play. */
export const stepsOf = (where: string, turn: StaticTurn, ids: Ids): Steps => {
  const items = itemsOf(turn)
  if (items.length === 0) return die(`${where} has no items; a turn that says nothing is TestModel.finish("stop")`)
  ids.reserve(turn)
  const writer = new Writer(ids)
  items.forEach((item, index) => writer.add(item, `${where}, item ${index + 1}`))
  return writer.end()
}

const kinds = "an item is a text, a ToolCall, or what TestModel.text, call, wait, fail, finish or chunk gives"

class Writer {
  private readonly steps: Array<Step> = []
  private readonly calls: Array<ToolCall & { readonly id: string }> = []
  private readonly said: Array<string> = []
  private chunk: Array<Response.StreamPartEncoded> = []
  private texts = 0
  private makesCalls = false
  private isOpen = false
  /** What ended the turn, and whether nothing at all may follow it. */
  private ended: { readonly by: string; readonly wholly: boolean } | undefined
  private readonly ids: Ids

  constructor(ids: Ids) {
    this.ids = ids
  }

  add(item: Item, at: string): void {
    if (this.ended?.wholly === true) die(`${at} can never play: ${this.ended.by} ends the turn before it`)
    if (!isItem(item)) die(`${at} is no item of a turn: ${shown(item)}; ${kinds}`)
    if (typeof item === "string" || !isTagged(item)) return this.addTimeless(item, at)
    switch (item._tag) {
      case "Wait":
        return this.wait(item.effect)
      case "Fail":
        return this.fail(item.error, item.afterMillis)
      case "Unfinished":
        this.said.push("ends without a finish part")
        this.ended = { by: "TestModel.unfinished", wholly: true }
        return
      case "Chunk":
        return this.together(item, at)
      default:
        return this.addTimeless(item, at)
    }
  }

  end(): Steps {
    if (this.ended === undefined) this.finish(this.defaultReason())
    this.flush()
    return { steps: this.steps, calls: this.calls, says: this.said.join(", ") || "nothing" }
  }

  private defaultReason(): Response.FinishReason {
    return this.isOpen ? "length" : this.makesCalls ? "tool-calls" : "stop"
  }

  private addTimeless(item: ChunkedItem, at: string): void {
    if (typeof item !== "string" && !isTagged(item)) return this.raw(item)
    if (this.ended !== undefined) die(`${at} can never play: ${this.ended.by} ends the turn before it`)
    if (typeof item === "string") return this.text({ text: item, ...piecesOf(at, item, {}) })
    switch (item._tag) {
      case "Text":
        return this.text(item)
      case "ToolCall":
        return this.call({ call: item, open: false, ...piecesOf(at, argumentsOf(at, item), {}) })
      case "Call":
        return this.call(item)
      case "Finish":
        return this.finish(item.reason, item)
    }
  }

  private together({ items }: ChunkItem, at: string): void {
    if (items.length === 0) die(`${at}: TestModel.chunk without items`)
    this.flush()
    const steps = this.steps.length
    for (const item of items) {
      if (!isItem(item)) die(`${at} holds no item of a turn: ${shown(item)}; ${kinds}`)
      this.addTimeless(item, at)
    }
    if (this.steps.length > steps) die(`${at}: an item of TestModel.chunk has a time or chunks of its own`)
    this.flush()
  }

  private raw(part: Response.StreamPartEncoded): void {
    if (part.type === "finish") this.ended ??= { by: "its finish part", wholly: false }
    if (part.type === "tool-call") {
      this.makesCalls = true
      this.calls.push({ _tag: "ToolCall", name: part.name, params: part.params, id: part.id })
    }
    this.said.push(`sends a ${part.type} part`)
    this.chunk.push(part)
  }

  private text(item: Pick<TextItem, "text"> & Pieces): void {
    const id = `text-${++this.texts}`
    this.said.push(`says ${shown(item.text)}`)
    this.pieces(
      item,
      [{ type: "text-start", id }],
      (delta) => delta === "" ? [] : [{ type: "text-delta", id, delta }],
      [{ type: "text-end", id }]
    )
  }

  private call({ call, open, ...pieces }: Pick<CallItem, "call" | "open"> & Pieces): void {
    const { id = this.ids.make(), name } = call
    const params = paramsOf(call)
    this.makesCalls ||= !open
    this.isOpen ||= open
    this.calls.push({ _tag: "ToolCall", name, params, id })
    this.said.push(`${open ? "begins to call" : "calls"} ${name}(${shown(params)}) as ${id}`)
    this.pieces(
      pieces,
      [{ type: "tool-params-start", id, name }],
      (delta) => [{ type: "tool-params-delta", id, delta }],
      open ? [] : [{ type: "tool-params-end", id }, { type: "tool-call", id, name, params }]
    )
  }

  private pieces(
    { afterMillis, everyMillis, pieces }: Pieces,
    before: ReadonlyArray<Response.StreamPartEncoded>,
    delta: (piece: string) => ReadonlyArray<Response.StreamPartEncoded>,
    after: ReadonlyArray<Response.StreamPartEncoded>
  ): void {
    if (pieces.length > 1) this.flush()
    this.sleep(afterMillis)
    this.chunk.push(...before)
    pieces.forEach((piece, index) => {
      if (index > 0) this.flush()
      if (index > 0) this.sleep(everyMillis)
      this.chunk.push(...delta(piece))
    })
    this.chunk.push(...after)
  }

  private finish(reason: Response.FinishReason, usage?: Pick<FinishItem, "inputTokens" | "outputTokens">): void {
    if (usage !== undefined) this.said.push(`finishes with "${reason}"`)
    this.ended = { by: `TestModel.finish("${reason}")`, wholly: false }
    this.chunk.push({
      type: "finish",
      reason,
      response: undefined,
      usage: {
        inputTokens: { uncached: undefined, total: usage?.inputTokens, cacheRead: undefined, cacheWrite: undefined },
        outputTokens: { total: usage?.outputTokens, text: undefined, reasoning: undefined }
      }
    })
  }

  private fail(error: AiError.AiError, afterMillis: number): void {
    this.flush()
    this.sleep(afterMillis)
    this.said.push(`fails with ${error.reason._tag}`)
    this.steps.push({ _tag: "Fail", error })
    this.ended = { by: "TestModel.fail", wholly: true }
  }

  private sleep(millis: number): void {
    if (millis > 0) this.wait(Effect.sleep(millis))
  }

  private wait(effect: Effect.Effect<unknown>): void {
    this.flush()
    this.steps.push({ _tag: "Wait", effect })
  }

  private flush(): void {
    const [first, ...rest] = this.chunk
    if (first !== undefined) this.steps.push({ _tag: "Parts", parts: [first, ...rest] })
    this.chunk = []
  }
}

const tags = new Set(["ToolCall", "Text", "Call", "Wait", "Fail", "Finish", "Unfinished", "Chunk"])

/** Callers without types are told, too. */
const isItem = (item: unknown): boolean =>
  typeof item === "string" ||
  (typeof item === "object" && item !== null &&
    ("_tag" in item ? tags.has(String(item._tag)) : "type" in item && typeof item.type === "string"))

/** A call without parameters is one with none. */
export const paramsOf = ({ params }: ToolCall): unknown => params === undefined ? {} : params

/** The text of a call's arguments. */
export const argumentsOf = (where: string, call: ToolCall): string =>
  isToolCall(call)
    ? jsonOf(paramsOf(call)) ?? die(`${where}: the parameters of ${call.name} are no JSON`)
    : die(`${where}: no ToolCall: ${shown(call)}`)
