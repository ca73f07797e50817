/**
 * Permits this process holds in a shared store. While there are any, their leases are renewed three times per lease; a lease
 * the store no longer knows is lost, and its holder is told. So is one that could not be renewed for as long as it lasts.
 */
import type { LimiterStore } from "../LimiterStore.ts"
import type { Entry } from "./agenda.ts"
import type { Commands, Outcome } from "./commands.ts"
import type { Grant } from "./store.ts"
import type { Timer } from "./timer.ts"

/** While the store is away, so soon is it seen whether it is back. */
const awayMillis = 1000

interface Held {
  readonly grant: Grant
  isLost: boolean
  /** By this process's clock, when nothing is heard. */
  endsAt: number
  told: Array<() => void>
}

export class Leases implements Entry {
  at = 0
  readonly rank = 2
  index = -1
  private readonly commands: Commands
  private readonly store: LimiterStore["Service"]
  private readonly timer: Timer
  private readonly settled: (outcome: Outcome<unknown>) => void
  private readonly held = new Map<string, Held>()
  private periodMillis = Number.POSITIVE_INFINITY

  constructor(
    commands: Commands,
    store: LimiterStore["Service"],
    timer: Timer,
    settled: (outcome: Outcome<unknown>) => void
  ) {
    this.commands = commands
    this.store = store
    this.timer = timer
    this.settled = settled
  }

  get size(): number {
    return this.held.size
  }

  hold(grant: Grant): void {
    const endsAt = this.timer.now() + leaseMillis(grant)
    this.held.set(grant.head.id, { grant, isLost: false, endsAt, told: [] })
    const periodMillis = leaseMillis(grant) / 3
    if (periodMillis >= this.periodMillis) return
    this.periodMillis = periodMillis
    this.timer.set(this, this.timer.now() + periodMillis)
  }

  /** Lets go of a grant: whether it was held. */
  drop(grant: Grant): boolean {
    const wasHeld = this.held.delete(grant.head.id)
    if (this.held.size === 0) {
      this.periodMillis = Number.POSITIVE_INFINITY
      this.timer.remove(this)
    }
    return wasHeld
  }

  /** Lets go of all. */
  dropAll(): ReadonlyArray<Grant> {
    const grants = [...this.held.values()].map(({ grant }) => grant)
    for (const grant of grants) this.drop(grant)
    return grants
  }

  /** Calls back when the grant's lease is lost; answers with a way to forget that. */
  onLost(grant: Grant, tell: () => void): () => void {
    const held = this.held.get(grant.head.id)
    if (held === undefined) return () => {}
    if (held.isLost) tell()
    else held.told.push(tell)
    return () => {
      held.told = held.told.filter((each) => each !== tell)
    }
  }

  /** Set while the store is away. */
  isHeld = false

  readonly fire = (): void => {
    this.timer.set(this, this.timer.now() + (this.isHeld ? awayMillis : this.periodMillis))
    if (this.isHeld) return
    const asked = [...this.held.values()].filter(({ isLost }) => !isLost)
    if (asked.length === 0) return
    const askedAt = this.timer.now()
    this.commands.run(this.store.renew(asked.map(({ grant }) => grant)), (outcome) => {
      if (outcome._tag === "Done") this.renewed(asked, askedAt, outcome.value)
      else this.unheard(asked)
      this.settled(outcome)
    })
  }

  private renewed(asked: ReadonlyArray<Held>, askedAt: number, lost: ReadonlyArray<Grant>): void {
    for (const held of asked) held.endsAt = askedAt + leaseMillis(held.grant)
    for (const { head } of lost) this.lose(this.held.get(head.id))
  }

  // Others may hold by now what nobody has renewed. Timers are exact to the millisecond.
  private unheard(asked: ReadonlyArray<Held>): void {
    const now = this.timer.now() + 1
    for (const held of asked) if (held.endsAt <= now) this.lose(held)
  }

  private lose(held: Held | undefined): void {
    if (held === undefined || held.isLost) return
    held.isLost = true
    for (const tell of held.told) tell()
    held.told = []
  }
}

const leaseMillis = (grant: Grant): number =>
  Math.min(
    ...grant.lane.limits.map(({ rule }) => rule._tag === "Permits" ? rule.leaseMillis : Number.POSITIVE_INFINITY)
  )
