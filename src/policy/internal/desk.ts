/**
 * The desk of a limiter: where requests come in, wait and start. What it does with a head that has its turn is the business of
 * the two kinds of desk (a store that answers at once, a store that is asked); lines, turns, gates, bounds on waiting and the
 * end of an admission are the same for both.
 *
 * - A newcomer goes behind whoever waits for one of its limits.
 * - A lane that was refused parks at the limit that blocks it; its turn keeps its age until it gets a grant.
 * - Guesses that hold permits give way as soon as somebody waits for these.
 * - A grant belongs to exactly one waiter: it starts, or passes the grant on when it left before its first step.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { earliest } from "./estimate.ts"
import type { Earliest } from "./estimate.ts"
import type { LaneQueue, LimitQueue, Plan, Waiter } from "./lane.ts"
import type { Lanes } from "./lanes.ts"
import { HeldLease } from "./lease.ts"
import { overCapacity, place } from "./plan.ts"
import * as Rejections from "./rejections.ts"
import type { Rejected } from "./request.ts"
import type { Rule } from "./rule.ts"
import type { Grant } from "./store.ts"
import type { Timer } from "./timer.ts"

type Admitted = Effect.Effect<unknown, unknown, unknown>

/** What the store said to a head it did not let pass. */
export interface Refusal {
  readonly queue: LimitQueue
  readonly waitMillis: number
}

/** How many waiters are started in one go before the event loop gets its turn. */
const startsPerTurn = 256

export abstract class Desk {
  readonly timer: Timer
  abstract readonly lanes: Lanes
  /** Lanes that are parked at some limit. */
  parked = 0
  closed = false
  private tickets = 0
  private starts = 0
  private isScheduled = false
  private readonly poked = new Set<LimitQueue>()
  private readonly ready = new Set<LaneQueue>()
  private readonly crowded = new Map<LimitQueue, number>()
  private orphans: Array<{ readonly lane: LaneQueue; readonly grant: Grant }> = []

  constructor(timer: Timer) {
    this.timer = timer
  }

  /** Tries a request that has just come; makes it wait, where it may. */
  abstract attempt(waiter: Waiter): Admitted
  /** The limit's time has come: those parked there may try, in their order. */
  abstract readonly due: (queue: LimitQueue) => void
  /** A lane with waiters is parked nowhere and blocked by nobody. */
  protected abstract serve(lane: LaneQueue): void
  /** A head that is being asked for has left. */
  protected abstract abandoned(waiter: Waiter): void
  protected abstract giveBack(grant: Grant): void
  protected abstract release(waiter: Waiter): void
  /** A waiter is about to start with its grant. */
  protected hold(_waiter: Waiter): void {}
  /** Its lane is about to be asked for. */
  protected isNext(_waiter: Waiter): boolean {
    return false
  }
  /** Nobody waits in the lane any more. */
  protected emptied(_lane: LaneQueue): void {}
  /** The waiter's tokens are to be these. */
  abstract settle(waiter: Waiter, tokens: number): void
  /** Ends when the waiter's permits were lost. */
  abstract lost(waiter: Waiter): Effect.Effect<void>

  // ---- the way in -----------------------------------------------------------------------------------------------------

  /** Nobody waits in the lane, nor for one of its limits. */
  isFree(lane: LaneQueue): boolean {
    return lane.isIdle && (this.parked === 0 || lane.behind(Number.POSITIVE_INFINITY) === undefined)
  }

  /**
   * Makes a request wait, unless it may not or would wait too long. What is tried and where it lines up is one step: what comes
   * back in between would wake nobody.
   */
  line(waiter: Waiter): Admitted {
    return Effect.callback<unknown, unknown, unknown>((resume) => {
      waiter.resume = resume
      waiter.since = this.timer.now()
      // Rules may have come since the request did.
      waiter.lane = this.laneOf(waiter.plan, waiter.tenant)
      const tried = this.tryNow(waiter)
      if (tried === "started") return
      const rejected = this.refuses(waiter, tried)
      if (rejected === undefined) this.enter(waiter, tried)
      else this.reject(waiter, rejected)
    })
  }

  /** Tries a request that nobody is ahead of, where the store answers at once. */
  protected tryNow(_waiter: Waiter): Refusal | "started" | undefined {
    return undefined
  }

  private refuses(waiter: Waiter, refusal: Refusal | undefined): Rejected | undefined {
    const { lane, plan } = waiter
    if (this.closed) return Rejections.closed
    if (plan.overCapacity !== undefined) return plan.overCapacity
    if (refusal !== undefined && plan.once) return Rejections.exceeded(refusal.queue.limit.name, refusal.waitMillis)
    const queue = plan.request.speculative === true ? lane.behind(Number.POSITIVE_INFINITY) : undefined
    if (queue !== undefined) return Rejections.exceeded(queue.limit.name, this.untilDue(queue))
    return this.isTooLate(waiter, earliest(plan, lane, waiter, waiter.since, refusal), waiter.since)
  }

  /** Whether its earliest start is later than it may wait; the deadline counts the wait for its place too. */
  protected isTooLate(waiter: Waiter, { limit, millis }: Earliest, now: number): Rejected | undefined {
    const { deadlineMillis, maxWaitMillis, once } = waiter.plan
    const isPastDeadline = now - waiter.since + millis > deadlineMillis
    if (!isPastDeadline && waiter.limitedFor(now) + millis <= maxWaitMillis) return undefined
    const name = limit?.limit.name ?? ""
    // Who may not wait at all is not told that the wait is too long.
    if (once) return Rejections.exceeded(name, millis)
    return isPastDeadline && deadlineMillis < maxWaitMillis
      ? Rejections.tooLate("Deadline", name, deadlineMillis, millis)
      : Rejections.tooLate("MaxWait", name, maxWaitMillis, millis)
  }

  private enter(waiter: Waiter, refusal: Refusal | undefined): void {
    const { lane } = waiter
    waiter.phase = "waiting"
    lane.turns.push(waiter)
    waiter.linedUp(this.timer.now())
    if (waiter.plan.maxWaitMillis !== Number.POSITIVE_INFINITY) {
      waiter.expired = this.expire
      this.timer.set(waiter, waiter.since + waiter.plan.maxWaitMillis)
    }
    waiter.isTold = refusal !== undefined || lane.parkedAt !== undefined
    if (!waiter.isTold) lane.untold++
    if (lane.parkedAt !== undefined) {
      this.crowd(lane.parkedAt, [waiter])
      return this.hasten(lane)
    }
    if (lane.asked > 0) return
    if (refusal !== undefined && lane.turns.size === 1) {
      lane.ticket = ++this.tickets
      return this.park(lane, refusal.queue, refusal.waitMillis)
    }
    this.arrive(lane)
  }

  /** A lane begins a turn: behind those who wait for its limits, or at once. */
  protected arrive(lane: LaneQueue): void {
    if (lane.parkedAt !== undefined || lane.asked > 0 || lane.turns.peek() === undefined) return
    lane.ticket = ++this.tickets
    const queue = lane.behind(lane.ticket)
    if (queue === undefined) this.serve(lane)
    else this.park(lane, queue)
  }

  /** The next of the lane whose place is free; the place is taken. */
  protected head(lane: LaneQueue): Waiter | undefined {
    for (let waiter = lane.turns.peek(); waiter !== undefined; waiter = lane.turns.peek()) {
      const { gate, plan } = waiter
      if (gate === undefined || gate.tryTake()) return waiter
      if (plan.request.speculative === true) this.reject(waiter, Rejections.exceeded("its place"))
      else this.shut(lane, waiter)
    }
    return undefined
  }

  /** Takes whose turn it is out of its line. */
  protected takeOut(lane: LaneQueue, waiter: Waiter): void {
    waiter.leaving(this.timer.now())
    lane.turns.shift(waiter)
  }

  /** Puts it back where it stood. */
  protected putIn(lane: LaneQueue, waiter: Waiter): void {
    waiter.phase = "waiting"
    lane.turns.unshift(waiter)
    waiter.linedUp(this.timer.now())
  }

  private shut(lane: LaneQueue, waiter: Waiter): void {
    const flow = waiter.flow!
    lane.turns.close(flow, this.timer.now())
    waiter.gate!.onFree(() => {
      lane.turns.reopen(flow, this.timer.now())
      this.ready.add(lane)
      this.schedule()
    })
  }

  // ---- limits and their queues ----------------------------------------------------------------------------------------

  /** Parks a lane; `waitMillis` is what the store said, unless it was not asked. */
  protected park(lane: LaneQueue, queue: LimitQueue, waitMillis?: number): void {
    queue.add(lane)
    this.parked++
    if (waitMillis !== undefined && queue.parked[0] === lane) this.await(queue, waitMillis)
    if (queue.guests.size > 0) this.crowd(queue, lane.turns.all())
  }

  // They wait where guesses are at work: so much is to come back.
  private crowd(queue: LimitQueue, waiters: Iterable<Waiter>): void {
    if (queue.guests.size === 0) return
    let wanted = this.crowded.get(queue) ?? 0
    for (const waiter of waiters) wanted += costAt(queue, waiter)
    this.crowded.set(queue, wanted)
    this.schedule()
  }

  private makeRoom(): void {
    for (const [queue, wanted] of this.crowded) {
      this.crowded.delete(queue)
      let back = 0
      for (const guest of queue.guests) {
        if (back >= wanted) break
        for (const { guests } of guest.lane.limits) guests.delete(guest)
        if (guest.plan.request.giveWay!()) back += costAt(queue, guest)
      }
    }
  }

  /** Takes a lane out of its limit's queue; who is first now may try at once. */
  protected unpark(lane: LaneQueue): void {
    const queue = lane.parkedAt!
    const wasFirst = queue.parked[0] === lane
    queue.remove(lane)
    this.parked--
    if (queue.parked.length === 0) this.timer.remove(queue)
    else if (wasFirst) this.poke(queue)
  }

  /** The first of the queue may try again in so many milliseconds. */
  protected await(queue: LimitQueue, waitMillis: number): void {
    const head = queue.parked[0]?.turns.peek()
    queue.calls = head?.calls ?? 0
    queue.tokens = head?.tokens ?? 0
    this.timer.set(queue, this.timer.now() + Math.max(waitMillis, 0.01))
  }

  /** A lane's turn ended with a grant; if it has more waiters it goes to the end of the queue it stands in. */
  protected turned(lane: LaneQueue): void {
    lane.ticket = ++this.tickets
    const queue = lane.parkedAt
    if (queue === undefined) return
    queue.remove(lane)
    if (lane.turns.peek() !== undefined) return queue.add(lane)
    this.parked--
    if (queue.parked.length === 0) this.timer.remove(queue)
  }

  private untilDue(queue: LimitQueue | undefined): number | undefined {
    return queue === undefined ? undefined : queue.at - this.timer.now()
  }

  /** Something came back to the limit: whoever is first there tries in the scheduler's next turn. */
  poke(queue: LimitQueue): void {
    if (queue.parked.length === 0) return
    this.poked.add(queue)
    this.schedule()
  }

  /** Keys of limits of which something came back, here or elsewhere. */
  readonly freed = (keys: ReadonlyArray<string>): void => {
    if (this.parked === 0) return
    for (const key of keys) {
      const queue = this.lanes.queue(key)
      if (queue !== undefined) this.poke(queue)
    }
  }

  /** What came back within one step of the caller starts nobody in the same step: it may be about to stop the others too. */
  protected schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    this.timer.soon(this.proceed)
  }

  private readonly proceed = (): void => {
    this.isScheduled = false
    this.starts = 0
    this.passOrphans()
    this.makeRoom()
    for (const queue of this.poked) {
      this.poked.delete(queue)
      this.due(queue)
      if (this.isTired) break
    }
    for (const lane of this.ready) {
      if (this.isTired) break
      this.ready.delete(lane)
      this.hasten(lane)
      this.arrive(lane)
    }
    if (this.poked.size > 0 || this.ready.size > 0) this.schedule()
  }

  protected passOrphans(): void {
    const { orphans } = this
    this.orphans = []
    for (const { grant, lane } of orphans) this.pass(lane, grant)
  }

  /** So many were started in one go that the event loop is to have its turn. */
  protected get isTired(): boolean {
    return this.starts >= startsPerTurn
  }

  /** Serves the lane in the next turn. */
  protected later(lane: LaneQueue): void {
    this.ready.add(lane)
    this.schedule()
  }

  // ---- the way out ----------------------------------------------------------------------------------------------------

  /** Starts a waiter that is out of its line. It takes its first step before this returns. */
  protected start(waiter: Waiter, grant: Grant | undefined): void {
    this.timer.remove(waiter)
    waiter.phase = "granted"
    waiter.grant = grant
    waiter.startedAt = this.timer.now()
    this.hold(waiter)
    if (++this.starts === startsPerTurn) this.schedule()
    waiter.resume!(Effect.suspend(() => this.begin(waiter)))
  }

  /** The first step of an admitted effect. */
  begin(waiter: Waiter): Admitted {
    waiter.phase = "started"
    const { use } = waiter
    if (waiter.plan.request.giveWay !== undefined) this.invite(waiter)
    return Effect.isEffect(use) ? use : use(new HeldLease(this, waiter))
  }

  private invite(waiter: Waiter): void {
    for (const queue of waiter.lane.limits) {
      if (queue.limit.rule._tag === "Permits" && costAt(queue, waiter) > 0) queue.guests.add(waiter)
    }
  }

  /** Turns away a waiter, in line or out of it. */
  protected reject(waiter: Waiter, rejected: Rejected): void {
    this.leave(waiter)
    waiter.phase = "over"
    waiter.resume!(Effect.fail(rejected))
  }

  private readonly expire = (waiter: Waiter): void => {
    // An ask under way may still let it pass; it is turned away when it comes back.
    if (waiter.phase !== "waiting") return
    const now = this.timer.now()
    const left = waiter.plan.maxWaitMillis - waiter.limitedFor(now)
    // The wait for its place does not count; as long as that goes on, it is looked at now and then.
    if (left > 0) return this.timer.set(waiter, now + Math.max(left, waiter.flow!.closed ? 1000 : 0))
    if (waiter.isLate || !this.isNext(waiter)) return this.late(waiter)
    waiter.isLate = true
    this.timer.set(waiter, now + 1)
  }

  /** It has waited for as long as it may. */
  protected late(waiter: Waiter): void {
    this.reject(waiter, this.waitedTooLong(waiter))
  }

  protected waitedTooLong({ lane, plan }: Waiter): Rejected {
    const queue = lane.parkedAt
    return Rejections.tooLate(
      "MaxWait",
      queue?.limit.name ?? "its place",
      plan.maxWaitMillis,
      this.untilDue(queue)
    )
  }

  protected leave(waiter: Waiter): void {
    const { lane } = waiter
    this.timer.remove(waiter)
    if (waiter.flow === undefined) return
    waiter.leaving(this.timer.now())
    lane.turns.remove(waiter)
    if (lane.isIdle) this.emptied(lane)
    if (lane.parkedAt === undefined) return
    if (lane.turns.peek() === undefined) this.unpark(lane)
    else this.hasten(lane)
  }

  // Whose turn it is now may cost less than the one its limit's time was told to, and pass earlier.
  private hasten(lane: LaneQueue): void {
    const queue = lane.parkedAt
    const head = lane.turns.peek()
    if (queue === undefined || queue.parked[0] !== lane || head === undefined) return
    if (head.calls < queue.calls || head.tokens < queue.tokens) this.poke(queue)
  }

  /** The end of an admission, however it came. */
  ended(waiter: Waiter, _exit: Exit.Exit<unknown, unknown>): void {
    const { phase } = waiter
    waiter.phase = "over"
    if (phase === "started") {
      if (waiter.plan.request.giveWay !== undefined) {
        for (const { guests } of waiter.lane.limits) guests.delete(waiter)
      }
      if (waiter.grant !== undefined) this.release(waiter)
    } else if (phase === "waiting") this.leave(waiter)
    else if (phase === "asked") this.abandoned(waiter)
    else if (phase === "granted") this.orphaned(waiter)
  }

  // Granted, and gone before its first step.
  private orphaned(waiter: Waiter): void {
    waiter.gate?.release()
    if (waiter.grant !== undefined) this.orphan(waiter.lane, waiter.grant)
  }

  /** A grant without a waiter: it goes to the lane's next of the same cost, else back. */
  protected orphan(lane: LaneQueue, grant: Grant): void {
    if (this.closed) return this.giveBack(grant)
    this.orphans.push({ lane, grant })
    this.schedule()
  }

  protected pass(lane: LaneQueue, grant: Grant): void {
    const next = this.closed ? undefined : this.head(lane)
    if (next === undefined) return this.giveBack(grant)
    if (next.calls !== grant.head.calls || next.tokens !== grant.head.tokens) {
      next.gate?.release()
      return this.giveBack(grant)
    }
    this.takeOut(lane, next)
    if (lane.parkedAt !== undefined && lane.turns.peek() === undefined) this.unpark(lane)
    this.start(next, grant)
  }

  /** Rules were added: those who wait for the service wait for these too. */
  add(service: string, rule: Rule): void {
    const waiting = [...this.lanes.all()].flatMap((lane) =>
      lane.turns.all().filter((waiter) => waiter.plan.request.service === service)
    ).sort((a, b) => a.since - b.since)
    this.lanes.add(service, rule)
    for (const waiter of waiting) {
      // Who starts meanwhile may end another.
      if (waiter.phase !== "waiting") continue
      this.leave(waiter)
      this.readmit(waiter)
    }
  }

  /** Lines up once more, in the lane of the rules of now. */
  protected readmit(waiter: Waiter): void {
    waiter.lane = this.laneOf(waiter.plan, waiter.tenant)
    const rejected = overCapacity(waiter.plan, waiter.lane)
    if (rejected === undefined) this.enter(waiter, undefined)
    else this.reject(waiter, rejected)
  }

  laneOf(plan: Plan, tenant: string | undefined): LaneQueue {
    const of = plan.readsTenant ? tenant : plan.request.tenant
    return plan.version === this.lanes.version && plan.tenant === of ? plan.lane : place(plan, this.lanes, of)
  }

  /** Turns everybody away; nothing starts any more. */
  close(): void {
    this.closed = true
    for (const { grant } of this.orphans) this.giveBack(grant)
    this.orphans = []
    for (const lane of this.lanes.all()) {
      for (const waiter of lane.turns.all()) this.reject(waiter, Rejections.closed)
    }
  }
}

const costAt = ({ limit }: LimitQueue, { calls, tokens }: Waiter): number =>
  limit.rule.unit === "calls" ? calls : tokens
