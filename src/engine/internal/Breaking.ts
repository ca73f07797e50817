/**
 * Calls on their way through the program's circuit breaker, where there is one: one `execute` around each attempt, on a fiber of
 * its own, outside the limits, so that an open circuit costs no permit. It ends as the attempt was answered; an attempt that
 * never asked the service, or was stopped for another's sake, is interrupted and does not count.
 *
 * A guess passes a closed circuit only, and tells the breaker nothing: nobody needed its answer, and the probe of a circuit that
 * opens again is a real call's.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import * as CancelReason from "../../domain/CancelReason.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import type { Breaker } from "../../policy/Breaker.ts"
import * as Attempt from "./Attempt.ts"
import type { Call, Guarded, Outcome, Runner } from "./Call.ts"

/** The step: asks the breaker, then takes the call onward. */
export const guard = (breaker: Breaker["Service"], service: string, next: Runner): Runner => (call) =>
  call.guess === undefined
    ? new GuardedCall(call, service, next).ask(breaker)
    : new GuardedCall(call, service, next).look(breaker)

const stoppedByBreaker = CancelReason.branchCancelled("the circuit breaker ended it")

class GuardedCall implements Guarded {
  private state: "asking" | "passed" | "ended" = "asking"
  private fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private resume: ((effect: Effect.Effect<void, unknown>) => void) | undefined = undefined
  private readonly call: Call
  private readonly service: string
  private readonly next: Runner

  constructor(call: Call, service: string, next: Runner) {
    this.call = call
    this.service = service
    this.next = next
  }

  ask(breaker: Breaker["Service"]): void {
    const { call, service } = this
    call.guarded = this
    const fiber = Effect.runForkWith(call.tool.context)(
      Effect.suspend(() => breaker.execute(service)(this.attempt))
    )
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.left(exit)
    this.fiber = fiber
    fiber.addObserver((exit) => this.left(exit))
    if (this.isStopped) fiber.interruptUnsafe()
  }

  /** Takes a guess onward where the circuit is closed. */
  look(breaker: Breaker["Service"]): void {
    const { call, service } = this
    call.guarded = this
    const fiber = Effect.runForkWith(call.tool.context)(
      Effect.flatMap(
        Effect.suspend(() => breaker.state(service)),
        (state) => state._tag === "Closed" ? Effect.sync(() => this.pass()) : Effect.sync(() => this.shut())
      )
    )
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.left(exit)
    this.fiber = fiber
    fiber.addObserver((exit) => this.left(exit))
    if (this.isStopped) fiber.interruptUnsafe()
  }

  private pass(): void {
    if (this.state !== "asking") return
    this.state = "ended"
    this.next(this.call)
  }

  private shut(): void {
    if (this.state !== "asking") return
    this.state = "ended"
    const { call: { environment, id, name }, service } = this
    environment.admission.refuse(this.call, ToolFailure.rejected(name, id, `the circuit of ${service} is open`))
  }

  private get isStopped(): boolean {
    return this.state === "ended" && this.resume === undefined
  }

  // Withdrawn in the same instant, or run twice: a handler starts at most once.
  private readonly attempt = Effect.callback<void, unknown>((resume) => {
    if (this.state !== "asking") return resume(Effect.interrupt)
    this.state = "passed"
    this.resume = resume
    this.next(this.call)
    return Effect.sync(() => Attempt.stop(this.call, stoppedByBreaker))
  })

  answered(outcome: Outcome): void {
    const { fiber, resume, state } = this
    if (state === "ended") return
    this.state = "ended"
    if (resume !== undefined) resume(countedExit(outcome, this.call.exit))
    else fiber?.interruptUnsafe()
  }

  // The breaker is done with the call.
  private left(exit: Exit.Exit<unknown, unknown>): void {
    this.fiber = undefined
    if (this.state !== "asking") return
    const { call } = this
    this.state = "ended"
    call.environment.admission.refuse(call, this.refusal(exit))
  }

  private refusal(exit: Exit.Exit<unknown, unknown>): ToolFailure.ToolFailure {
    const { call: { id, name }, service } = this
    if (Exit.isSuccess(exit)) {
      return ToolFailure.handlerFailed(name, id, new Error("the circuit breaker ended without running it"))
    }
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
    if (error instanceof CircuitBreakerError) {
      const { reason } = error
      if (reason._tag === "CircuitBreakerStoreError") {
        return ToolFailure.rejected(name, id, `the circuit breaker of ${service} could not be asked`)
      }
      const millis = reason._tag === "CircuitOpen" ? Duration.toMillis(reason.retryAfter) : undefined
      return ToolFailure.rejected(name, id, `the circuit of ${service} is open`, millis)
    }
    return ToolFailure.handlerFailed(
      name,
      id,
      new Error(`the circuit breaker failed: ${ToolFailure.describe(Cause.squash(exit.cause))}`)
    )
  }
}

// Stopped for its own slowness it has failed; stopped for anybody else's sake, or never begun, it says nothing of the service.
const countedExit = (
  { isFailure, result, status }: Outcome,
  exit: Exit.Exit<unknown, unknown> | undefined
): Effect.Effect<void, unknown> => {
  if (!isFailure) return Effect.void
  if (status === "Cancelled" || status === "Rejected" || status === "NotStarted") return Effect.interrupt
  if (status === "TimedOut" && (result as { readonly clock: string }).clock !== "attempt") return Effect.interrupt
  return exit !== undefined && Exit.isFailure(exit) ? Effect.failCause(exit.cause) : Effect.fail(result)
}
