/**
 * Text, reasoning and citations of one response of the Responses API: which block an event writes to, by place first and item id
 * second, and what it is closed with.
 */
import { count, field, text } from "./openAiJson.ts"
import { metadata } from "./openAiParts.ts"
import type { Part } from "./openAiParts.ts"

/** A text or reasoning block that is open. Mutable inside. */
export interface Block {
  readonly id: string
  readonly type: "text" | "reasoning"
  readonly item: string
  readonly outputIndex: number | undefined
  written: number
  parts: number
  /** Which field of the item the text came from, to send it back the same way. */
  source: "content" | "summary" | undefined
}

/** The blocks of one response. Mutable inside. */
export interface Blocks {
  /** By place. */
  readonly open: Map<string, Block>
  readonly writtenItems: Set<string>
  readonly sources: Set<string>
  count: number
}

export const make = (): Blocks => ({ open: new Map(), writtenItems: new Set(), sources: new Set(), count: 0 })

const placeOf = (type: "text" | "reasoning", event: unknown): string => {
  const place = count(field(event, "output_index")) ?? text(field(event, "item_id")) ?? ""
  return type === "text" ? `text ${place} ${count(field(event, "content_index")) ?? 0}` : `reasoning ${place}`
}

/** The block an event writes to; opened where there is none. */
export const block = (
  blocks: Blocks,
  type: "text" | "reasoning",
  event: unknown,
  parts: Array<Part>,
  refusal = false
): Block => {
  const place = placeOf(type, event)
  const known = blocks.open.get(place)
  if (known !== undefined) return known
  const item = text(field(event, "item_id")) ?? ""
  const outputIndex = count(field(event, "output_index"))
  const made: Block = {
    id: `${type}-${++blocks.count}`,
    type,
    item,
    outputIndex,
    written: 0,
    parts: 0,
    source: undefined
  }
  blocks.open.set(place, made)
  parts.push({
    type: type === "text" ? "text-start" : "reasoning-start",
    id: made.id,
    ...metadata({ itemId: item === "" ? undefined : item, refusal: refusal ? true : undefined })
  })
  return made
}

/** Writes a delta. */
export const write = (blocks: Blocks, to: Block, delta: string, parts: Array<Part>): void => {
  if (delta === "") return
  to.written += delta.length
  blocks.writtenItems.add(to.item)
  if (to.outputIndex !== undefined) blocks.writtenItems.add(`#${to.outputIndex}`)
  parts.push({ type: to.type === "text" ? "text-delta" : "reasoning-delta", id: to.id, delta })
}

/** Whether an item's text has come as deltas. */
export const written = (blocks: Blocks, itemId: string | undefined, outputIndex: number | undefined): boolean =>
  outputIndex === undefined
    ? itemId !== undefined && blocks.writtenItems.has(itemId)
    : blocks.writtenItems.has(`#${outputIndex}`)

/** Closes the blocks of an item. */
export const closeItem = (
  blocks: Blocks,
  type: "text" | "reasoning",
  itemId: string | undefined,
  outputIndex: number | undefined,
  parts: Array<Part>,
  fields: Record<string, unknown>
): void => {
  for (const [place, open] of blocks.open) {
    if (open.type !== type) continue
    if (
      open.outputIndex === undefined || outputIndex === undefined
        ? open.item !== itemId
        : open.outputIndex !== outputIndex
    ) continue
    blocks.open.delete(place)
    parts.push({ type: type === "text" ? "text-end" : "reasoning-end", id: open.id, ...metadata(fields) })
  }
}

/** Raises a citation, once. */
export const cite = (blocks: Blocks, annotation: unknown, parts: Array<Part>): void => {
  const title = text(field(annotation, "title"))
  const url = text(field(annotation, "url"))
  const file = text(field(annotation, "file_id"))
  const key = `${text(field(annotation, "type")) ?? ""} ${url ?? file ?? ""} ${
    count(field(annotation, "start_index")) ?? count(field(annotation, "index")) ?? ""
  }`
  if ((url === undefined && file === undefined) || blocks.sources.has(key)) return
  blocks.sources.add(key)
  const id = `source-${blocks.sources.size}`
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

/** Closes what is still open. */
export const closeAll = (blocks: Blocks, parts: Array<Part>): void => {
  for (const open of blocks.open.values()) {
    parts.push({ type: open.type === "text" ? "text-end" : "reasoning-end", id: open.id })
  }
  blocks.open.clear()
}
