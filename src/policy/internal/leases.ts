/**
 * Permits this process holds in a shared store. While there are any, their leases are renewed three times per lease; a lease
 * the store no longer knows is lost, and its holder is told.
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
    this.held.set(grant.head.id, { grant, isLost: false, told: [] })
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
    const grants = [...this.held.values()].filter(({ isLost }) => !isLost).map(({ grant }) => grant)
    if (grants.length === 0) return
    this.commands.run(this.store.renew(grants), (outcome) => {
      if (outcome._tag === "Done") { for (const grant of outcome.value) this.lose(grant) }
      this.settled(outcome)
    })
  }

  private lose(grant: Grant): void {
    const held = this.held.get(grant.head.id)
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
