/**
 * The desk of a limiter whose store is asked. One ask is under way at a time; it carries the heads of all lanes that may try,
 * several of each, in the order of their turns. Who comes meanwhile goes into the next one. A head that leaves while it is
 * asked for has taken nothing: what the store grants it goes to the lane's next, else back.
 *
 * When the store does not answer, `onStoreError` decides for the heads of that ask, and for all who were never told a time.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { LimiterStore, LimiterStoreError } from "../LimiterStore.ts"
import { Changes } from "./changes.ts"
import { Circuit } from "./circuit.ts"
import { Commands } from "./commands.ts"
import type { Outcome } from "./commands.ts"
import { Desk } from "./desk.ts"
import { earliestInLine } from "./estimate.ts"
import type { Refused } from "./estimate.ts"
import { blocking, headsEach, nextBatch, shareMillis } from "./flight.ts"
import type { Flight, Leg } from "./flight.ts"
import type { LaneQueue, LimitQueue, Waiter } from "./lane.ts"
import { Lanes } from "./lanes.ts"
import type { RuleBook } from "./lanes.ts"
import { Leases } from "./leases.ts"
import { Outage } from "./outage.ts"
import type { OnStoreError } from "./outage.ts"
import * as Rejections from "./rejections.ts"
import type { Answer, Grant, Limit, Signal } from "./store.ts"
import type { Timer } from "./timer.ts"

type Store = LimiterStore["Service"]

export interface AskingOptions {
  readonly owner: string
  readonly onStoreError: OnStoreError
  readonly commandTimeoutMillis: number
  readonly probeMillis: number
}

/** A permit comes back unsaid when its holder died: so often it is asked for at least. */
const permitPollMillis = 1000
/** Who knew his time asks again so much later when the store did not answer. */
const retryMillis = 100

export class AskingDesk extends Desk {
  readonly lanes: Lanes
  readonly circuit: Circuit
  private readonly store: Store
  private readonly owner: string
  private readonly commands: Commands
  private readonly changes: Changes
  private readonly leases: Leases
  private readonly outage: Outage
  private readonly fresh = new Set<LaneQueue>()
  private readonly dueQueues = new Set<LimitQueue>()
  private readonly withdrawn = new Set<LaneQueue>()
  private flight: Flight | undefined
  private landed: (() => void) | undefined
  private isFlushScheduled = false
  private ids = 0
  private lastError: LimiterStoreError | undefined

  constructor(book: RuleBook, store: Store, options: AskingOptions, timer: Timer, context: Context.Context<never>) {
    super(timer)
    this.store = store
    this.owner = options.owner
    this.circuit = new Circuit(options.probeMillis)
    this.commands = new Commands(context, timer, options.commandTimeoutMillis)
    this.changes = new Changes(this.commands, store, timer, this.heard)
    this.leases = new Leases(this.commands, store, timer, this.heard)
    this.outage = new Outage(options.onStoreError, timer.clock, this.freed)
    this.lanes = new Lanes(book, (key, limits) => store.lane(key, limits, options.owner), this.due)
  }

  attempt(waiter: Waiter): Effect.Effect<unknown, unknown, unknown> {
    return this.line(waiter)
  }

  // A lane that is about to be asked for keeps its turn, whoever joins it.
  protected override arrive(lane: LaneQueue): void {
    if (!this.fresh.has(lane)) super.arrive(lane)
  }

  protected override isNext({ lane }: Waiter): boolean {
    const queue = lane.parkedAt
    return queue === undefined ? this.fresh.has(lane) : queue.limit.rule._tag !== "Permits" && this.dueQueues.has(queue)
  }

  protected serve(lane: LaneQueue): void {
    this.fresh.add(lane)
    this.flushSoon()
  }

  readonly due = (queue: LimitQueue): void => {
    this.dueQueues.add(queue)
    this.flushSoon()
  }

  // ---- asking ---------------------------------------------------------------------------------------------------------

  // What comes in one turn of the scheduler goes into one ask.
  private flushSoon(): void {
    if (this.isFlushScheduled || this.flight !== undefined) return
    this.isFlushScheduled = true
    this.timer.soon(this.flush)
  }

  private readonly flush = (): void => {
    this.isFlushScheduled = false
    if (this.flight !== undefined || this.closed) return
    this.passOrphans()
    if (this.circuit.isOpen) return this.withoutStore()
    const flight = this.board()
    if (flight.legs.length === 0) return this.keepDue(flight.queues)
    this.flight = flight
    this.commands.run(this.store.ask(flight.legs.map(({ ask }) => ask)), (outcome) => {
      this.flight = undefined
      this.heard(outcome)
      if (outcome._tag === "Done") this.answered(flight, outcome.value)
      else this.unanswered(flight, outcome.error)
      this.landed?.()
      if (this.fresh.size > 0 || this.dueQueues.size > 0 || this.withdrawn.size > 0) this.flushSoon()
    })
  }

  // Everybody who may try, the oldest turn first.
  private board(): Flight {
    const queues = [...this.dueQueues]
    const lanes = new Set(queues.flatMap((queue) => queue.parked.slice(0, 2 * headsEach(1))))
    for (const lane of this.fresh) lanes.add(lane)
    this.dueQueues.clear()
    this.fresh.clear()
    const most = headsEach(lanes.size)
    const legs: Array<Leg> = []
    for (const lane of [...lanes].sort((a, b) => a.ticket - b.ticket)) {
      const elder = lane.behind(lane.ticket, lane.parkedAt)
      // Somebody has waited longer for another of its limits, and does not try now.
      if (elder !== undefined && !lanes.has(elder.parked[0]!)) this.moveTo(lane, elder)
      else this.boardLane(lane, most, legs)
    }
    for (const lane of this.withdrawn) {
      if (lane.isIdle) legs.push({ lane, heads: [], ask: { lane: lane.lane, heads: [], waiting: 0 } })
    }
    this.withdrawn.clear()
    return { legs, queues }
  }

  private boardLane(lane: LaneQueue, most: number, legs: Array<Leg>): void {
    const heads: Array<Waiter> = []
    const count = Math.min(most, lane.batch)
    for (let waiter = this.head(lane); waiter !== undefined; waiter = this.head(lane)) {
      lane.turns.shift(waiter)
      waiter.phase = "asked"
      heads.push(waiter)
      if (heads.length === count) break
    }
    lane.asked = heads.length
    if (heads.length === 0) {
      if (lane.parkedAt !== undefined) this.unpark(lane)
      return
    }
    const ids = heads.map(({ calls, tokens }) => ({ id: lane.hasPermits ? this.nextId() : "", calls, tokens }))
    legs.push({ lane, heads, ask: { lane: lane.lane, heads: ids, waiting: lane.turns.open + heads.length } })
  }

  private nextId(): string {
    return `${this.owner}:${++this.ids}`
  }

  private moveTo(lane: LaneQueue, queue: LimitQueue, waitMillis?: number): void {
    const from = lane.parkedAt
    if (from !== undefined) {
      from.remove(lane)
      this.parked--
      if (from.parked.length === 0) this.timer.remove(from)
    }
    this.park(lane, queue, waitMillis)
  }

  // ---- the answer -----------------------------------------------------------------------------------------------------

  private answered(flight: Flight, answers: ReadonlyArray<Answer>): void {
    const starts: Array<() => void> = []
    flight.legs.forEach((leg, index) => this.answeredLeg(leg, answers[index]!, starts))
    this.keepDue(flight.queues)
    // Everybody stands where he belongs before anybody's code runs.
    for (const start of starts) start()
  }

  private answeredLeg({ ask, heads, lane }: Leg, answer: Answer, starts: Array<() => void>): void {
    const { granted, grantedAt, waitMillis } = answer
    lane.asked = 0
    if (heads.length > 0) lane.batch = nextBatch(heads.length, answer)
    heads.slice(0, granted).forEach((waiter, index) => {
      const grant: Grant = { lane: ask.lane, head: ask.heads[index]!, grantedAt }
      if (waiter.phase === "asked") starts.push(() => this.startAsked(waiter, grant))
      else starts.push(() => this.pass(lane, grant))
    })
    const queue = this.lanes.queue(blocking(ask.lane, answer) ?? "")
    const refused = heads.slice(granted)
    this.putBack(refused, refused[0], queue, waitMillis, starts)
    lane.isRegistered = ask.waiting > granted
    lane.elsewhere = Math.max(answer.waiting - Math.max(ask.waiting - granted, 0), 0)
    this.reposition(lane, granted > 0, refused.length > 0 ? queue : undefined, waitMillis)
  }

  private startAsked(waiter: Waiter, grant: Grant): void {
    if (waiter.phase === "asked") this.start(waiter, grant)
    else this.pass(waiter.lane, grant)
  }

  private putBack(
    refused: ReadonlyArray<Waiter>,
    first: Waiter | undefined,
    queue: LimitQueue | undefined,
    waitMillis: number,
    later: Array<() => void>
  ): void {
    for (const waiter of refused.toReversed()) {
      if (waiter.phase !== "asked") continue
      waiter.gate?.release()
      // Who costs no less than the one that was refused would be refused too.
      const { once, request: { speculative } } = waiter.plan
      if (speculative === true || (once && waiter.calls >= first!.calls && waiter.tokens >= first!.tokens)) {
        later.push(() => this.reject(waiter, Rejections.exceeded(queue?.limit.name ?? "the store", waitMillis)))
      } else if (isOverdue(waiter)) later.push(() => this.reject(waiter, this.waitedTooLong(waiter)))
      else if (waiter.lane !== this.laneOf(waiter.plan, waiter.tenant)) later.push(() => this.readmit(waiter))
      else {
        waiter.phase = "waiting"
        waiter.lane.turns.unshift(waiter)
      }
    }
  }

  private reposition(lane: LaneQueue, passed: boolean, queue: LimitQueue | undefined, waitMillis: number): void {
    if (passed) this.turned(lane)
    if (lane.turns.peek() === undefined) {
      if (lane.parkedAt !== undefined) this.unpark(lane)
      if (lane.isIdle) this.emptied(lane)
    } else if (queue !== undefined && lane.turns.peek()!.plan.once) this.reask(lane, queue, waitMillis)
    else if (queue !== undefined) {
      const head = lane.turns.peek()!
      const cost = queue.limit.rule.unit === "calls" ? head.calls : head.tokens
      this.moveTo(lane, queue, Math.max(waitMillis, shareMillis(lane, queue, cost)))
      if (lane.untold > 0) this.tell(lane, { queue, waitMillis, cost })
    } else if (lane.parkedAt === undefined) this.arrive(lane)
  }

  // Those who came before the store had said anything: who cannot start in time is turned away now.
  private tell(lane: LaneQueue, refused: Refused): void {
    lane.untold = 0
    const now = this.timer.now()
    let flow: unknown
    let calls = 0
    let tokens = 0
    for (const waiter of lane.turns.all()) {
      if (waiter.flow !== flow) calls = tokens = 0
      flow = waiter.flow
      calls += waiter.calls
      tokens += waiter.tokens
      if (waiter.isTold) continue
      waiter.isTold = true
      const rejected = this.isTooLate(waiter, earliestInLine(lane, { calls, tokens }, refused), now)
      if (rejected !== undefined) this.reject(waiter, rejected)
    }
  }

  // Nobody in the lane may wait: guesses go, cheaper requests get an answer of their own.
  private reask(lane: LaneQueue, queue: LimitQueue, waitMillis: number): void {
    for (const waiter of lane.turns.all()) {
      if (waiter.plan.request.speculative === true) {
        this.reject(waiter, Rejections.exceeded(queue.limit.name, waitMillis))
      }
    }
    if (lane.parkedAt === undefined) this.arrive(lane)
  }

  // A limit that nobody is told to wait for may be tried at once.
  private keepDue(queues: ReadonlyArray<LimitQueue>): void {
    for (const queue of queues) if (queue.parked.length > 0 && queue.index === -1) this.due(queue)
  }

  protected override await(queue: LimitQueue, waitMillis: number): void {
    super.await(queue, Number.isFinite(waitMillis) ? waitMillis : permitPollMillis)
  }

  // ---- without an answer ----------------------------------------------------------------------------------------------

  private unanswered(flight: Flight, error: LimiterStoreError): void {
    this.lastError = error
    const heads: Array<Waiter> = []
    for (const { ask, heads: asked, lane } of flight.legs) {
      lane.asked = 0
      heads.push(...asked.filter(({ phase }) => phase === "asked"))
      // It may have been applied: its leases go back when the store is there again.
      if (lane.hasPermits && error.kind === "TimedOut") {
        for (const head of ask.heads) {
          this.changes.add({ _tag: "Release", grant: { lane: ask.lane, head, grantedAt: 0 } })
        }
      }
    }
    for (const queue of flight.queues) if (queue.parked.length > 0) this.await(queue, retryMillis)
    for (const waiter of heads) this.decide(waiter)
    for (const { lane } of flight.legs) this.unheard(lane)
    const fresh = [...this.fresh]
    this.fresh.clear()
    for (const lane of fresh) this.unheard(lane)
    for (const queue of this.polledQueues()) for (const lane of queue.parked.slice()) this.unheard(lane)
  }

  // Waiters of a lane that waits for no certain time.
  private unheard(lane: LaneQueue): void {
    if (lane.parkedAt !== undefined && lane.parkedAt.limit.rule._tag !== "Permits") return
    while (!this.isTired) {
      const waiter = this.head(lane)
      if (waiter === undefined) break
      lane.turns.shift(waiter)
      if (!this.decide(waiter)) return
    }
    if (lane.parkedAt === undefined) return this.arrive(lane)
    if (lane.parkedAt !== undefined && lane.turns.peek() === undefined) this.unpark(lane)
  }

  private *polledQueues(): Generator<LimitQueue> {
    for (const lane of this.lanes.all()) {
      if (lane.parkedAt?.parked[0] === lane && lane.parkedAt.limit.rule._tag === "Permits") yield lane.parkedAt
    }
  }

  /** Decides without the store for a waiter out of its line: whether that was an answer. */
  private decide(waiter: Waiter): boolean {
    const decision = this.outage.decide(waiter, this.lastError)
    switch (decision._tag) {
      case "Start":
        this.start(waiter, decision.grant)
        return true
      case "Reject":
        waiter.gate?.release()
        this.reject(waiter, decision.rejected)
        return true
      case "Wait": {
        waiter.gate?.release()
        waiter.phase = "waiting"
        const { lane } = waiter
        lane.turns.unshift(waiter)
        this.moveTo(lane, lane.limits[decision.blockedBy]!, decision.waitMillis)
        return false
      }
    }
  }

  // The circuit is open: nobody asks, but for a probe.
  private withoutStore(): void {
    const { legs, queues } = this.board()
    for (const queue of queues) if (queue.parked.length > 0) this.await(queue, retryMillis)
    for (const { heads, lane } of legs) {
      lane.asked = 0
      for (const waiter of heads) if (waiter.phase === "asked") this.decide(waiter)
      this.unheard(lane)
    }
    this.probe()
  }

  /** The probe's time has come. */
  private readonly probing = { at: 0, rank: 2, index: -1, fire: (): void => this.probe() }

  private probe(): void {
    const now = this.timer.now()
    if (!this.circuit.probes(now)) return this.watch()
    const limits: Array<Limit> = []
    for (const lane of this.lanes.all()) {
      limits.push(...lane.lane.limits.slice(0, 1))
      if (limits.length > 0) break
    }
    this.commands.run(this.store.peek(limits), (outcome) => {
      if (outcome._tag === "Failed") this.circuit.probeFailed(this.timer.now())
      this.heard(outcome)
    })
  }

  // While anybody waits for the store, or something is to be told to it, it is probed by itself; else the next request does it.
  private watch(): void {
    const { circuit, timer } = this
    const isWanted = circuit.isOpen && (this.parked > 0 || this.changes.size > 0 || this.leases.size > 0)
    if (isWanted && !circuit.isProbing) timer.set(this.probing, Math.max(circuit.probeAt, timer.now() + 1))
    else timer.remove(this.probing)
  }

  /** A command has ended, well or not. */
  private readonly heard = (outcome: Outcome<unknown>): void => {
    if (outcome._tag === "Failed") {
      this.lastError = outcome.error
      this.circuit.failed(this.timer.now())
    } else this.circuit.succeeded()
    this.changes.isHeld = this.circuit.isOpen
    if (!this.circuit.isOpen && this.changes.size > 0 && outcome._tag === "Done") this.timer.soon(this.changes.send)
    this.watch()
  }

  // ---- the way out ----------------------------------------------------------------------------------------------------

  protected override hold({ grant, lane }: Waiter): void {
    if (grant !== undefined && lane.hasPermits && !this.outage.isLocal(grant)) this.leases.hold(grant)
  }

  protected abandoned(waiter: Waiter): void {
    waiter.gate?.release()
    this.timer.remove(waiter)
  }

  protected override emptied(lane: LaneQueue): void {
    if (!lane.isRegistered) return
    lane.isRegistered = false
    this.withdrawn.add(lane)
    this.flushSoon()
  }

  protected giveBack(grant: Grant): void {
    if (!this.outage.change({ _tag: "Return", grant })) this.changes.add({ _tag: "Return", grant })
  }

  protected release({ grant, lane }: Waiter): void {
    if (!lane.hasPermits || this.outage.change({ _tag: "Release", grant: grant! })) return
    if (this.leases.drop(grant!)) this.changes.add({ _tag: "Release", grant: grant! })
  }

  settle(waiter: Waiter, tokens: number): void {
    const { grant } = waiter
    if (grant === undefined) return
    if (!this.outage.change({ _tag: "Settle", grant, tokens })) this.changes.add({ _tag: "Settle", grant, tokens })
    waiter.grant = { ...grant, head: { ...grant.head, tokens } }
  }

  /** Tells what a service said. What makes it pause is heard before anybody goes on. */
  readonly feedback = (limit: Limit, signal: Signal): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      if (this.circuit.isOpen) return resume(Effect.void)
      this.commands.run(this.store.feedback(limit, signal), (outcome) => {
        this.heard(outcome)
        resume(Effect.void)
      })
      if (!signal.congested) resume(Effect.void)
    })

  /** Reads the state of limits, within the time a command may take. */
  readonly peek: Store["peek"] = (limits) =>
    Effect.callback((resume) =>
      this.commands.run(this.store.peek(limits), (outcome) => {
        this.heard(outcome)
        resume(outcome._tag === "Done" ? Effect.succeed(outcome.value) : Effect.fail(outcome.error))
      })
    )

  lost({ grant }: Waiter): Effect.Effect<void> {
    if (grant === undefined) return Effect.never
    return Effect.callback<void>((resume) => {
      const forget = this.leases.onLost(grant, () => resume(Effect.void))
      return Effect.sync(forget)
    })
  }

  /** Ends when the store has what it is to have back, or cannot have it. */
  readonly closing: Effect.Effect<void> = Effect.suspend(() => {
    this.close()
    return Effect.callback<void>((resume) => {
      const drain = (): void => {
        const lanes = [...this.lanes.all()].filter(({ isRegistered }) => isRegistered)
        const asks = lanes.map(({ lane }) => ({ lane, heads: [], waiting: 0 }))
        if (asks.length > 0 && !this.circuit.isOpen) this.commands.run(this.store.ask(asks), () => {})
        for (const grant of this.leases.dropAll()) this.changes.add({ _tag: "Release", grant })
        this.changes.whenIdle(() => {
          this.commands.close()
          this.timer.close()
          resume(Effect.void)
        })
      }
      if (this.flight === undefined) return drain()
      for (const { heads } of this.flight.legs) {
        for (const waiter of heads) if (waiter.phase === "asked") this.reject(waiter, Rejections.closed)
      }
      this.landed = drain
    })
  })
}

// Its time passed while it was asked for.
const isOverdue = (waiter: Waiter): boolean => waiter.expired !== undefined && waiter.index === -1
