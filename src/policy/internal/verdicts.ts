/** What the end of a call says about the health of the service it asked. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Result from "effect/Result"
import { fromCause } from "../../domain/CancelReason.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import { isRetryable, isTurnedAway, retryAfterOf } from "./failures.ts"

/**
 * A failure that may pass and an attempt's time-out are the service's. Any other typed failure is an answer: it is at work.
 * What never reached it, was stopped by us, or is a bug of the handler says nothing.
 */
export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<CircuitBreaker.Outcome> => {
  if (Exit.isSuccess(exit)) return healthy
  const reason = fromCause(exit.cause)
  if (reason !== undefined) return reason._tag === "Timeout" && reason.clock === "attempt" ? timedOut : silent
  const failure = Cause.findError(exit.cause)
  if (Result.isSuccess(failure)) return ofFailure(failure.success, healthy)
  // A rejected promise of `Effect.promise` is a defect, and may be the service's for all that.
  const defect = Cause.findDefect(exit.cause)
  return Result.isSuccess(defect) ? ofFailure(defect.success, silent) : silent
}

const ofFailure = (
  failure: unknown,
  otherwise: Effect.Effect<CircuitBreaker.Outcome>
): Effect.Effect<CircuitBreaker.Outcome> => {
  if (isTurnedAway(failure)) return silent
  if (isRetryable(failure)) {
    return Effect.map(
      Clock.currentTimeMillis,
      (now) => CircuitBreaker.failure({ retryAfter: retryAfterOf(failure, now) })
    )
  }
  return ToolFailure.is(failure) ? silent : otherwise
}

const healthy = Effect.succeed(CircuitBreaker.success)
const silent = Effect.succeed(CircuitBreaker.ignored)
const timedOut = Effect.succeed(CircuitBreaker.failure())
