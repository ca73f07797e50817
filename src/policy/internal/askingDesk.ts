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
import { Commands } from "./commands.ts"
import { Desk } from "./desk.ts"
import type { Refusal } from "./desk.ts"
import { earliestInLine } from "./estimate.ts"
import type { Refused } from "./estimate.ts"
import { blocking, headsEach, miscounted, nextBatch } from "./flight.ts"
import type { Flight, Leg } from "./flight.ts"
import { Health } from "./health.ts"
import { Holdings } from "./holdings.ts"
import type { LaneQueue, LimitQueue, Waiter } from "./lane.ts"
import { Lanes } from "./lanes.ts"
import type { RuleBook } from "./lanes.ts"
import { Outage } from "./outage.ts"
import type { OnStoreError } from "./outage.ts"
import { Questions } from "./questions.ts"
import * as Rejections from "./rejections.ts"
import type { Rejected } from "./request.ts"
import { shareMillis, unitMillis } from "./shares.ts"
import type { Answer, Grant, Head } from "./store.ts"
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
  readonly questions: Questions
  private readonly health: Health
  private readonly store: Store
  private readonly owner: string
  private readonly commands: Commands
  private readonly holdings: Holdings
  private readonly outage: Outage
  private readonly fresh = new Set<LaneQueue>()
  private readonly dueQueues = new Set<LimitQueue>()
  private readonly withdrawn = new Set<LaneQueue>()
  private flight: Flight | undefined
  private landed: (() => void) | undefined
  private isFlushScheduled = false
  private ids = 0

  constructor(book: RuleBook, store: Store, options: AskingOptions, timer: Timer, context: Context.Context<never>) {
    super(timer)
    this.store = store
    this.owner = options.owner
    this.health = new Health(options.probeMillis, timer, {
      isWanted: () => this.parked > 0 || this.holdings.isOpen,
      ask: (done) => this.questions.probe(this.lanes.all(), done),
      heard: ({ _tag }) => this.holdings.follow(this.health.isAway, _tag === "Done")
    })
    this.commands = new Commands(context, timer, options.commandTimeoutMillis)
    this.questions = new Questions(store, this.commands, this.health)
    this.outage = new Outage(options.onStoreError, timer.clock, this.freed)
    this.holdings = new Holdings(store, this.commands, timer, this.outage, this.health.heard)
    this.lanes = new Lanes(book, (key, limits) => store.lane(key, limits, options.owner), this.due)
  }

  attempt(waiter: Waiter): Effect.Effect<unknown, unknown, unknown> {
    const { gate, lane } = waiter
    const isUnlimited = lane.limits.length === 0 && lane.isIdle && !this.closed
    return isUnlimited && (gate === undefined || gate.tryTake()) ? this.begin(waiter) : this.line(waiter)
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
    if (lane.limits.length === 0) return this.startAll(lane)
    this.fresh.add(lane)
    this.flushSoon()
  }

  // Nothing is to be asked for a lane without limits.
  private startAll(lane: LaneQueue): void {
    for (let waiter = this.head(lane); waiter !== undefined; waiter = this.head(lane)) {
      if (this.isTired) {
        waiter.gate?.release()
        return this.later(lane)
      }
      this.takeOut(lane, waiter)
      this.start(waiter, undefined)
    }
  }

  readonly due = (queue: LimitQueue): void => {
    this.dueQueues.add(queue)
    this.flushSoon()
  }

  // Times that the store told are of no use while it is away, and whoever comes may start.
  private get isOpen(): boolean {
    return this.outage.isOpen && this.health.isAway
  }

  protected override isTooLate(...late: Parameters<Desk["isTooLate"]>): Rejected | undefined {
    return this.isOpen ? undefined : super.isTooLate(...late)
  }

  protected override late(waiter: Waiter): void {
    if (!this.isOpen || waiter.gate?.tryTake() === false) return super.late(waiter)
    this.leave(waiter)
    this.start(waiter, undefined)
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
    const flight = this.board()
    if (flight.legs.length === 0) return this.keepDue(flight.queues)
    // While the store is away one ask in a while is the probe; the others are decided without it.
    if (this.health.isAway && !this.health.tries()) return this.withoutStore(flight)
    this.flight = flight
    this.commands.run(this.store.ask(flight.legs.map(({ ask }) => ask)), (outcome) => {
      this.flight = undefined
      this.health.heard(outcome)
      if (outcome._tag === "Failed") this.unanswered(flight, outcome.error)
      else if (outcome.value.length === flight.legs.length) this.answered(flight, outcome.value)
      else this.unanswered(flight, miscounted)
      this.landed?.()
      if (this.fresh.size > 0 || this.dueQueues.size > 0 || this.withdrawn.size > 0) this.flushSoon()
    })
  }

  // Everybody who may try, the oldest turn first.
  private board(): Flight {
    const queues = [...this.dueQueues]
    const lanes = new Set(queues.flatMap((queue) => queue.parked.slice(0, queue.batch)))
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
      if (lane.isIdle) legs.push({ lane, heads: [], ask: { lane: lane.lane, heads: [], waiting: 0 }, from: undefined })
    }
    this.withdrawn.clear()
    return { legs, queues }
  }

  private boardLane(lane: LaneQueue, most: number, legs: Array<Leg>): void {
    const heads: Array<Waiter> = []
    const { parkedAt } = lane
    // Without the store, those whose time has come by the limit's mean rate.
    const batch = this.health.isAway && parkedAt !== undefined
      ? Math.ceil(retryMillis / unitMillis(parkedAt.limit.rule))
      : lane.batch
    const count = Math.min(most, batch)
    for (let waiter = this.head(lane); waiter !== undefined; waiter = this.head(lane)) {
      this.takeOut(lane, waiter)
      waiter.phase = "asked"
      heads.push(waiter)
      if (heads.length === count) break
    }
    lane.asked = heads.length
    if (heads.length === 0) {
      if (lane.parkedAt !== undefined) this.unpark(lane)
      return
    }
    let guesses = 0
    const ids = heads.map(({ calls, plan: { slack }, tokens }): Head => {
      const id = lane.hasPermits ? `${this.owner}:${++this.ids}` : ""
      if (slack === 0) return { id, calls, tokens }
      guesses++
      return { id, calls, tokens, slack }
    })
    const ask = { lane: lane.lane, heads: ids, waiting: lane.turns.open + heads.length - guesses }
    legs.push({ lane, heads, ask, from: lane.parkedAt })
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
    for (const queue of flight.queues) {
      const tried = flight.legs.flatMap(({ from }, index) => from === queue ? [answers[index]!.granted] : [])
      if (tried.length > 0) queue.batch = nextBatch(tried.length, tried.filter((granted) => granted > 0).length)
    }
    this.keepDue(flight.queues)
    // Everybody stands where he belongs before anybody's code runs.
    for (const start of starts) start()
  }

  private answeredLeg({ ask, heads, lane }: Leg, answer: Answer, starts: Array<() => void>): void {
    const { granted, grantedAt, waitMillis } = answer
    lane.asked = 0
    const guess = heads.findIndex(({ plan }) => plan.slack > 0)
    const sent = guess < 0 ? heads.length : guess
    if (sent > 0) lane.batch = nextBatch(sent, Math.min(granted, sent))
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
    // What a guess was told holds for nobody else.
    this.reposition(lane, granted > 0, granted < sent ? queue : undefined, waitMillis)
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
      // Those who start first may end it: then it has nothing any more.
      waiter.phase = "waiting"
      // Who costs no less than the one that was refused would be refused too.
      const { once, request: { speculative } } = waiter.plan
      if (speculative === true || (once && waiter.calls >= first!.calls && waiter.tokens >= first!.tokens)) {
        later.push(() => this.reject(waiter, Rejections.exceeded(queue?.limit.name ?? "the store", waitMillis)))
      } else if (this.isOverdue(waiter)) later.push(() => this.reject(waiter, this.waitedTooLong(waiter)))
      else if (waiter.lane !== this.laneOf(waiter.plan, waiter.tenant)) {
        later.push(() => waiter.phase === "waiting" && this.readmit(waiter))
      } else this.putIn(waiter.lane, waiter)
    }
  }

  // Its time passed while it was asked for. The wait for its place does not count.
  private isOverdue(waiter: Waiter): boolean {
    if (waiter.expired === undefined || waiter.index !== -1) return false
    const now = this.timer.now()
    const left = waiter.plan.maxWaitMillis - waiter.limitedFor(now)
    if (left > 0) this.timer.set(waiter, now + left)
    return left <= 0
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
      this.moveTo(lane, queue, Math.max(waitMillis, shareMillis(lane, queue.limit.rule, cost)))
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
      const rejected = this.isTooLate(waiter, earliestInLine(waiter, { calls, tokens }, refused), now)
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
    this.health.lastError = error
    for (const { ask, lane } of flight.legs) {
      lane.asked = 0
      // The next ask may get no answer either: it carries few.
      lane.batch = 2
      if (lane.hasPermits && error.kind === "TimedOut") this.holdings.doubt(ask)
    }
    for (const queue of flight.queues) if (queue.parked.length > 0) this.await(queue, retryMillis)
    for (const { heads } of flight.legs) this.decideInTurn(heads)
    for (const { lane } of flight.legs) this.unheard(lane)
    const fresh = [...this.fresh]
    this.fresh.clear()
    for (const lane of fresh) this.unheard(lane)
    const polled = [...this.lanes.all()].filter(({ parkedAt }) => parkedAt?.limit.rule._tag === "Permits")
    for (const lane of polled.sort((a, b) => a.ticket - b.ticket)) this.unheard(lane)
  }

  // Waiters of a lane that waits for no certain time.
  private unheard(lane: LaneQueue): void {
    if (lane.parkedAt !== undefined && lane.parkedAt.limit.rule._tag !== "Permits") return
    while (!this.isTired) {
      const waiter = this.head(lane)
      if (waiter === undefined) break
      this.takeOut(lane, waiter)
      waiter.phase = "asked"
      if (!this.decideInTurn([waiter])) return
    }
    if (lane.parkedAt === undefined) return this.arrive(lane)
    if (lane.parkedAt !== undefined && lane.turns.peek() === undefined) this.unpark(lane)
  }

  // Decides without the store for heads out of their line: whether each got an answer. The first that is to wait goes back to
  // where it stood, and so do those behind it.
  private decideInTurn(heads: ReadonlyArray<Waiter>): boolean {
    for (const [index, waiter] of heads.entries()) {
      // Who starts may end another.
      const refusal = waiter.phase === "asked" ? this.decide(waiter) : undefined
      if (refusal === undefined) continue
      const { lane } = waiter
      for (const each of heads.slice(index).toReversed()) {
        if (each.phase !== "asked") continue
        each.gate?.release()
        this.putIn(lane, each)
      }
      this.moveTo(lane, refusal.queue, refusal.waitMillis)
      return false
    }
    return true
  }

  private decide(waiter: Waiter): Refusal | undefined {
    const decision = this.outage.decide(waiter, this.health.lastError)
    switch (decision._tag) {
      case "Start":
        this.start(waiter, decision.grant)
        return undefined
      case "Reject":
        waiter.gate?.release()
        this.reject(waiter, decision.rejected)
        return undefined
      case "Wait":
        return { queue: waiter.lane.limits[decision.blockedBy]!, waitMillis: decision.waitMillis }
    }
  }

  private withoutStore({ legs, queues }: Flight): void {
    for (const queue of queues) if (queue.parked.length > 0) this.await(queue, retryMillis)
    for (const { heads, lane } of legs) {
      lane.asked = 0
      this.decideInTurn(heads)
      this.unheard(lane)
    }
  }

  // ---- the way out ----------------------------------------------------------------------------------------------------

  protected override hold(waiter: Waiter): void {
    this.holdings.hold(waiter)
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
    this.holdings.giveBack(grant)
  }

  protected release(waiter: Waiter): void {
    this.holdings.release(waiter)
  }

  settle(waiter: Waiter, tokens: number): void {
    this.holdings.settle(waiter, tokens)
  }

  lost(waiter: Waiter): Effect.Effect<void> {
    return this.holdings.lost(waiter)
  }

  /** Ends when the store has what it is to have back, or cannot have it. */
  readonly closing: Effect.Effect<void> = Effect.suspend(() => {
    this.close()
    return Effect.callback<void>((resume) => {
      const drain = (): void => {
        const lanes = [...this.lanes.all()].filter(({ isRegistered }) => isRegistered)
        const asks = lanes.map(({ lane }) => ({ lane, heads: [], waiting: 0 }))
        if (asks.length > 0 && !this.health.isAway) this.commands.run(this.store.ask(asks), () => {})
        this.holdings.drain(() => {
          this.commands.close()
          this.timer.close()
          resume(Effect.void)
        })
      }
      if (this.flight === undefined) return drain()
      for (const { heads } of this.flight.legs) {
        for (const waiter of heads) {
          if (waiter.phase !== "asked") continue
          waiter.gate?.release()
          this.reject(waiter, Rejections.closed)
        }
      }
      this.landed = drain
    })
  })
}
