/**
 * Sealed calls in, while the model still streams; answers out, each as it lands. One dispatcher per run holds the run's own
 * places (`toolCallConcurrency`), the calls that wait, the locks on resources and the calls held back until the turn ended
 * well. It decides *when* a call starts; what a started call goes through is the Executor's pipeline.
 *
 * An own queue and counters, no fiber per waiting call. A call blocked by its tool's cap or by a lock steps aside and holds up
 * nobody behind it. Where the program has a limiter, calls wait there instead (`internal/Limits`), and look in here for their
 * places.
 */
import type * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scheduler from "effect/Scheduler"
import type { CancelReason } from "../domain/CancelReason.ts"
import * as ToolFailure from "../domain/ToolFailure.ts"
import * as Attempt from "./internal/Attempt.ts"
import { fault } from "./internal/Call.ts"
import type { Admission, Call, Runner } from "./internal/Call.ts"
import { evaluate, exitOf } from "./internal/exitOf.ts"
import * as Limits from "./internal/Limits.ts"
import { prepare } from "./internal/Pipeline.ts"
import { ResourceLocks } from "./internal/ResourceLocks.ts"
import { Flow, leave, rejectStuck, release as releasePermit, tryTake, wait, wake } from "./internal/ToolPermits.ts"
import type { ToolPermits, Waiter } from "./internal/ToolPermits.ts"
import { openCall } from "./internal/Tracing.ts"

/** How many handlers are started in one go before the event loop gets its turn. */
const startsPerTurn = 256

/** What a dispatcher tells its owner. @internal */
export interface Owner {
  /** The call needs a person's answer; it will not run in this run. */
  readonly awaitsApproval: (call: Call) => void
  /** The call has its parameters and waits for its place. */
  readonly queued: (call: Call) => void
  /** Whether its calls share places; a call from code has none to wait for. */
  readonly isRun: boolean
}

class WaitingCall implements Waiter {
  readonly dispatcher: Dispatcher
  readonly call: Call
  readonly next: Runner
  constructor(dispatcher: Dispatcher, call: Call, next: Runner) {
    this.dispatcher = dispatcher
    this.call = call
    this.next = next
  }
  canStart(): boolean {
    return this.dispatcher.hasPlace
  }
  start(): void {
    this.dispatcher.begin(this)
  }
  reject(limit: string): void {
    this.dispatcher.reject(this.call, limit)
  }
}

/** @internal */
export class Dispatcher implements Admission, Limits.Places {
  /** Places taken, abandoned handlers included. */
  running = 0
  /** Places kept for calls that their limits have just let pass. */
  private reserved = 0
  peak = 0
  /** Calls submitted and not yet answered (nor turned into an approval request). */
  outstanding = 0
  private abandoned = 0
  private queue: Array<WaitingCall> = []
  private head = 0
  private readonly live = new Set<Call>()
  private readonly locks = new ResourceLocks<Call>()
  private readonly locked = new Map<Call, Runner>()
  /** Abandoned calls that still hold resources. */
  private readonly stuck = new Set<Call>()
  private readonly blockedTools = new Set<ToolPermits>()
  private held: Array<{ readonly call: Call; readonly next: Runner }> = []
  private readonly intake: Array<{ readonly call: Call; ready: boolean }> = []
  private pumping = false
  private stopping = 0
  private starts = 0
  private resting = false
  entering = 0
  private readonly flow = new Flow()
  private readonly flows = new Map<ToolPermits, Flow>()
  private watchers: Array<() => void> = []
  private waking = false
  private wakeAgain = false
  private idle: (() => void) | undefined
  private readonly concurrency: number
  private readonly scheduler: Scheduler.SchedulerDispatcher
  private readonly owner: Owner
  private readonly limits: Limits.Limits | undefined
  /** Messages of the turn, for `needsApproval`. */
  messages: ReadonlyArray<Prompt.Message> = []

  constructor(
    concurrency: number,
    scheduler: Scheduler.SchedulerDispatcher,
    owner: Owner,
    limits: Limits.Limits | undefined
  ) {
    this.concurrency = concurrency
    this.scheduler = scheduler
    this.owner = owner
    this.limits = limits
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

  /** The turn ended well: starts what was held back for that. */
  releaseHeld(): void {
    const held = this.held
    this.held = []
    for (const { call, next } of held) if (call.state !== "answered") this.lock(call, next)
  }

  /** Answers every call of the owner that has not started, and stops the started ones that `which` selects. */
  stopAll(reason: CancelReason, which: (call: Call) => boolean = () => true): number {
    const stopped = [...this.live].filter((call) => which(call) && Attempt.signal(call, reason))
    this.withoutStarts(() => stopped.forEach((call) => Attempt.halt(call, reason)))
    return stopped.length
  }

  /** Answers what has not started with `NotStarted`. */
  refuseUnstarted(why: string, which: (call: Call) => boolean = () => true): void {
    this.withoutStarts(() => {
      for (const call of this.live) {
        if (call.state === "running" || !which(call)) continue
        const { fiber } = call
        this.withdraw(call)
        Attempt.settle(call, fault(ToolFailure.notStarted(call.name, call.id, why)))
        fiber?.interruptUnsafe()
      }
    })
  }

  // What one stopped call gives back must not start the next one that is about to be stopped.
  private withoutStarts(stop: () => void): void {
    this.stopping++
    stop()
    if (--this.stopping === 0) this.pump()
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
    this.outstanding--
    // What it holds is given back in the same step, and before anybody is told that all is over.
    if (call.attempts === 0 || call.released || call.isActive) this.checkIdle()
  }

  private checkIdle(): void {
    if (this.outstanding > 0) return
    if (this.entering > 0) return this.soon(() => this.checkIdle())
    const idle = this.idle
    this.idle = undefined
    idle?.()
  }

  // ---- admission ------------------------------------------------------------------------------------------------------

  admit(call: Call, next: Runner): void {
    if (call.tool.compiled.policies.eager === "after-finish" && !this.turnEndedWell) this.held.push({ call, next })
    else this.lock(call, next)
  }

  private lock(call: Call, next: Runner): void {
    const { resources } = call.tool.compiled.policies
    if (resources === undefined) return this.enqueue(call, next)
    // A throwing `Resources` function is that call's failure.
    const wanted = Effect.runSyncExit(Effect.sync(() => resources(call.decoded as never)))
    if (Exit.isFailure(wanted)) {
      return Attempt.settle(
        call,
        fault(ToolFailure.handlerFailed(call.name, call.id, new Error("ToolPolicy.Resources failed")))
      )
    }
    if (this.locks.request(call, wanted.value)) return this.enqueue(call, next)
    this.locked.set(call, next)
    for (const holder of this.stuck) if (this.locks.behind(holder).includes(call)) this.rejectBehind(holder, call)
  }

  private enqueue(call: Call, next: Runner): void {
    if (this.limits === undefined) return this.lineUp(call, next)
    const stuck = this.abandoned >= this.concurrency ? this.allStuck : Limits.stuckTool(call.permits, call)
    if (stuck !== undefined) return this.reject(call, stuck)
    Limits.ask(this.limits, this, call, next)
  }

  lineUp(call: Call, next: Runner): void {
    this.queue.push(new WaitingCall(this, call, next))
    this.pump()
  }

  withdraw(call: Call): void {
    this.locked.delete(call)
    this.freeLocks(call)
    if (call.permits !== undefined) leave(call.permits, call)
    call.limited?.withdraw()
  }

  release(call: Call): void {
    this.running--
    this.stuck.delete(call)
    if (call.abandoned) this.abandoned--
    const { permits } = call
    if (permits !== undefined) releasePermit(permits, call)
    call.limited?.end()
    this.freeLocks(call)
    this.pump()
    this.checkIdle()
  }

  abandon(call: Call): void {
    this.abandoned++
    const permits = call.holdsToolPermit ? call.permits : undefined
    if (permits !== undefined) permits.abandoned++
    if (call.tool.compiled.policies.resources !== undefined) this.stuck.add(call)
    for (const waiting of this.locks.behind(call)) this.rejectBehind(call, waiting)
    if (permits !== undefined && permits.abandoned >= permits.limit) {
      rejectStuck(permits, Limits.allStuck(permits, call.name))
    }
    if (this.abandoned >= this.concurrency) this.pump()
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
        Attempt.settle(
          call,
          fault(ToolFailure.handlerFailed(
            call.name,
            call.id,
            new Error(`it could not be prepared: ${ToolFailure.describe(Cause.squash(exit.cause))}`)
          ))
        )
      } else if (exit.value === "ask") {
        this.live.delete(call)
        call.state = "answered"
        this.owner.awaitsApproval(call)
        this.answered(call)
      }
    }
    if (ordered === undefined) return this.toQueue(call)
    ordered.ready = true
    while (this.intake[0]?.ready === true) this.toQueue(this.intake.shift()!.call)
  }

  private toQueue(call: Call): void {
    if (call.state === "answered" || call.reason !== undefined) return
    call.state = "waiting"
    this.owner.queued(call)
    call.tool.run(call)
  }

  /** Set by the owner: whether `after-finish` calls need not wait any more (approved calls, calls after the finish). */
  turnEndedWell = false

  private freeLocks(call: Call): void {
    for (const freed of this.locks.release(call)) {
      const next = this.locked.get(freed)
      this.locked.delete(freed)
      if (next !== undefined) this.enqueue(freed, next)
    }
  }

  private rejectBehind(holder: Call, call: Call): void {
    this.reject(call, `it waits for a resource held by ${holder.name} (${holder.id}), which did not stop when asked`)
  }

  reject(call: Call, limit: string): void {
    this.refuse(call, ToolFailure.rejected(call.name, call.id, limit))
  }

  refuse(call: Call, failure: ToolFailure.ToolFailure): void {
    // A call that is being stopped is answered by whoever stops it.
    if (call.state === "answered" || call.state === "running" || call.reason !== undefined) return
    this.withdraw(call)
    Attempt.settle(call, fault(failure))
  }

  // ---- places ---------------------------------------------------------------------------------------------------------

  private pump(): void {
    if (this.pumping || this.stopping > 0) return
    this.pumping = true
    while (this.head < this.queue.length && this.hasPlace) {
      const waiting = this.queue[this.head++]!
      if (waiting.call.state === "answered") continue
      this.startOrStepAside(waiting)
    }
    if (this.abandoned >= this.concurrency) this.rejectQueued()
    if (this.head === this.queue.length) {
      this.queue = []
      this.head = 0
    }
    this.pumping = false
    if (this.blockedTools.size > 0 && this.hasPlace) this.wakeBlocked()
    if (this.watchers.length > 0 && this.hasPlace) this.wakeWatchers()
  }

  // What waits in the queue, and what stepped aside for its tool's cap: no place of this run will come for either.
  private rejectQueued(): void {
    const limit = this.allStuck
    for (; this.head < this.queue.length; this.head++) this.reject(this.queue[this.head]!.call, limit)
    for (const permits of this.blockedTools) {
      for (const call of this.live) if (permits.waiters.has(call)) this.reject(call, limit)
    }
    this.blockedTools.clear()
    if (this.limits === undefined) return
    for (const call of this.live) if (call.limited?.isAsking === true) this.reject(call, limit)
  }

  private get allStuck(): string {
    return `all ${this.concurrency} places of this run are held by calls that did not stop when asked`
  }

  private startOrStepAside(waiting: WaitingCall): void {
    const { permits } = waiting.call
    if (permits === undefined || tryTake(permits, waiting.call)) return this.begin(waiting)
    if (permits.abandoned >= permits.limit) {
      return this.reject(waiting.call, Limits.allStuck(permits, waiting.call.name))
    }
    wait(permits, waiting.call, waiting)
    this.blockedTools.add(permits)
  }

  get hasPlace(): boolean {
    return this.running + this.reserved < this.concurrency && this.stopping === 0 &&
      this.starts + this.reserved < startsPerTurn
  }

  get isStopping(): boolean {
    return this.stopping > 0
  }

  reserve(): void {
    this.reserved++
    if (this.starts + this.reserved >= startsPerTurn) this.rest()
  }

  unreserve(): void {
    this.reserved--
  }

  /** Starts a call that has its permit. */
  begin({ call, next }: WaitingCall): void {
    this.enter(call, next)
  }

  enter(call: Call, next: Runner): void {
    this.running++
    if (this.running > this.peak) this.peak = this.running
    if (++this.starts >= startsPerTurn) this.rest()
    next(call)
  }

  // Handlers that end in their first step would else be started one after the other, however many there are.
  private rest(): void {
    if (this.resting) return
    this.resting = true
    this.soon(() => {
      this.resting = false
      this.starts = 0
      this.pump()
    })
  }

  // ---- flows of the limiter that wait for a place -----------------------------------------------------------------------

  flowOf(call: Call): Flow | undefined {
    const { permits } = call
    if (permits === undefined) return this.owner.isRun ? this.flow : undefined
    // What a call may borrow depends on the call it was made under.
    if (!this.owner.isRun) return call.parent === undefined ? permits.flow : this.flow
    const known = this.flows.get(permits)
    if (known !== undefined) return known
    const flow = new Flow()
    this.flows.set(permits, flow)
    return flow
  }

  watch(wake: () => void): void {
    this.watchers.push(wake)
  }

  soon(wake: () => void): void {
    this.scheduler.scheduleTask(wake, 0)
  }

  pumpSoon(): void {
    if (this.watchers.length + this.blockedTools.size + this.queue.length > 0) this.soon(() => this.pump())
  }

  // In turn, and no more than have a chance; a flow that looks again in vain comes back at the tail.
  private wakeWatchers(): void {
    this.wakeAgain = true
    if (this.waking) return
    this.waking = true
    while (this.wakeAgain && this.hasPlace) {
      this.wakeAgain = false
      const told = this.watchers
      this.watchers = []
      let at = 0
      while (at < told.length && this.hasPlace) told[at++]!()
      if (at < told.length) this.watchers = [...told.slice(at), ...this.watchers]
    }
    this.waking = false
  }

  private wakeBlocked(): void {
    for (const permits of this.blockedTools) {
      wake(permits)
      if (permits.waiters.size === 0) this.blockedTools.delete(permits)
    }
  }
}
