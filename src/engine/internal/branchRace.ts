/**
 * Drives the rules over plain effects: one root fiber each, so that no scope waits for a loser that will not stop. A loser is
 * interrupted at once with its reason in the cause, and waited for at most its grace.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as CancelReason from "../../domain/CancelReason.ts"
import type { Outcome } from "./BranchError.ts"
import { BranchRules } from "./branchRules.ts"
import type { Action, Outcome as Decision, Rule } from "./branchRules.ts"
import { worthOf } from "./branchWorth.ts"
import type { Judge } from "./branchWorth.ts"
import { CurrentBranch, CurrentCall } from "./Call.ts"
import { Timers } from "./Timers.ts"
import type { Timer } from "./Timers.ts"

/** How a race is run. All times in milliseconds. */
export interface RaceSettings {
  readonly rule: Rule
  readonly judge: Judge
  readonly timeoutMillis: number | undefined
  readonly withinMillis: number | undefined
  readonly graceMillis: number
  /** Start them one after the other, so long apart, and no further one once all that were started have failed. */
  readonly apartMillis?: number | undefined
}

/** How a race ended; `winners` by their places, the best first. */
export interface RaceResult<A, E> {
  readonly outcome: Exclude<Decision, "cancelled">
  readonly winners: ReadonlyArray<number>
  readonly outcomes: ReadonlyArray<Outcome<A, E>>
  /** The most that agreed, under a quorum. */
  readonly agreeing: number
}

export const race = <A, E, R>(
  effects: ReadonlyArray<Effect.Effect<A, E, R>>,
  settings: RaceSettings
): Effect.Effect<RaceResult<A, E>, never, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback<RaceResult<A, E>>((resume) => {
      const running = new Race(effects, settings, context, (result) => resume(Effect.succeed(result)))
      running.begin()
      return Effect.callback<void>((resume) => running.interrupt(() => resume(Effect.void)))
    })
  )

/** One effect on its way: what is known of it, and what it holds. */
interface Lane<A, E> {
  fiber: Fiber.Fiber<A, E> | undefined
  started: boolean
  timer: Timer | undefined
  stopped: CancelReason.CancelReason | undefined
  outcome: Outcome<A, E> | undefined
}

class Race<A, E, R> {
  private readonly effects: ReadonlyArray<Effect.Effect<A, E, R>>
  private readonly settings: RaceSettings
  private readonly context: Context.Context<R>
  private readonly rules: BranchRules
  private readonly timers: Timers
  private readonly lanes: ReadonlyArray<Lane<A, E>>
  private within: Timer | undefined
  private next = 0
  private running = 0
  private telling = 0
  private over: ((result: RaceResult<A, E>) => void) | undefined

  constructor(
    effects: ReadonlyArray<Effect.Effect<A, E, R>>,
    settings: RaceSettings,
    context: Context.Context<R>,
    over: (result: RaceResult<A, E>) => void
  ) {
    this.effects = effects
    this.settings = settings
    this.context = context
    this.over = over
    this.rules = new BranchRules(settings.rule)
    this.timers = new Timers(Context.get(context as Context.Context<never>, Clock.Clock), context)
    this.lanes = effects.map(() => {
      this.rules.joined()
      return { fiber: undefined, started: false, timer: undefined, stopped: undefined, outcome: undefined }
    })
  }

  begin(): void {
    const { apartMillis, withinMillis } = this.settings
    this.apply(this.rules.close())
    if (withinMillis !== undefined && this.rules.outcome === undefined) {
      this.within = this.timers.add(withinMillis, () => this.apply(this.rules.expire()))
    }
    if (apartMillis === undefined) { while (this.next < this.lanes.length) this.start(this.next++) }
    else this.startApart(apartMillis)
    this.finishIfOver()
  }

  interrupt(done: () => void): void {
    this.over = done
    this.rules.giveUp()
    // Where the race is part of something larger, that knows why.
    const context = this.context as Context.Context<never>
    const reason = Context.get(context, CurrentBranch)?.stopped ?? Context.get(context, CurrentCall)?.reason
    for (const branch of this.lanes.keys()) this.stop(branch, reason ?? CancelReason.callerGone)
    this.finishIfOver()
  }

  private startApart(millis: number): void {
    this.start(this.next++)
    if (this.next < this.lanes.length && this.rules.outcome === undefined) {
      this.timers.add(millis, () => {
        if (this.rules.outcome === undefined) this.startApart(millis)
      })
    }
  }

  private start(branch: number): void {
    if (!this.rules.isPending(branch)) return
    const lane = this.lanes[branch]!
    const { timeoutMillis } = this.settings
    this.running++
    lane.started = true
    const context = Context.add(this.context, CurrentBranch, lane)
    const fiber = Effect.runForkWith(context)(this.effects[branch]!)
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.ended(branch, exit)
    lane.fiber = fiber
    fiber.addObserver((exit) => this.ended(branch, exit))
    // Its own first steps may have let another win, before there was a fiber to interrupt.
    if (lane.stopped !== undefined) {
      return fiber.interruptUnsafe(undefined, Context.make(CancelReason.CancelReason, lane.stopped))
    }
    if (timeoutMillis !== undefined) {
      lane.timer = this.timers.add(timeoutMillis, () => {
        this.stop(branch, CancelReason.timeout("branch", timeoutMillis))
        this.apply(this.rules.failed(branch))
      })
    }
  }

  private ended(branch: number, exit: Exit.Exit<A, E>): void {
    const lane = this.lanes[branch]!
    lane.fiber = undefined
    if (lane.timer !== undefined) this.timers.remove(lane.timer)
    // One that was given up on has been counted.
    if (lane.outcome !== undefined) return
    this.running--
    if (lane.stopped !== undefined) {
      lane.outcome = { _tag: "Stopped", reason: lane.stopped, started: true, abandoned: false }
      return this.finishIfOver()
    }
    this.apply(this.judged(branch, lane, exit))
    if (this.settings.apartMillis !== undefined && Exit.isFailure(exit) && this.running === 0) this.startNoMore()
    this.finishIfOver()
  }

  private judged(branch: number, lane: Lane<A, E>, exit: Exit.Exit<A, E>): ReadonlyArray<Action> {
    if (Exit.isFailure(exit)) {
      lane.outcome = { _tag: "Failed", cause: exit.cause }
      return this.rules.failed(branch)
    }
    const worth = worthOf(this.settings.judge, exit.value)
    if (Result.isFailure(worth)) {
      lane.outcome = { _tag: "Unscored", value: exit.value, issue: worth.failure }
      return this.rules.failed(branch)
    }
    lane.outcome = { _tag: "Succeeded", value: exit.value }
    return this.rules.succeeded(branch, worth.success)
  }

  private startNoMore(): void {
    for (; this.next < this.lanes.length; this.next++) this.apply(this.rules.failed(this.next))
  }

  private apply(actions: ReadonlyArray<Action>): void {
    if (actions.length === 0) return
    // Not over before the last of them has been told, however fast the others end.
    this.telling++
    for (const action of actions) {
      switch (action._tag) {
        case "Supersede":
          this.stop(action.branch, CancelReason.superseded(`branch ${action.by}`))
          break
        case "Expire":
          this.stop(action.branch, CancelReason.timeout("group", this.settings.withinMillis!))
          break
        case "Cancel":
          this.stop(action.branch, CancelReason.branchCancelled(`${this.settings.rule.count} can no longer agree`))
          break
        case "Decide":
          if (this.within !== undefined) this.timers.remove(this.within)
          break
        case "Release":
      }
    }
    this.telling--
    this.finishIfOver()
  }

  private stop(branch: number, reason: CancelReason.CancelReason): void {
    const lane = this.lanes[branch]!
    if (lane.stopped !== undefined || lane.outcome !== undefined) return
    lane.stopped = reason
    if (lane.timer !== undefined) this.timers.remove(lane.timer)
    if (!lane.started) {
      lane.outcome = { _tag: "Stopped", reason, started: false, abandoned: false }
      return
    }
    lane.fiber?.interruptUnsafe(undefined, Context.make(CancelReason.CancelReason, reason))
    // Most have ended by now, and need no timer.
    if (lane.outcome === undefined) {
      lane.timer = this.timers.add(this.settings.graceMillis, () => this.abandon(lane, reason))
    }
  }

  private abandon(lane: Lane<A, E>, reason: CancelReason.CancelReason): void {
    lane.outcome = { _tag: "Stopped", reason, started: true, abandoned: true }
    this.running--
    this.finishIfOver()
  }

  private finishIfOver(): void {
    const { outcome } = this.rules
    if (outcome === undefined || this.running > 0 || this.telling > 0 || this.over === undefined) return
    const { over } = this
    this.over = undefined
    this.timers.close()
    over({
      outcome: outcome === "cancelled" ? "decided" : outcome,
      winners: this.rules.winners,
      agreeing: this.rules.largest,
      outcomes: this.lanes.map((lane) => lane.outcome ?? neverStarted)
    })
  }
}

const neverStarted = {
  _tag: "Stopped",
  reason: CancelReason.branchCancelled("every attempt before it had failed"),
  started: false,
  abandoned: false
} as const

/** The cause of an effect that did not succeed. */
export const causeOf = <E>(outcome: Outcome<unknown, E>): Cause.Cause<E> =>
  outcome._tag === "Failed"
    ? outcome.cause
    : outcome._tag === "Stopped"
    ? Cause.annotate(Cause.interrupt(), Context.make(CancelReason.CancelReason, outcome.reason))
    : Cause.empty
