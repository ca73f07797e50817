/**
 * A clock that moves when its owner says, from sleeper to sleeper. It has `TestClock`'s `adjust`, `setTime` and `withLive`, so that
 * programs written for one run on it; whoever adjusts it sleeps until then, and goes on after all others of that instant.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as TestClock from "effect/testing/TestClock"

export interface Sleep {
  readonly at: number
  /** Woken only when nothing else is left to do at that instant. */
  readonly isLast: boolean
  readonly wake: () => void
}

export class SteppedClock {
  now = 0
  private readonly sleeps: Array<Sleep> = []
  readonly clock: TestClock.TestClock

  constructor(outer: Clock.Clock | undefined) {
    this.clock = this.make(outer)
  }

  get sleepers(): number {
    return this.sleeps.length
  }

  /** Milliseconds until the next sleeper wakes: `Infinity` without one. */
  get untilNext(): number {
    return this.sleeps.length === 0 ? Infinity : Math.max(0, this.sleeps[0]!.at - this.now)
  }

  /** Moves to the next sleeper, and takes out one: the first that is due. */
  takeOne(): Sleep | undefined {
    const sleep = this.sleeps.shift()
    if (sleep !== undefined) this.now = Math.max(this.now, sleep.at)
    return sleep
  }

  /** Moves to the next sleepers, and takes out all of that instant; who comes last only when alone. */
  takeInstant(): ReadonlyArray<Sleep> {
    if (this.sleeps.length === 0) return []
    this.now = Math.max(this.now, this.sleeps[0]!.at)
    const due = this.takeDue()
    return due.length > 0 ? due : [this.sleeps.shift()!]
  }

  /** Lets so many milliseconds pass, and takes out those that are due by then, but for who comes last. */
  pass(millis: number): ReadonlyArray<Sleep> {
    this.now += millis
    return this.takeDue()
  }

  private takeDue(): ReadonlyArray<Sleep> {
    const due = this.sleeps.filter(({ at, isLast }) => at <= this.now && !isLast)
    for (const sleep of due) this.sleeps.splice(this.sleeps.indexOf(sleep), 1)
    return due
  }

  // In order of time; of one instant: who comes last behind, and else in order of coming.
  private sleepUntil(at: number, isLast: boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (at === Infinity) return
      const sleep: Sleep = { at, isLast, wake: () => resume(Effect.void) }
      const before = this.sleeps.findIndex((other) =>
        other.at > sleep.at || (other.at === sleep.at && other.isLast && !isLast)
      )
      this.sleeps.splice(before < 0 ? this.sleeps.length : before, 0, sleep)
      return Effect.sync(() => {
        const place = this.sleeps.indexOf(sleep)
        if (place >= 0) this.sleeps.splice(place, 1)
      })
    })
  }

  private make(outer: Clock.Clock | undefined): TestClock.TestClock {
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
        Effect.suspend(() => {
          const length = Duration.toMillis(duration)
          return length > 0 ? this.sleepUntil(this.now + length, false) : Effect.yieldNow
        }),
      adjust: (duration) =>
        Effect.suspend(() => this.sleepUntil(this.now + Duration.toMillis(Duration.fromInputUnsafe(duration)), true)),
      setTime: (timestamp) =>
        Effect.suspend(() => {
          this.now = Math.min(this.now, timestamp)
          return this.sleepUntil(timestamp, true)
        }),
      withLive: (effect) => withLive(outer, effect)
    }
  }
}

const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "withLive" in clock

const withLive = <A, E, R>(outer: Clock.Clock | undefined, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  outer === undefined
    ? effect
    : isTestClock(outer)
    ? outer.withLive(effect)
    : Effect.provideService(effect, Clock.Clock, outer)
