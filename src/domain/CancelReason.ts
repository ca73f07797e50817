/**
 * Why a call, a group or a run was stopped. The same value reaches every place that asks: the `AbortSignal` of
 * `Executor.promise`, the interruption's cause (as an annotation), the span, the stream part and the text for the model.
 *
 * Plain tagged data. It does not stop anything; the engine does.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const schema = Schema.Union([
  Schema.TaggedStruct("Timeout", {
    clock: Schema.Literals(["attempt", "deadline", "branch", "group", "total"]),
    afterMillis: Schema.Finite
  }),
  Schema.TaggedStruct("Superseded", { by: Schema.String, group: Schema.optionalKey(Schema.String) }),
  Schema.TaggedStruct("BranchCancelled", { note: Schema.optionalKey(Schema.String) }),
  Schema.TaggedStruct("CallerGone", {}),
  Schema.TaggedStruct("Misspeculated", {}),
  Schema.TaggedStruct("BudgetSpent", { budget: Schema.String }),
  Schema.TaggedStruct("Shutdown", {})
])

/**
 * Why something was stopped; one of seven tagged values.
 *
 * @category models
 * @since 0.1.0
 */
export type CancelReason = typeof schema.Type

/**
 * The annotation under which an interruption's cause carries its reason.
 *
 * **Example** (An effect reads why it was interrupted)
 *
 * ```ts
 * import { Cause, Context } from "effect"
 * import { CancelReason } from "effect-toolformer"
 *
 * const cause = Cause.annotate(Cause.interrupt(), Context.make(CancelReason.CancelReason, CancelReason.shutdown))
 * CancelReason.fromCause(cause)?._tag // => "Shutdown"
 * ```
 *
 * @see {@link fromCause} to read it
 * @category annotations
 * @since 0.1.0
 */
export const CancelReason: Context.Service<"effect-toolformer/CancelReason", CancelReason> = Context.Service<
  "effect-toolformer/CancelReason",
  CancelReason
>("effect-toolformer/CancelReason")

/**
 * Encodes and decodes a reason at a boundary (`--json`, another process).
 *
 * @category models
 * @since 0.1.0
 */
export const CancelReasonSchema: Schema.Codec<CancelReason> = schema

/**
 * The clocks that stop a call: one attempt's, the call's own, its branch's, its group's, the run's.
 *
 * @category models
 * @since 0.1.0
 */
export type Clock = Extract<CancelReason, { readonly _tag: "Timeout" }>["clock"]

/**
 * A clock ran out; `afterMillis` is its configured length.
 *
 * @category constructors
 * @since 0.1.0
 */
export const timeout = (clock: Clock, afterMillis: number): CancelReason => ({
  _tag: "Timeout",
  clock,
  afterMillis
})

/**
 * Another call made this one pointless. `by` names it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const superseded = (by: string, group?: string): CancelReason =>
  group === undefined ? { _tag: "Superseded", by } : { _tag: "Superseded", by, group }

/**
 * Somebody cancelled this call or its group by name.
 *
 * @category constructors
 * @since 0.1.0
 */
export const branchCancelled = (note?: string): CancelReason =>
  note === undefined ? { _tag: "BranchCancelled" } : { _tag: "BranchCancelled", note }

/**
 * Nobody waits for the answer any more: the run's fiber was interrupted or the stream's reader left.
 *
 * @category constructors
 * @since 0.1.0
 */
export const callerGone: CancelReason = { _tag: "CallerGone" }

/**
 * The call was started on a guess that proved wrong, or whose place a real call needed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const misspeculated: CancelReason = { _tag: "Misspeculated" }

/**
 * A budget (steps, calls, tokens) was used up. `budget` names it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const budgetSpent = (budget: string): CancelReason => ({ _tag: "BudgetSpent", budget })

/**
 * The process is going down.
 *
 * @category constructors
 * @since 0.1.0
 */
export const shutdown: CancelReason = { _tag: "Shutdown" }

/**
 * Reads the reason from an interruption's cause; `undefined` where nobody gave one.
 *
 * @category annotations
 * @since 0.1.0
 */
export const fromCause = (cause: Cause.Cause<unknown>): CancelReason | undefined =>
  Option.getOrUndefined(Context.getOption(Cause.annotations(cause), CancelReason))

/**
 * One sentence for a person or a model.
 *
 * @category formatting
 * @since 0.1.0
 */
export const message = (reason: CancelReason): string => {
  switch (reason._tag) {
    case "Timeout":
      return `timed out: ${clockNames[reason.clock]} is ${reason.afterMillis} ms`
    case "Superseded":
      return reason.group === undefined
        ? `superseded by ${reason.by}`
        : `superseded by ${reason.by} in group "${reason.group}"`
    case "BranchCancelled":
      return reason.note ?? "cancelled on request"
    case "CallerGone":
      return "nobody waits for the answer any more"
    case "Misspeculated":
      return "started on a guess that proved wrong"
    case "BudgetSpent":
      return `budget spent: ${reason.budget}`
    case "Shutdown":
      return "the process is shutting down"
  }
}

const clockNames = {
  attempt: "the limit for one attempt",
  deadline: "the call's deadline",
  branch: "the limit for one branch of its group",
  group: "the limit for its group",
  total: "the limit for the whole run"
} as const
