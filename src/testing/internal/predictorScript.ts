/** What a scripted predictor may say, as data, and the stream that says it. Pure. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Guess, Question } from "../../policy/Predictor.ts"
import { isToolCall } from "../ToolCall.ts"
import type { ToolCall } from "../ToolCall.ts"

/** A guess with its confidence: what `TestPredictor.guess` makes. @category models @since 0.1.0 */
export interface GuessItem {
  readonly _tag: "Guess"
  readonly guess: Guess
  readonly afterMillis: number
}

/** Whatever else a predictor does: what `wait`, `fail`, `die` and `never` make. @category models @since 0.1.0 */
export interface DoItem {
  readonly _tag: "Do"
  readonly effect: Effect.Effect<unknown, unknown>
}

/**
 * One thing a predictor does when it is asked. A `ToolCall` is guessed with the script's confidence.
 *
 * @category models
 * @since 0.1.0
 */
export type Item = ToolCall | GuessItem | DoItem

/** What a predictor does that is known beforehand; no items: it has no guess. @category models @since 0.1.0 */
export type StaticTurn = Item | ReadonlyArray<Item>

/**
 * What a predictor does when it is asked once: an item, items in order, or a function of the question that gives them.
 *
 * @category models
 * @since 0.1.0
 */
export type Turn = StaticTurn | ((question: Question) => StaticTurn)

/** The guess of a call. */
export const guessOf = (call: ToolCall, confidence: number, ifCalling?: number): Guess => ({
  tool: call.name,
  params: call.params ?? {},
  confidence,
  ...(ifCalling === undefined ? undefined : { ifCalling })
})

/** What is said to a question, as it comes. */
export const said = (turn: Turn, question: Question, confidence: number): Stream.Stream<Guess, unknown> => {
  const given = typeof turn === "function" ? turn(question) : turn
  const items: ReadonlyArray<Item> = Array.isArray(given) ? given : [given as Item]
  return Stream.flatMap(Stream.fromIterable(items), (item) => stream(item, confidence))
}

const stream = (item: Item, confidence: number): Stream.Stream<Guess, unknown> => {
  if (isToolCall(item)) return Stream.succeed(guessOf(item, confidence))
  if (item._tag === "Do") return Stream.drain(Stream.fromEffect(item.effect))
  return Stream.fromEffect(
    item.afterMillis === 0
      ? Effect.succeed(item.guess)
      : Effect.delay(Effect.succeed(item.guess), item.afterMillis as Duration.Input)
  )
}
