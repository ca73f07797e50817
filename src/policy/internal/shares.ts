/**
 * A process's share of a limit that waiters of other processes want too. It asks again when about one call of its share has
 * come back, so that saturated processes do not ask for each slot in chorus; never so late that a bucket would be full, or a
 * second, and each ask takes one at least where there is room.
 */
import type { LaneQueue } from "./lane.ts"
import type { Rule } from "./rule.ts"

/** How long one unit takes to come back at the rule's mean rate, and the longest time between two asks. */
const pace = (rule: Rule): { readonly unitMillis: number; readonly longestMillis: number } => {
  switch (rule._tag) {
    case "TokenBucket": {
      const unitMillis = rule.everyMillis / rule.refill
      return { unitMillis, longestMillis: Math.min(unitMillis * rule.capacity / 2, 1000) }
    }
    case "SlidingWindow":
    case "FixedWindow":
      return { unitMillis: rule.windowMillis / rule.limit, longestMillis: Math.min(rule.windowMillis / 4, 1000) }
    case "Permits":
    case "Adaptive":
      return { unitMillis: 0, longestMillis: 0 }
  }
}

/** How long one unit takes to come back at the rule's mean rate; 0 where that is not known. */
export const unitMillis = (rule: Rule): number => pace(rule).unitMillis

/** All waiters of the lane, counted in this process's. */
const parts = (lane: LaneQueue): number => 1 + lane.elsewhere / Math.max(lane.turns.size + lane.asked, 1)

/** When to ask again at the earliest. */
export const shareMillis = (lane: LaneQueue, rule: Rule, cost: number): number => {
  if (lane.elsewhere === 0) return 0
  const { longestMillis, unitMillis } = pace(rule)
  return Math.min(unitMillis * cost * parts(lane), longestMillis)
}
