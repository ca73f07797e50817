/**
 * How the store is: what its last commands came to, and, while the circuit is open, one probe from time to time. While anybody
 * waits for the store, or something is to be told to it, it is probed by itself; else the next request does it.
 */
import type { LimiterStoreError } from "../LimiterStore.ts"
import type { Entry } from "./agenda.ts"
import { Circuit } from "./circuit.ts"
import type { Outcome } from "./commands.ts"
import type { Timer } from "./timer.ts"

/** Whose store it is. */
interface Owner {
  /** Somebody waits for it, or has something to tell it. */
  readonly isWanted: () => boolean
  /** Asks something that changes nothing. */
  readonly ask: (done: (outcome: Outcome<unknown>) => void) => void
  /** A command has ended. */
  readonly heard: (outcome: Outcome<unknown>) => void
}

export class Health implements Entry {
  at = 0
  readonly rank = 2
  index = -1
  lastError: LimiterStoreError | undefined
  private readonly circuit: Circuit
  private readonly timer: Timer
  private readonly owner: Owner

  constructor(probeMillis: number, timer: Timer, owner: Owner) {
    this.circuit = new Circuit(probeMillis)
    this.timer = timer
    this.owner = owner
  }

  /** The store is not asked. */
  get isAway(): boolean {
    return this.circuit.isOpen
  }

  /** A command has ended, well or not. */
  readonly heard = (outcome: Outcome<unknown>): void => {
    if (outcome._tag === "Done") this.circuit.succeeded()
    else {
      this.lastError = outcome.error
      this.circuit.failed(this.timer.now())
    }
    this.owner.heard(outcome)
    this.watch()
  }

  /** Whether a command may go out as the probe; it does, then. */
  tries(): boolean {
    return this.circuit.probes(this.timer.now())
  }

  readonly fire = (): void => {
    if (this.tries()) this.owner.ask(this.heard)
    else this.watch()
  }

  private watch(): void {
    const { circuit, timer } = this
    const isWanted = circuit.isOpen && !circuit.isProbing && this.owner.isWanted()
    if (isWanted) timer.set(this, Math.max(circuit.probeAt, timer.now() + 1))
    else timer.remove(this)
  }
}
