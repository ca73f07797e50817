/**
 * The places of one owner of calls (`toolCallConcurrency` of a run) and the calls that wait for one: an own queue and counters, no
 * fiber per waiting call. A call blocked by its tool's cap steps aside and holds up nobody behind it. Where the program has a
 * limiter, calls wait there instead (`Limits.ts`), and look in here for their places.
 */
import type * as Scheduler from "effect/Scheduler"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import type { Call, Runner } from "./Call.ts"
import * as Limits from "./Limits.ts"
import {
  Flow,
  isIdle,
  makeWay,
  rejectStuck,
  release as releasePermit,
  tryTake,
  tryTakeIdle,
  wait,
  wake
} from "./ToolPermits.ts"
import type { ToolPermits, Waiter } from "./ToolPermits.ts"

/** How many handlers are started in one go before the event loop gets its turn. */
const startsPerTurn = 256

/** Whose calls they are. */
export interface Tenant {
  /** Whether its calls share places; a call from code has none to wait for. */
  readonly isRun: boolean
  /** Its calls and attempts that are not answered. */
  readonly unanswered: () => Iterable<Call>
  /** Answers a call that waits. */
  readonly refuse: (call: Call, failure: ToolFailure.ToolFailure) => void
}

class WaitingCall implements Waiter {
  readonly places: PlaceQueue
  readonly call: Call
  readonly next: Runner
  constructor(places: PlaceQueue, call: Call, next: Runner) {
    this.places = places
    this.call = call
    this.next = next
  }
  canStart(): boolean {
    return this.places.hasPlace
  }
  makesRoom(): boolean {
    return this.places.makesRoom()
  }
  start(): void {
    this.places.enter(this.call, this.next)
  }
  reject(limit: string): void {
    this.places.reject(this.call, limit)
  }
}

export class PlaceQueue implements Limits.Places {
  /** Places taken, abandoned handlers included. */
  running = 0
  /** Places kept for calls that their limits have just let pass. */
  private reserved = 0
  peak = 0
  private abandoned = 0
  private queue: Array<WaitingCall> = []
  private head = 0
  private readonly blockedTools = new Set<ToolPermits>()
  private pumping = false
  private stopping = 0
  private starts = 0
  private resting = false
  entering = 0
  private readonly flow = new Flow()
  private readonly flows = new Map<ToolPermits, Flow>()
  private watchers: Array<() => void> = []
  private waking = false
  private wakeAgain = false
  /** Guesses that hold a place, and those that were told to give theirs up and have not ended. */
  private readonly spares = new Set<Call>()
  private readonly yielding = new Set<Call>()
  /** Guesses that outlived their grace: nobody asked for them, so they cost the run no place. */
  private readonly strays = new Set<Call>()
  private readonly concurrency: number
  private readonly scheduler: Scheduler.SchedulerDispatcher
  private readonly tenant: Tenant
  private readonly limits: Limits.Limits | undefined

  constructor(
    concurrency: number,
    scheduler: Scheduler.SchedulerDispatcher,
    tenant: Tenant,
    limits: Limits.Limits | undefined
  ) {
    this.concurrency = concurrency
    this.scheduler = scheduler
    this.tenant = tenant
    this.limits = limits
  }

  /** Takes a call that may run; starts it when there is room for it. */
  admit(call: Call, next: Runner): void {
    if (this.limits === undefined) return call.isSpare ? this.enterNow(call, next) : this.lineUp(call, next)
    const stuck = this.abandoned >= this.concurrency ? this.allStuck : Limits.stuckTool(call.permits, call)
    if (stuck !== undefined) return this.reject(call, stuck)
    Limits.ask(this.limits, this, call, next)
  }

  lineUp(call: Call, next: Runner): void {
    this.queue.push(new WaitingCall(this, call, next))
    this.pump()
  }

  /** Starts a call where there is room that nobody waits for, and answers it where there is none. */
  enterNow(call: Call, next: Runner): void {
    const { permits } = call
    if (!this.hasIdlePlace || (permits !== undefined && !tryTakeIdle(permits, call))) {
      return this.reject(call, "no place is free at once")
    }
    this.enter(call, next)
  }

  /** What one stopped call gives back must not start the next one that is about to be stopped. */
  withoutStarts(stop: () => void): void {
    this.stopping++
    stop()
    if (--this.stopping === 0) this.pump()
  }

  // It gives its place and its permit up to whoever needs them.
  private spare(call: Call): void {
    this.spares.add(call)
    call.permits?.spares.add(call)
  }

  // As many guesses give way as calls wait for a place; those that do already count. Looked up each time: one that ends at once
  // has made room, and somebody has taken it.
  private yieldPlaces(): void {
    for (const call of this.spares) {
      if (this.isFree || !this.waitMoreThan(this.yielding.size)) return
      this.yieldPlace(call)
    }
  }

  private yieldPlace(call: Call): boolean {
    this.spares.delete(call)
    // Noted before: it may end at once.
    this.yielding.add(call)
    if (call.guess!.giveWay()) return true
    this.yielding.delete(call)
    return false
  }

  private waitMoreThan(count: number): boolean {
    let waiting = this.watchers.length
    for (let i = this.head; waiting <= count && i < this.queue.length; i++) {
      if (this.queue[i]!.call.state !== "answered") waiting++
    }
    return waiting > count
  }

  /** For a call that stepped aside and could have its permit now: whether there is a place, if need be a guess's. */
  makesRoom(): boolean {
    if (this.hasPlace || this.isFree || this.stopping > 0 || this.yielding.size > 0) return this.hasPlace
    for (const call of this.spares) if (this.yieldPlace(call)) break
    return this.hasPlace
  }

  /** The handler of an admitted call has really ended; to be followed by {@link pump}. */
  release(call: Call): void {
    if (call.guess === undefined) {
      this.running--
      if (call.abandoned) this.abandoned--
    } else {
      this.spares.delete(call)
      this.yielding.delete(call)
      if (!this.strays.delete(call)) this.running--
    }
    const { permits } = call
    if (permits !== undefined) releasePermit(permits, call)
    call.limited?.end()
  }

  /**
   * The handler outlived its grace; place and permit stay with it. A guess's place is given back, and a call waits for the permit
   * until it has really ended: no call is refused for it.
   */
  abandon(call: Call): void {
    if (call.guess === undefined) this.abandoned++
    else {
      this.strays.add(call)
      this.spares.delete(call)
      this.yielding.delete(call)
      this.running--
    }
    const permits = call.holdsToolPermit && call.guess === undefined ? call.permits : undefined
    if (permits !== undefined) permits.abandoned++
    if (permits !== undefined && permits.abandoned >= permits.limit) {
      rejectStuck(permits, Limits.allStuck(permits, call.name))
    }
    if (this.abandoned >= this.concurrency || call.guess !== undefined) this.pump()
  }

  refuse(call: Call, failure: ToolFailure.ToolFailure): void {
    this.tenant.refuse(call, failure)
  }

  reject(call: Call, limit: string): void {
    this.tenant.refuse(call, ToolFailure.rejected(call.name, call.id, limit))
  }

  pump(): void {
    if (this.pumping || this.stopping > 0) return
    this.pumping = true
    while (this.head < this.queue.length && this.hasPlace) {
      const waiting = this.queue[this.head++]!
      if (waiting.call.state === "answered") continue
      this.startOrStepAside(waiting)
    }
    if (this.abandoned >= this.concurrency) this.rejectQueued()
    if (this.head === this.queue.length) {
      this.queue = []
      this.head = 0
    }
    this.pumping = false
    if (this.spares.size > 0 && this.head < this.queue.length && !this.isFree) this.yieldPlaces()
    if (this.blockedTools.size > 0 && this.hasPlace) this.wakeBlocked()
    if (this.watchers.length > 0 && this.hasPlace) this.wakeWatchers()
  }

  // What waits in the queue, and what stepped aside for its tool's cap: no place of this run will come for either.
  private rejectQueued(): void {
    const limit = this.allStuck
    for (; this.head < this.queue.length; this.head++) this.reject(this.queue[this.head]!.call, limit)
    for (const permits of this.blockedTools) {
      for (const call of this.tenant.unanswered()) if (permits.waiters.has(call)) this.reject(call, limit)
    }
    this.blockedTools.clear()
    if (this.limits === undefined) return
    for (const call of this.tenant.unanswered()) if (call.limited?.isAsking === true) this.reject(call, limit)
  }

  private get allStuck(): string {
    return `all ${this.concurrency} places of this run are held by calls that did not stop when asked`
  }

  private startOrStepAside(waiting: WaitingCall): void {
    const { permits } = waiting.call
    if (permits === undefined || tryTake(permits, waiting.call)) return this.enter(waiting.call, waiting.next)
    if (permits.abandoned >= permits.limit) {
      return this.reject(waiting.call, Limits.allStuck(permits, waiting.call.name))
    }
    wait(permits, waiting.call, waiting)
    this.blockedTools.add(permits)
    makeWay(permits)
  }

  private get isFree(): boolean {
    return this.running + this.reserved < this.concurrency
  }

  get hasPlace(): boolean {
    return this.isFree && this.stopping === 0 &&
      this.starts + this.reserved < startsPerTurn
  }

  /** Whether a call that nobody has asked for would find room. */
  hasRoomFor(permits: ToolPermits | undefined): boolean {
    return this.hasIdlePlace && (permits === undefined || isIdle(permits))
  }

  get hasIdlePlace(): boolean {
    return this.hasPlace && this.head === this.queue.length && this.watchers.length === 0
  }

  get isStopping(): boolean {
    return this.stopping > 0
  }

  reserve(): void {
    this.reserved++
    if (this.starts + this.reserved >= startsPerTurn) this.rest()
  }

  unreserve(): void {
    this.reserved--
  }

  enter(call: Call, next: Runner): void {
    this.running++
    if (call.guess !== undefined) this.spare(call)
    if (this.running > this.peak) this.peak = this.running
    if (++this.starts >= startsPerTurn) this.rest()
    next(call)
  }

  // Handlers that end in their first step would else be started one after the other, however many there are.
  private rest(): void {
    if (this.resting) return
    this.resting = true
    this.soon(() => {
      this.resting = false
      this.starts = 0
      this.pump()
    })
  }

  // ---- flows of the limiter that wait for a place -----------------------------------------------------------------------

  flowOf(call: Call): Flow | undefined {
    const { permits } = call
    const { isRun } = this.tenant
    if (permits === undefined) return isRun ? this.flow : undefined
    // What a call may borrow depends on the call it was made under.
    if (!isRun) return call.parent === undefined ? permits.flow : this.flow
    const known = this.flows.get(permits)
    if (known !== undefined) return known
    const flow = new Flow()
    this.flows.set(permits, flow)
    return flow
  }

  watch(wake: () => void): void {
    this.watchers.push(wake)
    // Later, since the limiter may be in the middle of its own queue.
    if (this.spares.size > 0) this.soon(() => this.yieldPlaces())
  }

  soon(wake: () => void): void {
    this.scheduler.scheduleTask(wake, 0)
  }

  pumpSoon(): void {
    if (this.watchers.length + this.blockedTools.size + this.queue.length > 0) this.soon(() => this.pump())
  }

  // In turn, and no more than have a chance; a flow that looks again in vain comes back at the tail.
  private wakeWatchers(): void {
    this.wakeAgain = true
    if (this.waking) return
    this.waking = true
    while (this.wakeAgain && this.hasPlace) {
      this.wakeAgain = false
      const told = this.watchers
      this.watchers = []
      let at = 0
      while (at < told.length && this.hasPlace) told[at++]!()
      if (at < told.length) this.watchers = [...told.slice(at), ...this.watchers]
    }
    this.waking = false
  }

  private wakeBlocked(): void {
    for (const permits of this.blockedTools) {
      wake(permits)
      if (permits.waiters.size === 0) this.blockedTools.delete(permits)
    }
  }
}
