/**
 * What stands where: waiters in lanes, lanes parked at limits. A lane that was refused parks at the limit that blocks it
 * longest, in the order its turn began; a turn ends with a grant. Data only; who starts when is the desk's.
 */
import type * as Effect from "effect/Effect"
import type { Entry } from "./agenda.ts"
import type { Gate, Lease, Rejected, Request } from "./request.ts"
import type { Grant, Lane, Limit } from "./store.ts"
import { Turns } from "./turns.ts"
import type { Flow, Turn } from "./turns.ts"

/** A limit as the limiter sees it: who is parked at it, and when the first of them may try. */
export class LimitQueue implements Entry {
  at = 0
  readonly rank = 0
  index = -1
  readonly limit: Limit
  readonly fire: () => void
  /** How many of its lanes an ask carries at most. */
  batch = 64
  /** What the head costs that its time was told to. */
  calls = 0
  tokens = 0
  /** Guesses at work that hold permits of it and give way. */
  readonly guests = new Set<Waiter>()
  /** The oldest turn first. */
  readonly parked: Array<LaneQueue> = []

  constructor(limit: Limit, due: (queue: LimitQueue) => void) {
    this.limit = limit
    this.fire = () => due(this)
  }

  add(lane: LaneQueue): void {
    let at = this.parked.length
    while (at > 0 && this.parked[at - 1]!.ticket > lane.ticket) at--
    this.parked.splice(at, 0, lane)
    lane.parkedAt = this
  }

  remove(lane: LaneQueue): void {
    this.parked.splice(this.parked[0] === lane ? 0 : this.parked.indexOf(lane), 1)
    lane.parkedAt = undefined
  }
}

/** A lane and who waits in it. */
export class LaneQueue {
  readonly lane: Lane
  readonly limits: ReadonlyArray<LimitQueue>
  readonly hasPermits: boolean
  readonly turns = new Turns<Waiter>()
  /** When its present turn began, among all lanes. */
  ticket = 0
  parkedAt: LimitQueue | undefined
  /** Heads that are being asked for. */
  asked = 0
  /** How many heads the next ask carries at most. */
  batch = 64
  /** How many of its waiters have not been told when they could start. */
  untold = 0
  /** The store has its waiting count. */
  isRegistered = false
  /** Waiters of the same lane in other processes, as last heard. */
  elsewhere = 0

  constructor(lane: Lane, limits: ReadonlyArray<LimitQueue>) {
    this.lane = lane
    this.limits = limits
    this.hasPermits = limits.some(({ limit }) => limit.rule._tag === "Permits")
  }

  get isIdle(): boolean {
    return this.turns.size === 0 && this.asked === 0
  }

  /** Whether somebody waits for one of its limits whose turn is older than `ticket`: the limit. */
  behind(ticket: number, except?: LimitQueue): LimitQueue | undefined {
    for (const queue of this.limits) {
      if (queue !== except && queue.parked.length > 0 && queue.parked[0]!.ticket < ticket) return queue
    }
    return undefined
  }
}

/** A request, checked, with its lane. */
export interface Plan {
  readonly request: Request
  readonly calls: number
  /** 0: it passes no limit counted in tokens. */
  readonly tokens: number
  readonly priority: number
  readonly maxWaitMillis: number
  readonly deadlineMillis: number
  /** Rejected at once rather than made to wait for a limit. */
  readonly once: boolean
  /** The share of each limit that must stay free after it; above 0 it is a guess. */
  readonly slack: number
  /** The tenant is the fiber's, and has limits of its own: the lane is found anew in each run. */
  readonly readsTenant: boolean
  readonly invalid: Rejected | undefined
  /** Of the rules the lane was found under, and the tenant it was found for. */
  version: number
  tenant: string | undefined
  lane: LaneQueue
  overCapacity: Rejected | undefined
}

/** Where an admission stands. `asked`: the store is being asked for it. `granted`: it has not taken its first step yet. */
export type Phase = "new" | "waiting" | "asked" | "granted" | "started" | "over"

export type Use =
  | Effect.Effect<unknown, unknown, unknown>
  | ((lease: Lease) => Effect.Effect<unknown, unknown, unknown>)

/** One run of an admitted effect, from its request to its end. */
export class Waiter implements Turn<Waiter>, Entry {
  previous: Waiter | undefined
  next: Waiter | undefined
  flow: Flow<Waiter> | undefined
  readonly plan: Plan
  lane: LaneQueue
  readonly tenant: string | undefined
  readonly use: Use
  phase: Phase = "new"
  since = 0
  startedAt = 0
  // For how long its place kept it waiting: of its flow when it lined up, and its own when it left the line.
  private closedBefore = 0
  private closedMillis = 0
  grant: Grant | undefined
  resume: ((effect: Effect.Effect<unknown, unknown, unknown>) => void) | undefined
  // When it has waited too long.
  at = 0
  readonly rank = 1
  index = -1
  expired: ((waiter: Waiter) => void) | undefined
  /** It knows when it could start at the earliest, and may wait so long. */
  isTold = false
  /** Its time was over when it was about to be asked for: that ask decides. */
  isLate = false

  constructor(plan: Plan, lane: LaneQueue, tenant: string | undefined, use: Use) {
    this.plan = plan
    this.lane = lane
    this.tenant = tenant
    this.use = use
  }

  get calls(): number {
    return this.plan.calls
  }
  get tokens(): number {
    return this.plan.tokens
  }
  get priority(): number {
    return this.plan.priority
  }
  get gate(): Gate | undefined {
    return this.plan.request.gate
  }
  get flowKey(): unknown {
    return this.plan.request.gate?.flow ?? this.plan.request.run
  }
  /** It stands in its lane's line. */
  linedUp(now: number): void {
    this.closedBefore = this.flow!.closedFor(now) - this.closedMillis
  }

  /** It is about to leave the line. */
  leaving(now: number): void {
    this.closedMillis = this.flow!.closedFor(now) - this.closedBefore
  }

  /** How long limits have made it wait; not its place. */
  limitedFor(now: number): number {
    const closed = this.flow === undefined ? this.closedMillis : this.flow.closedFor(now) - this.closedBefore
    return now - this.since - closed
  }

  readonly fire = (): void => this.expired?.(this)
}
