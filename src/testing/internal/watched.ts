/**
 * The services of a run, each wrapped so that what is taken of it is noted until it is given back: a scheduler that sees fibers,
 * a clock that sees sleeps, a limiter that sees admissions. Each does what the service it wraps does.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scheduler from "effect/Scheduler"
import type { Limiter } from "../../policy/Limiter.ts"
import type * as Limits from "../../policy/Limiter.ts"
import type { Activity } from "./activity.ts"
import { during } from "./during.ts"
import { isTestClock, sameTime } from "./sleeps.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** A fiber that has not ended. `context`: what it was started with. */
export interface LiveFiber {
  readonly fiber: AnyFiber
  readonly context: Context.Context<never>
  readonly startedAt: number
}

/** A sleep that is not over; `since` when, and `at` what time it ends, on its clock. */
export interface LiveSleep {
  readonly fiber: AnyFiber
  readonly at: number
  readonly since: number
}

/** A request to the limiter that is not over. */
export interface LiveAdmission {
  readonly fiber: AnyFiber
  readonly request: Limits.Request
  /** Since when it waits, or holds what it was given. */
  since: number
  isHeld: boolean
}

export class Watched {
  readonly fibers = new Map<AnyFiber, LiveFiber>()
  readonly sleeps = new Set<LiveSleep>()
  readonly admissions = new Set<LiveAdmission>()
  private last: AnyFiber | undefined
  private clock: Clock.Clock | undefined

  get now(): number {
    return this.clock?.currentTimeMillisUnsafe() ?? 0
  }

  /** A fiber shows itself to its scheduler before each of its steps. */
  scheduler(parent: Scheduler.Scheduler, activity: Activity): Scheduler.Scheduler {
    const counting = activity.counting(parent)
    return {
      executionMode: counting.executionMode,
      makeDispatcher: () => counting.makeDispatcher(),
      shouldYield: (fiber) => {
        if (fiber !== this.last) this.see(fiber)
        return counting.shouldYield(fiber)
      }
    }
  }

  private see(fiber: AnyFiber): void {
    this.last = fiber
    if (this.fibers.has(fiber)) return
    this.fibers.set(fiber, { fiber, context: fiber.context, startedAt: this.now })
    fiber.addObserver(() => {
      this.fibers.delete(fiber)
      if (this.last === fiber) this.last = undefined
    })
  }

  clockOver(clock: Clock.Clock): Clock.Clock {
    this.clock = clock
    const wrapper = Object.create(clock) as Clock.Clock
    wrapper.sleep = (duration) => this.noted(clock, duration)
    return isTestClock(clock) && isTestClock(wrapper) ? sameTime(wrapper, clock) : wrapper
  }

  private noted(clock: Clock.Clock, duration: Duration.Duration): Effect.Effect<void> {
    return Effect.withFiber((fiber) =>
      during(() => {
        const since = clock.currentTimeMillisUnsafe()
        const sleep = { fiber, since, at: since + Duration.toMillis(duration) }
        this.sleeps.add(sleep)
        return () => this.sleeps.delete(sleep)
      }, clock.sleep(duration))
    )
  }

  limiterOver(limiter: Limiter["Service"]): Limiter["Service"] {
    return { ...limiter, withAdmission: (request) => this.admission(limiter.withAdmission(request), request) }
  }

  private admission(admit: Limits.Admit, request: Limits.Request): Limits.Admit {
    return <A, E, R>(use: Effect.Effect<A, E, R> | ((lease: Limits.Lease) => Effect.Effect<A, E, R>)) =>
      Effect.withFiber((fiber) => {
        const live: LiveAdmission = { fiber, request, since: this.now, isHeld: false }
        const held = <B>(start: () => B): B => {
          live.isHeld = true
          live.since = this.now
          return start()
        }
        return during(
          () => {
            this.admissions.add(live)
            return () => this.admissions.delete(live)
          },
          // The limiter tells an effect from a function of the lease, and so must this.
          admit(Effect.isEffect(use) ? Effect.suspend(() => held(() => use)) : (lease) => held(() => use(lease)))
        )
      })
  }
}
