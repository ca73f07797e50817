/**
 * One ask under way: which heads of which lanes it carries, and how many heads the next one should.
 */
import type { LaneQueue, LimitQueue, Waiter } from "./lane.ts"
import type { Answer, Ask, Lane } from "./store.ts"

/** The part of an ask for one lane. */
export interface Leg {
  readonly lane: LaneQueue
  readonly heads: ReadonlyArray<Waiter>
  readonly ask: Ask
  /** Where the lane was parked. */
  readonly from: LimitQueue | undefined
}

export interface Flight {
  readonly legs: ReadonlyArray<Leg>
  /** Limits whose parked lanes it carries. */
  readonly queues: ReadonlyArray<LimitQueue>
}

const mostHeads = 64

/** How many heads a lane sends, or lanes a limit tries: many while they pass, few while it is saturated. */
export const nextBatch = (sent: number, granted: number): number =>
  granted === sent ? Math.min(Math.max(sent * 2, 8), mostHeads) : Math.max(granted * 2, 2)

/** How many heads each of so many lanes may send in one ask. */
export const headsEach = (lanes: number): number => Math.max(1, Math.floor(2 * mostHeads / lanes))

/** The limit an answer names, in the lane it was asked for. */
export const blocking = (lane: Lane, { blockedBy }: Answer): string | undefined => lane.limits[blockedBy]?.key

/**
 * When to ask again for a limit that others wait for too: when about one call of this process's share has come back, so that
 * saturated processes do not ask for each slot in chorus. Never so late that a bucket would be full, or a second.
 */
export const shareMillis = (lane: LaneQueue, queue: LimitQueue, cost: number): number => {
  const { rule } = queue.limit
  if (lane.elsewhere === 0) return 0
  const parts = 1 + lane.elsewhere / Math.max(lane.turns.size + lane.asked, 1)
  switch (rule._tag) {
    case "TokenBucket": {
      const unitMillis = rule.everyMillis / rule.refill
      return Math.min(unitMillis * cost * parts, unitMillis * rule.capacity / 2, 1000)
    }
    case "SlidingWindow":
    case "FixedWindow":
      return Math.min(rule.windowMillis / rule.limit * cost * parts, rule.windowMillis / 4, 1000)
    case "Permits":
    case "Adaptive":
      return 0
  }
}
