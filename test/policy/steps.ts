/**
 * A program taken apart by hand: one task at a time, in order, up to any step, and something done there. Time moves when told. No
 * promises, no host timers. Where a seed is to decide, see `explore`; its clock is this one's.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import * as Scheduler from "effect/Scheduler"
import { SteppedClock } from "../../src/testing/internal/steppedClock.ts"

/** How finely a program is taken apart. */
export interface StepOptions {
  /** Every task is a step of its own; else all that one dispatcher has waiting are one, as in production. */
  readonly singly?: boolean | undefined
  /** Whether so many milliseconds pass now although there is work left, as on a machine that is too slow. */
  readonly hurries?: ((millis: number) => boolean) | undefined
  /** The operation, counted over all fibers, before which its fiber stands still until nothing else is left to do. */
  readonly stallAt?: number | undefined
}

/** How long the rest may go on meanwhile. */
const stallMillis = 60

export class Steps {
  private tasks: Array<() => void> = []
  private readonly time = new SteppedClock(undefined)
  taken = 0
  /** Fibers that have begun and not ended. */
  fibers = 0
  /** Operations of all fibers. */
  operations = 0
  private stalled: (() => void) | undefined
  private stallNext = false
  private stallEnds = 0
  readonly context: Context.Context<never>
  private readonly hurries: (millis: number) => boolean

  /** `opsBeforeYield`: a fiber yields after so many operations; or before any one of them that `yields` says. */
  constructor(opsBeforeYield: number, yields?: () => boolean, options: StepOptions = {}) {
    this.hurries = options.hurries ?? (() => false)
    const mixed = new Scheduler.MixedScheduler("async", (task) => {
      this.tasks.push(task)
      return () => {
        this.tasks = this.tasks.filter((each) => each !== task)
      }
    })
    const { stallAt } = options
    const stalls = stallAt === undefined ? undefined : () => {
      if (++this.operations !== stallAt) return false
      this.stallNext = true
      return true
    }
    const scheduler: Scheduler.Scheduler = yields === undefined && options.singly !== true ? mixed : {
      executionMode: "async",
      shouldYield: stalls ?? yields ?? ((fiber) => mixed.shouldYield(fiber)),
      makeDispatcher: () => options.singly === true ? this.dispatcher() : mixed.makeDispatcher()
    }
    this.context = Context.empty().pipe(
      Context.add(Clock.Clock, this.time.clock),
      Context.add(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => void this.fibers++,
        recordFiberEnd: () => void this.fibers--
      }),
      Context.add(Scheduler.Scheduler, scheduler),
      Context.add(Scheduler.MaxOpsBeforeYield, opsBeforeYield)
    )
  }

  /** Takes one step: a task, else time goes to the next sleeper. False when there is neither. */
  take(): boolean {
    if (this.stalled !== undefined && this.isQuiet) {
      const { stalled } = this
      this.stalled = undefined
      this.taken++
      stalled()
      return true
    }
    const task = this.sleepers > 0 && this.hurries(this.time.untilNext) ? undefined : this.tasks.shift()
    if (task !== undefined) {
      this.taken++
      task()
      return true
    }
    const sleep = this.time.takeOne()
    if (sleep === undefined) return false
    this.taken++
    sleep.wake()
    return true
  }

  /** Takes steps until there are none. */
  finish(most = 100_000): void {
    for (let i = 0; i < most; i++) if (!this.take()) return
    throw new Error(`not over after ${most} steps`)
  }

  /** Takes steps as long as no time has to pass. */
  settle(): void {
    while (this.tasks.length > 0) this.take()
  }

  get sleepers(): number {
    return this.time.sleepers
  }

  /** Whether the fiber that is to stand still does so now. */
  get isStalled(): boolean {
    return this.stalled !== undefined
  }

  private get isQuiet(): boolean {
    return this.tasks.length === 0 && (this.sleepers === 0 || this.time.now + this.time.untilNext > this.stallEnds)
  }

  // In order of scheduling over all dispatchers; within one the lower priority goes first.
  private dispatcher(): Scheduler.SchedulerDispatcher {
    const own: Array<{ readonly priority: number; readonly task: () => void }> = []
    const next = () => own.shift()?.task()
    return {
      scheduleTask: (task, priority) => {
        if (this.stallNext) {
          this.stallNext = false
          this.stalled = task
          this.stallEnds = this.time.now + stallMillis
          return
        }
        const at = own.findIndex((each) => each.priority > priority)
        own.splice(at < 0 ? own.length : at, 0, { priority, task })
        this.tasks.push(next)
      },
      flush: () => {
        while (own.length > 0) next()
      }
    }
  }
}
