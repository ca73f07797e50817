/**
 * A limiter that counts permits, complete by the contract of `policy/Limiter`: permits and the caller's gate are taken in one step,
 * nothing yields between the grant and the first step of what was admitted, and whoever leaves gives back what it took.
 *
 * In turn: by priority, then by order of asking. Who waits for its gate lets others pass; who waits for a permit does not.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import { describe } from "../../domain/ToolFailure.ts"
import { Rejected } from "../../policy/Limiter.ts"
import type { Gate, Lease, Request } from "../../policy/Limiter.ts"
import type { Entry, Ledger } from "./admissionLedger.ts"

type Admitted = Effect.Effect<unknown, unknown, unknown>

export type Use = Admitted | ((lease: Lease) => Admitted)

export interface Settings {
  readonly permits: Map<string, number>
  readonly takesGates: boolean
  readonly reject: (request: Request, nth: number) => Rejected | undefined
  readonly delay: (request: Request, nth: number) => Duration.Duration
}

type Phase = "new" | "waiting" | "granted" | "started" | "over"

class Waiter {
  readonly request: Request
  readonly use: Use
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
  entry: Entry | undefined = undefined
  phase: Phase = "new"
  resume: ((effect: Admitted) => void) | undefined = undefined
  timer: Fiber.Fiber<void> | undefined = undefined

  constructor(request: Request, use: Use, context: Context.Context<never>) {
    this.request = request
    this.use = use
    this.context = context
    this.clock = Context.get(context, Clock.Clock)
  }

  get now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  get calls(): number {
    return this.request.calls ?? 1
  }

  get priority(): number {
    return this.request.priority ?? 0
  }
}

export class PermitDesk {
  private readonly settings: Settings
  private readonly ledger: Ledger
  private waiting: Array<Waiter> = []
  private readonly used = new Map<string, number>()
  private readonly shut = new Set<object>()
  private isScheduled = false
  private isClosed = false

  constructor(settings: Settings, ledger: Ledger) {
    this.settings = settings
    this.ledger = ledger
  }

  readonly withAdmission = (request: Request) => (use: Use): Admitted =>
    Effect.contextWith((context: Context.Context<never>) => {
      const waiter = new Waiter(request, use, context)
      return Effect.onExit(
        Effect.suspend(() => this.ask(waiter)),
        (exit) => Effect.sync(() => this.ended(waiter, exit))
      )
    })

  // ---- the way in -----------------------------------------------------------------------------------------------------

  private ask(waiter: Waiter): Admitted {
    const { request } = waiter
    const entry = this.ledger.requested(request, waiter.now)
    waiter.entry = entry
    waiter.phase = "waiting"
    const rejected = this.isClosed ? closed : invalid(request) ?? this.settings.reject(request, entry.nth)
    if (rejected !== undefined) return this.refused(waiter, rejected)
    const delay = this.settings.delay(request, entry.nth)
    if (Duration.isZero(delay)) return this.line(waiter)
    if (request.speculative === true) return this.refused(waiter, exceeded(request))
    return Effect.andThen(Effect.sleep(delay), this.line(waiter))
  }

  private refused(waiter: Waiter, rejected: Rejected): Admitted {
    waiter.phase = "over"
    return Effect.fail(this.ledger.rejected(waiter.entry!, rejected))
  }

  private line(waiter: Waiter): Admitted {
    const waiting: Admitted = Effect.withFiber((fiber) =>
      mayYield(fiber) ? Effect.andThen(Effect.yieldNow, waiting) : this.lineUp(waiter)
    )
    return waiting
  }

  private lineUp(waiter: Waiter): Admitted {
    return Effect.callback<unknown, unknown, unknown>((resume) => {
      waiter.resume = resume
      if (this.isClosed) return this.reject(waiter, closed)
      // In line before it is tried: its gate may come free in the same step.
      const isBehind = this.isBehind(waiter)
      this.enter(waiter)
      if (!isBehind && this.tryStart(waiter)) return
      if (waiter.request.speculative === true) return this.reject(waiter, exceeded(waiter.request))
      // Who it stands behind may be on its way to a closed gate, in the middle of a turn that does not see newcomers.
      if (isBehind) this.soon()
    })
  }

  // Who stands at a closed gate holds nobody up.
  private isBehind({ priority, request }: Waiter): boolean {
    return this.waiting.some((other) =>
      other.request.service === request.service && other.priority >= priority && !this.isShut(other)
    )
  }

  private enter(waiter: Waiter): void {
    const at = this.waiting.findIndex((other) => other.priority < waiter.priority)
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, waiter)
    const { maxWait } = waiter.request
    if (maxWait === undefined) return
    const late = Effect.sync(() => {
      if (waiter.phase === "waiting") this.reject(waiter, tooLate(waiter.request, maxWait))
    })
    waiter.timer = Effect.runForkWith(waiter.context)(Effect.andThen(Effect.sleep(maxWait), late))
  }

  private isShut({ request: { gate } }: Waiter): boolean {
    return gate !== undefined && this.shut.has(gate.flow)
  }

  // ---- grants ---------------------------------------------------------------------------------------------------------

  allow(service: string, permits: number): void {
    this.settings.permits.set(service, permits)
    this.serve()
  }

  private serve(): void {
    const blocked = new Set<string | undefined>()
    for (const waiter of this.waiting) {
      const { service } = waiter.request
      if (waiter.phase !== "waiting" || blocked.has(service) || this.isShut(waiter)) continue
      if (!this.hasRoom(waiter)) blocked.add(service)
      else this.tryStart(waiter)
    }
  }

  private hasRoom({ calls, request: { service, slack = 0 } }: Waiter): boolean {
    if (service === undefined) return true
    const permits = this.settings.permits.get(service)
    return permits === undefined || (this.used.get(service) ?? 0) + calls + Math.ceil(permits * slack) <= permits
  }

  private tryStart(waiter: Waiter): boolean {
    if (!this.hasRoom(waiter) || !this.takesGate(waiter.request.gate)) return false
    this.leave(waiter)
    this.count(waiter, waiter.calls)
    waiter.phase = "granted"
    waiter.resume!(Effect.suspend(() => this.begin(waiter)))
    return true
  }

  private takesGate(gate: Gate | undefined): boolean {
    if (gate === undefined || !this.settings.takesGates) return true
    if (this.shut.has(gate.flow)) return false
    if (gate.tryTake()) return true
    this.shut.add(gate.flow)
    gate.onFree(() => {
      this.shut.delete(gate.flow)
      this.soon()
    })
    return false
  }

  private begin(waiter: Waiter): Admitted {
    const entry = waiter.entry!
    waiter.phase = "started"
    this.ledger.admitted(entry, waiter.now)
    return Effect.isEffect(waiter.use) ? waiter.use : waiter.use({
      settle: ({ tokens }) => settle(this.ledger, entry, tokens),
      waitedMillis: waiter.now - entry.requestedAt,
      lost: Effect.never
    })
  }

  // ---- the way out ----------------------------------------------------------------------------------------------------

  private ended(waiter: Waiter, _exit: Exit.Exit<unknown, unknown>): void {
    const { entry, phase } = waiter
    waiter.phase = "over"
    if (phase === "new" || phase === "over") return
    if (phase === "started") this.ledger.released(entry!, waiter.now)
    else this.ledger.withdrawn(entry!)
    if (phase === "waiting") this.leave(waiter)
    else this.count(waiter, -waiter.calls)
    if (phase === "granted" && this.settings.takesGates) waiter.request.gate?.release()
    this.soon()
  }

  private reject(waiter: Waiter, rejected: Rejected): void {
    this.leave(waiter)
    waiter.resume!(this.refused(waiter, rejected))
    this.soon()
  }

  private leave(waiter: Waiter): void {
    waiter.timer?.interruptUnsafe()
    waiter.timer = undefined
    this.waiting = this.waiting.filter((other) => other !== waiter)
  }

  private count({ request: { service } }: Waiter, calls: number): void {
    if (service !== undefined) this.used.set(service, (this.used.get(service) ?? 0) + calls)
  }

  // What comes back within one step of a caller starts nobody in the same step: it may be about to stop the others too.
  private soon(): void {
    const [first] = this.waiting
    if (this.isScheduled || first === undefined) return
    this.isScheduled = true
    Context.get(first.context, Scheduler.Scheduler).makeDispatcher().scheduleTask(() => {
      this.isScheduled = false
      this.serve()
    }, 0)
  }

  close(): void {
    this.isClosed = true
    for (const waiter of this.waiting) this.reject(waiter, closed)
  }
}

// The next steps of a fiber near the end of its budget would come a scheduler's turn after the grant.
const mayYield = (fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const budget = fiber.cache.maxOpsBeforeYield
  return fiber.currentOpCount + 8 >= budget && budget > 32 && !fiber.cache.preventYield
}

const settle = (ledger: Ledger, entry: Entry, tokens: number): Effect.Effect<void> =>
  Number.isSafeInteger(tokens) && tokens >= 0
    ? Effect.sync(() => ledger.settle(entry, tokens))
    : Effect.die(new RangeError(`Lease.settle: tokens is ${tokens}; it must be an integer of at least 0`))

// ---- rejections -------------------------------------------------------------------------------------------------------

export const limitOf = ({ service }: Request): string =>
  service === undefined ? "TestLimiter" : `TestLimiter, service ${JSON.stringify(service)}`

const rejectedFor = (reason: Rejected["reason"], limit: string, words: string): Rejected =>
  new Rejected({ reason, limit, message: limit === "" ? words : `${limit}: ${words}` })

const closed = rejectedFor("StoreUnavailable", "", "the limiter is closed")

const exceeded = (request: Request): Rejected =>
  rejectedFor("Exceeded", limitOf(request), "no room now, and it may not wait")

const tooLate = (request: Request, maxWait: Duration.Input): Rejected =>
  rejectedFor("MaxWait", limitOf(request), `it may wait ${Duration.toMillis(maxWait)} ms (maxWait)`)

const invalid = ({ calls = 1, maxWait, tokens = 1 }: Request): Rejected | undefined => {
  for (const [name, value] of Object.entries({ calls, tokens })) {
    if (Number.isSafeInteger(value) && value >= 1) continue
    return rejectedFor("InvalidRequest", "", `${name} is ${value}; it must be an integer of at least 1`)
  }
  const duration = maxWait === undefined || Number.isNaN(maxWait) ? maxWait : Duration.fromInput(maxWait)
  const isDuration = typeof duration === "object" && Option.isOption(duration) &&
    Option.exists(duration, (wait) => Duration.toMillis(wait) >= 0)
  return maxWait === undefined || isDuration
    ? undefined
    : rejectedFor("InvalidRequest", "", `maxWait is ${describe(maxWait)}; it must be a duration of at least 0`)
}
