/**
 * When a newcomer could start at the earliest: a lower bound from its place in the lane, what the store said last, and the rules'
 * rates. What others want elsewhere is in the store's word only: shares follow the number waiting, so those who line up behind
 * this one may bring it forward. Permits have no such bound. Some limits per call, nothing per waiter.
 */
import type { LaneQueue, LimitQueue, Plan, Waiter } from "./lane.ts"
import type { Rule } from "./rule.ts"

export interface Earliest {
  readonly millis: number
  readonly limit: LimitQueue | undefined
}

/** What stands before a newcomer at one limit: the cost it comes after, its own included, and when the first may try. */
export interface Before {
  /** In the rule's unit. */
  readonly cost: number
  /** The part of `cost` that passes when `firstMillis` have gone by. */
  readonly first: number
  /** 0: unknown. */
  readonly firstMillis: number
}

/** A lower bound for one rule, in milliseconds. */
export const lowerBound = (rule: Rule, before: Before): number => {
  const { cost, first, firstMillis } = before
  switch (rule._tag) {
    case "TokenBucket": {
      // A bucket whose first waiter had to wait is empty when it has passed; else it may be full now.
      const refilled = firstMillis > 0 ? cost - first : cost - rule.capacity
      return firstMillis + Math.max(refilled, 0) * rule.everyMillis / rule.refill
    }
    // A whole window may come free at once.
    case "SlidingWindow":
    case "FixedWindow":
      return firstMillis + (Math.ceil(cost / rule.limit) - 1) * rule.windowMillis
    case "Permits":
    case "Adaptive":
      return firstMillis
  }
}

/** The limits' lower bound for a newcomer of this plan. `refused`: what the store has just said to it. */
export const earliest = (
  plan: Plan,
  lane: LaneQueue,
  newcomer: Parameters<LaneQueue["turns"]["ahead"]>[0],
  now: number,
  refused: { readonly queue: LimitQueue; readonly waitMillis: number } | undefined
): Earliest => {
  const ahead = lane.turns.ahead(newcomer)
  let millis = 0
  let limit: LimitQueue | undefined
  for (const queue of lane.limits) {
    const { rule } = queue.limit
    const calls = rule.unit === "calls"
    const own = calls ? plan.calls : plan.tokens
    const cost = (calls ? ahead.calls : ahead.tokens) + own
    const bound = lowerBound(rule, { cost, ...firstAt(queue, lane, cost - own, calls, now, refused) })
    if (bound <= millis) continue
    millis = bound
    limit = queue
  }
  return { millis, limit }
}

/** The same for one who stands in line: `through` is the cost up to it, its own included. */
export const earliestInLine = (
  { lane }: Waiter,
  through: { readonly calls: number; readonly tokens: number },
  refused: Refused
): Earliest => {
  let millis = 0
  let limit: LimitQueue | undefined
  for (const queue of lane.limits) {
    const { rule } = queue.limit
    const cost = rule.unit === "calls" ? through.calls : through.tokens
    const isRefused = queue === refused.queue
    const first = isRefused ? refused.cost : 0
    const bound = lowerBound(rule, { cost, first, firstMillis: isRefused ? finite(refused.waitMillis) : 0 })
    if (bound <= millis) continue
    millis = bound
    limit = queue
  }
  return { millis, limit }
}

/** What the store said of a head that costs `cost`. */
export interface Refused {
  readonly queue: LimitQueue
  readonly waitMillis: number
  readonly cost: number
}

// The first of the queue may try when the limit is due; a newcomer's lane has its turn after it, or is first itself.
const firstAt = (
  queue: LimitQueue,
  lane: LaneQueue,
  ahead: number,
  calls: boolean,
  now: number,
  refused: { readonly queue: LimitQueue; readonly waitMillis: number } | undefined
): Pick<Before, "first" | "firstMillis"> => {
  if (refused !== undefined) {
    return { first: Number.POSITIVE_INFINITY, firstMillis: refused.queue === queue ? finite(refused.waitMillis) : 0 }
  }
  const first = queue.parked[0]
  // Permits are looked for from time to time; that is no estimate.
  if (queue.limit.rule._tag === "Permits") return { first: 0, firstMillis: 0 }
  if (first === undefined || (lane.parkedAt !== undefined && lane.ticket < first.ticket)) {
    return { first: 0, firstMillis: 0 }
  }
  const head = first === lane ? lane.turns.peek() : undefined
  const headCost = head === undefined ? 0 : calls ? head.calls : head.tokens
  return { first: Math.min(headCost, ahead), firstMillis: finite(Math.max(queue.at - now, 0)) }
}

// Permits know no time.
const finite = (millis: number): number => Number.isFinite(millis) ? millis : 0
