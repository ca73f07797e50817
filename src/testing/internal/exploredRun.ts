/**
 * One run of a program under a schedule, from its first operation until nothing of it is left: drives the steps, lets promises in,
 * moves time when there is nothing else to do, and tells how it ended.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scheduler from "effect/Scheduler"
import type { Schedule } from "./schedule.ts"
import { Strands } from "./strands.ts"
import type { Told } from "./strands.ts"

/** How a run ended: by itself, or stopped because it could not. */
export type Ending =
  | { readonly _tag: "Over" }
  | { readonly _tag: "Deadlock"; readonly fibers: ReadonlyArray<string> }
  | { readonly _tag: "StillRunning"; readonly fibers: ReadonlyArray<string> }
  | { readonly _tag: "LeftBehind"; readonly fibers: ReadonlyArray<string> }

export interface Run<A, E> {
  readonly ending: Ending
  /** `undefined` where the program itself could not be ended. */
  readonly exit: Exit.Exit<A, E> | undefined
  readonly steps: number
  readonly fingerprint: number
  readonly told: ReadonlyArray<Told>
}

export interface RunOptions {
  readonly seed: number
  readonly maxSteps: number
  readonly tells?: boolean | undefined
  /** It is known already that no promise from outside comes. */
  readonly isImpatient?: boolean | undefined
}

/** After so many operations the rest of the process has a turn. */
const operationsAtOnce = 20_000

const { setImmediate: soon } = new Scheduler.MixedScheduler()

/** The turns real promises get before a run that stands still counts as stuck: first without delay, then of two milliseconds. */
const turns = { soon: 16, later: 10, laterMillis: 2 }

class Drive<A, E> {
  private readonly strands: Strands
  private exit: Exit.Exit<A, E> | undefined
  private ending: Ending | undefined
  private readonly options: RunOptions
  private readonly done: (run: Run<A, E>) => void
  private stillTurns = 0
  private pauseAt = 0
  private waiting: Array<() => void> = []
  private isDone = false

  constructor(strands: Strands, options: RunOptions, done: (run: Run<A, E>) => void) {
    this.strands = strands
    this.options = options
    this.done = done
  }

  start<R>(program: Effect.Effect<A, E, R>, context: Context.Context<R>): void {
    soon(() => {
      // Nothing was begun, nothing is to be ended.
      if (this.ending !== undefined) return this.finish()
      Effect.runForkWith(context)(program).addObserver((exit) => {
        this.exit = exit
      })
      this.go()
    })
  }

  /** Ends it early, and waits until nothing is left. */
  readonly stop: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.isDone) return resume(Effect.void)
    this.waiting.push(() => resume(Effect.void))
    this.end({ _tag: "Over" })
  })

  private readonly go = (): void => {
    this.pauseAt = this.strands.operations + operationsAtOnce
    while (this.goesOn());
  }

  /** Whether the next step follows at once; else somebody calls again, or it is over. */
  private goesOn(): boolean {
    const { strands } = this
    if (this.exit !== undefined) this.end({ _tag: "Over" })
    if (this.exit !== undefined && strands.isQuiet && strands.fibers.size === 0) return this.finish()
    if (strands.isSpent) return this.endOrLeave("StillRunning")
    if (strands.operations > this.pauseAt) return this.again()
    const taken = strands.take()
    if (taken === "promises") return this.again()
    if (!taken) return this.standsStill()
    this.stillTurns = 0
    return true
  }

  // Promises that settle without the outside world do so in one turn; only then may time pass.
  private standsStill(): boolean {
    const turn = this.stillTurns++
    if (turn === 0) return this.again()
    if (this.strands.sleepOn()) {
      this.stillTurns = 0
      return true
    }
    if (turn < turns.soon) return this.again()
    if (turn < turns.soon + (this.options.isImpatient === true ? 0 : turns.later)) {
      setTimeout(this.go, turns.laterMillis)
      return false
    }
    return this.endOrLeave("Deadlock")
  }

  private endOrLeave(_tag: "Deadlock" | "StillRunning"): boolean {
    this.stillTurns = 0
    const fibers = this.strands.alive()
    if (this.ending === undefined) {
      this.end({ _tag, fibers })
      return true
    }
    if (this.ending._tag === "Over") this.ending = { _tag: "LeftBehind", fibers }
    this.strands.abandon()
    return this.finish()
  }

  private end(ending: Ending): void {
    if (this.ending !== undefined) return
    this.ending = ending
    this.strands.limit = this.strands.operations + this.options.maxSteps
    this.strands.end((fiber) => fiber.interruptUnsafe())
  }

  private again(): false {
    soon(this.go)
    return false
  }

  private finish(): false {
    this.isDone = true
    const { ending = { _tag: "Over" }, exit, strands } = this
    this.done({ ending, exit, steps: strands.operations, fingerprint: strands.fingerprint, told: strands.told ?? [] })
    for (const resume of this.waiting) resume()
    return false
  }
}

/** Runs a program once under a schedule; interruption ends it and waits until nothing of it is left. */
export const runUnder = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  schedule: Schedule,
  options: RunOptions
): Effect.Effect<Run<A, E>, never, R> =>
  Effect.contextWith((outer: Context.Context<R>) =>
    Effect.callback<Run<A, E>>((resume) => {
      const strands = new Strands(schedule, { ...options, outer: Context.get(outer, Clock.Clock) })
      const drive = new Drive<A, E>(strands, options, (run) => resume(Effect.succeed(run)))
      drive.start(program, Context.merge(outer, strands.context(options.seed)))
      return drive.stop
    })
  )
