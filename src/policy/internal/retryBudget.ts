/**
 * How many retries a service may get: in any window, at most a share of its requests, or a small reserve, whichever is more.
 * Time is cut into slots. Retries count for one slot longer than the window, requests for as much less: never over the bound.
 */

export interface BudgetSettings {
  readonly ratio: number
  readonly reserve: number
  readonly windowMillis: number
}

/** Slots in a window. */
const slots = 32
// The current slot is never whole, so retries of one more are kept than make a window.
const kept = slots + 1

export class RetryBudget {
  private readonly settings: BudgetSettings
  private readonly slotMillis: number
  private readonly requests = new Float64Array(kept)
  private readonly retries = new Float64Array(kept)
  /** The newest slot, counted from the clock's zero. */
  private newest = Number.NEGATIVE_INFINITY

  constructor(settings: BudgetSettings) {
    this.settings = settings
    this.slotMillis = settings.windowMillis / slots
  }

  /** A request has begun. */
  request(now: number): void {
    this.requests[this.moveTo(now)]! += 1
  }

  /** Takes one retry, or says that there is none left. */
  tryRetry(now: number): boolean {
    const at = this.moveTo(now)
    const { ratio, reserve } = this.settings
    let retries = 0
    for (const count of this.retries) retries += count
    // The oldest slot has left the window in part.
    let requests = -this.requests[(at + 1) % kept]!
    for (const count of this.requests) requests += count
    if (retries + 1 > Math.max(reserve, ratio * requests)) return false
    this.retries[at]! += 1
    return true
  }

  /** Whether nothing of before counts any more. */
  isIdle(now: number): boolean {
    return Math.floor(now / this.slotMillis) - this.newest >= kept
  }

  private moveTo(now: number): number {
    const slot = Math.max(this.newest, Math.floor(now / this.slotMillis))
    const passed = Math.min(slot - this.newest, kept)
    for (let i = 0; i < passed; i++) {
      const at = modulo(slot - i)
      this.requests[at] = 0
      this.retries[at] = 0
    }
    this.newest = slot
    return modulo(slot)
  }
}

// The clock's zero is anywhere, so a slot may be negative.
const modulo = (slot: number): number => ((slot % kept) + kept) % kept
