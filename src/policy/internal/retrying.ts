/**
 * The state behind `Retry`: for each service a budget and a pause, and one object for each call over its attempts.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { RetryOptions } from "../../domain/ToolPolicy.ts"
import { backoffMillis, Pause, spreadOf } from "./backoff.ts"
import { isRetryable, isTurnedAway, retryAfterOf } from "./failures.ts"
import { RetryBudget } from "./retryBudget.ts"
import { rulesOf } from "./retrySettings.ts"
import type { Rules, Settings } from "./retrySettings.ts"

/** What all calls of one service share. */
interface Service {
  readonly name: string
  readonly budget: RetryBudget
  readonly pause: Pause
  readonly rules: Rules
  /** When it was last asked for. */
  seenAt: number
}

/** More services than any program has: from here on idle ones are let go. */
const manyServices = 1024

export class Retrying {
  private readonly settings: Settings
  private readonly services = new Map<string, Service>()
  private sweepAt = manyServices
  // A tool's own rules are checked and merged once, by the service they are used with.
  private readonly merged = new WeakMap<RetryOptions, Map<Rules, Rules>>()

  constructor(settings: Settings) {
    this.settings = settings
  }

  begin(name: string, options: RetryOptions | undefined, context: Context.Context<never>): Attempting {
    const clock = Context.get(context, Clock.Clock)
    const now = monotonic(clock)
    const known = this.services.get(name)
    // A clock that is behind is another one, as a test's: what another clock has measured says nothing.
    const service = known !== undefined && now >= known.seenAt ? known : this.add(name, now)
    service.seenAt = now
    service.budget.request(now)
    const rules = options === undefined ? service.rules : this.merge(name, options, service.rules)
    return new Attempting(service, rules, clock, context)
  }

  private add(name: string, now: number): Service {
    if (this.services.size >= this.sweepAt) this.sweep(now)
    const service: Service = {
      name,
      budget: new RetryBudget(this.settings.budget),
      pause: new Pause(),
      rules: this.settings.services.get(name) ?? this.settings.rules,
      seenAt: now
    }
    this.services.set(name, service)
    return service
  }

  private sweep(now: number): void {
    for (const [name, { budget, pause }] of this.services) {
      if (budget.isIdle(now) && pause.leftMillis(now) === 0) this.services.delete(name)
    }
    this.sweepAt = Math.max(manyServices, this.services.size * 2)
  }

  private merge(name: string, options: RetryOptions, outer: Rules): Rules {
    const known = this.merged.get(options) ?? new Map<Rules, Rules>()
    this.merged.set(options, known)
    const rules = known.get(outer) ?? rulesOf(`Retry of ${name}`, options, outer)
    known.set(outer, rules)
    return rules
  }
}

const monotonic = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

type Step = Effect.Success<ReturnType<typeof Schedule.toStep<unknown, unknown, never, never>>>

/** One call over its attempts. */
class Attempting {
  private readonly service: Service
  private readonly rules: Rules
  private readonly clock: Clock.Clock
  private readonly context: Context.Context<never>
  private failures = 0
  /** Since when the next attempt waits for the service's pauses. */
  private waitingSince: number | undefined
  private step: Step | undefined

  constructor(service: Service, rules: Rules, clock: Clock.Clock, context: Context.Context<never>) {
    this.service = service
    this.rules = rules
    this.clock = clock
    this.context = context
  }

  readonly pauseMillis = (): number => {
    const now = monotonic(this.clock)
    const left = this.service.pause.leftMillis(now)
    if (left === 0) return 0
    // Who is told to wait for longer than it may, and waits nevertheless, waits no longer than that.
    return Math.ceil(Math.min(this.service.pause.waitMillis(now, this.random()), this.bound()))
  }

  readonly refusedMillis = (): number | undefined => {
    const now = monotonic(this.clock)
    const left = this.service.pause.leftMillis(now)
    if (left === 0) return undefined
    // A service may ask for one pause after the other; they count together.
    this.waitingSince ??= now
    return now - this.waitingSince + left > this.rules.maxRetryAfterMillis ? Math.ceil(left) : undefined
  }

  readonly failed = (failure: unknown): Effect.Effect<number | undefined> =>
    Effect.suspend(() => {
      const { pause } = this.service
      const { attempts, baseMillis, maxRetryAfterMillis } = this.rules
      const passing = isRetryable(failure)
      const asked = retryAfterOf(failure, this.clock.currentTimeMillisUnsafe()) ?? 0
      const own = isTurnedAway(failure)
      const now = monotonic(this.clock)
      // All calls of the service hear of its wish, also where this one is not tried again.
      if (passing && !own && asked > 0) pause.ask(now, asked, baseMillis)
      if (++this.failures >= attempts || asked > maxRetryAfterMillis) return stands
      if (!(this.rules.while === undefined ? passing : this.rules.while(failure))) return stands
      return Effect.map(this.delay(failure), (delay) => {
        const then = monotonic(this.clock)
        if (delay === undefined || pause.leftMillis(then) > maxRetryAfterMillis) return undefined
        if (!this.service.budget.tryRetry(then)) return undefined
        this.waitingSince = then
        const wished = own && asked > 0 ? asked + this.random() * spreadOf(asked, baseMillis) : 0
        return Math.ceil(Math.max(delay, wished, pause.waitMillis(then, this.random())))
      })
    }).pipe(
      // A `while` or a schedule that throws is a bug, and one of its own: the call ends with its own failure.
      Effect.catchDefect((defect) =>
        Effect.as(Effect.logError(`Retry of "${this.service.name}": while or schedule threw`, defect), undefined)
      )
    )

  readonly succeeded = (): void => {}

  private bound(): number {
    const { baseMillis, maxRetryAfterMillis } = this.rules
    return maxRetryAfterMillis + spreadOf(maxRetryAfterMillis, baseMillis)
  }

  private random(): number {
    return Context.get(this.context, Random.Random).nextDoubleUnsafe()
  }

  /** The wait of the backoff or of the schedule; `undefined` where the schedule has ended. */
  private delay(failure: unknown): Effect.Effect<number | undefined> {
    const { schedule } = this.rules
    if (schedule === undefined) return Effect.succeed(backoffMillis(this.rules, this.failures, this.random()))
    return Effect.flatMap(this.stepOf(schedule), (step) =>
      Pull.catchDone(
        Effect.map(
          step(this.clock.currentTimeMillisUnsafe(), failure),
          ([, delay]): number | undefined => Duration.toMillis(delay)
        ),
        () => Effect.succeed(undefined)
      ))
  }

  private stepOf(schedule: Schedule.Schedule<unknown>): Effect.Effect<Step> {
    return this.step === undefined
      ? Effect.map(Schedule.toStep(schedule), (step) => this.step = step)
      : Effect.succeed(this.step)
  }
}

const stands: Effect.Effect<undefined> = Effect.succeed(undefined)
