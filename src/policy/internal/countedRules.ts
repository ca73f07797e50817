/**
 * The rules whose state is a number or two: token bucket, fixed window, permits.
 */
import type { RuleState } from "./ruleState.ts"
import type { LimitState } from "./store.ts"
import { ceilTo, roundWait } from "./time.ts"

/**
 * GCRA: `debt` is how long the bucket needs to be full again (the theoretical arrival time less now). A unit adds `perUnit`;
 * `span` is the debt of an empty bucket. So units * perUnit <= span + time in any window.
 */
export class TokenBucket implements RuleState {
  readonly capacity: number
  private readonly perUnit: number
  private readonly span: number
  private debt: number
  private at = 0

  constructor(capacity: number, refill: number, everyMillis: number, debt = 0) {
    // A power of two, so that debts up to four times the span are exact sums.
    const grain = 2 ** (Math.ceil(Math.log2(Math.max(1, capacity * everyMillis / refill))) - 51)
    const rounded = ceilTo(everyMillis / refill, grain)
    this.capacity = capacity
    this.perUnit = rounded * refill < everyMillis ? rounded + grain : rounded
    this.span = capacity * this.perUnit
    this.debt = debt
  }

  wait(now: number, cost: number): number {
    const over = this.debtAt(now) + cost * this.perUnit - this.span
    return over > 0 ? roundWait(over) : 0
  }

  take(now: number, cost: number): void {
    this.settleTo(now)
    this.debt += cost * this.perUnit
  }

  charge(now: number, amount: number): void {
    this.take(now, amount)
  }

  // What has flowed in since the grant is not given back a second time.
  giveBack(grantedAt: number, now: number, amount: number): boolean {
    const credit = amount * this.perUnit - Math.max(0, now - grantedAt)
    this.settleTo(now)
    if (credit <= 0 || this.debt === 0) return false
    this.debt -= credit
    return true
  }

  free(now: number): number {
    return Math.max(0, Math.floor((this.span - this.debtAt(now)) / this.perUnit))
  }

  refillMillis(_now: number, cost: number): number {
    return roundWait(cost * this.perUnit)
  }

  isIdle(now: number): boolean {
    return this.debtAt(now) === 0
  }

  peek(now: number): LimitState {
    return { _tag: "Bucket", fullInMillis: this.debtAt(now) }
  }

  private debtAt(now: number): number {
    const debt = this.debt - (now - this.at)
    return debt > 0 ? debt : 0
  }

  private settleTo(now: number): void {
    this.debt = this.debtAt(now)
    this.at = now
  }
}

/** A count that begins anew with the first admission after its window. */
export class FixedWindow implements RuleState {
  readonly capacity: number
  private readonly window: number
  private used = 0
  private endsAt = Number.NEGATIVE_INFINITY

  constructor(limit: number, windowMillis: number) {
    this.capacity = limit
    this.window = roundWait(windowMillis)
  }

  wait(now: number, cost: number): number {
    return now >= this.endsAt || this.used + cost <= this.capacity ? 0 : roundWait(this.endsAt - now)
  }

  take(now: number, cost: number): void {
    if (now >= this.endsAt) {
      this.endsAt = now + this.window
      this.used = 0
    }
    this.used += cost
  }

  charge(now: number, amount: number): void {
    this.take(now, amount)
  }

  giveBack(grantedAt: number, now: number, amount: number): boolean {
    const isThere = now < this.endsAt && grantedAt >= this.endsAt - this.window && this.used > 0
    if (isThere) this.used = Math.max(0, this.used - amount)
    return isThere
  }

  free(now: number): number {
    return now >= this.endsAt ? this.capacity : Math.max(0, this.capacity - this.used)
  }

  refillMillis(_now: number, cost: number): number {
    return roundWait(this.window * cost / this.capacity)
  }

  isIdle(now: number): boolean {
    return now >= this.endsAt
  }

  peek(now: number): LimitState {
    return { _tag: "Window", entries: this.isIdle(now) ? [] : [[this.endsAt - now, this.used]] }
  }
}

/** Permits in use. One process holds them all, so they need no lease. */
export class Permits implements RuleState {
  readonly capacity: number
  private held = 0

  constructor(permits: number) {
    this.capacity = permits
  }

  wait(_now: number, cost: number): number {
    return this.held + cost <= this.capacity ? 0 : Number.POSITIVE_INFINITY
  }

  take(_now: number, cost: number): void {
    this.held += cost
  }

  charge(_now: number, amount: number): void {
    this.held += amount
  }

  giveBack(_grantedAt: number, _now: number, amount: number): boolean {
    const hadSome = this.held > 0
    this.held = Math.max(0, this.held - amount)
    return hadSome
  }

  free(): number {
    return Math.max(0, this.capacity - this.held)
  }

  refillMillis(): number {
    return Number.POSITIVE_INFINITY
  }

  isIdle(): boolean {
    return this.held === 0
  }

  peek(): LimitState {
    return { _tag: "Permits", held: this.held }
  }
}
