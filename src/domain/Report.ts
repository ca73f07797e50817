/**
 * Where a run's time went, per call and per turn, and what lay on the critical path. Plain data, made once when the run ends.
 */
import * as Schema from "effect/Schema"
import { CancelReasonSchema } from "./CancelReason.ts"

/**
 * One call. `status` is `"success"`, `"failure"` (the tool's own), `"denied"`, or the tag of a `ToolFailure`. Milliseconds from
 * the seal to the handler's start (to the answer where it never started) are `limiterMillis` where a limit made it wait, and
 * `queuedMillis` otherwise; `runMillis` from the start to the answer, waits between attempts included. `abandoned`: it was
 * answered while its handler still ran. `adoptedFrom`: the call of a broken answer whose outcome it has. `claimed`: the guess whose
 * outcome it has, which had started `aheadMillis` before the call was made; `runMillis` is then the time the call waited for it.
 *
 * @category models
 * @since 0.1.0
 */
export const CallReport = Schema.Struct({
  callId: Schema.String,
  name: Schema.String,
  step: Schema.Int,
  status: Schema.String,
  queuedMillis: Schema.Finite,
  limiterMillis: Schema.Finite,
  runMillis: Schema.Finite,
  attempts: Schema.Int,
  abandoned: Schema.Boolean,
  service: Schema.optionalKey(Schema.String),
  adoptedFrom: Schema.optionalKey(Schema.String),
  claimed: Schema.optionalKey(Schema.Struct({ speculationId: Schema.String, aheadMillis: Schema.Finite }))
})
export type CallReport = typeof CallReport.Type

/**
 * One turn of the model, from the request to the end of its stream, in milliseconds. `limiterMillis`: how long a limit made it
 * wait before. `attempts`: how often the turn was asked, where it was more than once; its time is then that of all askings and
 * of the waits between them.
 *
 * @category models
 * @since 0.1.0
 */
export const StepReport = Schema.Struct({
  step: Schema.Int,
  modelMillis: Schema.Finite,
  limiterMillis: Schema.Finite,
  calls: Schema.Int,
  finishReason: Schema.String,
  attempts: Schema.optionalKey(Schema.Int)
})
export type StepReport = typeof StepReport.Type

/**
 * One stretch of the critical path: the model's turn, or the last call of a decision to end (its wait, then its run). A
 * `limiter` segment, where a limit made the turn or the call wait, comes before.
 *
 * @category models
 * @since 0.1.0
 */
export const Segment = Schema.Struct({
  kind: Schema.Literals(["model", "queue", "limiter", "tool"]),
  step: Schema.Int,
  millis: Schema.Finite,
  callId: Schema.optionalKey(Schema.String),
  name: Schema.optionalKey(Schema.String)
})
export type Segment = typeof Segment.Type

/**
 * How a group of calls with a completion policy ended. `outcome`: `"decided"` (its winners are known), `"unreachable"` (too few
 * branches can still succeed), `"timed-out"` (`within`), `"cancelled"`. `winners` are call ids, the best first, `losers` the others
 * in call order; `millis` from the seal of its first call to the decision. `policy` in words; `of 2`: the group had fewer calls than the policy
 * asks for.
 *
 * @category models
 * @since 0.1.0
 */
export const GroupReport = Schema.Struct({
  group: Schema.String,
  step: Schema.Int,
  policy: Schema.String,
  outcome: Schema.Literals(["decided", "unreachable", "timed-out", "cancelled"]),
  winners: Schema.Array(Schema.String),
  losers: Schema.Array(Schema.String),
  millis: Schema.Finite
})
export type GroupReport = typeof GroupReport.Type

/**
 * A handler that was still running when its grace was over. `callId`: of a guess that no call has claimed, its `speculationId`.
 *
 * @category models
 * @since 0.1.0
 */
export const Abandoned = Schema.Struct({ callId: Schema.String, name: Schema.String, reason: CancelReasonSchema })
export type Abandoned = typeof Abandoned.Type

/**
 * What guesses of one predictor about one tool came to.
 *
 * **Shape** Every guess that started is exactly one of `hit` (it had ended when the model made the call), `lateHit` (the call
 * joined it while it ran, and it succeeded), `miss` (nobody made the call, or too late), `failed`, `preempted` (a real call needed
 * its place). `passed`: guesses that were not started. `right`: guesses, started or not, whose call the model made in that turn.
 *
 * **Units** Milliseconds. `savedMillis`: what calls would have waited longer; `wastedMillis`: how long the others ran;
 * `wastedTokens`: what they cost by `ToolPolicy.Cost`.
 *
 * @category models
 * @since 0.1.0
 */
export const SpeculationEntry = Schema.Struct({
  predictor: Schema.String,
  tool: Schema.String,
  started: Schema.Int,
  passed: Schema.Int,
  right: Schema.Int,
  hit: Schema.Int,
  lateHit: Schema.Int,
  miss: Schema.Int,
  failed: Schema.Int,
  preempted: Schema.Int,
  savedMillis: Schema.Finite,
  wastedMillis: Schema.Finite,
  wastedTokens: Schema.Finite
})
export type SpeculationEntry = typeof SpeculationEntry.Type

/**
 * A predictor as the run saw it: how often it was asked, how many guesses it gave, how many of them made no sense (an unknown tool,
 * parameters that do not decode, a confidence that is none, a tool that is never guessed, too many), how often it failed, and the
 * tokens that asking it cost. `off`: it has lost more than it saved and is not listened to at the moment.
 *
 * @category models
 * @since 0.1.0
 */
export const PredictorEntry = Schema.Struct({
  predictor: Schema.String,
  asked: Schema.Int,
  guesses: Schema.Int,
  ignored: Schema.Int,
  failures: Schema.Int,
  tokens: Schema.Finite,
  off: Schema.Boolean
})
export type PredictorEntry = typeof PredictorEntry.Type

/**
 * The ledger of a run's speculation.
 *
 * @category models
 * @since 0.1.0
 */
export const SpeculationReport = Schema.Struct({
  entries: Schema.Array(SpeculationEntry),
  predictors: Schema.Array(PredictorEntry)
})
export type SpeculationReport = typeof SpeculationReport.Type

/**
 * A run's report.
 *
 * **Units** `sequentialMillis` is the sum of `runMillis`: what handlers that wait for others would have cost one after
 * the other; for work on this thread it is too high, since calls then wait for each other within it.
 * `peakConcurrency` the most handlers running at one moment. `speculation` where the program speculates.
 *
 * @category models
 * @since 0.1.0
 */
export const Report = Schema.Struct({
  runId: Schema.String,
  totalMillis: Schema.Finite,
  modelMillis: Schema.Finite,
  sequentialMillis: Schema.Finite,
  peakConcurrency: Schema.Int,
  calls: Schema.Array(CallReport),
  steps: Schema.Array(StepReport),
  criticalPath: Schema.Array(Segment),
  abandoned: Schema.Array(Abandoned),
  groups: Schema.Array(GroupReport),
  speculation: Schema.optionalKey(SpeculationReport)
})
export type Report = typeof Report.Type
