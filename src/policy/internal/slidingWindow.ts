/**
 * Sliding windows: of calls, exact, one time for each; of tokens, counted in slots of a thousandth of the window, where an entry
 * counts until the end of its slot and a window more: never over, at most 0.1 % of the window late. Both are rings that grow
 * with what is really in the window.
 */
import type { RuleState } from "./ruleState.ts"
import type { LimitState } from "./store.ts"
import { ceilTo, roundWait } from "./time.ts"

const smallest = 8
// An empty ring longer than this gives its memory back.
const large = 1024

/** A first-in, first-out of numbers, ascending; its length is a power of two. */
class Ring {
  private values = new Float64Array(smallest)
  private head = 0
  size = 0

  at(index: number): number {
    return this.values[(this.head + index) & (this.values.length - 1)]!
  }

  set(index: number, value: number): void {
    this.values[(this.head + index) & (this.values.length - 1)] = value
  }

  get isFull(): boolean {
    return this.size === this.values.length
  }

  push(value: number): void {
    if (this.isFull) this.resize(this.size * 2)
    this.set(this.size++, value)
  }

  drop(count: number): void {
    this.head = (this.head + count) & (this.values.length - 1)
    this.size -= count
    if (this.size === 0 && this.values.length > large) this.resize(smallest)
  }

  /** Takes `count` values out from `index` on, moving the shorter side. */
  remove(index: number, count: number): void {
    if (index < this.size - index - count) {
      for (let i = index - 1; i >= 0; i--) this.set(i + count, this.at(i))
      this.drop(count)
    } else {
      for (let i = index + count; i < this.size; i++) this.set(i - count, this.at(i))
      this.size -= count
    }
  }

  /** The index of the first value that is at least `value`; `size` when there is none. */
  search(value: number): number {
    let low = 0
    let high = this.size
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.at(middle) < value) low = middle + 1
      else high = middle
    }
    return low
  }

  private resize(length: number): void {
    const values = new Float64Array(length)
    for (let i = 0; i < this.size; i++) values[i] = this.at(i)
    this.values = values
    this.head = 0
  }
}

/** At most `limit` calls in any window. An entry that counts no more stays until its place is needed. */
export class CallWindow implements RuleState {
  readonly capacity: number
  private readonly window: number
  private readonly times = new Ring()

  constructor(limit: number, windowMillis: number) {
    this.capacity = limit
    this.window = roundWait(windowMillis)
  }

  wait(now: number, cost: number): number {
    const excess = this.times.size + cost - this.capacity
    if (excess <= 0) return 0
    const left = this.times.at(excess - 1) + this.window - now
    return left > 0 ? roundWait(left) : 0
  }

  take(now: number, cost: number): void {
    const { times } = this
    const excess = times.size + cost - this.capacity
    if (excess > 0) times.drop(Math.min(excess, times.size))
    for (let i = 0; i < cost; i++) {
      if (times.isFull) this.dropEnded(now)
      times.push(now)
    }
  }

  charge(now: number, amount: number): void {
    this.take(now, amount)
  }

  giveBack(grantedAt: number, now: number, amount: number): boolean {
    if (grantedAt + this.window <= now) return false
    const { times } = this
    const index = times.search(grantedAt)
    let count = 0
    while (count < amount && index + count < times.size && times.at(index + count) === grantedAt) count++
    if (count > 0) times.remove(index, count)
    return count > 0
  }

  free(now: number): number {
    return this.capacity - (this.times.size - this.ended(now))
  }

  refillMillis(_now: number, cost: number): number {
    return roundWait(this.window * cost / this.capacity)
  }

  isIdle(now: number): boolean {
    return this.times.size === 0 || this.times.at(this.times.size - 1) + this.window <= now
  }

  peek(now: number): LimitState {
    const entries: Array<[number, number]> = []
    for (let i = this.ended(now); i < this.times.size; i++) {
      const endsIn = this.times.at(i) + this.window - now
      const last = entries.at(-1)
      if (last !== undefined && last[0] === endsIn) last[1]++
      else entries.push([endsIn, 1])
    }
    return { _tag: "Window", entries }
  }

  private ended(now: number): number {
    const { times } = this
    let low = 0
    let high = times.size
    while (low < high) {
      const middle = (low + high) >>> 1
      if (times.at(middle) + this.window <= now) low = middle + 1
      else high = middle
    }
    return low
  }

  private dropEnded(now: number): void {
    const ended = this.ended(now)
    if (ended > 0) this.times.drop(ended)
  }
}

/** At most `limit` tokens in any window. */
export class TokenWindow implements RuleState {
  readonly capacity: number
  private readonly window: number
  private readonly slot: number
  // The end of each slot, and what was taken in it.
  private readonly ends = new Ring()
  private readonly amounts = new Ring()
  private sum = 0

  /** `entries`: what counts already at time 0, with the time each counts for still; oldest first. */
  constructor(limit: number, windowMillis: number, entries: ReadonlyArray<readonly [number, number]> = []) {
    this.capacity = limit
    this.window = roundWait(windowMillis)
    this.slot = ceilTo(windowMillis / 1000, 2 ** -16)
    for (const [endsInMillis, amount] of entries) {
      this.ends.push(endsInMillis - this.window)
      this.amounts.push(amount)
      this.sum += amount
    }
  }

  wait(now: number, cost: number): number {
    this.dropEnded(now)
    let over = this.sum + cost - this.capacity
    if (over <= 0) return 0
    let index = 0
    while (index < this.ends.size - 1 && (over -= this.amounts.at(index)) > 0) index++
    return roundWait(this.ends.at(index) + this.window - now)
  }

  take(now: number, cost: number): void {
    this.dropEnded(now)
    const last = this.ends.size - 1
    const end = this.endOf(now)
    if (last >= 0 && this.ends.at(last) === end) {
      this.amounts.set(last, this.amounts.at(last) + cost)
    } else {
      this.ends.push(end)
      this.amounts.push(cost)
    }
    this.sum += cost
  }

  charge(now: number, amount: number): void {
    this.take(now, amount)
  }

  giveBack(grantedAt: number, now: number, amount: number): boolean {
    this.dropEnded(now)
    const end = this.endOf(grantedAt)
    const index = this.ends.search(end)
    if (index === this.ends.size || this.ends.at(index) !== end) return false
    const back = Math.min(amount, this.amounts.at(index))
    this.amounts.set(index, this.amounts.at(index) - back)
    this.sum -= back
    return back > 0
  }

  free(now: number): number {
    this.dropEnded(now)
    return Math.max(0, this.capacity - this.sum)
  }

  refillMillis(_now: number, cost: number): number {
    return roundWait(this.window * cost / this.capacity)
  }

  isIdle(now: number): boolean {
    return this.ends.size === 0 || this.ends.at(this.ends.size - 1) + this.window <= now
  }

  peek(now: number): LimitState {
    this.dropEnded(now)
    const entries: Array<readonly [number, number]> = []
    for (let i = 0; i < this.ends.size; i++) {
      if (this.amounts.at(i) > 0) entries.push([this.ends.at(i) + this.window - now, this.amounts.at(i)])
    }
    return { _tag: "Window", entries }
  }

  private endOf(at: number): number {
    return (Math.floor(at / this.slot) + 1) * this.slot
  }

  private dropEnded(now: number): void {
    let ended = 0
    while (ended < this.ends.size && this.ends.at(ended) + this.window <= now) this.sum -= this.amounts.at(ended++)
    if (ended === 0) return
    this.ends.drop(ended)
    this.amounts.drop(ended)
  }
}
