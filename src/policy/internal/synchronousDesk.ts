/**
 * The desk of a limiter whose store answers at once. A request that nobody is ahead of is tried where it stands: no queue, no
 * fiber, and nothing to undo when it passes.
 */
import * as Effect from "effect/Effect"
import { Desk } from "./desk.ts"
import type { Refusal } from "./desk.ts"
import type { LaneQueue, LimitQueue, Waiter } from "./lane.ts"
import { Lanes } from "./lanes.ts"
import type { Prepare, RuleBook } from "./lanes.ts"
import * as Rejections from "./rejections.ts"
import type { Rejected } from "./request.ts"
import type { Grant, Synchronous } from "./store.ts"
import type { Timer } from "./timer.ts"

export class SynchronousDesk extends Desk {
  readonly lanes: Lanes
  private readonly store: Synchronous

  constructor(book: RuleBook, prepare: Prepare, store: Synchronous, timer: Timer) {
    super(timer)
    this.store = store
    this.lanes = new Lanes(book, prepare, this.due)
  }

  attempt(waiter: Waiter): Effect.Effect<unknown, unknown, unknown> {
    if (this.take(waiter) !== 0) return this.line(waiter)
    waiter.grant = this.grantOf(waiter)
    return this.begin(waiter)
  }

  protected override tryNow(waiter: Waiter): Refusal | "started" | undefined {
    const waitMillis = this.take(waiter)
    if (waitMillis < 0) return undefined
    if (waitMillis > 0) return { queue: waiter.lane.limits[this.store.blockedBy()]!, waitMillis }
    this.start(waiter, this.grantOf(waiter))
    return "started"
  }

  // Takes its place and its limits: 0; the wait when a limit has no room; -1 when others are ahead, or there is no place.
  private take({ gate, lane, plan }: Waiter): number {
    if (this.closed || !this.isFree(lane) || (gate !== undefined && !gate.tryTake())) return -1
    const waitMillis = this.store.takeUnsafe(lane.lane, plan.calls, plan.tokens, plan.slack)
    if (waitMillis !== 0) gate?.release()
    return waitMillis
  }

  /** Why the lane's last try failed. */
  exceeded(lane: LaneQueue, waitMillis: number): Rejected {
    return Rejections.exceeded(lane.limits[this.store.blockedBy()]!.limit.name, waitMillis)
  }

  readonly due = (queue: LimitQueue): void => {
    while (queue.parked.length > 0) {
      if (this.isTired) return this.poke(queue)
      const lane = queue.parked[0]!
      // Somebody has waited longer for another of its limits, and it would take from under him.
      const elder = lane.behind(lane.ticket, queue)
      if (elder !== undefined) {
        this.unparkFirst(queue)
        this.park(lane, elder)
        continue
      }
      const refusal = this.tryHead(lane)
      if (refusal === undefined) continue
      if (refusal.queue === queue) return this.await(queue, refusal.waitMillis)
      this.unparkFirst(queue)
      this.park(lane, refusal.queue, refusal.waitMillis)
    }
  }

  protected serve(lane: LaneQueue): void {
    while (lane.parkedAt === undefined && lane.turns.peek() !== undefined) {
      if (this.isTired) return this.later(lane)
      const refusal = this.tryHead(lane)
      if (refusal !== undefined) return this.park(lane, refusal.queue, refusal.waitMillis)
    }
  }

  // Starts the lane's head if it passes. The lane stands where it belongs before anybody's code runs.
  private tryHead(lane: LaneQueue): Refusal | undefined {
    const waiter = this.head(lane)
    if (waiter === undefined) {
      if (lane.parkedAt !== undefined) this.unparkFirst(lane.parkedAt)
      return undefined
    }
    const waitMillis = this.store.takeUnsafe(lane.lane, waiter.calls, waiter.tokens, waiter.plan.slack)
    if (waitMillis === 0) {
      const grant = this.grantOf(waiter)
      this.takeOut(lane, waiter)
      this.turned(lane)
      this.start(waiter, grant)
      return undefined
    }
    waiter.gate?.release()
    const queue = lane.limits[this.store.blockedBy()]!
    if (!waiter.plan.once) return { queue, waitMillis }
    this.reject(waiter, Rejections.exceeded(queue.limit.name, waitMillis))
    return undefined
  }

  private unparkFirst(queue: LimitQueue): void {
    queue.remove(queue.parked[0]!)
    this.parked--
    if (queue.parked.length === 0) this.timer.remove(queue)
  }

  private grantOf({ lane, plan }: Waiter): Grant {
    return {
      lane: lane.lane,
      head: { id: "", calls: plan.calls, tokens: plan.tokens },
      grantedAt: this.store.takenAt()
    }
  }

  protected abandoned(_waiter: Waiter): void {}

  protected giveBack(grant: Grant): void {
    this.store.changeUnsafe({ _tag: "Return", grant })
  }

  protected release({ grant, lane }: Waiter): void {
    if (lane.hasPermits) this.store.changeUnsafe({ _tag: "Release", grant: grant! })
  }

  settle(waiter: Waiter, tokens: number): void {
    const { grant } = waiter
    if (grant === undefined) return
    this.store.changeUnsafe({ _tag: "Settle", grant, tokens })
    waiter.grant = { ...grant, head: { ...grant.head, tokens } }
  }

  // What this process keeps, it cannot lose.
  lost(): Effect.Effect<void> {
    return Effect.never
  }

  override close(): void {
    super.close()
    this.timer.close()
  }
}
