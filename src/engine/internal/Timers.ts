/**
 * Deadlines for many calls on few fibers: one FIFO and one sleeping fiber per distinct duration, since entries of one duration
 * fall due in the order they were added; and one heap for durations that hardly come twice. Adding and removing costs an array
 * push and a flag; nothing is left when the last entry goes, so a process is never kept alive by a call that has ended.
 *
 * Time is Effect's `Clock`, monotonic, whose sleep splits what is longer than a host timer can wait (2^31 ms).
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as TimerHeap from "./timerHeap.ts"

/** How many distinct durations keep their lane while nothing waits in it. */
const idleLanes = 16

/** An entry waiting for its time. `fire` runs at most once; {@link Timers.remove} makes it never run. */
export interface Timer {
  readonly at: number
  live: boolean
  readonly lane: Lane
  readonly fire: () => void
}

/** Entries in the order of their time, from `head` on; of the heap, the earliest stands at 0. */
interface Lane {
  /** The duration of all its entries; none of the heap's. */
  readonly millis: number | undefined
  entries: Array<Timer>
  head: number
  live: number
  fiber: Fiber.Fiber<void> | undefined
  /** The fiber that may serve it; an older one ends. */
  watch: number
  /** What its fiber sleeps until. */
  until: number
}

const makeLane = (millis: number | undefined): Lane => ({
  millis,
  entries: [],
  head: 0,
  live: 0,
  fiber: undefined,
  watch: 0,
  until: -Infinity
})

export class Timers {
  readonly clock: Clock.Clock
  private readonly context: Context.Context<never>
  private readonly lanes = new Map<number, Lane>()
  private readonly heap = makeLane(undefined)

  constructor(clock: Clock.Clock, context: Context.Context<never>) {
    this.clock = clock
    this.context = context
  }

  /** Monotonic milliseconds with fractions. */
  now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /** Fires after a duration that many entries have. */
  add(millis: number, fire: () => void): Timer {
    let lane = this.lanes.get(millis)
    if (lane === undefined) this.lanes.set(millis, lane = makeLane(millis))
    const timer: Timer = { at: this.now() + millis, live: true, lane, fire }
    lane.entries.push(timer)
    lane.live++
    if (lane.fiber === undefined && millis !== Infinity) this.serve(lane)
    return timer
  }

  /** Fires after a duration that hardly comes twice: what is left of a deadline, a delay with jitter. */
  addOnce(millis: number, fire: () => void): Timer {
    const { heap } = this
    const timer: Timer = { at: this.now() + millis, live: true, lane: heap, fire }
    TimerHeap.push(heap.entries, timer)
    heap.live++
    if (timer.at < heap.until) halt(heap)
    if (heap.fiber === undefined && millis !== Infinity) this.serve(heap)
    return timer
  }

  remove(timer: Timer): void {
    if (!timer.live) return
    timer.live = false
    const { lane } = timer
    if (--lane.live === 0) this.drop(lane)
    else if (lane === this.heap && lane.entries.length > 64 && lane.live * 2 < lane.entries.length) {
      lane.entries = TimerHeap.from(lane.entries.filter(({ live }) => live))
    }
  }

  /** Drops every entry unfired. */
  close(): void {
    for (const lane of this.lanes.values()) empty(lane)
    this.lanes.clear()
    empty(this.heap)
  }

  private drop(lane: Lane): void {
    empty(lane)
    if (lane.millis !== undefined && this.lanes.size > idleLanes) this.lanes.delete(lane.millis)
  }

  private serve(lane: Lane): void {
    const watch = ++lane.watch
    const fiber = Effect.runForkWith(this.context)(
      Effect.whileLoop({
        while: () => lane.watch === watch && lane.live > 0,
        body: () => {
          const millis = this.untilNext(lane)
          // Never in the step in which it was added, whatever the clock.
          return millis === 0 ? Effect.yieldNow : this.clock.sleep(Duration.millis(millis))
        },
        step: () => {
          if (lane.watch === watch) this.fireDue(lane)
        }
      }).pipe(Effect.andThen(Effect.sync(() => {
        if (lane.watch === watch) this.drop(lane)
      })))
    )
    if (lane.watch === watch && lane.live > 0) lane.fiber = fiber
  }

  private untilNext(lane: Lane): number {
    skipDead(lane)
    const next = lane.entries[lane.head]
    lane.until = next?.at ?? -Infinity
    // A host timer may fire early by part of a millisecond; ask for at least one whole one more.
    return next === undefined ? 0 : Math.ceil(Math.max(next.at - this.now(), 0))
  }

  private fireDue(lane: Lane): void {
    const now = this.now()
    // What is added meanwhile is seen when all that is due has fired.
    lane.until = -Infinity
    for (skipDead(lane); lane.head < lane.entries.length; skipDead(lane)) {
      const timer = lane.entries[lane.head]!
      if (timer.at > now) return
      takeFirst(lane)
      lane.live--
      timer.live = false
      timer.fire()
    }
  }
}

const takeFirst = (lane: Lane): void => {
  if (lane.millis === undefined) TimerHeap.pop(lane.entries)
  else lane.head++
}

const skipDead = (lane: Lane): void => {
  while (lane.head < lane.entries.length && !lane.entries[lane.head]!.live) takeFirst(lane)
  if (lane.head > 1024 && lane.head * 2 > lane.entries.length) {
    lane.entries = lane.entries.slice(lane.head)
    lane.head = 0
  }
}

const empty = (lane: Lane): void => {
  lane.entries = []
  lane.head = 0
  lane.live = 0
  halt(lane)
}

const halt = (lane: Lane): void => {
  const fiber = lane.fiber
  lane.fiber = undefined
  lane.watch++
  lane.until = -Infinity
  fiber?.interruptUnsafe()
}
