/**
 * What happens to grants afterwards, on its way to the store: those of one turn go in one command, one command at a time.
 * Nobody waits for them. When the store is away, what may be said twice is kept until it is back, or until leases have run out
 * by themselves.
 */
import type { LimiterStore } from "../LimiterStore.ts"
import type { Entry } from "./agenda.ts"
import type { Commands, Outcome } from "./commands.ts"
import type { Change } from "./store.ts"
import type { Timer } from "./timer.ts"

const changesPerCommand = 256
const mostKept = 10_000

/** What was not heard is said again so much later. */
const againMillis = 100

export class Changes implements Entry {
  at = 0
  readonly rank = 2
  index = -1
  private readonly commands: Commands
  private readonly store: LimiterStore["Service"]
  private readonly timer: Timer
  private readonly settled: (outcome: Outcome<void>) => void
  private pending: Array<Change> = []
  private isSending = false
  private isScheduled = false
  /** Set while the store is away. */
  isHeld = false
  private idle: (() => void) | undefined

  constructor(
    commands: Commands,
    store: LimiterStore["Service"],
    timer: Timer,
    settled: (outcome: Outcome<void>) => void
  ) {
    this.commands = commands
    this.store = store
    this.timer = timer
    this.settled = settled
  }

  get size(): number {
    return this.pending.length
  }

  add(change: Change): void {
    this.pending.push(change)
    if (this.isScheduled) return
    this.isScheduled = true
    this.timer.soon(() => this.send())
  }

  /** Sends what is pending, unless something is under way. */
  readonly send = (): void => {
    this.isScheduled = false
    this.timer.remove(this)
    if (this.isSending || this.isHeld || this.pending.length === 0) return this.tellIdle()
    this.isSending = true
    const changes = this.pending.splice(0, changesPerCommand)
    this.commands.run(this.store.change(changes), (outcome) => {
      this.isSending = false
      if (outcome._tag === "Failed") this.keep(changes, outcome.error.kind)
      this.settled(outcome)
      if (outcome._tag === "Done") return this.send()
      this.tellIdle()
      if (this.pending.length > 0) this.timer.set(this, this.timer.now() + againMillis)
    })
  }

  readonly fire = (): void => this.send()

  /** Calls back when everything was sent, or cannot be. */
  whenIdle(idle: () => void): void {
    this.idle = idle
    this.send()
  }

  private tellIdle(): void {
    if (this.isSending) return
    const { idle } = this
    this.idle = undefined
    idle?.()
  }

  // A release said twice is one release; the rest is said again only where it was surely not heard.
  private keep(changes: ReadonlyArray<Change>, kind: string): void {
    const again = changes.filter((change) => change._tag === "Release" || kind === "Unreachable")
    this.pending = [...again, ...this.pending].slice(-mostKept)
  }
}
