/**
 * A scheduler that takes one task at a time, and a clock that moves when told: a program can be run up to any step, and
 * something done there. No promises, no host timers.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"

export class Steps {
  private tasks: Array<() => void> = []
  private sleeps: Array<{ readonly at: number; readonly wake: () => void }> = []
  private now = 0
  taken = 0
  readonly context: Context.Context<never>

  /** `opsBeforeYield`: a fiber yields after so many operations; or before any one of them that `yields` says. */
  constructor(opsBeforeYield: number, yields?: () => boolean) {
    const mixed = new Scheduler.MixedScheduler("async", (task) => {
      this.tasks.push(task)
      return () => {
        this.tasks = this.tasks.filter((each) => each !== task)
      }
    })
    const scheduler: Scheduler.Scheduler = yields === undefined
      ? mixed
      : { executionMode: "async", shouldYield: yields, makeDispatcher: () => mixed.makeDispatcher() }
    this.context = Context.empty().pipe(
      Context.add(Clock.Clock, this.clock()),
      Context.add(Scheduler.Scheduler, scheduler),
      Context.add(Scheduler.MaxOpsBeforeYield, opsBeforeYield)
    )
  }

  /** Takes one step: a task, else time goes to the next sleeper. False when there is neither. */
  take(): boolean {
    const task = this.tasks.shift()
    if (task !== undefined) {
      this.taken++
      task()
      return true
    }
    this.sleeps.sort((a, b) => a.at - b.at)
    const sleep = this.sleeps.shift()
    if (sleep === undefined) return false
    this.taken++
    this.now = Math.max(this.now, sleep.at)
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
    return this.sleeps.length
  }

  private clock(): Clock.Clock {
    const millis = () => this.now
    const nanos = () => BigInt(Math.round(this.now * 1e6))
    return {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: nanos,
      monotonicTimeNanos: Effect.sync(nanos),
      sleep: (duration) =>
        Effect.callback<void>((resume) => {
          const sleep = { at: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
          this.sleeps.push(sleep)
          return Effect.sync(() => {
            this.sleeps = this.sleeps.filter((each) => each !== sleep)
          })
        })
    }
  }
}
