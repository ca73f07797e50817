/**
 * Sealed calls in, while the model still streams; answers out, each as it lands. One dispatcher per run: it prepares the calls,
 * asks for approval, knows which are not answered, and stops them. *When* a call starts is decided by what it owns: the order
 * among calls (`internal/Ordering`), then the run's places (`internal/PlaceQueue`). What a started call goes through is the
 * Executor's pipeline.
 */
import type * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scheduler from "effect/Scheduler"
import type { CancelReason } from "../domain/CancelReason.ts"
import * as ToolFailure from "../domain/ToolFailure.ts"
import { join } from "./internal/Adoption.ts"
import * as Attempt from "./internal/Attempt.ts"
import { fault } from "./internal/Call.ts"
import type { Admission, Call, Runner } from "./internal/Call.ts"
import { evaluate, exitOf } from "./internal/exitOf.ts"
import type * as Limits from "./internal/Limits.ts"
import { Ordering } from "./internal/Ordering.ts"
import { prepare } from "./internal/Pipeline.ts"
import { PlaceQueue } from "./internal/PlaceQueue.ts"
import type { Tenant } from "./internal/PlaceQueue.ts"
import { leave } from "./internal/ToolPermits.ts"
import { openCall } from "./internal/Tracing.ts"

/** What a dispatcher tells its owner. @internal */
export interface Owner {
  /** The call needs a person's answer; it will not run in this run. */
  readonly awaitsApproval: (call: Call) => void
  /** The call has its parameters and waits for its place. */
  readonly queued: (call: Call) => void
  /** Whether its calls share places; a call from code has none to wait for. */
  readonly isRun: boolean
}

/** @internal */
export class Dispatcher implements Admission, Tenant {
  /** Calls submitted and not yet answered (nor turned into an approval request), and attempts that are not. */
  outstanding = 0
  /** Messages of the turn, for `needsApproval`. */
  messages: ReadonlyArray<Prompt.Message> = []
  /** Told each time everything is answered. */
  whenIdle: (() => void) | undefined = undefined
  readonly isRun: boolean
  private readonly live = new Set<Call>()
  /** The attempts of calls that have several. */
  private readonly attempts = new Set<Call>()
  private readonly intake: Array<{ readonly call: Call; ready: boolean }> = []
  private idle: (() => void) | undefined
  private readonly owner: Owner
  private readonly ordering: Ordering
  readonly places: PlaceQueue

  constructor(
    concurrency: number,
    scheduler: Scheduler.SchedulerDispatcher,
    owner: Owner,
    limits: Limits.Limits | undefined
  ) {
    this.owner = owner
    this.isRun = owner.isRun
    this.places = new PlaceQueue(concurrency, scheduler, this, limits)
    this.ordering = new Ordering({
      invalid: (call) => Attempt.settle(call, failed(call, new Error("ToolPolicy.Resources failed"))),
      reject: (call, limit) => this.places.reject(call, limit)
    })
  }

  /** The most handlers at work at one moment. */
  get peak(): number {
    return this.places.peak
  }

  /** Takes a sealed call. `approved`: a person has already said yes. */
  submit(call: Call, approved: boolean, codec: "decode" | "check" = "decode"): void {
    this.outstanding++
    this.live.add(call)
    call.span = openCall(call)
    const ordered = call.tool.compiled.policies.resources !== undefined ? { call, ready: false } : undefined
    if (ordered !== undefined) this.intake.push(ordered)
    const prepared = evaluate(() => this.prepare(call, approved, codec))
    const exit = exitOf(prepared)
    if (exit !== undefined) return this.prepared(call, exit, ordered)
    call.fiberEnded = false
    const fiber = Effect.runForkWith(call.tool.context)(prepared)
    call.fiber = fiber
    fiber.addObserver((exit) => {
      call.fiber = undefined
      call.fiberEnded = true
      this.prepared(call, exit, ordered)
    })
  }

  /** An answer without running: an unknown name, a truncated call, a call over the decision's cap. */
  answer(call: Call, failure: ToolFailure.ToolFailure): void {
    this.outstanding++
    this.live.add(call)
    Attempt.settle(call, fault(failure))
  }

  /** Takes a call that runs nothing of its own: it has the outcome of an earlier one. */
  adopt(call: Call, from: Call): void {
    this.outstanding++
    this.live.add(call)
    call.span = openCall(call)
    join(call, from)
  }

  /** Set by the owner: whether `after-finish` calls need not wait any more (approved calls, calls after the finish). */
  set turnEndedWell(ended: boolean) {
    this.ordering.turnEndedWell = ended
  }

  /** The turn ended well: starts what was held back for that. */
  releaseHeld(): void {
    this.ordering.releaseHeld()
  }

  // ---- stops ----------------------------------------------------------------------------------------------------------

  /** Answers every call of the owner that has not started, and stops the started ones that `which` selects. */
  stopAll(reason: CancelReason, which: (call: Call) => boolean = () => true): number {
    let stopped: ReadonlyArray<Call> = []
    this.places.withoutStarts(() => {
      stopped = [...this.live].filter((call) => which(call) && Attempt.signal(call, reason))
      stopped.forEach((call) => Attempt.halt(call, reason))
    })
    return stopped.length
  }

  /** Starts nothing more: what is not at work is answered, and what is begins no further attempt. */
  retire(reason: CancelReason): void {
    this.stopAll(reason, (call) => !remains(call, reason))
  }

  /** Answers every call that was told to stop and has not ended yet: its grace is over now. */
  abandonAll(): void {
    // A call with attempts is answered when they are, and one that joined another, or a guess, when that one is.
    for (const call of [...this.attempts, ...this.live]) {
      if (call.reason !== undefined && call.governor === undefined && call.adopted === undefined) Attempt.abandon(call)
    }
  }

  /** Answers what has not started with `NotStarted`. */
  refuseUnstarted(why: string, which: (call: Call) => boolean = () => true): void {
    this.places.withoutStarts(() => {
      for (const call of this.live) {
        if (call.state === "running" || call.adopted !== undefined || !which(call)) continue
        const { fiber } = call
        this.withdraw(call)
        Attempt.settle(call, fault(ToolFailure.notStarted(call.name, call.id, why)))
        fiber?.interruptUnsafe()
      }
    })
  }

  refuse(call: Call, failure: ToolFailure.ToolFailure): void {
    // A call that is being stopped is answered by whoever stops it.
    if (call.state === "answered" || call.state === "running" || call.reason !== undefined) return
    this.withdraw(call)
    Attempt.settle(call, fault(failure))
  }

  // ---- who is not answered ----------------------------------------------------------------------------------------------

  *unanswered(): Iterable<Call> {
    yield* this.live
    yield* this.attempts
  }

  /** Ends when every call is answered. */
  readonly awaitIdle: Effect.Effect<void> = Effect.callback<void>((resume) => {
    // Looked up in the step that begins the wait: a fiber may yield before it, and the last answer come then.
    if (this.outstanding === 0) return resume(Effect.void)
    this.idle = () => resume(Effect.void)
    return Effect.sync(() => {
      this.idle = undefined
    })
  })

  /** To be called by the owner when a call is answered. */
  answered(call: Call): void {
    this.live.delete(call)
    this.over(call)
  }

  attempting(attempt: Call): void {
    this.outstanding++
    this.attempts.add(attempt)
  }

  attempted(attempt: Call): void {
    this.attempts.delete(attempt)
    this.over(attempt)
  }

  outlived(): () => void {
    this.outstanding++
    return () => {
      this.outstanding--
      this.checkIdle()
    }
  }

  private over(call: Call): void {
    this.outstanding--
    // What it holds is given back in the same step, and before anybody is told that all is over.
    const { attempts, governor, isActive, released } = call.adopted ?? call
    if (attempts === 0 || released || isActive || governor !== undefined) this.checkIdle()
  }

  /** Nobody is told that all is over before the step is done, and whoever ends in it has given back what it holds. */
  inOneStep(step: () => void): void {
    this.outstanding++
    step()
    if (--this.outstanding === 0) this.places.soon(() => this.checkIdle())
  }

  private checkIdle(): void {
    if (this.outstanding > 0) return
    if (this.places.entering > 0) return this.places.soon(() => this.checkIdle())
    const idle = this.idle
    this.idle = undefined
    this.whenIdle?.()
    idle?.()
  }

  // ---- admission ------------------------------------------------------------------------------------------------------

  order(call: Call, next: Runner): void {
    this.ordering.order(call, next)
  }

  admit(call: Call, next: Runner): void {
    this.places.admit(call, next)
  }

  withdraw(call: Call): void {
    if (call.governor !== undefined) call.governor.withdraw()
    if (call.attemptOf === undefined) this.ordering.free(call)
    if (call.tool.compiled.policies.resources !== undefined) this.leaveIntake(call)
    if (call.permits !== undefined) leave(call.permits, call)
    call.limited?.withdraw()
  }

  release(call: Call): void {
    this.places.release(call)
    if (call.attemptOf === undefined) this.free(call)
    else call.attemptOf.governor!.released()
    this.places.pump()
    this.checkIdle()
  }

  /** The same of a call on a guess. `then`: before anybody gets its place, or is told that all is over. */
  releaseGuess(call: Call, then: (call: Call) => void): void {
    this.places.release(call)
    then(call)
    this.places.pump()
    this.checkIdle()
  }

  free(call: Call): void {
    this.ordering.free(call)
    call.environment.speculation?.ended(call)
  }

  abandon(call: Call): void {
    this.ordering.abandon(call.attemptOf ?? call)
    this.places.abandon(call)
  }

  // ---- on the way in --------------------------------------------------------------------------------------------------

  private prepare(
    call: Call,
    approved: boolean,
    codec: "decode" | "check"
  ): Effect.Effect<"ask" | "run" | "answered"> {
    const prepared = prepare(call, codec)
    const ask = approved ? undefined : call.tool.compiled.tool.needsApproval
    return Effect.flatMapEager(prepared, (failure) => {
      if (failure !== undefined) {
        return Effect.sync(() => {
          Attempt.settle(call, failure)
          return "answered" as const
        })
      }
      return ask === undefined || ask === false ? Exit.succeed("run" as const) : this.askApproval(call, ask)
    })
  }

  private askApproval(call: Call, ask: true | Tool.NeedsApprovalFunction<never>): Effect.Effect<"ask" | "run"> {
    if (ask === true) return Exit.succeed("ask" as const)
    const context = { toolCallId: call.id, messages: this.messages }
    return Effect.suspend((): Effect.Effect<boolean> => {
      const needed = ask(call.decoded as never, context)
      return Effect.isEffect(needed) ? needed : Effect.succeed(needed)
    }).pipe(Effect.map((needed) => needed ? "ask" as const : "run" as const))
  }

  private prepared(
    call: Call,
    exit: Exit.Exit<"ask" | "run" | "answered">,
    ordered: { readonly call: Call; ready: boolean } | undefined
  ): void {
    // A call stopped while it was being prepared is answered by whoever stopped it.
    if (call.state !== "answered" && call.reason === undefined) {
      if (Exit.isFailure(exit)) {
        const error = new Error(`it could not be prepared: ${ToolFailure.describe(Cause.squash(exit.cause))}`)
        Attempt.settle(call, failed(call, error))
      } else if (exit.value === "ask") {
        this.live.delete(call)
        call.state = "answered"
        this.owner.awaitsApproval(call)
        this.answered(call)
      }
    }
    if (ordered === undefined) return this.toQueue(call)
    ordered.ready = true
    this.takeIn()
  }

  private takeIn(): void {
    while (this.intake[0]?.ready === true) this.toQueue(this.intake.shift()!.call)
  }

  // Those behind a call that is stopped while it is being prepared wait for it no longer.
  private leaveIntake(call: Call): void {
    const at = this.intake.findIndex((each) => each.call === call)
    if (at < 0) return
    this.intake.splice(at, 1)
    this.takeIn()
  }

  private toQueue(call: Call): void {
    if (call.state === "answered" || call.reason !== undefined) return
    call.state = "waiting"
    this.owner.queued(call)
    call.tool.run(call)
  }
}

const remains = (call: Call, reason: CancelReason): boolean =>
  call.adopted !== undefined
    ? remains(call.adopted, reason)
    : call.governor === undefined
    ? call.state === "running"
    : call.governor.retire(reason)

const failed = (call: Call, error: Error) => fault(ToolFailure.handlerFailed(call.name, call.id, error))
