/**
 * Why a race of effects has no winner: one error, many reasons.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as CancelReason from "../../domain/CancelReason.ts"
import { describe } from "../../domain/ToolFailure.ts"

/**
 * What became of one effect. `Succeeded`: its value, also where others were better. `Unscored`: it succeeded, but its score
 * threw or is no finite number. `Stopped`: it was interrupted for a reason, or never started; `abandoned`: it had not ended when
 * its grace was over.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome<A, E> = { readonly _tag: "Succeeded"; readonly value: A } | Loss<E>

/**
 * An {@link Outcome} that could not win.
 *
 * @category models
 * @since 0.1.0
 */
export type Loss<E> =
  | { readonly _tag: "Failed"; readonly cause: Cause.Cause<E> }
  | { readonly _tag: "Unscored"; readonly value: unknown; readonly issue: string }
  | {
    readonly _tag: "Stopped"
    readonly reason: CancelReason.CancelReason
    readonly started: boolean
    readonly abandoned: boolean
  }

/**
 * Why there is no winner.
 *
 * | tag | when | `isRetryable` |
 * | --- | --- | --- |
 * | `AllFailed` | no effect succeeded; `failures` in the order of the effects | as one of the failures |
 * | `Unreachable` | fewer than `needed` can agree; `agreeing` did | as one of the failures |
 * | `TimedOut` | `within` ran out before there was a winner | true |
 * | `InvalidScore` | effects succeeded, and none has a score; `branch` is the first | false |
 * | `InvalidPolicy` | the policy does not fit the effects; nothing was started | false |
 *
 * @category errors
 * @since 0.1.0
 */
export type Reason<E> =
  | { readonly _tag: "AllFailed"; readonly failures: ReadonlyArray<Loss<E>> }
  | {
    readonly _tag: "Unreachable"
    readonly needed: number
    readonly agreeing: number
    readonly failures: ReadonlyArray<Loss<E>>
  }
  | { readonly _tag: "TimedOut"; readonly afterMillis: number }
  | { readonly _tag: "InvalidScore"; readonly branch: number; readonly issue: string }
  | { readonly _tag: "InvalidPolicy"; readonly issue: string }

/**
 * A race, a choice of the best or a quorum of effects came to nothing.
 *
 * @category errors
 * @since 0.1.0
 */
export class BranchError<out E = never> extends Data.TaggedError("BranchError")<{ readonly reason: Reason<unknown> }> {
  declare readonly reason: Reason<E>
  /** One sentence: what happened. */
  override get message(): string {
    return messageOf(this.reason)
  }
  /** Whether trying again can help. */
  get isRetryable(): boolean {
    const { reason } = this
    return reason._tag === "TimedOut" ||
      ((reason._tag === "AllFailed" || reason._tag === "Unreachable") && reason.failures.some(isRetryable))
  }
}

const isRetryable = (loss: Loss<unknown>): boolean => {
  if (loss._tag === "Stopped") return loss.reason._tag === "Timeout"
  if (loss._tag === "Unscored") return false
  const error = Cause.squash(loss.cause)
  return typeof error === "object" && error !== null && "isRetryable" in error && error.isRetryable === true
}

const messageOf = (reason: Reason<unknown>): string => {
  switch (reason._tag) {
    case "AllFailed":
      return `None of ${reason.failures.length} effects succeeded${losses(reason.failures)}`
    case "Unreachable":
      return `At most ${reason.agreeing} effects can agree, and ${reason.needed} must${losses(reason.failures)}`
    case "TimedOut":
      return `No effect had succeeded within ${reason.afterMillis} ms`
    case "InvalidScore":
      return `No result could be compared; of branch ${reason.branch} ${reason.issue}`
    case "InvalidPolicy":
      return reason.issue
  }
}

const losses = (all: ReadonlyArray<Loss<unknown>>): string =>
  (all.length === 0 ? "" : ": ") + all.slice(0, 4).map(lossText).join("; ") +
  (all.length > 4 ? `; and ${all.length - 4} more` : "")

const lossText = (loss: Loss<unknown>): string => {
  switch (loss._tag) {
    case "Failed":
      return describe(Cause.squash(loss.cause)).slice(0, 256)
    case "Unscored":
      return loss.issue
    case "Stopped":
      return CancelReason.message(loss.reason)
  }
}
