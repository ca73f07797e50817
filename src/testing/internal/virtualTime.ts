/**
 * Runs an effect and moves virtual time for it, from sleep to sleep, until it is over.
 *
 * Time moves only when nothing else can happen: every task of the effect's fibers has run, and a turn of the event loop
 * brought no promise home. Under a TestClock that is the clock that moves, so that layers built outside live on the same time;
 * else the effect gets one of its own. Of several effects on one clock the one that came last moves it, for all.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { isTestClock, sleepsOf } from "./sleeps.ts"
import type { Sleeps } from "./sleeps.ts"

/** Set where the ambient clock moves by itself; nobody else may then move it. */
export const SelfMoving: Context.Reference<boolean> = Context.Reference<boolean>(
  "effect-toolformer/Testing/SelfMoving",
  { defaultValue: () => false }
)

/**
 * The effect is not over, and no moving of the clock can end it.
 *
 * `why`: nothing sleeps; what sleeps is due after the `limit`; or the clock was moved too often. `sleeps`: when those that
 * sleep are due, in milliseconds since the effect began, soonest first.
 */
export class Stuck extends Schema.TaggedError<Stuck>()("Stuck", {
  why: Schema.Literals(["nothing-sleeps", "beyond-the-limit", "moved-too-often"]),
  atMillis: Schema.Finite,
  limitMillis: Schema.Number,
  moves: Schema.Int,
  sleeps: Schema.Array(Schema.Number)
}) {
  override get message(): string {
    return messageOf(this)
  }
}

const messageOf = ({ atMillis, limitMillis, moves, sleeps, why }: Stuck): string => {
  const at = `at ${atMillis} ms of virtual time`
  const next = sleeps[0]
  switch (why) {
    case "nothing-sleeps":
      return `nothing happens any more ${at}: what is not over waits for something that no clock moves` +
        (next === undefined ? "" : " (a sleep without end)")
    case "beyond-the-limit":
      return `nothing happens any more ${at}: the next sleep is over at ${next} ms, later than the limit of ${limitMillis} ms`
    case "moved-too-often":
      return `not over ${at}, after ${moves} steps of the clock: something sleeps again and again (next until ${next} ms)`
  }
}

export interface Options {
  /** How much virtual time the effect may take. Default: 1 day. */
  readonly limit?: Duration.Input | undefined
  /** How long, in real time, something from outside may still come when nothing else can happen. Default: 1 second. */
  readonly patience?: Duration.Input | undefined
  /** How often the clock may be moved. Default: 100,000 times. */
  readonly maxMoves?: number | undefined
}

/** Runs an effect and moves virtual time until it is over. Interrupting it interrupts the effect, and time moves for its end. */
export const advancing = <A, E, R>(effect: Effect.Effect<A, E, R>, options?: Options): Effect.Effect<A, E | Stuck, R> =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    if (fiber.getRef(SelfMoving)) return effect
    if (isTestClock(clock)) return drive(sleepsOf(clock), effect, options)
    return Effect.scoped(Effect.flatMap(
      Layer.build(TestClock.layer()),
      (own) => Effect.provideContext(advancing(effect, options), own)
    )) as Effect.Effect<A, E | Stuck, R>
  })

const drive = <A, E, R>(
  sleeps: Sleeps,
  effect: Effect.Effect<A, E, R>,
  options: Options | undefined
): Effect.Effect<A, E | Stuck, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      // Said once, it keeps the clock from warning that nobody moves it.
      if (drivers.get(sleeps) === undefined) yield* sleeps.clock.adjust(0)
      const scheduler = sleeps.activity.counting(yield* Scheduler.Scheduler)
      const counted = Effect.provideService(restore(effect), Scheduler.Scheduler, scheduler)
      // Before the effect begins: what it does inside comes after.
      const driver = new Driver(sleeps, options)
      // Detached, since one that does not stop must not keep its parent; it is interrupted and awaited here.
      const child = yield* Effect.forkDetach(counted, { startImmediately: true, uninterruptible: "inherit" })
      yield* restore(driver.drive(child)).pipe(
        Effect.onInterrupt(() => {
          child.interruptUnsafe()
          return driver.drive(child)
        }),
        Effect.ensuring(Effect.sync(() => driver.leave()))
      )
      if (driver.stuck !== undefined) return yield* driver.stuck
      return yield* yield* Fiber.await(child)
    })
  )

/** Who moves each clock: the last one, until it is over. */
const drivers = new WeakMap<Sleeps, Array<Driver>>()

/** The end of a JavaScript date's range: no clock goes further. */
const latest = 8.64e15

type AnyFiber = Fiber.Fiber<unknown, unknown>

class Driver {
  stuck: Stuck | undefined = undefined
  private readonly began: number
  private limit: number
  private moves = 0
  private readonly maxMoves: number
  private child: AnyFiber | undefined
  private gaveUp = false
  private mayLead: () => void = () => {}
  private readonly sleeps: Sleeps
  private readonly limitMillis: number
  private readonly patience: Duration.Input
  private readonly beside: Array<Driver>

  constructor(sleeps: Sleeps, options: Options | undefined) {
    this.sleeps = sleeps
    this.began = sleeps.now
    this.limitMillis = Duration.toMillis(options?.limit ?? "1 day")
    this.limit = Math.min(this.began + this.limitMillis, latest)
    this.maxMoves = options?.maxMoves ?? 100_000
    this.patience = options?.patience ?? "1 second"
    this.beside = drivers.get(sleeps) ?? []
    drivers.set(sleeps, this.beside)
    this.beside.push(this)
  }

  leave(): void {
    this.beside.splice(this.beside.indexOf(this), 1)
    this.beside.at(-1)?.mayLead()
  }

  // On the live clock and a scheduler of its own: what it does is nothing that the effect does.
  drive(child: AnyFiber): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (child.pollUnsafe() !== undefined) return Effect.void
      this.child = child
      const fiber = Effect.runFork(this.loop(child))
      const forget = child.addObserver(() => fiber.interruptUnsafe())
      return Effect.flatMap(Fiber.await(fiber), (exit) => Exit.hasDies(exit) ? exit : Effect.void).pipe(
        Effect.onInterrupt(() => Fiber.interrupt(fiber)),
        Effect.ensuring(Effect.sync(forget))
      )
    })
  }

  private loop(child: AnyFiber): Effect.Effect<void> {
    const step = Effect.andThen(this.leading, Effect.andThen(this.sleeps.activity.quiet, Effect.suspend(this.step)))
    return Effect.whileLoop({
      while: () => child.pollUnsafe() === undefined && !this.gaveUp,
      body: () => step,
      step: () => {}
    })
  }

  private readonly leading: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.leads) return resume(Effect.void)
    this.mayLead = () => resume(Effect.void)
  })

  private get leads(): boolean {
    return this.beside.at(-1) === this
  }

  private readonly step = (): Effect.Effect<void> => {
    if (!this.leads) return Effect.void
    const { nextAt } = this.sleeps
    if (nextAt === undefined || nextAt > this.limit || this.moves >= this.maxMoves) return this.waitOutside
    this.moves++
    return this.moveTo(nextAt)
  }

  // Stopped where something happens on the way: the clock then stands at that moment.
  private moveTo(at: number): Effect.Effect<void> {
    const { activity, clock } = this.sleeps
    const to = Math.max(at, this.sleeps.now)
    return Effect.callback<void>((resume) => {
      const fiber = Effect.runFork(clock.setTime(to))
      const forget = activity.listen(() => {
        if (this.sleeps.now < to) fiber.interruptUnsafe()
      })
      fiber.addObserver(() => {
        forget()
        resume(Effect.void)
      })
      return Fiber.interrupt(fiber)
    })
  }

  // Nothing is known to sleep: something real may come. Then sleeps that began before anybody looked are searched for, by going
  // on in growing steps.
  private readonly waitOutside: Effect.Effect<void> = Effect.suspend(() => {
    const { activity, now } = this.sleeps
    const seen = activity.changes
    const isSame = () => this.leads && activity.changes === seen
    return Effect.timeoutOption(activity.next, this.patience).pipe(
      Effect.andThen(this.search(isSame)),
      Effect.andThen(Effect.sync(() => {
        if (isSame()) this.giveUp(now)
      }))
    )
  })

  private search(isSame: () => boolean): Effect.Effect<void> {
    const { activity } = this.sleeps
    let millis = 1
    return Effect.whileLoop({
      while: () => isSame() && this.moves < this.maxMoves && this.sleeps.now < this.limit,
      body: () => Effect.andThen(this.moveTo(Math.min(this.sleeps.now + millis, this.limit)), activity.quiet),
      step: () => {
        millis *= 2
      }
    })
  }

  // Told to stop, the effect may still need time for that, and gets as much again.
  private giveUp(since: number): void {
    const { all, now } = this.sleeps
    if (this.stuck !== undefined) {
      this.gaveUp = true
      return
    }
    this.stuck = new Stuck({
      why: this.moves >= this.maxMoves
        ? "moved-too-often"
        : (all[0] ?? Infinity) < Infinity
        ? "beyond-the-limit"
        : "nothing-sleeps",
      atMillis: since - this.began,
      limitMillis: this.limitMillis,
      moves: this.moves,
      sleeps: all.map((at) => at - this.began)
    })
    this.moves = 0
    this.limit = Math.min(now + this.limitMillis, latest)
    // The time that was spent on the search is nobody else's.
    for (const other of this.beside) if (other !== this) other.limit += now - since
    this.child?.interruptUnsafe()
  }
}
