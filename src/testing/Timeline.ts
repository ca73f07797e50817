/**
 * What happened in a run, read from its stream's parts: each call with its times, and the order of all beginnings and ends.
 *
 * Pure: no clock, no services. Who ran together is told by that order (`startedAs`, `endedAs`), never by milliseconds.
 */
import type { CancelReason } from "../domain/CancelReason.ts"

/**
 * One call of a run. Times are milliseconds since the run's start, on its clock; `startedAs` and `endedAs` are places in the
 * order of all events of the run, so that of two events at one millisecond it is known which came first. Where a call never
 * started, both of `started...` are `undefined`; where it awaits an approval or the run ended before its answer, both of `ended...`.
 *
 * `params` as the model sent them, `decoded` as the handler got them (`undefined` where they do not decode). `status`: `"success"`, `"failure"` (the tool's own), `"denied"`, the tag of a
 * `ToolFailure`, or `"pending"`. `reason` where it was stopped. `attempts` counts handler starts, hedges included.
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
  readonly startedAt: number | undefined
  readonly startedAs: number | undefined
  readonly endedAt: number | undefined
  readonly endedAs: number | undefined
  readonly status: string
  readonly result: unknown
  readonly reason: CancelReason | undefined
  readonly attempts: number
  readonly abandoned: boolean
}

/**
 * One turn of the model: from its asking to its end, in milliseconds since the run's start.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedTurn {
  readonly step: number
  readonly startedAt: number
  readonly endedAt: number | undefined
  readonly finishReason: string | undefined
}

/**
 * A run as it happened. `calls` in the order they were queued; `end`: how the run ended, in one line.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timeline {
  readonly calls: ReadonlyArray<RecordedCall>
  readonly turns: ReadonlyArray<RecordedTurn>
  readonly totalMillis: number
  readonly maxConcurrentCalls: number
  readonly end: string
}
