/**
 * What is done with requests while the store is away: they start (`open`), are rejected (`closed`), or this process decides by
 * itself with the same rules (`local`).
 */
import type * as Clock from "effect/Clock"
import type { LimiterStoreError } from "../LimiterStore.ts"
import type { LaneQueue, Waiter } from "./lane.ts"
import { MemoryStore } from "./memoryStore.ts"
import * as Rejections from "./rejections.ts"
import type { Rejected } from "./request.ts"
import type { Change, Grant, Lane } from "./store.ts"

export type OnStoreError = "open" | "closed" | "local"

export type Decision =
  | { readonly _tag: "Start"; readonly grant: Grant | undefined }
  | { readonly _tag: "Reject"; readonly rejected: Rejected }
  | { readonly _tag: "Wait"; readonly blockedBy: number; readonly waitMillis: number }

export class Outage {
  private readonly policy: OnStoreError
  private readonly clock: Clock.Clock
  private readonly freed: (keys: ReadonlyArray<string>) => void
  private local: MemoryStore | undefined
  private readonly lanes = new WeakMap<LaneQueue, Lane>()
  private readonly localLanes = new WeakSet<Lane>()

  constructor(policy: OnStoreError, clock: Clock.Clock, freed: (keys: ReadonlyArray<string>) => void) {
    this.policy = policy
    this.clock = clock
    this.freed = freed
  }

  /** Whoever comes may start. */
  get isOpen(): boolean {
    return this.policy === "open"
  }

  decide(waiter: Waiter, error: LimiterStoreError | undefined): Decision {
    const { slack } = waiter.plan
    // Where nobody counts, nobody knows what is free.
    if (this.policy === "open" && slack === 0) return { _tag: "Start", grant: undefined }
    if (this.policy !== "local") return { _tag: "Reject", rejected: Rejections.unavailable(error) }
    const store = this.local ??= this.makeStore()
    const lane = this.laneOf(store, waiter.lane)
    const waitMillis = store.takeUnsafe(lane, waiter.calls, waiter.tokens, slack)
    if (waitMillis === 0) {
      const head = { id: "", calls: waiter.calls, tokens: waiter.tokens }
      return { _tag: "Start", grant: { lane, head, grantedAt: store.takenAt() } }
    }
    const blockedBy = store.blockedBy()
    if (!waiter.plan.once) return { _tag: "Wait", blockedBy, waitMillis }
    return { _tag: "Reject", rejected: Rejections.exceeded(lane.limits[blockedBy]!.name, waitMillis) }
  }

  isLocal(grant: Grant): boolean {
    return this.localLanes.has(grant.lane)
  }

  /** Applies a change to a grant of this process's own store: whether it was one. */
  change(change: Change): boolean {
    if (!this.isLocal(change.grant)) return false
    this.local!.changeUnsafe(change)
    return true
  }

  private makeStore(): MemoryStore {
    const store = new MemoryStore(this.clock)
    store.listen(this.freed)
    return store
  }

  private laneOf(store: MemoryStore, queue: LaneQueue): Lane {
    let lane = this.lanes.get(queue)
    if (lane === undefined) {
      lane = store.lane(queue.lane.key, queue.lane.limits)
      this.lanes.set(queue, lane)
      this.localLanes.add(lane)
    }
    return lane
  }
}
