/**
 * Several attempts of one call: again after a failure that may pass (`policy/Retry`), or beside an attempt that is slow
 * (`ToolPolicy.Hedge`). The call itself waits outside; each attempt is a `Call` of its own, with the same id and parameters and
 * its own fiber, permits and timers, and goes the rest of the pipeline. What an attempt ends with comes here, and the call is
 * answered once: by the first success, by a failure that stands, or, when it is stopped, when its attempts are answered.
 *
 * Only for tools that may be repeated. Where no policy asks for it, a call does not pass this step.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as CancelReason from "../../domain/CancelReason.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import type * as Retry from "../../policy/Retry.ts"
import * as Attempt from "./Attempt.ts"
import { Call, fault } from "./Call.ts"
import type { Governor, Outcome, Runner } from "./Call.ts"
import { evaluate, exitOf } from "./exitOf.ts"
import type { Hedging } from "./Hedging.ts"
import { orElse } from "./orElse.ts"
import type { Timer } from "./Timers.ts"

/** What a tool's calls may do in more than one attempt. */
export interface Policy {
  readonly retry: Retry.Retry["Service"] | undefined
  readonly request: Retry.Request
  readonly hedging: Hedging | undefined
}

/** The step: takes the call onward in one or more attempts. */
export const govern = (policy: Policy, next: Runner): Runner => (call) => new Attempts(call, policy, next).begin()

/** An attempt that failed, with what it ended with. */
interface Failed {
  readonly attempt: Call
  readonly outcome: Outcome
}

class Attempts implements Governor {
  abandoned: CancelReason.CancelReason | undefined = undefined
  /** Attempts that are not answered. */
  private running: Array<Call> = []
  /** Handlers that have not really ended. */
  private active = 0
  private isOver = false
  private isRetired = false
  /** Further attempts beside a slow one, started or on their way. */
  private hedges = 0
  private timer: Timer | undefined = undefined
  private hedgeTimer: Timer | undefined = undefined
  private deciding: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private last: Failed | undefined = undefined
  private retrying: Retry.Attempts | undefined = undefined
  private readonly call: Call
  private readonly policy: Policy
  private readonly next: Runner

  constructor(call: Call, policy: Policy, next: Runner) {
    this.call = call
    this.policy = policy
    this.next = next
  }

  begin(): void {
    const { call, policy: { hedging, request, retry } } = this
    call.governor = this
    if (retry !== undefined) this.retrying = orElse(() => retry.begin(request, call.tool.context), undefined)
    // A lock that came free as its holder was stopped: told to stop in the same step, it only waits for its answer.
    if (call.reason !== undefined) return
    hedging?.called()
    this.launch()
  }

  // ---- attempts -------------------------------------------------------------------------------------------------------

  // A service that has asked for a pause is asked by nobody before, not even for the first time.
  private launch(): void {
    const { retrying } = this
    if (retrying === undefined) return this.attempt(false)
    const refused = orElse(() => retrying.refusedMillis(), undefined)
    if (refused !== undefined) return this.turnAway(refused)
    const pause = orElse(() => retrying.pauseMillis(), 0)
    if (!(pause > 0)) return this.attempt(false)
    if (this.fits(pause)) this.wait(pause)
    else this.turnAway(pause)
  }

  // The service wants to be left alone for longer than the call may wait.
  private turnAway(millis: number): void {
    if (this.last !== undefined) return this.finish(this.last)
    const { call: { id, name }, policy: { request } } = this
    const limit = `${request.service} has asked to be left alone`
    this.answer(fault(ToolFailure.rejected(name, id, limit, millis)), undefined)
  }

  /** Whether the call may still be at work after so long. */
  private fits(millis: number): boolean {
    const { deadlineTimer, environment: { timers } } = this.call
    return deadlineTimer === undefined || timers.now() + millis < deadlineTimer.at
  }

  private wait(millis: number): void {
    this.timer = this.call.environment.timers.addOnce(millis, () => {
      this.timer = undefined
      this.launch()
    })
  }

  private attempt(hedge: boolean): void {
    const { call } = this
    const attempt = new Call(
      call.id,
      call.name,
      call.params,
      call.step,
      call.tool,
      call.environment,
      this.attempted,
      call.wireId
    )
    attempt.decoded = call.decoded
    attempt.attemptOf = call
    attempt.state = "waiting"
    attempt.hedge = hedge
    attempt.span = call.span
    this.running.push(attempt)
    if (hedge) this.hedges++
    call.environment.admission.attempting(attempt)
    this.next(attempt)
  }

  started(attempt: Call): void {
    const { call } = this
    this.active++
    attempt.attempts = ++call.attempts
    if (call.attempts === 1) {
      call.state = "running"
      call.startedAt = attempt.startedAt
      call.limiterMillis = attempt.limiterMillis
    }
  }

  suspended(attempt: Call): void {
    if (!attempt.hedge && !this.isOver) this.watch()
  }

  released(): void {
    this.active--
    this.freeIfEnded()
  }

  private freeIfEnded(): void {
    const { call } = this
    if (this.active > 0 || call.released || call.state !== "answered") return
    call.released = true
    call.environment.admission.free(call)
  }

  private readonly attempted = (attempt: Call, outcome: Outcome): void => {
    const { call } = this
    // A new array: an old one may be walked through, by what stops its attempts.
    this.running = this.running.length === 1 ? [] : this.running.filter((other) => other !== attempt)
    if (attempt.abandoned) this.abandoned = attempt.reason
    call.brokenCleanUp ??= attempt.brokenCleanUp
    if (!this.isOver) this.decide({ attempt, outcome })
    call.environment.admission.attempted(attempt)
  }

  // ---- hedges ---------------------------------------------------------------------------------------------------------

  // Looks after a slow attempt, again and again while there was no room.
  private watch(): void {
    const { call, hedges, policy: { hedging } } = this
    const after = hedging === undefined || hedges >= hedging.max || this.isRetired ? undefined : hedging.afterMillis()
    if (after === undefined || this.hedgeTimer !== undefined) return
    const { timers } = call.environment
    const fire = () => this.slow()
    this.hedgeTimer = hedging!.isFixed ? timers.add(after, fire) : timers.addOnce(after, fire)
  }

  private slow(): void {
    this.hedgeTimer = undefined
    if (this.running.length === 0 || this.isOver || this.call.reason !== undefined) return
    if (this.policy.hedging!.take()) this.attempt(true)
    if (!this.isOver) this.watch()
  }

  // ---- what becomes of the call -----------------------------------------------------------------------------------------

  private decide(ended: Failed): void {
    const { attempt, outcome } = ended
    const { call, running } = this
    const isUnstartedHedge = attempt.hedge && attempt.attempts === 0
    if (isUnstartedHedge) {
      this.hedges--
      this.policy.hedging!.putBack()
    }
    if (call.attempts === 0) call.limiterMillis = attempt.limiterMillis
    if (call.reason !== undefined) return this.stopIfQuiet(call.reason)
    if (!outcome.isFailure) return this.succeed(ended)
    // A further attempt that a limit or the circuit turned away was none: what the last one ended with stands.
    const isTurnedAway = attempt.attempts === 0 && !attempt.hedge && this.last !== undefined
    if (isTurnedAway && running.length === 0) return this.finish(this.last!)
    if (!isUnstartedHedge && !isTurnedAway) this.last = ended
    if (running.length === 0) this.failed(this.last ?? ended)
    else if (isUnstartedHedge) this.watch()
  }

  private succeed({ attempt, outcome }: Failed): void {
    const { policy: { hedging }, retrying } = this
    if (retrying !== undefined) orElse(() => retrying.succeeded(), undefined)
    if (hedging !== undefined) hedging.seen(attempt.answeredAt - attempt.startedAt)
    this.finish({ attempt, outcome })
  }

  private failed(failed: Failed): void {
    const { call, retrying } = this
    this.forgetHedges()
    // Beside a handler that does not stop no other is started.
    const stands = this.isRetired || this.abandoned !== undefined || !mayPass(failed)
    if (retrying === undefined || stands) return this.finish(failed)
    const delay = evaluate(() => retrying.failed(failed.outcome.result))
    const known = exitOf(delay)
    if (known !== undefined) return this.decided(failed, known)
    const fiber = Effect.runForkWith(call.tool.context)(delay)
    this.deciding = fiber
    fiber.addObserver((exit) => {
      this.deciding = undefined
      if (!this.isOver && call.reason === undefined) this.decided(failed, exit)
    })
  }

  // A wait that would pass the deadline is not begun: the failure says more than the time-out would.
  private decided(failed: Failed, exit: Exit.Exit<number | undefined>): void {
    const millis = Exit.isSuccess(exit) ? exit.value : undefined
    if (millis === undefined || !Number.isFinite(millis) || !this.fits(millis)) return this.finish(failed)
    const delay = Math.max(millis, 0)
    this.call.environment.listener?.retried(failed.attempt, delay, messageOf(failed.outcome))
    this.wait(delay)
  }

  private finish({ attempt, outcome }: Failed): void {
    const { call } = this
    if (attempt.abandoned) {
      call.abandoned = true
      call.environment.listener?.abandoned(call, attempt.reason!)
    }
    this.answer(outcome, attempt.exit)
    const reason = CancelReason.superseded(`attempt ${attempt.attempts}`)
    for (const loser of this.running) Attempt.stop(loser, reason)
  }

  private answer(outcome: Outcome, exit: Exit.Exit<unknown, unknown> | undefined): void {
    this.close()
    Attempt.settle(this.call, outcome, exit)
    this.freeIfEnded()
  }

  private close(): void {
    this.isOver = true
    this.forgetHedges()
    if (this.timer !== undefined) this.call.environment.timers.remove(this.timer)
    this.deciding?.interruptUnsafe()
  }

  private forgetHedges(): void {
    if (this.hedgeTimer !== undefined) this.call.environment.timers.remove(this.hedgeTimer)
    this.hedgeTimer = undefined
  }

  // ---- stops ----------------------------------------------------------------------------------------------------------

  signal(reason: CancelReason.CancelReason): void {
    for (const attempt of this.running) Attempt.signal(attempt, reason)
  }

  halt(reason: CancelReason.CancelReason): void {
    this.forgetHedges()
    // One that was being stopped for a reason of its own has been halted already.
    for (const attempt of this.running) if (attempt.reason === reason) Attempt.halt(attempt, reason)
    this.stopIfQuiet(reason)
  }

  private stopIfQuiet(reason: CancelReason.CancelReason): void {
    const { abandoned, call } = this
    if (this.running.length > 0 || this.isOver) return
    if (abandoned !== undefined) {
      call.abandoned = true
      call.environment.listener?.abandoned(call, abandoned)
    }
    this.answer(Attempt.stopped(call, reason), call.brokenCleanUp)
  }

  retire(reason: CancelReason.CancelReason): boolean {
    this.isRetired = true
    this.forgetHedges()
    if (!this.running.some(isAtWork)) return false
    for (const attempt of this.running) if (!isAtWork(attempt)) Attempt.stop(attempt, reason)
    return true
  }

  withdraw(): void {
    this.close()
    for (const attempt of this.running) Attempt.stop(attempt, unstarted)
    this.call.released = true
  }
}

const isAtWork = ({ state }: Call): boolean => state === "running"

const unstarted = CancelReason.branchCancelled("its call was answered before it could start")

// The tool's own failure, or our time-out. A defect is a mistake in the handler, and a refusal had its own wait.
const mayPass = ({ outcome: { status } }: Failed): boolean => status === "failure" || status === "TimedOut"

const messageOf = ({ result, status }: Outcome): string =>
  status === "failure" ? ToolFailure.describe(result) : (result as ToolFailure.ToolFailure).message
