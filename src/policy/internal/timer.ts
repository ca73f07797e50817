/**
 * One sleeping fiber for everything that falls due, on Effect's `Clock`, monotonic. Nothing sleeps while nothing is due, so
 * nobody is kept alive by a limiter nobody waits for.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import { Agenda } from "./agenda.ts"
import type { Entry } from "./agenda.ts"

/** How many fall due in one go before the event loop gets its turn. */
const firesPerTurn = 512

export class Timer {
  readonly clock: Clock.Clock
  private readonly context: Context.Context<never>
  private readonly dispatcher: Scheduler.SchedulerDispatcher
  private readonly agenda = new Agenda()
  private armedFor = Number.POSITIVE_INFINITY
  private fiber: Fiber.Fiber<void> | undefined
  private firing = false
  private closed = false

  constructor(context: Context.Context<never>) {
    this.context = context
    this.clock = Context.get(context, Clock.Clock)
    this.dispatcher = Context.get(context, Scheduler.Scheduler).makeDispatcher()
  }

  /** Monotonic milliseconds with fractions. */
  now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /** Runs a task in the scheduler's next turn. */
  soon(task: () => void): void {
    this.dispatcher.scheduleTask(() => {
      if (!this.closed) task()
    }, 0)
  }

  set(entry: Entry, at: number): void {
    this.agenda.set(entry, at)
    this.arm()
  }

  remove(entry: Entry): void {
    if (entry.index === -1) return
    this.agenda.remove(entry)
    if (this.agenda.first === undefined) this.disarm()
  }

  close(): void {
    this.closed = true
    this.disarm()
  }

  private arm(): void {
    const at = this.agenda.first?.at
    if (at === undefined || at >= this.armedFor || this.firing || this.closed) return
    this.disarm()
    if (at === Number.POSITIVE_INFINITY) return
    this.armedFor = at
    // A host timer may fire early by part of a millisecond; whole ones are asked for, and it is armed again then.
    const millis = Math.max(Math.ceil(at - this.now()), 0)
    const sleep = this.clock.sleep(Duration.millis(millis))
    this.fiber = Effect.runForkWith(this.context)(Effect.andThen(sleep, Effect.sync(() => this.fire())))
  }

  private disarm(): void {
    this.armedFor = Number.POSITIVE_INFINITY
    const { fiber } = this
    this.fiber = undefined
    fiber?.interruptUnsafe()
  }

  private fire(): void {
    this.fiber = undefined
    this.armedFor = Number.POSITIVE_INFINITY
    this.firing = true
    const now = this.now()
    let fired = 0
    for (let entry = this.agenda.first; entry !== undefined && entry.at <= now; entry = this.agenda.first) {
      if (fired++ === firesPerTurn) break
      this.agenda.remove(entry)
      entry.fire()
    }
    this.firing = false
    this.arm()
  }
}
