/**
 * Knows exactly whether fibers have something to do: counts every task their scheduler was given and has not run. Two things
 * it cannot see, and waits for by a turn of the event loop in which nothing happened: promises that need only microtasks, and
 * fibers of another scheduler.
 */
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"

const dispatcher = new Scheduler.MixedScheduler().makeDispatcher()

/** One turn of the event loop: every microtask that was due has run. */
const turn: Effect.Effect<void> = Effect.callback<void>((resume) => {
  let live = true
  dispatcher.scheduleTask(() => {
    if (live) resume(Effect.void)
  }, 0)
  return Effect.sync(() => {
    live = false
  })
})

export class Activity {
  /** How often something began: a task, a sleep. */
  changes = 0
  private busy = 0
  // Read from a copy: who is told goes on in the same step, and may listen again.
  private readonly onRest = new Set<() => void>()
  private readonly onChange = new Set<() => void>()
  private readonly schedulers = new WeakMap<Scheduler.Scheduler, Scheduler.Scheduler>()

  /** Something began that ends by itself. */
  begin(): void {
    this.busy++
  }

  /** What began is over. */
  end(): void {
    if (--this.busy > 0) return
    for (const resume of Array.from(this.onRest)) resume()
  }

  /** Something happened that others may act upon. */
  changed(): void {
    this.changes++
    if (this.onChange.size === 0) return
    for (const listener of Array.from(this.onChange)) listener()
  }

  /** The same scheduler, with its tasks counted here. */
  counting(parent: Scheduler.Scheduler): Scheduler.Scheduler {
    const known = this.schedulers.get(parent)
    if (known !== undefined) return known
    const made: Scheduler.Scheduler = {
      executionMode: parent.executionMode,
      shouldYield: (fiber) => parent.shouldYield(fiber),
      makeDispatcher: () => this.dispatcherOver(parent.makeDispatcher())
    }
    this.schedulers.set(parent, made)
    this.schedulers.set(made, made)
    return made
  }

  private dispatcherOver(parent: Scheduler.SchedulerDispatcher): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (task, priority) => {
        this.begin()
        this.changed()
        parent.scheduleTask(() => {
          try {
            task()
          } finally {
            this.end()
          }
        }, priority)
      },
      flush: () => parent.flush()
    }
  }

  /** Ends when nothing is under way and a turn of the event loop brought nothing new. */
  readonly quiet: Effect.Effect<void> = Effect.suspend(() => {
    let seen = -1
    return Effect.whileLoop({
      while: () => this.busy > 0 || this.changes !== seen,
      body: () => {
        if (this.busy > 0) return this.rest
        seen = this.changes
        return turn
      },
      step: () => {}
    })
  })

  private readonly rest: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const listener = () => {
      // Another one that was told before may have begun something.
      if (this.busy > 0) return
      this.onRest.delete(listener)
      resume(Effect.void)
    }
    this.onRest.add(listener)
    return Effect.sync(() => this.onRest.delete(listener))
  })

  /** Calls back at every change, until what it gives is called. */
  listen(listener: () => void): () => void {
    this.onChange.add(listener)
    return () => this.onChange.delete(listener)
  }

  /** Ends at the next change. */
  readonly next: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const forget = this.listen(() => {
      forget()
      resume(Effect.void)
    })
    return Effect.sync(forget)
  })
}
