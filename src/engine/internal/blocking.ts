/**
 * Handlers that keep the event loop to themselves: nothing else of the process goes on meanwhile, no time-out, no other call.
 * Seen at a handler's first step, up to where it waits for something or ends, by one look at the clock; later steps are not
 * looked at.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { Call } from "./Call.ts"

/**
 * How long the first step of a handler, up to where it waits for something or ends, may take before it is logged as a warning
 * that it blocked the event loop. Default 500 milliseconds; `"Infinity"` switches the warning off.
 *
 * **Shape** The warning is annotated with `tool`, `callId` and `blockedMillis`; the metric
 * `async_orchestrator_blocked_milliseconds_total` has the tool's name.
 *
 * **Gotchas** What a handler does after its first wait is not seen.
 *
 * @category settings
 * @since 0.1.0
 */
export const BlockedAfter: Context.Reference<Duration.Input> = Context.Reference<Duration.Input>(
  "effect-toolformer/Executor/BlockedAfter",
  { defaultValue: () => "500 millis" }
)

/** The setting in milliseconds. */
export const blockedAfterMillis = (context: Context.Context<never>): number =>
  Duration.toMillis(Duration.fromInputUnsafe(Context.get(context, BlockedAfter)))

const blocked = Metric.counter("async_orchestrator_blocked_milliseconds_total", {
  description: "Milliseconds for which a tool's handler kept the event loop to itself",
  incremental: true
})

/** What has been reported, over all: a call made in another's first step is part of that step, and reported once. */
export let reportedMillis = 0

/** Reports a first step that took too long. */
export const report = (call: Call, millis: number): void => {
  reportedMillis += millis
  const whole = Math.round(millis)
  const { id, name, tool } = call
  Metric.withAttributes(blocked, { tool_name: name }).updateUnsafe(whole, tool.context)
  Effect.runForkWith(tool.context)(
    Effect.logWarning(
      `The handler of "${name}" blocked the event loop for ${whole} ms: no other call and no time-out could go on meanwhile.`
    ).pipe(Effect.annotateLogs({ tool: name, callId: id, blockedMillis: whole }))
  )
}
