/**
 * The state that goes with a rule.
 */
import { AdaptiveRate } from "./adaptiveRate.ts"
import { FixedWindow, Permits, TokenBucket } from "./countedRules.ts"
import type { Rule } from "./rule.ts"
import type { RuleState } from "./ruleState.ts"
import { CallWindow, TokenWindow } from "./slidingWindow.ts"

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
