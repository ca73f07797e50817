/**
 * Calls on their way through the program's limiter, where there is one. Each waits on a fiber of its own inside
 * `withAdmission`; its gate is the place in the run and the permit of the tool's cap, taken in the step in which the limits
 * are, so that nobody who waits for one of them holds the other. The admission ends when the handler has really ended.
 *
 * A limiter that leaves the gate alone works too: the call then waits for its place as it would without one, and holds its
 * admission meanwhile.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as CancelReason from "../../domain/CancelReason.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import * as Limiter from "../../policy/Limiter.ts"
import * as Attempt from "./Attempt.ts"
import type { Admitted, Call, Runner } from "./Call.ts"
import { orElse } from "./orElse.ts"
import {
  Flow,
  giveBack,
  isStuck,
  makeWay,
  mayTake,
  tryTakeBeside,
  tryTakeIdle,
  wake,
  watchPermits
} from "./ToolPermits.ts"
import type { ToolPermits, Waiter } from "./ToolPermits.ts"

/** The share of every limit that a guess leaves free. */
export const slackOfGuesses = 0.5

/** The limiter of one owner of calls, with the context its fibers get. */
export interface Limits {
  readonly limiter: Limiter.Limiter["Service"]
  readonly context: Context.Context<never>
}

/** The program's limiter, if it has one. */
export const find = (context: Context.Context<never>): Limits | undefined => {
  const limiter = context.mapUnsafe.get(Limiter.Limiter.key) as Limiter.Limiter["Service"] | undefined
  return limiter === undefined ? undefined : { limiter, context }
}

/** Whether asking again later can help. */
export const isRetryable = ({ reason }: Limiter.Rejected): boolean =>
  reason !== "InvalidRequest" && reason !== "OverCapacity"

/** The places of a dispatcher, as a call in the limiter sees them. */
export interface Places {
  readonly hasPlace: boolean
  /** Nobody waits for it. */
  readonly hasIdlePlace: boolean
  readonly isStopping: boolean
  /** Admissions that have just begun: what ends within them is free only when they have ended too. */
  entering: number
  /** Keeps a place for a call that starts next. */
  reserve(): void
  unreserve(): void
  /** Starts a call that has its place and its permit. */
  enter(call: Call, next: Runner): void
  /** Takes a call that has passed its limits and waits for a place. */
  lineUp(call: Call, next: Runner): void
  /** The same for one that may not wait. */
  enterNow(call: Call, next: Runner): void
  /** Answers a call that waits. */
  refuse(call: Call, failure: ToolFailure.ToolFailure): void
  reject(call: Call, limit: string): void
  /** Calls back once, when there may be a place. */
  watch(wake: () => void): void
  /** Calls back in the event loop's next turn. */
  soon(wake: () => void): void
  /** Looks then who may start. */
  pumpSoon(): void
  /** The flow of the call's gate; none where it has no place to wait for. */
  flowOf(call: Call): Flow | undefined
}

/** Asks the limiter for a call. It starts at once, later, or is answered with what the limiter says. */
export const ask = (limits: Limits, places: Places, call: Call, next: Runner): void => {
  const cost = costOf(call)
  if (typeof cost === "string") {
    return places.refuse(call, ToolFailure.rejected(call.name, call.id, cost, undefined, false))
  }
  new LimitedCall(places, call, next).ask(limits, cost)
}

interface Cost {
  readonly tokens: number | undefined
  readonly calls: number | undefined
}

const costOf = (call: Call): Cost | string => {
  const { cost } = call.tool.compiled.policies
  const tokens = counted("ToolPolicy.Cost", cost?.estimate, call)
  if (typeof tokens === "string") return tokens
  const calls = counted("ToolPolicy.Cost (calls)", cost?.calls, call)
  return typeof calls === "string" ? calls : { tokens, calls }
}

const counted = (
  name: string,
  count: ((params: never) => number) | undefined,
  call: Call
): number | undefined | string => {
  if (count === undefined) return undefined
  const value = Effect.runSyncExit(Effect.sync((): unknown => count(call.decoded as never)))
  if (Exit.isFailure(value)) return `${name} failed: ${ToolFailure.describe(Cause.squash(value.cause))}`
  return Number.isSafeInteger(value.value) && (value.value as number) >= 1
    ? value.value as number
    : `${name} gave ${ToolFailure.describe(value.value)}, which is not an integer of at least 1`
}

const stoppedByLimiter = CancelReason.branchCancelled("the limiter ended it")

/** One call in the limiter: asking → granted → ended. */
class LimitedCall implements Limiter.Gate, Admitted, Waiter {
  readonly flow: Flow
  private readonly hasGate: boolean
  private state: "asking" | "granted" | "ended" = "asking"
  /** The place and the permit are reserved. */
  private taken = false
  private fiber: Fiber.Fiber<void, unknown> | undefined = undefined
  /** Told when the limiter has let the call go: its flow is held up until then. */
  private whenLeft: (() => void) | undefined = undefined
  private lease: Limiter.Lease | undefined = undefined
  private resume: ((effect: Effect.Effect<void, unknown>) => void) | undefined = undefined
  private readonly askedAt: number
  private readonly shutBefore: number
  private readonly places: Places
  private readonly call: Call
  private readonly next: Runner

  constructor(places: Places, call: Call, next: Runner) {
    this.places = places
    this.call = call
    this.next = next
    const flow = places.flowOf(call)
    this.hasGate = flow !== undefined
    this.flow = flow ?? new Flow()
    this.askedAt = this.now
    this.shutBefore = this.flow.shutFor(this.askedAt)
  }

  ask({ context, limiter }: Limits, { calls, tokens }: Cost): void {
    const { call } = this
    const { environment, permits } = call
    const { deadlineTimer } = call.attemptOf ?? call
    call.limited = this
    permits?.limited.set(call, this)
    const request: Limiter.Request = {
      service: call.tool.compiled.policies.service,
      calls,
      tokens,
      run: environment.runId,
      deadline: deadlineTimer === undefined ? undefined : Math.max(deadlineTimer.at - environment.timers.now(), 0),
      repeat: false,
      speculative: call.isSpare ? true : undefined,
      slack: call.guess === undefined ? undefined : slackOfGuesses,
      giveWay: call.guess === undefined ? undefined : () => call.guess!.giveWay(),
      gate: this.hasGate ? this : undefined
    }
    const admitted = Effect.suspend(() => limiter.withAdmission(request)((lease) => this.admitted(lease)))
    const fiber = Effect.runForkWith(context)(admitted)
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.left(exit)
    this.fiber = fiber
    fiber.addObserver((exit) => this.left(exit))
    // It may have been withdrawn before there was a fiber to interrupt.
    if (this.isOver) fiber.interruptUnsafe()
  }

  get isAsking(): boolean {
    return this.state === "asking"
  }

  private get isOver(): boolean {
    return this.state === "ended"
  }

  // The effect under the admission: from the start of the handler to its real end.
  private admitted(lease: Limiter.Lease): Effect.Effect<void, unknown> {
    return Effect.callback<void, unknown>((resume) => {
      // Withdrawn in the same instant, or run twice: a handler starts at most once.
      if (!this.mayStart) {
        this.release()
        return resume(Effect.void)
      }
      this.waited(lease.waitedMillis)
      this.state = "granted"
      this.lease = lease
      this.resume = resume
      this.forget()
      this.places.entering++
      this.enter()
      this.places.entering--
      return this.interrupted
    })
  }

  private get mayStart(): boolean {
    return this.state === "asking" && this.call.state !== "answered" && this.call.reason === undefined
  }

  // Nothing starts while a stop is under way: it then waits for its place as if it had none.
  private enter(): void {
    const { call, next, places } = this
    if (this.taken && !places.isStopping) {
      this.taken = false
      places.unreserve()
      return places.enter(call, next)
    }
    this.release()
    if (call.isSpare) places.enterNow(call, next)
    else places.lineUp(call, next)
  }

  private get now(): number {
    return this.call.environment.timers.now()
  }

  // The time in which its place was missing is not the limiter's.
  private waited(most: number): void {
    const { now } = this
    const millis = now - this.askedAt - (this.flow.shutFor(now) - this.shutBefore)
    this.call.limiterMillis = most > 0 ? Math.max(Math.min(millis, most), 0) : 0
  }

  // Whoever takes the admission away stops the call; what it held is free when the handler has really ended.
  private readonly interrupted: Effect.Effect<void> = Effect.callback<void>((resume) => {
    Attempt.stop(this.call, stoppedByLimiter)
    if (this.isOver) return resume(Effect.void)
    this.resume = (effect) => resume(Effect.ignore(effect))
  })

  end(): void {
    if (this.state !== "granted") return
    this.state = "ended"
    const resume = this.resume!
    this.resume = undefined
    resume(this.settled())
  }

  // The admission ends as the handler did, so that a limiter sees what its service said.
  private settled(): Effect.Effect<void, unknown> {
    const { call: { exit }, lease } = this
    const actual = this.actual()
    this.lease = undefined
    if (actual !== undefined && lease !== undefined) return lease.settle({ tokens: actual })
    return exit !== undefined && Exit.isFailure(exit) && !Cause.hasInterrupts(exit.cause)
      ? Effect.failCause(exit.cause)
      : Effect.void
  }

  private actual(): number | undefined {
    const { outcome, tool } = this.call
    const actual = tool.compiled.policies.cost?.actual
    if (actual === undefined || outcome?.status !== "success") return undefined
    const tokens = orElse((): unknown => actual(outcome.result as never), undefined)
    return Number.isSafeInteger(tokens) && (tokens as number) >= 0 ? tokens as number : undefined
  }

  withdraw(): void {
    if (this.state === "granted") return this.end()
    if (this.state === "ended") return
    this.state = "ended"
    this.forget()
    this.waited(Infinity)
    this.release()
    this.fiber?.interruptUnsafe()
  }

  private forget(): void {
    this.call.permits?.limited.delete(this.call)
  }

  // The limiter is done with the call.
  private left(exit: Exit.Exit<void, unknown>): void {
    this.fiber = undefined
    if (this.whenLeft !== undefined) this.places.soon(this.whenLeft)
    if (this.state !== "asking") return
    const { call } = this
    const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
    this.places.refuse(
      call,
      error instanceof Limiter.Rejected
        ? ToolFailure.rejected(call.name, call.id, nameOf(error), error.retryAfterMillis, isRetryable(error))
        : ToolFailure.handlerFailed(call.name, call.id, faultOf(exit))
    )
  }

  // ---- the gate -------------------------------------------------------------------------------------------------------

  // Functions of their own: a limiter may hand them on one by one.

  readonly tryTake = (): boolean => {
    if (this.taken) return true
    if (!this.mayStart) return false
    const { call, places } = this
    const hasPlace = call.isSpare ? places.hasIdlePlace : places.hasPlace
    if (!hasPlace || (call.permits !== undefined && !takePermit(call.permits, call))) {
      if (!call.isSpare) this.flow.shut(this.now)
      return false
    }
    this.flow.open(this.now)
    places.reserve()
    this.taken = true
    return true
  }

  // Others are told later, since the limiter may be in the middle of its own queue.
  readonly release = (): void => {
    if (!this.taken) return
    this.taken = false
    const { call: { permits }, places } = this
    places.unreserve()
    if (permits !== undefined) {
      giveBack(permits, this.call)
      if (permits.waiters.size + permits.watchers.length > 0) places.soon(() => wake(permits))
    }
    places.pumpSoon()
  }

  readonly onFree = (opened: () => void): void => {
    const { call, places } = this
    const { permits } = call
    const wake = () => {
      this.flow.open(this.now)
      opened()
    }
    // A call that will not start is on its way out of the limiter. To look again before would be in vain, again and again.
    if (!this.mayStart && this.fiber !== undefined) this.whenLeft = wake
    else if (!places.hasPlace) places.watch(wake)
    else if (permits === undefined || mayTake(permits, call)) places.soon(wake)
    else {
      watchPermits(permits, { wake, nested: call.parent !== undefined })
      // Later, since the limiter may be in the middle of its own queue.
      if (permits.spares.size > 0) places.soon(() => makeWay(permits))
    }
  }

  // ---- as a waiter for the tool's permit, to be answered when none will come ------------------------------------------

  canStart(): boolean {
    return false
  }

  makesRoom(): boolean {
    return false
  }

  start(): void {}

  reject(limit: string): void {
    this.places.reject(this.call, limit)
  }
}

const takePermit = (permits: ToolPermits, call: Call): boolean =>
  call.isSpare ? tryTakeIdle(permits, call) : tryTakeBeside(permits, call)

// A name says enough to wait by; what can never pass is told in full.
const nameOf = (error: Limiter.Rejected): string =>
  error.limit !== "" && isRetryable(error) ? error.limit : error.message

const faultOf = (exit: Exit.Exit<void, unknown>): unknown =>
  Exit.isSuccess(exit)
    ? new Error("the limiter ended without running it")
    : Cause.hasInterruptsOnly(exit.cause)
    ? new Error("the limiter interrupted itself")
    : new Error(`the limiter failed: ${ToolFailure.describe(Cause.squash(exit.cause))}`)

/** Why no permit of the tool's cap will come for a call, if that is so. */
export const stuckTool = (permits: ToolPermits | undefined, call: Call): string | undefined =>
  permits !== undefined && isStuck(permits, call) ? allStuck(permits, call.name) : undefined

/** Every permit is held by a handler that does not stop. */
export const allStuck = (permits: ToolPermits, tool: string): string =>
  `all ${permits.limit} places of ${tool} are held by calls that did not stop when asked`
