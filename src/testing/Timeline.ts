/**
 * What happened in a run, read from its stream's parts: each call with its times, and the order of all beginnings and ends.
 *
 * Pure: no clock, no services. Who ran together is told by that order (`startedAs`, `endedAs`), never by milliseconds.
 */
import type * as Prompt from "effect/ai/Prompt"
import type { AnyPart } from "../domain/ToolEvent.ts"
import { Reader, timesOf } from "./internal/readParts.ts"
import type { Timeline } from "./internal/recorded.ts"
import { draw } from "./internal/waterfallText.ts"

export type { RecordedCall, RecordedGuess, RecordedTurn, Span, Timeline } from "./internal/recorded.ts"

/**
 * What a run's parts do not say.
 *
 * - `times`: when each part was received, milliseconds since 1970 on the run's clock, for the parts without a `time` of their own
 *   (it is no later than that of the next part that has one); without it they have that of the part before. When a call was answered is taken from the run's report where there is one.
 * - `failure`: what the run failed with.
 * - `prompt`: what the run was asked with, where it holds calls that were approved.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly times?: ReadonlyArray<number> | undefined
  readonly failure?: unknown
  readonly prompt?: Prompt.Prompt | undefined
}

/**
 * Reads a run's parts, all or the first of them, into its timeline.
 *
 * **Shape** One entry a call the model made, in that order, whether it ran or not; a call that adopted the work of an answer that
 * broke off is one entry with that work. Calls that the provider runs itself are left out.
 *
 * **Gotchas** `decoded` is not known from the parts; `MockOrchestrator` adds it.
 *
 * **Example** (Who was at work when)
 *
 * ```ts
 * import { Timeline } from "effect-toolformer/Testing"
 *
 * const timeline = Timeline.fromParts([
 *   { type: "tool-queued", callId: "a", name: "search", step: 1, time: 1000 },
 *   { type: "tool-started", callId: "a", name: "search", attempt: 1, time: 1010 }
 * ])
 * timeline.calls[0]?.startedAt // => 10
 * timeline.end // => "not over"
 * ```
 *
 * @see {@link format} to show it
 * @category constructors
 * @since 0.1.0
 */
export const fromParts = (parts: Iterable<AnyPart>, options: Options = {}): Timeline => {
  const all = [...parts]
  const times = timesOf(all, options.times)
  const reader = new Reader(options.prompt)
  all.forEach((part, index) => reader.take(part, times[index]))
  return reader.timeline(options.failure)
}

/**
 * How much {@link format} shows. `maxLines`: of turns and calls together, an integer of at least 8; default 60. `focus`: ids of calls
 * that are shown before others. `width`: columns of the bars, at least 8; default 32.
 *
 * @category models
 * @since 0.1.0
 */
export interface FormatOptions {
  readonly maxLines?: number | undefined
  readonly focus?: Iterable<string> | undefined
  readonly width?: number | undefined
}

/**
 * Writes a timeline as text: one line a turn of the model, one a call with its id, tool, parameters, times, a bar (`.` waits, `#` is at
 * work, `|` took no time) and how it ended.
 *
 * **Shape** Plain text without colours; the same timeline gives the same text. Lines that do not fit are counted, not shown. Long
 * parameters, and those whose name speaks of a secret, are cut.
 *
 * **Example** (A run in which nothing happened)
 *
 * ```ts
 * import { Timeline } from "effect-toolformer/Testing"
 *
 * Timeline.format(Timeline.fromParts([])) // => "0 ms, 0 calls; not over"
 * ```
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = (timeline: Timeline, options: FormatOptions = {}): string => draw(timeline, options)
