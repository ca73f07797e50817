/**
 * One ask under way: which heads of which lanes it carries, and how many heads the next one should.
 */
import { LimiterStoreError } from "../LimiterStore.ts"
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

/** A store that answers more or fewer asks than there were: none of its answers is to be trusted. */
export const miscounted = new LimiterStoreError({
  kind: "Refused",
  message: "the store gave more or fewer answers than it was asked for",
  isTransient: false
})
