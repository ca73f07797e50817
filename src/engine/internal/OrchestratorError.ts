/**
 * Why a run failed: one error, many reasons. `prompt` is the history so far with every result that is known, ready for the
 * next run, so nothing that was done has to be done again.
 */
import * as AiError from "effect/ai/AiError"
import * as Prompt from "effect/ai/Prompt"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as CancelReason from "../../domain/CancelReason.ts"

/** An option that makes no sense; nothing was started. @category errors @since 0.1.0 */
export const InvalidOptions = Schema.TaggedStruct("InvalidOptions", { option: Schema.String, issue: Schema.String })

/** The model made the same call (name and arguments) in more than `times` turns. @category errors @since 0.1.0 */
export const LoopDetected = Schema.TaggedStruct("LoopDetected", {
  tool: Schema.String,
  callId: Schema.String,
  times: Schema.Int
})

/**
 * A clock of the run ran out: `timeout.total`, or of the model's turn `timeout.model` (its `total`: `"model"`).
 *
 * @category errors
 * @since 0.1.0
 */
export const TimedOut = Schema.TaggedStruct("TimedOut", {
  clock: Schema.Literals(["model", "model-first-byte", "model-idle", "total"]),
  afterMillis: Schema.Finite
})

/** `Orchestrator.cancel` or `drain` ended the whole run. @category errors @since 0.1.0 */
export const Cancelled = Schema.TaggedStruct("Cancelled", { reason: CancelReason.CancelReasonSchema })

/** The registry of runs is draining and takes no new one. @category errors @since 0.1.0 */
export const ShuttingDown = Schema.TaggedStruct("ShuttingDown", {})

/**
 * The model failed in a run that already had calls. `completed` are the calls whose arguments had arrived whole (each has a
 * result in `prompt`), `incomplete` those that were cut off and never run. Both speak of the turn that failed, over all its
 * answers where it was asked more than once; a call that was adopted goes by its newest id.
 *
 * @category errors
 * @since 0.1.0
 */
export const TurnBroken = Schema.TaggedStruct("TurnBroken", {
  error: AiError.AiError,
  completed: Schema.Array(Schema.String),
  incomplete: Schema.Array(Schema.String)
})

/**
 * A limit, or an open circuit, refused a turn of the model before it was asked. `limit` names it, `message` says why, `retryAfterMillis` how long to
 * wait where that is known; `isRetryable` is false where waiting cannot help.
 *
 * @category errors
 * @since 0.1.0
 */
export const Rejected = Schema.TaggedStruct("Rejected", {
  limit: Schema.String,
  message: Schema.String,
  isRetryable: Schema.Boolean,
  retryAfterMillis: Schema.optionalKey(Schema.Finite)
})

const Reason = Schema.Union([InvalidOptions, LoopDetected, TimedOut, Cancelled, ShuttingDown, TurnBroken, Rejected])

/** @category errors @since 0.1.0 */
export type Reason = typeof Reason.Type

/**
 * A run failed for a reason of ours; failures of the model before any call was made stay `AiError`s.
 *
 * @category errors
 * @since 0.1.0
 */
export class OrchestratorError extends Schema.TaggedError<OrchestratorError>()("OrchestratorError", {
  runId: Schema.String,
  reason: Reason,
  prompt: Prompt.Prompt
}) {
  /** One sentence: what happened and what to try. */
  override get message(): string {
    return messageOf(this.reason)
  }
  /** Whether running again, from `prompt`, can help. */
  get isRetryable(): boolean {
    const { reason } = this
    return reason._tag === "TimedOut" ||
      (reason._tag === "TurnBroken" && reason.error.isRetryable) ||
      (reason._tag === "Rejected" && reason.isRetryable)
  }
  /** How long the model's provider, or a limit, asks to wait, where it said so. */
  get retryAfter(): Duration.Duration | undefined {
    const { reason } = this
    return reason._tag === "TurnBroken"
      ? reason.error.retryAfter
      : reason._tag === "Rejected" && reason.retryAfterMillis !== undefined
      ? Duration.millis(reason.retryAfterMillis)
      : undefined
  }
}

const messageOf = (reason: Reason): string => {
  switch (reason._tag) {
    case "InvalidOptions":
      return `Invalid option ${reason.option}: ${reason.issue}`
    case "LoopDetected":
      return `The model made the same call of ${reason.tool} in more than ${reason.times} turns. Change the prompt or the tool, or raise maxRepeats in Orchestrator.Config.`
    case "TimedOut":
      return clocks[reason.clock](reason.afterMillis)
    case "Cancelled":
      return `The run was cancelled: ${CancelReason.message(reason.reason)}`
    case "ShuttingDown":
      return "No new run is taken: the process is shutting down"
    case "Rejected":
      return `The model was not asked: ${reason.message}`
    case "TurnBroken":
      return `The model's answer broke off (${reason.error.message}). Calls that had arrived whole: ${
        names(reason.completed)
      }; cut off and not run: ${names(reason.incomplete)}. The history with their results is in the error's prompt.`
  }
}

const clocks = {
  model: (millis: number) => `A turn of the model took longer than timeout.model (${millis} ms)`,
  "model-first-byte": (millis: number) =>
    `The model did not begin to answer within timeout.model.firstByte (${millis} ms)`,
  "model-idle": (millis: number) => `The model fell silent for longer than timeout.model.idle (${millis} ms)`,
  total: (millis: number) => `The run took longer than timeout.total (${millis} ms)`
}

const names = (ids: ReadonlyArray<string>): string =>
  ids.length === 0 ? "none" : ids.slice(0, 16).join(", ") + (ids.length > 16 ? ` and ${ids.length - 16} more` : "")
