/**
 * The state that goes with a rule: as new, or as a peek saw it.
 */
import { AdaptiveRate } from "./adaptiveRate.ts"
import { FixedWindow, Permits, TokenBucket } from "./countedRules.ts"
import type { Rule } from "./rule.ts"
import type { RuleState } from "./ruleState.ts"
import { CallWindow, TokenWindow } from "./slidingWindow.ts"
import type { LimitState } from "./store.ts"

/** A limit to which nothing has happened yet. */
export const makeState = (rule: Rule): RuleState => {
  switch (rule._tag) {
    case "TokenBucket":
      return new TokenBucket(rule.capacity, rule.refill, rule.everyMillis)
    case "SlidingWindow":
      return rule.unit === "calls"
        ? new CallWindow(rule.limit, rule.windowMillis)
        : new TokenWindow(rule.limit, rule.windowMillis)
    case "FixedWindow":
      return new FixedWindow(rule.limit, rule.windowMillis)
    case "Permits":
      return new Permits(rule.permits)
    case "Adaptive":
      return new AdaptiveRate()
  }
}

/** A limit as a peek saw it, at time 0. */
export const restoreState = (rule: Rule, seen: LimitState): RuleState => {
  if (rule._tag === "TokenBucket" && seen._tag === "Bucket") {
    return new TokenBucket(rule.capacity, rule.refill, rule.everyMillis, seen.fullInMillis)
  }
  if (rule._tag === "Adaptive" && seen._tag === "Adaptive") return AdaptiveRate.restore(seen)
  if (rule._tag === "SlidingWindow" && rule.unit === "tokens" && seen._tag === "Window") {
    return new TokenWindow(rule.limit, rule.windowMillis, seen.entries)
  }
  const state = makeState(rule)
  if (seen._tag === "Permits" && seen.held > 0) state.charge(0, seen.held)
  if (seen._tag !== "Window" || (rule._tag !== "SlidingWindow" && rule._tag !== "FixedWindow")) return state
  for (const [endsInMillis, amount] of seen.entries) state.charge(endsInMillis - rule.windowMillis, amount)
  return state
}
