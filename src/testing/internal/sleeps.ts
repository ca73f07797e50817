/**
 * The sleeps of one TestClock, which keeps its own list to itself. Its `sleep` is replaced for as long as the clock lives, once,
 * so that sleeps of fibers from elsewhere (a limiter's timer, the test's own) are known too: a step to the next due time must
 * not jump over them. `adjust` and `setTime` tell when somebody else moves the clock.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as TestClock from "effect/testing/TestClock"
import { Activity } from "./activity.ts"
import { during } from "./during.ts"

/** A sleep that is not over. `at`: when it ends, in the clock's milliseconds; may be `Infinity`. */
export interface Sleep {
  readonly at: number
}

export class Sleeps {
  readonly activity = new Activity()
  readonly clock: TestClock.TestClock
  // Latest first: the next one is at the end.
  private readonly sorted: Array<Sleep> = []

  constructor(clock: TestClock.TestClock) {
    this.clock = clock
  }

  get now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  /** When the next sleep ends. */
  get nextAt(): number | undefined {
    return this.sorted.at(-1)?.at
  }

  /** When each ends, soonest first. */
  get all(): ReadonlyArray<number> {
    return this.sorted.map(({ at }) => at).reverse()
  }

  add(sleep: Sleep): void {
    this.sorted.splice(this.placeOf(sleep.at), 0, sleep)
    this.activity.changed()
  }

  remove(sleep: Sleep): void {
    const at = this.sorted.indexOf(sleep, this.placeOf(sleep.at))
    if (at >= 0) this.sorted.splice(at, 1)
  }

  // Before its equals.
  private placeOf(at: number): number {
    let low = 0
    let high = this.sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.sorted[middle]!.at > at) low = middle + 1
      else high = middle
    }
    return low
  }
}

const known = new WeakMap<Clock.Clock, Sleeps>()

/** The sleeps of a TestClock from now on. */
export const sleepsOf = (clock: TestClock.TestClock): Sleeps => {
  const found = known.get(clock)
  if (found !== undefined) return found
  const sleeps = new Sleeps(clock)
  known.set(clock, sleeps)
  watch(sleeps)
  return sleeps
}

/** A clock that hands everything on to another one has that one's sleeps. */
export const sameTime = <A extends TestClock.TestClock>(wrapper: A, clock: TestClock.TestClock): A => {
  known.set(wrapper, sleepsOf(clock))
  return wrapper
}

/** Whether a clock is moved by hand. */
export const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock =>
  "adjust" in clock && typeof clock.adjust === "function" && "setTime" in clock && typeof clock.setTime === "function"

const watch = (sleeps: Sleeps): void => {
  const { activity, clock } = sleeps
  const sleep = clock.sleep.bind(clock)
  const adjust = clock.adjust.bind(clock)
  const setTime = clock.setTime.bind(clock)
  clock.sleep = (duration) => noting(sleeps, duration, sleep(duration))
  clock.adjust = (duration) => moving(activity, adjust(duration))
  clock.setTime = (timestamp) => moving(activity, setTime(timestamp))
}

const noting = (sleeps: Sleeps, duration: Duration.Duration, slept: Effect.Effect<void>): Effect.Effect<void> =>
  during(() => {
    const millis = Duration.toMillis(duration)
    if (!(millis > 0)) return () => {}
    const sleep: Sleep = { at: sleeps.now + millis }
    sleeps.add(sleep)
    return () => sleeps.remove(sleep)
  }, slept)

const moving = (activity: Activity, moved: Effect.Effect<void>): Effect.Effect<void> =>
  during(() => {
    activity.begin()
    return () => activity.end()
  }, moved)
