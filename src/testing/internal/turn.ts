/**
 * A scripted turn as data: what a script may hold, checked where it is written down. Pure; `steps.ts` makes stream parts of it.
 */
import type * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { ToolCall } from "../ToolCall.ts"

/**
 * When an item arrives, and in how many pieces.
 *
 * **Units** `after`: how long the model is silent before it, on the run's Clock; default none. `chunks`: into how many network
 * chunks its text is cut, evenly (an integer of at least 1, default 1; a text shorter than that has a piece a character), or the
 * pieces themselves. `every`: how long between two of its chunks; default none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timing {
  readonly after?: Duration.Input | undefined
  readonly chunks?: number | ReadonlyArray<string> | undefined
  readonly every?: Duration.Input | undefined
}

/** What a text, or the arguments of a call, is sent as. */
export interface Pieces {
  readonly afterMillis: number
  readonly everyMillis: number
  readonly pieces: readonly [string, ...Array<string>]
}

/** A text with its timing: what `TestModel.text` makes. @category models @since 0.1.0 */
export interface TextItem extends Pieces {
  readonly _tag: "Text"
  readonly text: string
}

/** A call with its timing: what `TestModel.call` makes. @category models @since 0.1.0 */
export interface CallItem extends Pieces {
  readonly _tag: "Call"
  readonly call: ToolCall
  readonly open: boolean
}

/** A silence: what `TestModel.wait` makes. @category models @since 0.1.0 */
export interface WaitItem {
  readonly _tag: "Wait"
  readonly effect: Effect.Effect<unknown>
}

/** A broken answer: what `TestModel.fail` makes. @category models @since 0.1.0 */
export interface FailItem {
  readonly _tag: "Fail"
  readonly error: AiError.AiError
  readonly afterMillis: number
}

/** The end of a turn: what `TestModel.finish` makes. @category models @since 0.1.0 */
export interface FinishItem {
  readonly _tag: "Finish"
  readonly reason: Response.FinishReason
  readonly inputTokens: number | undefined
  readonly outputTokens: number | undefined
}

/** An end without a finish part: what `TestModel.unfinished` is. @category models @since 0.1.0 */
export interface UnfinishedItem {
  readonly _tag: "Unfinished"
}

/** Items that arrive together and alone: what `TestModel.chunk` makes. @category models @since 0.1.0 */
export interface ChunkItem {
  readonly _tag: "Chunk"
  readonly items: ReadonlyArray<ChunkedItem>
}

/** What may stand in one chunk: whatever takes no time. @category models @since 0.1.0 */
export type ChunkedItem = string | ToolCall | TextItem | CallItem | FinishItem | Response.StreamPartEncoded

/**
 * One thing a model does in a turn. A string is said, a `ToolCall` is made, an encoded stream part is sent as it is.
 *
 * @category models
 * @since 0.1.0
 */
export type Item = ChunkedItem | WaitItem | FailItem | UnfinishedItem | ChunkItem

/** A turn that is known beforehand. @category models @since 0.1.0 */
export type StaticTurn = Item | ReadonlyArray<Item>

/**
 * One answer of the model: an item, items in order, or a function of the request that gives them.
 *
 * @category models
 * @since 0.1.0
 */
export type Turn = StaticTurn | ((request: Request) => StaticTurn)

/**
 * What the model was asked with.
 *
 * **Units** `number` counts the askings of this model from 1. `at`: milliseconds of the run's Clock.
 *
 * **Shape** `tools`: the names of the tools it was offered.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly number: number
  readonly at: number
  readonly method: "generateText" | "streamText"
  readonly prompt: Prompt.Prompt
  readonly tools: ReadonlyArray<string>
  readonly toolChoice: LanguageModel.ToolChoice<string>
}

/** The items of a turn. */
export const itemsOf = (turn: StaticTurn): ReadonlyArray<Item> =>
  Array.isArray(turn) ? turn as ReadonlyArray<Item> : [turn as Item]

/** Whether an item is one of ours, and no string and no raw part. */
export const isTagged = <A extends Item>(item: A): item is Extract<A, { readonly _tag: string }> =>
  typeof item === "object" && item !== null && "_tag" in item

/** A text cut as its timing says. `whole` tells given pieces from a cut of `text`. */
export const piecesOf = (where: string, text: string, { after, chunks = 1, every }: Timing): Pieces => ({
  afterMillis: after === undefined ? 0 : millisOf(`${where}, after`, after),
  everyMillis: every === undefined ? 0 : millisOf(`${where}, every`, every),
  pieces: typeof chunks === "number" ? cut(where, text, chunks) : given(where, chunks)
})

/** The milliseconds of a finite duration that is not below 0. */
export const millisOf = (where: string, input: Duration.Input): number => {
  const duration = Duration.fromInput(input)
  const millis = duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
  const isNumberBelow = typeof input === "number" && !(input >= 0)
  return Number.isFinite(millis) && millis >= 0 && !isNumberBelow
    ? millis
    : die(`${where}: ${shown(input)} is no finite duration of at least 0`)
}

const given = (where: string, pieces: ReadonlyArray<string>): Pieces["pieces"] => {
  const [first, ...rest] = pieces
  return first === undefined ? die(`${where}, chunks: an empty list; give at least one piece`) : [first, ...rest]
}

/** By characters, so that none is cut in two. */
const cut = (where: string, text: string, count: number): Pieces["pieces"] => {
  if (!(Number.isInteger(count) && count >= 1)) {
    return die(`${where}, chunks: ${shown(count)} is no integer of at least 1 and no list of pieces`)
  }
  if (count === 1) return [text]
  const characters = Array.from(text)
  const parts = Math.max(1, Math.min(count, characters.length))
  const at = (part: number) => Math.floor(part * characters.length / parts)
  const [first = "", ...rest] = Array.from(
    { length: parts },
    (_, part) => characters.slice(at(part), at(part + 1)).join("")
  )
  return [first, ...rest]
}

/** A value in a message: JSON where it is any, cut at 200 characters. */
export const shown = (value: unknown): string => {
  const text = typeof value === "number" || typeof value === "bigint" ? String(value) : jsonOf(value) ?? String(value)
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}

/** `undefined` for what is no JSON. */
export const jsonOf = (value: unknown): string | undefined => {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}

/** A script that can never play is a bug of the test: it dies where it is written down. */
export const die = (message: string): never => {
  throw new RangeError(`TestModel: ${message}`)
}
