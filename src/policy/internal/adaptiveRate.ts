/**
 * The learnt rate as a rule's state.
 */
import * as Adaptive from "./adaptive.ts"
import type { RuleState } from "./ruleState.ts"
import type { LimitState, Signal } from "./store.ts"
import { roundWait } from "./time.ts"

// An answer may take so long, and is then measured against the calls of its time.
const answerMillis = 60_000

export class AdaptiveRate implements RuleState {
  readonly capacity = Number.POSITIVE_INFINITY
  private readonly state = Adaptive.make()

  /** As a peek saw it, at time 0. */
  static restore(seen: Extract<LimitState, { readonly _tag: "Adaptive" }>): AdaptiveRate {
    const restored = new AdaptiveRate()
    Object.assign(restored.state, {
      rate: Number.isFinite(seen.callsPerSecond) ? seen.callsPerSecond / 1000 : 0,
      pausedUntil: seen.pausedMillis,
      nextAt: seen.nextInMillis
    })
    return restored
  }

  wait(now: number, cost: number): number {
    if (cost === Number.POSITIVE_INFINITY && Adaptive.rateAt(this.state, now) > 0) return cost
    return roundWait(Adaptive.wait(this.state, now))
  }

  take(now: number, cost: number): void {
    Adaptive.take(this.state, now, cost)
  }

  charge(now: number, amount: number): void {
    Adaptive.take(this.state, now, amount)
  }

  // A rate learns from what was let pass; nothing of it is kept for later.
  giveBack(): boolean {
    return false
  }

  free(now: number): number {
    return Adaptive.wait(this.state, now) > 0 ? 0 : Number.POSITIVE_INFINITY
  }

  refillMillis(now: number, cost: number): number {
    const rate = Adaptive.rateAt(this.state, now)
    return rate === 0 ? 0 : roundWait(cost / rate)
  }

  isIdle(now: number): boolean {
    const { pausedUntil, usedAt } = this.state
    return Adaptive.rateAt(this.state, now) === 0 && pausedUntil <= now && now - usedAt > answerMillis
  }

  observe(now: number, signal: Signal): void {
    Adaptive.observe(this.state, now, signal)
  }

  peek(now: number): LimitState {
    return Adaptive.stateOf(this.state, now)
  }
}
