/**
 * Grants after their start, whoever gave them: leases are kept alive while they are held, and what is to go back goes to the
 * store that gave it.
 */
import * as Effect from "effect/Effect"
import type { LimiterStore } from "../LimiterStore.ts"
import { Changes } from "./changes.ts"
import type { Commands, Outcome } from "./commands.ts"
import type { Waiter } from "./lane.ts"
import { Leases } from "./leases.ts"
import type { Outage } from "./outage.ts"
import type { Ask, Change, Grant } from "./store.ts"
import type { Timer } from "./timer.ts"

export class Holdings {
  private readonly changes: Changes
  private readonly leases: Leases
  private readonly outage: Outage

  constructor(
    store: LimiterStore["Service"],
    commands: Commands,
    timer: Timer,
    outage: Outage,
    heard: (outcome: Outcome<unknown>) => void
  ) {
    this.changes = new Changes(commands, store, timer, heard)
    this.leases = new Leases(commands, store, timer, heard)
    this.outage = outage
  }

  /** The store is to be told something, now or later. */
  get isOpen(): boolean {
    return this.changes.size > 0 || this.leases.size > 0
  }

  hold({ grant, lane }: Waiter): void {
    if (grant !== undefined && lane.hasPermits && !this.outage.isLocal(grant)) this.leases.hold(grant)
  }

  giveBack(grant: Grant): void {
    this.leases.drop(grant)
    this.change({ _tag: "Return", grant })
  }

  release({ grant, lane }: Waiter): void {
    if (grant === undefined || !lane.hasPermits) return
    if (this.outage.isLocal(grant) || this.leases.drop(grant)) this.change({ _tag: "Release", grant })
  }

  /** An ask that got no answer may have been applied: its leases go back when the store is there again. */
  doubt({ heads, lane }: Ask): void {
    for (const head of heads) this.changes.add({ _tag: "Release", grant: { lane, head, grantedAt: 0 } })
  }

  settle(waiter: Waiter, tokens: number): void {
    const { grant } = waiter
    if (grant === undefined) return
    this.change({ _tag: "Settle", grant, tokens })
    waiter.grant = { ...grant, head: { ...grant.head, tokens } }
  }

  lost({ grant }: Waiter): Effect.Effect<void> {
    if (grant === undefined) return Effect.never
    return Effect.callback<void>((resume) => {
      const forget = this.leases.onLost(grant, () => resume(Effect.void))
      return Effect.sync(forget)
    })
  }

  /** A command has ended: while the store is away changes are kept; when it answers they are sent. */
  follow(isAway: boolean, isAnswered: boolean): void {
    this.changes.isHeld = isAway
    this.leases.isHeld = isAway
    if (isAnswered) this.changes.send()
  }

  /** Gives everything back; calls back when the store has it, or cannot have it. */
  drain(done: () => void): void {
    for (const grant of this.leases.dropAll()) this.changes.add({ _tag: "Release", grant })
    this.changes.whenIdle(done)
  }

  private change(change: Change): void {
    if (!this.outage.change(change)) this.changes.add(change)
  }
}
