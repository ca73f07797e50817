/** The words of a timeline: calls, turns and the whole, as plain data. */
import type { CancelReason } from "../../domain/CancelReason.ts"
import type { ToolDiscarded } from "../../domain/ToolEvent.ts"

/**
 * A stretch in which a call was at work: from a handler's start to the failure of its last attempt, or to its answer. A
 * call that was tried again has several, and what lies between them is waiting.
 *
 * `startedAt`, `endedAt`: milliseconds since the run's start. `startedAs`, `endedAs`: places in the order of all events
 * of the run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Span {
  readonly startedAt: number
  readonly startedAs: number
  readonly endedAt: number | undefined
  readonly endedAs: number | undefined
}

/**
 * One call of a run. Times are milliseconds since the run's start, on its clock; `startedAs` and `endedAs` are places
 * in the order of all events of the run, so that of two events at one millisecond it is known which came first. Where a
 * call never started, both of `started...` are `undefined`; where it awaits an approval or the run ended before its
 * answer, both of `ended...`.
 *
 * `params` as the model sent them, `decoded` as the handler got them (`undefined` where they do not decode, or nobody
 * decoded them). `status`: `"success"`, `"failure"` (the tool's own), `"denied"`, the tag of a `ToolFailure`,
 * `"awaits-approval"`, or `"pending"` (no answer came). `reason`: where it was stopped. `attempts` counts handler
 * starts, hedges included; `spans` are the stretches in which it was at work. `adoptedFrom`: the ids under which its
 * work began, in answers that broke off and were asked again. `claimed`: the id of the guess whose work it took; it then began
 * when the guess began, before it was made, and where the guess had ended already, it counts as ended when it was claimed.
 * `limiterMillis`: how long a limit made it wait, known when the run ended well.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedCall {
  readonly id: string
  readonly name: string
  readonly params: unknown
  readonly decoded: unknown
  readonly step: number
  readonly queuedAt: number
  readonly queuedAs: number
  readonly startedAt: number | undefined
  readonly startedAs: number | undefined
  readonly endedAt: number | undefined
  readonly endedAs: number | undefined
  readonly spans: ReadonlyArray<Span>
  readonly status: string
  readonly result: unknown
  readonly reason: CancelReason | undefined
  readonly attempts: number
  readonly abandoned: boolean
  readonly adoptedFrom: ReadonlyArray<string>
  readonly claimed: string | undefined
  readonly limiterMillis: number | undefined
}

/**
 * One turn of the model, in milliseconds since the run's start: asked at `startedAt`, silent at `endedAt` (the end of
 * its last answer), every call of it answered at `answeredAt`. `asked` counts the askings: 2 where its answer broke off
 * once. Step 0 are the approved calls of an earlier run, for which no model was asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedTurn {
  readonly step: number
  readonly startedAt: number
  readonly endedAt: number | undefined
  readonly answeredAt: number | undefined
  readonly finishReason: string | undefined
  readonly asked: number
}

/**
 * A call that began on a guess, before anybody asked for it; times as those of a call. `outcome`: `"claimed"` (`claimedBy` is the
 * call), why it was thrown away, or `"pending"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedGuess {
  readonly id: string
  readonly name: string
  readonly params: unknown
  readonly predictor: string
  readonly confidence: number
  readonly step: number
  readonly startedAt: number
  readonly startedAs: number
  readonly endedAt: number | undefined
  readonly endedAs: number | undefined
  readonly outcome: "claimed" | ToolDiscarded["why"] | "pending"
  readonly claimedBy: string | undefined
}

/**
 * A run as it happened. `calls` in the order they were made; `guesses` in the order they began; `maxConcurrentCalls`: the most that were at work at one
 * moment; `end`: how the run ended, in one line; `totalMillis`: from its start to its last event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timeline {
  readonly calls: ReadonlyArray<RecordedCall>
  readonly guesses: ReadonlyArray<RecordedGuess>
  readonly turns: ReadonlyArray<RecordedTurn>
  readonly totalMillis: number
  readonly maxConcurrentCalls: number
  readonly end: string
}
