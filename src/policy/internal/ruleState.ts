/**
 * The state of one limit, as pure arithmetic: times are milliseconds with fractions, always given and never read; they do not
 * step back, which is the store's to see to. A store asks `wait`, and takes only where it said 0.
 *
 * Never over, whatever is rounded: clock readings are rounded down and what is counted against a limit is rounded up, both to
 * parts of a millisecond that doubles hold exactly, so that sums do not drift.
 */
import type { Rule } from "./rule.ts"
import type { LimitState } from "./store.ts"

/** What every rule's state can do. `cost` and `amount` are in the rule's unit, integers of at least 1. */
export interface RuleState {
  /** What could ever be taken at once. */
  readonly capacity: number
  /**
   * 0: `cost` passes now; else the least time until it could. `cost` is at most {@link capacity}. `Infinity` asks whether a rule
   * without a capacity limits anything now.
   */
  readonly wait: (now: number, cost: number) => number
  readonly take: (now: number, cost: number) => void
  /** Undoes a part of a grant as far as the bound allows; says whether anything came back. */
  readonly giveBack: (grantedAt: number, now: number, amount: number) => boolean
  /** Takes though it be overdrawn: what a grant cost beyond its estimate. */
  readonly charge: (now: number, amount: number) => void
  /** How much could be taken now. */
  readonly free: (now: number) => number
  /** The time in which `cost` is refilled at the mean rate. */
  readonly refillMillis: (now: number, cost: number) => number
  /** Nothing to remember: as good as new. */
  readonly isIdle: (now: number) => boolean
  readonly peek: (now: number) => LimitState
}

/** A grant turned out to cost `actual` where `estimate` was taken; says whether anything came back. */
export const settle = (
  state: RuleState,
  grantedAt: number,
  now: number,
  estimate: number,
  actual: number
): boolean => {
  if (actual > estimate) state.charge(now, actual - estimate)
  return actual < estimate && state.giveBack(grantedAt, now, estimate - actual)
}

/** How much of a limit must stay free after a head with slack. Without a capacity, all there is. */
export const reserveOf = (capacity: number, slack: number): number => slack > 0 ? Math.ceil(capacity * slack) : 0

/** The most a rule ever lets pass at once; a larger cost can never be admitted. */
export const capacityOf = (rule: Rule): number => {
  switch (rule._tag) {
    case "TokenBucket":
      return rule.capacity
    case "SlidingWindow":
    case "FixedWindow":
      return rule.limit
    case "Permits":
      return rule.permits
    case "Adaptive":
      return Number.POSITIVE_INFINITY
  }
}
