/**
 * One attempt: the handler on a fiber of its own, and the one door through which every stop goes (timeout, cancel, branch, end
 * of the run). A root fiber per call, so no scope waits for a handler that will not stop: it is answered when it ends or when
 * its grace is over, whichever is first, and its permit comes back when it really ends.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Tracer from "effect/Tracer"
import * as CancelReason from "../../domain/CancelReason.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import * as Blocking from "./blocking.ts"
import { CurrentCall, fault } from "./Call.ts"
import type { Call, Outcome } from "./Call.ts"
import { countAbandoned, countEnded, countLate } from "./counters.ts"
import { exitOf } from "./exitOf.ts"
import { closeCall } from "./Tracing.ts"

/** Starts the handler of an admitted call. */
export const start = (call: Call): void => {
  const { environment, tool } = call
  call.state = "running"
  call.attempts++
  call.startedAt = environment.timers.now()
  if (call.attemptOf !== undefined) call.attemptOf.governor!.started(call)
  environment.listener?.started(call)
  let context = Context.add(tool.context, CurrentCall, call)
  if (call.span !== undefined) context = Context.add(context, Tracer.ParentSpan, call.span)
  call.fiberEnded = false
  const reported = Blocking.reportedMillis
  const fiber = Effect.runForkWith(context)(Effect.suspend(() => handle(call)))
  const exit = fiber.pollUnsafe()
  if (exit !== undefined) {
    ended(call, exit)
    // Over at once, unless its result takes time to encode or a promise of it is still at work.
    if (call.state as Call["state"] === "answered") return watchStep(call, call.answeredAt, reported)
  } else {
    call.fiber = fiber
    fiber.addObserver((exit) => ended(call, exit))
  }
  // The handler's first steps may have stopped their own call before there was a fiber to interrupt.
  if (call.reason !== undefined) {
    watchStep(call, environment.timers.now(), reported)
    return call.fiber?.interruptUnsafe(undefined, Context.make(CancelReason.CancelReason, call.reason))
  }
  if (call.attemptOf !== undefined) call.attemptOf.governor!.suspended(call)
  if (tool.timeoutMillis !== undefined) {
    const millis = tool.timeoutMillis
    const timer = environment.timers.add(millis, () => stop(call, CancelReason.timeout("attempt", millis)))
    call.attemptTimer = timer
    // The timer has looked at the clock already.
    watchStep(call, millis === Infinity ? environment.timers.now() : timer.at - millis, reported)
  } else watchStep(call, environment.timers.now(), reported)
}

const watchStep = (call: Call, now: number, reported: number): void => {
  const millis = now - call.startedAt
  if (millis < call.tool.blockedMillis) return
  const own = millis - (Blocking.reportedMillis - reported)
  if (own >= call.tool.blockedMillis) Blocking.report(call, own)
}

// A handler may return anything at run time; the runtime would stop the process on a value that is no effect.
const handle = (call: Call): Effect.Effect<unknown, unknown> => {
  const effect: unknown = call.tool.handler(call.decoded, new HandlerContext(call))
  return Effect.isEffect(effect)
    ? effect as Effect.Effect<unknown, unknown>
    : Effect.die(new TypeError(`the handler returned ${ToolFailure.describe(effect)} instead of an Effect`))
}

// `preliminary` is made only for handlers that read it.
class HandlerContext {
  readonly #call: Call
  constructor(call: Call) {
    this.#call = call
  }
  get toolCallId(): string {
    return this.#call.id
  }
  get preliminary(): (result: unknown) => Effect.Effect<void> {
    const call = this.#call
    return (result) => progress(call, result)
  }
}

const progress = (call: Call, result: unknown): Effect.Effect<void> =>
  Effect.suspend(() => {
    const listener = call.environment.listener
    if (listener === undefined || !isHeard(call)) return Effect.void
    // Progress that cannot be encoded is dropped; the final result is the one that must not be.
    return Effect.match(call.tool.compiled.encodeSuccess(result), {
      onFailure: () => {},
      onSuccess: (encoded) => {
        if (isHeard(call)) listener.progress(call, result, encoded)
      }
    })
  })

// Nothing is said about a call after its result.
const isHeard = (call: Call): boolean => call.state === "running" && call.attemptOf?.state !== "answered"

const ended = (call: Call, exit: Exit.Exit<unknown, unknown>): void => {
  call.fiber = undefined
  if (call.state === "answered" || call.reason !== undefined) {
    call.fiberEnded = true
    if (call.abandoned && Exit.isSuccess(exit)) countLate(call)
    if (Exit.isFailure(exit) && exit.cause.reasons.some(Cause.isDieReason)) call.brokenCleanUp = exit
    return settleIfEnded(call)
  }
  const outcome = outcomeOf(call, exit)
  const known = exitOf(outcome)
  if (known !== undefined && Exit.isSuccess(known)) {
    call.fiberEnded = true
    return settleWith(call, known.value, exit)
  }
  // The tool's result schema is effectful: encoding is part of the call, and can be stopped like it.
  const fiber = Effect.runForkWith(call.tool.context)(outcome)
  call.fiber = fiber
  fiber.addObserver((encoded) => {
    call.fiber = undefined
    call.fiberEnded = true
    if (call.reason !== undefined || call.state === "answered") settleIfEnded(call)
    else if (Exit.isSuccess(encoded)) settleWith(call, encoded.value, exit)
    else {settleWith(
        call,
        fault(ToolFailure.invalidOutput(call.name, call.id, ToolFailure.describe(Cause.squash(encoded.cause)))),
        exit
      )}
  })
}

const settleWith = (call: Call, outcome: Outcome, exit: Exit.Exit<unknown, unknown>): void => {
  settle(call, outcome, exit)
  releaseIfEnded(call)
}

// A promise the handler left behind keeps the permit, not the answer.
const releaseIfEnded = (call: Call): void => {
  if (call.isActive || call.released) return
  call.released = true
  if (call.abandoned) countEnded(call)
  call.environment.admission.release(call)
}

const settleIfEnded = (call: Call): void => {
  if (call.isActive) return
  if (call.reason !== undefined) settle(call, stopped(call, call.reason), call.brokenCleanUp)
  releaseIfEnded(call)
}

/** The outcome of a call that was stopped. */
export const stopped = (call: Call, reason: CancelReason.CancelReason): Outcome =>
  fault(ToolFailure.stopped(call.name, call.id, reason, call.attempts > 0, call.abandoned, brokenCleanUp(call)))

const brokenCleanUp = ({ brokenCleanUp }: Call): string | undefined =>
  brokenCleanUp === undefined
    ? undefined
    : ToolFailure.describe(brokenCleanUp.cause.reasons.find(Cause.isDieReason)?.defect)

/** Answers a call, once. */
export const settle = (call: Call, outcome: Outcome, exit?: Exit.Exit<unknown, unknown>): void => {
  if (call.state === "answered") return
  const { timers } = call.environment
  call.state = "answered"
  call.outcome = outcome
  call.answeredAt = timers.now()
  if (call.attemptTimer !== undefined) timers.remove(call.attemptTimer)
  if (call.deadlineTimer !== undefined) timers.remove(call.deadlineTimer)
  if (call.graceTimer !== undefined) timers.remove(call.graceTimer)
  // Kept for those who ask only: a result must not outlive its call twice.
  if (call.limited !== undefined || call.guarded !== undefined || call.attemptOf !== undefined) call.exit = exit
  if (call.guarded !== undefined) call.guarded.answered(outcome)
  if (call.attemptOf === undefined) closeCall(call, outcome, exit)
  call.done(call, outcome)
}

/**
 * Stops a call for a typed reason. Idempotent. A call that has not started is answered at once; a running one when it ends or
 * its grace is over.
 */
export const stop = (call: Call, reason: CancelReason.CancelReason): void => {
  if (signal(call, reason)) halt(call, reason)
}

/**
 * The first half of a stop: the call is told why, and so are its promises. To be followed by {@link halt}; apart, so that of a
 * thousand calls the last is told before the first is taken apart.
 */
export const signal = (call: Call, reason: CancelReason.CancelReason): boolean => {
  if (call.state === "answered" || call.reason !== undefined) return false
  call.reason = reason
  if (call.attemptOf === undefined) call.environment.listener?.cancelled(call, reason)
  call.governor?.signal(reason)
  if (call.controllers !== undefined) { for (const controller of call.controllers) controller.abort(reason) }
  if (call.adopted !== undefined) stop(call.adopted, reason)
  return true
}

/** The second half: its fiber is interrupted, and it is answered now, when it ends, or when its grace is over. */
export const halt = (call: Call, reason: CancelReason.CancelReason): void => {
  if (call.governor !== undefined) return call.governor.halt(reason)
  // It is answered when the call it joined is.
  if (call.adopted !== undefined) return
  const started = call.state === "running"
  call.fiber?.interruptUnsafe(undefined, Context.make(CancelReason.CancelReason, reason))
  if (!started) {
    call.environment.admission.withdraw(call)
    return settle(call, stopped(call, reason))
  }
  if (!call.isActive) return settleIfEnded(call)
  if (call.attemptTimer !== undefined) call.environment.timers.remove(call.attemptTimer)
  const { graceMillis } = call.tool.compiled.policies
  if (graceMillis === 0) return abandon(call)
  call.graceTimer = call.environment.timers.add(graceMillis, () => abandon(call))
}

/** Answers a stopped call whose handler has not ended, and leaves the handler to itself. */
export const abandon = (call: Call): void => {
  if (call.state === "answered") return
  call.abandoned = true
  countAbandoned(call)
  const reason = call.reason!
  if (call.attemptOf === undefined) call.environment.listener?.abandoned(call, reason)
  settle(call, stopped(call, reason))
  call.environment.admission.abandon(call)
}

/** A promise of the handler began; `controller` is told the reason when the call is stopped. */
export const hold = (call: Call, controller: AbortController): void => {
  call.held++
  call.controllers ??= new Set()
  call.controllers.add(controller)
}

/** A promise of the handler settled. */
export const letGo = (call: Call, controller: AbortController): void => {
  call.held--
  call.controllers?.delete(controller)
  if (call.abandoned && call.fiberEnded && !call.isActive) countLate(call)
  if (call.fiberEnded && (call.state === "answered" || call.reason !== undefined)) settleIfEnded(call)
}

const outcomeOf = (call: Call, exit: Exit.Exit<unknown, unknown>): Effect.Effect<Outcome> => {
  if (Exit.isSuccess(exit)) return success(call, exit.value)
  const failure = Cause.findErrorOption(exit.cause)
  if (Option.isSome(failure)) return ownFailure(call, failure.value)
  const defect = exit.cause.reasons.find(Cause.isDieReason)
  return Effect.succeed(fault(ToolFailure.handlerFailed(
    call.name,
    call.id,
    defect === undefined ? new Error("the handler interrupted itself") : defect.defect
  )))
}

const success = (call: Call, result: unknown): Effect.Effect<Outcome> => {
  const { encodeSuccess, tool } = call.tool.compiled
  const encoded = encodeSuccess(result)
  const exit = exitOf(encoded)
  if (exit !== undefined && Exit.isSuccess(exit) && tool.toModelOutput === undefined) {
    return Exit.succeed({ status: "success", isFailure: false, result, encodedResult: exit.value })
  }
  return Effect.matchEager(encoded, {
    onFailure: (error) => fault(ToolFailure.invalidOutput(call.name, call.id, error.message)),
    onSuccess: (encodedResult) => withModelOutput(call, { status: "success", isFailure: false, result, encodedResult })
  })
}

const withModelOutput = (call: Call, outcome: Outcome): Outcome => {
  const { toModelOutput } = call.tool.compiled.tool
  if (toModelOutput === undefined) return outcome
  return Result.match(Result.try(() => toModelOutput(outcome.result)), {
    onFailure: (error) => fault(ToolFailure.invalidOutput(call.name, call.id, ToolFailure.describe(error))),
    onSuccess: (modelOutput) => ({ ...outcome, modelOutput })
  })
}

const ownFailure = (call: Call, error: unknown): Effect.Effect<Outcome> =>
  Effect.matchEager(call.tool.compiled.encodeFailure(error), {
    onFailure: () => fault(ToolFailure.handlerFailed(call.name, call.id, error)),
    onSuccess: (encodedResult) => ({ status: "failure", isFailure: true, result: error, encodedResult })
  })
