/**
 * The stream's parts: Effect's own, unchanged, and ours, additive, told apart by `type`. Ours name the call (`callId`) where
 * there is one and carry `time`, milliseconds since 1970 from Effect's `Clock`.
 *
 * Only data. The engine makes them; `toJson` writes any part as one JSON value.
 */
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import type * as Tool from "effect/ai/Tool"
import type { CancelReason } from "./CancelReason.ts"
import type { Report } from "./Report.ts"
import type { ToolFailure } from "./ToolFailure.ts"

/** The run began. `policies` are the active ones, `tools` the names offered. @category models @since 0.1.0 */
export interface RunStart {
  readonly type: "run-start"
  readonly runId: string
  readonly policies: ReadonlyArray<string>
  readonly tools: ReadonlyArray<string>
  readonly time: number
}

/** A turn of the model begins. Steps count from 1; approved calls of an earlier run are step 0. @category models @since 0.1.0 */
export interface StepStart {
  readonly type: "step-start"
  readonly step: number
  readonly time: number
}

/** A call is complete and waits for its place. @category models @since 0.1.0 */
export interface ToolQueued {
  readonly type: "tool-queued"
  readonly callId: string
  readonly name: string
  readonly step: number
  readonly time: number
}

/**
 * A call's handler starts. `attempt` counts from 1; `hedge` where it starts beside an attempt that still runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolStarted {
  readonly type: "tool-started"
  readonly callId: string
  readonly name: string
  readonly attempt: number
  readonly hedge?: true
  readonly time: number
}

/**
 * An attempt failed and the call will be tried again: which attempt, why, and how long it waits first.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolRetry {
  readonly type: "tool-retry"
  readonly callId: string
  readonly name: string
  readonly attempt: number
  readonly delayMillis: number
  readonly message: string
  readonly time: number
}

/**
 * A call of a turn that was asked again is the same as one (`from`) of the answer that broke off, and has its outcome: nothing
 * ran twice.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolAdopted {
  readonly type: "tool-adopted"
  readonly callId: string
  readonly name: string
  readonly from: string
  readonly time: number
}

/**
 * A call starts on a guess, before the model has asked for it. `speculationId` names the guess in the parts that follow; it is not a
 * call of the run and never has a `tool-result`. `confidence`: the probability that the turn makes this call, as the engine believes it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolSpeculated {
  readonly type: "tool-speculated"
  readonly speculationId: string
  readonly name: string
  /** As a model would send them. */
  readonly params: unknown
  readonly predictor: string
  readonly confidence: number
  readonly step: number
  readonly time: number
}

/**
 * The model made the call that was guessed: the call has the guess's outcome, or waits for it where `running`. `aheadMillis`: how
 * long before the call the guess had started.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolClaimed {
  readonly type: "tool-claimed"
  readonly callId: string
  readonly speculationId: string
  readonly name: string
  readonly running: boolean
  readonly aheadMillis: number
  readonly time: number
}

/**
 * A guess is thrown away. `why`: `"refuted"` (the model decided otherwise), `"stale"` (something it read was written, or it is too
 * old), `"failed"`, `"preempted"` (a real call needed its place), `"run-ended"`. After `tool-claimed` only where the joined guess
 * failed: the call then runs afresh.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolDiscarded {
  readonly type: "tool-discarded"
  readonly speculationId: string
  readonly name: string
  readonly why: "refuted" | "stale" | "failed" | "preempted" | "run-ended"
  readonly runMillis: number
  readonly time: number
}

/** A handler reported progress (`preliminary`). A slow reader gets the newest 64 of each call. @category models @since 0.1.0 */
export interface ToolProgress {
  readonly type: "tool-progress"
  readonly callId: string
  readonly name: string
  readonly result: unknown
  readonly encodedResult: unknown
  readonly time: number
}

/** A call was asked to stop. Its `tool-result` follows when its handler has ended or its grace is over. @category models @since 0.1.0 */
export interface ToolCancelled {
  readonly type: "tool-cancelled"
  readonly callId: string
  readonly name: string
  readonly reason: CancelReason
  readonly executionStarted: boolean
  readonly time: number
}

/** A stopped handler outlived its grace; its call is answered without it. @category models @since 0.1.0 */
export interface ToolAbandoned {
  readonly type: "tool-abandoned"
  readonly callId: string
  readonly name: string
  readonly reason: CancelReason
  readonly graceMillis: number
  readonly time: number
}

/**
 * The model's answer broke off and its turn is asked again: which asking failed, why, and how long it waits first. What was
 * streamed before of the text, and what asked for approval, does not count any more. `failover`: the next model of the run's
 * plan is asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface StepRetry {
  readonly type: "step-retry"
  readonly step: number
  readonly attempt: number
  readonly delayMillis: number
  readonly message: string
  readonly failover?: true
  readonly time: number
}

/** A turn is over and every call of it is answered. @category models @since 0.1.0 */
export interface StepFinish {
  readonly type: "step-finish"
  readonly step: number
  readonly finishReason: Response.FinishReason
  readonly usage: Response.Usage
  readonly time: number
}

/** The run is over; always the last part of a stream that did not fail. @category models @since 0.1.0 */
export interface RunFinish {
  readonly type: "run-finish"
  readonly runId: string
  readonly text: string
  readonly finishReason: Response.FinishReason
  readonly usage: Response.Usage
  readonly report: Report
  readonly pendingApprovals: ReadonlyArray<PendingApproval>
  /** The whole history, ready for the next run. Not part of the JSON form. */
  readonly prompt: Prompt.Prompt
  readonly time: number
}

/** A call that waits for a person's answer. @category models @since 0.1.0 */
export interface PendingApproval {
  readonly approvalId: string
  readonly callId: string
  readonly name: string
  readonly params: unknown
}

/** Every part that is ours. @category models @since 0.1.0 */
export type ToolEvent =
  | RunStart
  | StepStart
  | ToolQueued
  | ToolStarted
  | ToolProgress
  | ToolRetry
  | ToolAdopted
  | ToolSpeculated
  | ToolClaimed
  | ToolDiscarded
  | ToolCancelled
  | ToolAbandoned
  | StepRetry
  | StepFinish
  | RunFinish

type ResultOf<Tools extends Record<string, Tool.Any>, Name extends keyof Tools> = Name extends string
  ? Response.ToolResultPart<Name, Tool.Success<Tools[Name]>, Tool.Failure<Tools[Name]> | ToolFailure>
  : never

/**
 * A call's final result, typed by its tool: its success, its own failure, or a `ToolFailure`.
 *
 * @category models
 * @since 0.1.0
 */
export type ToolResult<Tools extends Record<string, Tool.Any>> =
  | ResultOf<Tools, keyof Tools>
  | Response.ToolResultPart<string, never, ToolFailure>

/**
 * Every part of a run's stream.
 *
 * @category models
 * @since 0.1.0
 */
export type Part<Tools extends Record<string, Tool.Any>> =
  | Exclude<Response.StreamPart<Tools, "deferred">, { readonly type: "tool-result" }>
  | ToolResult<Tools>
  | ToolEvent

/** Any part at all. @category models @since 0.1.0 */
export type AnyPart = Response.AnyPart | ToolEvent

/**
 * Any part as a JSON value, for one line of NDJSON: ours as they are (`run-finish` without `prompt`), a `tool-result` with its
 * encoded result, Effect's without their type ids, bytes as base64.
 *
 * @category encoding
 * @since 0.1.0
 */
export const toJson = (part: AnyPart): unknown => {
  const { [PartTypeId]: _, ...json } = shape(part) as { readonly [PartTypeId]?: unknown }
  return json
}

const PartTypeId = "~effect/ai/Response/Part"

const shape = (part: AnyPart): object => {
  switch (part.type) {
    case "run-finish": {
      const { prompt: _, ...rest } = part
      return rest
    }
    case "tool-progress":
    case "tool-result": {
      const { encodedResult, ...rest } = part
      return { ...rest, result: encodedResult }
    }
    case "file":
      return { ...part, data: base64(part.data) }
    default:
      return part
  }
}

const base64 = (bytes: Uint8Array): string => {
  let text = ""
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192))
  return btoa(text)
}
