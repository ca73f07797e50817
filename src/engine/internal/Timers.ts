/**
 * Deadlines for many calls on few fibers: one FIFO and one sleeping fiber per distinct duration, since entries of one duration
 * fall due in the order they were added. Adding and removing costs an array push and a flag; nothing is left when the last
 * entry goes, so a process is never kept alive by a call that has ended. Time is Effect's `Clock`, monotonic.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** An entry waiting for its time. `fire` runs at most once; {@link Timers.remove} makes it never run. */
export interface Timer {
  readonly at: number
  live: boolean
  readonly lane: Lane
  readonly fire: () => void
}

interface Lane {
  readonly millis: number
  entries: Array<Timer>
  head: number
  live: number
  fiber: Fiber.Fiber<void> | undefined
}

export class Timers {
  readonly clock: Clock.Clock
  private readonly context: Context.Context<never>
  private readonly lanes = new Map<number, Lane>()

  constructor(clock: Clock.Clock, context: Context.Context<never>) {
    this.clock = clock
    this.context = context
  }

  /** Monotonic milliseconds with fractions. */
  now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  add(millis: number, fire: () => void): Timer {
    let lane = this.lanes.get(millis)
    if (lane === undefined) {
      lane = { millis, entries: [], head: 0, live: 0, fiber: undefined }
      this.lanes.set(millis, lane)
    }
    const timer: Timer = { at: this.now() + millis, live: true, lane, fire }
    lane.entries.push(timer)
    lane.live++
    if (lane.fiber === undefined && millis !== Infinity) lane.fiber = this.watch(lane)
    return timer
  }

  remove(timer: Timer): void {
    if (!timer.live) return
    timer.live = false
    if (--timer.lane.live === 0) stop(timer.lane)
  }

  /** Drops every entry unfired. */
  close(): void {
    for (const lane of this.lanes.values()) stop(lane)
    this.lanes.clear()
  }

  private watch(lane: Lane): Fiber.Fiber<void> {
    return Effect.runForkWith(this.context)(
      Effect.whileLoop({
        while: () => lane.live > 0,
        body: () => this.clock.sleep(Duration.millis(Math.max(this.untilNext(lane), 0))),
        step: () => this.fireDue(lane)
      }).pipe(Effect.andThen(Effect.sync(() => stop(lane))))
    )
  }

  private untilNext(lane: Lane): number {
    skipDead(lane)
    const next = lane.entries[lane.head]
    // A host timer may fire early by part of a millisecond; ask for at least one whole one more.
    return next === undefined ? 0 : Math.ceil(Math.max(next.at - this.now(), 0))
  }

  private fireDue(lane: Lane): void {
    const now = this.now()
    for (skipDead(lane); lane.head < lane.entries.length; skipDead(lane)) {
      const timer = lane.entries[lane.head]!
      if (timer.at > now) return
      lane.head++
      lane.live--
      timer.live = false
      timer.fire()
    }
  }
}

const skipDead = (lane: Lane): void => {
  while (lane.head < lane.entries.length && !lane.entries[lane.head]!.live) lane.head++
  if (lane.head > 1024 && lane.head * 2 > lane.entries.length) {
    lane.entries = lane.entries.slice(lane.head)
    lane.head = 0
  }
}

const stop = (lane: Lane): void => {
  lane.entries = []
  lane.head = 0
  lane.live = 0
  const fiber = lane.fiber
  lane.fiber = undefined
  fiber?.interruptUnsafe()
}
