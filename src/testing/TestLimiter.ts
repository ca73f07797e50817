/**
 * A limiter under a test's control: permits handed out in the order of asking, rejections and delays by script, and every admission
 * written down. It keeps the contract of `Limiter`, so what runs on it runs on the real one.
 *
 * `TestLimiter.recording(Limiter.layer(...))` only writes down what another limiter does.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { describe } from "../domain/ToolFailure.ts"
import { Limiter, make as makeLimiter, Rejected } from "../policy/Limiter.ts"
import type { Lease, Request } from "../policy/Limiter.ts"
import { Ledger, mostIn as mostOf } from "./internal/admissionLedger.ts"
import type { Admission as RecordedAdmission, Entry } from "./internal/admissionLedger.ts"
import { limitOf, PermitDesk } from "./internal/permitDesk.ts"
import type { Settings, Use } from "./internal/permitDesk.ts"

/**
 * One request to the limiter, and what became of it.
 *
 * **Shape** `status`: `"waiting"`, `"held"`, `"released"`, `"rejected"`, or `"withdrawn"` (interrupted before its first step, having
 * taken nothing). `nth`: of its service's requests, from 1. `settled`: what its tokens were settled to, at last.
 *
 * **Units** `requestedAt`, `admittedAt`, `releasedAt`: milliseconds of the run's `Clock`.
 *
 * @category models
 * @since 0.1.0
 */
export type Admission = RecordedAdmission

/**
 * A rejection as a script says it: the error itself, or what is to be in it.
 *
 * **Shape** `reason`: default `"Exceeded"`. `retryAfter`: absent where nobody knows.
 *
 * @category models
 * @since 0.1.0
 */
export type Rejection = Rejected | {
  readonly reason?: Rejected["reason"] | undefined
  readonly retryAfter?: Duration.Input | undefined
  readonly message?: string | undefined
}

/**
 * Says whether a request is rejected. `nth`: of its service's requests, from 1.
 *
 * @see {@link nth}
 * @category models
 * @since 0.1.0
 */
export type Reject = (request: Request, nth: number) => Rejection | undefined

/**
 * What a limiter of this kind does.
 *
 * - `permits`: how many calls of a service may be at work at once, an integer of at least 0; a service that is not named may have
 *   any number, and so may requests without a service.
 * - `reject`: which requests are rejected at once; the first that says so counts.
 * - `delay`: how long a request waits before it lines up; a speculative one, which may not wait, is rejected.
 * - `gate`: `"taken"` (default) in the step in which the permit is, or `"ignored"`, as a simple limiter of one's own may do.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly permits?: Readonly<Record<string, number>> | undefined
  readonly reject?: Reject | ReadonlyArray<Reject> | undefined
  readonly delay?: ((request: Request, nth: number) => Duration.Input | undefined) | undefined
  readonly gate?: "taken" | "ignored" | undefined
}

/**
 * What a limiter was asked, and what it did. Its values are those of the moment they are read.
 *
 * **Shape** `admissions`: every request, in the order of asking; `waiting` and `held`: those that are so now. `settled`: what was
 * settled, in that order. `mostHeld`: how many were held at once, at most.
 *
 * @category services
 * @since 0.1.0
 */
export class TestLimiter extends Context.Service<TestLimiter, {
  readonly admissions: ReadonlyArray<Admission>
  readonly waiting: ReadonlyArray<Admission>
  readonly held: ReadonlyArray<Admission>
  readonly settled: ReadonlyArray<number>
  readonly mostHeld: number
  readonly allow: (service: string, permits: number) => Effect.Effect<void>
  readonly mostIn: (window: Duration.Input, service?: string) => number
}>()("effect-toolformer/testing/TestLimiter") {}

/**
 * A limiter that a test controls, and the record of its admissions.
 *
 * **Shape** Permits go to whoever has the highest priority, and then in the order of asking. A request's `maxWait` is kept; its
 * `deadline` is not, since nobody knows when a permit will come back.
 *
 * **Errors** Options that make no sense die here, naming them.
 *
 * **Example** (The second request of a service is rejected)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Limiter } from "effect-toolformer"
 * import { TestLimiter } from "effect-toolformer/Testing"
 *
 * const limits = TestLimiter.layer({ reject: TestLimiter.nth("google", 2, { retryAfter: "2 seconds" }) })
 * const call = Limiter.withAdmission({ service: "google" })(Effect.succeed("found"))
 * const program = Effect.gen(function*() {
 *   const first = yield* call
 *   const second = yield* Effect.flip(call)
 *   const admissions = yield* TestLimiter.admissions
 *   return [first, second.retryAfterMillis, ...admissions.map(({ status }) => status)]
 * })
 * await Effect.runPromise(Effect.provide(program, limits)) // => ["found", 2000, "released", "rejected"]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Limiter | TestLimiter> => {
  settingsOf(options)
  return Layer.effectContext(Effect.gen(function*() {
    const { desk, limiter, record } = make(settingsOf(options))
    yield* Effect.addFinalizer(() => Effect.sync(() => desk.close()))
    return Context.make(Limiter, limiter).pipe(Context.add(TestLimiter, record))
  }))
}

/**
 * Makes the limiter and its record at once, for tests that hold the record in a variable.
 *
 * **Gotchas** Every build of this `layer` shares the one limiter, which is never closed. {@link layer} makes one for each build.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = (
  options: Options = {}
): TestLimiter["Service"] & { readonly layer: Layer.Layer<Limiter | TestLimiter> } => {
  const { limiter, record } = make(settingsOf(options))
  const context = Context.make(Limiter, limiter).pipe(Context.add(TestLimiter, record))
  return Object.assign(record, { layer: Layer.succeedContext(context) })
}

const make = (settings: Settings) => {
  const ledger = new Ledger()
  const desk = new PermitDesk(settings, ledger)
  const allow = (service: string, permits: number) =>
    Effect.sync(() => desk.allow(service, countOf(`allow(${JSON.stringify(service)})`, permits)))
  const limiter = makeLimiter({
    // The desk carries effects without their types.
    withAdmission: desk.withAdmission as never,
    add: (service, rule) =>
      rule._tag === "Permits"
        ? Effect.suspend(() => allow(service, Math.min(rule.permits, settings.permits.get(service) ?? rule.permits)))
        : Effect.die(new Error(`TestLimiter: it holds permits only, and cannot keep a ${rule._tag}`))
  })
  return { desk, limiter, record: recordOf(ledger, allow) }
}

const recordOf = (ledger: Ledger, allow: TestLimiter["Service"]["allow"]): TestLimiter["Service"] => ({
  get admissions() {
    return ledger.entries.map(({ snapshot }) => snapshot)
  },
  get waiting() {
    return ledger.with("waiting")
  },
  get held() {
    return ledger.with("held")
  },
  get settled() {
    return [...ledger.settled]
  },
  get mostHeld() {
    return ledger.mostHeld
  },
  allow,
  mostIn: (window, service) => mostOf(positive("mostIn: window", window), ledger.times(service))
})

// ---- what a script says -------------------------------------------------------------------------------------------------

const settingsOf = ({ delay, gate, permits = {}, reject = [] }: Options): Settings => ({
  permits: new Map(Object.entries(permits).map(([name, count]) => [name, countOf(`permits.${name}`, count)])),
  takesGates: gate !== "ignored",
  reject: rejecting(typeof reject === "function" ? [reject] : reject),
  delay: (request, nth) => Duration.millis(durationOf("delay", delay?.(request, nth) ?? 0))
})

const rejecting = (scripts: ReadonlyArray<Reject>) => (request: Request, nth: number): Rejected | undefined => {
  for (const script of scripts) {
    const rejection = script(request, nth)
    if (rejection !== undefined) return rejectedBy(rejection, request, nth)
  }
  return undefined
}

const rejectedBy = (rejection: Rejection, request: Request, nth: number): Rejected => {
  if (rejection instanceof Rejected) return rejection
  const { message, reason = "Exceeded", retryAfter } = rejection
  const limit = limitOf(request)
  return new Rejected({
    reason,
    limit,
    message: message ?? `${limit}: request ${nth} is rejected by the test`,
    ...(retryAfter === undefined ? undefined : { retryAfterMillis: durationOf("retryAfter", retryAfter) })
  })
}

const die = (name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`TestLimiter.${name} is ${describe(value)}; it must be ${wanted}`)
}

const countOf = (name: string, value: number): number =>
  Number.isSafeInteger(value) && value >= 0 ? value : die(name, value, "an integer of at least 0")

const millisOf = (input: Duration.Input): number =>
  Number.isNaN(input)
    ? Number.NaN
    : Option.getOrElse(Option.map(Duration.fromInput(input), Duration.toMillis), () => NaN)

const durationOf = (name: string, input: Duration.Input): number => {
  const millis = millisOf(input)
  return millis >= 0 ? millis : die(name, input, "a duration of at least 0")
}

const positive = (name: string, input: Duration.Input): number => {
  const millis = millisOf(input)
  return millis > 0 ? millis : die(name, input, "a duration above 0")
}

/**
 * Rejects the nth request (from 1) of a service.
 *
 * @category scripts
 * @since 0.1.0
 */
export const nth = (service: string, n: number, rejection: Rejection = {}): Reject => {
  if (!Number.isSafeInteger(n) || n < 1) die(`nth(${JSON.stringify(service)})`, n, "an integer of at least 1")
  if (!(rejection instanceof Rejected) && rejection.retryAfter !== undefined) {
    durationOf("retryAfter", rejection.retryAfter)
  }
  return (request, nth) => request.service === service && nth === n ? rejection : undefined
}

// ---- recording ----------------------------------------------------------------------------------------------------------

/**
 * A limiter of your choice, and the record of its admissions; it decides as it does without.
 *
 * **Gotchas** Its permits are its own: `allow` dies. A request that an adaptive limiter runs again is written down once for each
 * admission.
 *
 * **Example** (What a real limiter admits in a second)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Limiter } from "effect-toolformer"
 * import { TestLimiter } from "effect-toolformer/Testing"
 *
 * const limits = Limiter.layer({ services: { maps: Limiter.slidingWindow({ limit: 3, window: "1 second" }) } })
 * const call = Limiter.withAdmission({ service: "maps" })(Effect.void)
 * const program = Effect.gen(function*() {
 *   yield* Effect.forkChild(Effect.all(Array.from({ length: 10 }, () => call), { concurrency: "unbounded" }))
 *   yield* TestClock.adjust("10 seconds")
 *   return yield* TestLimiter.mostIn("1 second")
 * })
 * const test = program.pipe(Effect.provide(TestLimiter.recording(limits)), Effect.provide(TestClock.layer()))
 * await Effect.runPromise(test) // => 3
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const recording = <A, E, R>(
  layer: Layer.Layer<Limiter | A, E, R>
): Layer.Layer<Limiter | TestLimiter, E, R> =>
  Layer.effectContext(Effect.map(Limiter, (inner) => {
    const ledger = new Ledger()
    const allow = () => Effect.die(new Error("TestLimiter.allow: the permits are those of the recorded limiter"))
    // A limiter's effects pass through as they are.
    const limiter: Limiter["Service"] = { ...inner, withAdmission: recorded(inner, ledger) as never }
    return Context.make(Limiter, limiter).pipe(Context.add(TestLimiter, recordOf(ledger, allow)))
  })).pipe(Layer.provide(layer))

const recorded = (inner: Limiter["Service"], ledger: Ledger) => (request: Request) => {
  const admit = inner.withAdmission(request)
  return (use: Use): Effect.Effect<unknown, unknown, unknown> =>
    Effect.flatMap(Clock.Clock, (clock) => {
      const recording = new Recording(ledger, clock, request)
      return Effect.onExit(
        Effect.andThen(Effect.sync(() => recording.ask()), admit((lease) => recording.run(lease, use))),
        (exit) => Effect.sync(() => recording.ended(exit))
      )
    })
}

/** One request to a recorded limiter. */
class Recording {
  private readonly ledger: Ledger
  private readonly clock: Clock.Clock
  private readonly request: Request
  private entry: Entry | undefined = undefined

  constructor(ledger: Ledger, clock: Clock.Clock, request: Request) {
    this.ledger = ledger
    this.clock = clock
    this.request = request
  }

  ask(): void {
    this.entry = this.ledger.requested(this.request, this.clock.currentTimeMillisUnsafe())
  }

  run(lease: Lease, use: Use): Effect.Effect<unknown, unknown, unknown> {
    const { clock, ledger } = this
    const entry = this.entry!.status === "waiting" ? this.entry! : this.entry = ledger.repeated(this.entry!)
    ledger.admitted(entry, clock.currentTimeMillisUnsafe())
    const watched: Lease = {
      settle: (actual) => Effect.andThen(lease.settle(actual), Effect.sync(() => ledger.settle(entry, actual.tokens))),
      get waitedMillis() {
        return lease.waitedMillis
      },
      get lost() {
        return lease.lost
      }
    }
    return Effect.onExit(
      Effect.suspend(() => Effect.isEffect(use) ? use : use(watched)),
      () => Effect.sync(() => ledger.released(entry, clock.currentTimeMillisUnsafe()))
    )
  }

  ended(exit: Exit.Exit<unknown, unknown>): void {
    const { entry, ledger } = this
    if (entry?.status !== "waiting") return
    const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
    if (error instanceof Rejected) ledger.rejected(entry, error)
    else ledger.withdrawn(entry)
  }
}

// ---- reading ------------------------------------------------------------------------------------------------------------

const reading = <A>(read: (record: TestLimiter["Service"]) => A): Effect.Effect<A, never, TestLimiter> =>
  Effect.map(TestLimiter, read)

/**
 * Every request so far, in the order of asking.
 *
 * @category reading
 * @since 0.1.0
 */
export const admissions: Effect.Effect<ReadonlyArray<Admission>, never, TestLimiter> = reading(({ admissions }) =>
  admissions
)

/**
 * The requests that wait now.
 *
 * @category reading
 * @since 0.1.0
 */
export const waiting: Effect.Effect<ReadonlyArray<Admission>, never, TestLimiter> = reading(({ waiting }) => waiting)

/**
 * The requests that are admitted now.
 *
 * @category reading
 * @since 0.1.0
 */
export const held: Effect.Effect<ReadonlyArray<Admission>, never, TestLimiter> = reading(({ held }) => held)

/**
 * The token counts that leases were settled to, in that order.
 *
 * @category reading
 * @since 0.1.0
 */
export const settled: Effect.Effect<ReadonlyArray<number>, never, TestLimiter> = reading(({ settled }) => settled)

/**
 * How many were admitted at once, at most.
 *
 * @category reading
 * @since 0.1.0
 */
export const mostHeld: Effect.Effect<number, never, TestLimiter> = reading(({ mostHeld }) => mostHeld)

/**
 * How many admissions fell into any window of this length, at most: of one service, or of all. A window holds its start and not
 * its end.
 *
 * **Errors** A window that is no duration above 0 dies, naming it.
 *
 * @category reading
 * @since 0.1.0
 */
export const mostIn = (window: Duration.Input, service?: string): Effect.Effect<number, never, TestLimiter> =>
  reading(({ mostIn }) => mostIn(window, service))

/**
 * Sets the permits of a service. Whoever may start now starts before this ends; what is held stays held.
 *
 * @category permits
 * @since 0.1.0
 */
export const allow = (service: string, permits: number): Effect.Effect<void, never, TestLimiter> =>
  TestLimiter.use((record) => record.allow(service, permits))
