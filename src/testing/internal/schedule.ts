/**
 * Who goes next, and who is set aside before its next operation: the decisions of one run, drawn from a seed or read from a list.
 *
 * Each seed has one way to decide, so that coarse and fine schedules take turns:
 * - *walk*: anybody of those that can go on, each as likely; set aside with a fixed probability before each operation.
 * - *ranks*: each fiber has a rank, the highest goes on; now and then the one that goes on gets the lowest rank of all. Few changes
 *   suffice for most races: a bug of depth d is found with a probability of at least 1/(n k^(d-1)) for n fibers and k operations
 *   (Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, ASPLOS
 *   2010). The length of the run is not known beforehand, so seeds differ in how rare changes are.
 * - *pace*: all go on at about one speed, as on a machine with a core for each; some stall now and then.
 */
import { seededRandom } from "./seededRandom.ts"

/** A fiber, as far as a run knows it. */
export interface Strand {
  /** The way it came to life: the same in every schedule in which it does. */
  readonly key: string
  /** In order of birth in this run, from 1. */
  readonly number: number
  rank: number
  /** The turn in which it may go on. */
  turn: number
  /** Who has started it to go on at once, and goes on when it is set aside. */
  under: (Ready & { readonly strand: Strand }) | undefined
  operations: number
  /** How many of its next operations only end a stop. */
  resuming: number
  /** The decisions that fell at its last operation. */
  decisions: number
  /** What it has scheduled and brought to life so far. */
  made: number
}

/** Somebody who can go on. */
export interface Ready {
  readonly key: string
  /** The fiber that goes on; `undefined` where it is the beginning of one, a wake-up, or whatever else was scheduled. */
  readonly strand: Strand | undefined
  readonly rank: number
}

export interface Schedule {
  /** The rank of a newcomer. */
  readonly rank: () => number
  /** A fiber that has waited can go on again. */
  readonly wakes: (strand: Strand) => void
  /** Whether the fiber that goes on is set aside before its next operation; there is somebody else. */
  readonly setsAside: (strand: Strand, ready: ReadonlyArray<Ready>) => boolean
  /** The place of who goes next; there are at least two. `at`: the fiber that went last, and its operation. */
  readonly next: (ready: ReadonlyArray<Ready>, at: Place) => number
  /** Whether promises get their turn now, although there is work. */
  readonly letsPromisesIn: (at: Place) => boolean
  /** How many milliseconds pass now, although there is work. */
  readonly hurries: (at: Place) => number
}

/** Where a decision falls: the fiber that went last, the operation it has come to, and how many decisions fell there before. */
export interface Place {
  readonly strand: string
  readonly operation: number
  readonly nth: number
}

/** A decision that differs from the plain order. `next`: the key of who goes on; or what else happens. */
export type Decision =
  & { readonly at: Place }
  & (
    | { readonly _tag: "Switch"; readonly next: string; readonly isForced: boolean }
    | { readonly _tag: "Promises" }
    | { readonly _tag: "Pause"; readonly millis: number }
  )

export type Style =
  | { readonly _tag: "Walk"; readonly setAside: number }
  | { readonly _tag: "Ranks"; readonly change: number }
  | { readonly _tag: "Pace"; readonly stall: number; readonly jitter: number }

/**
 * Chosen on the planted races of `test/testing/races.ts`, by the seeds one needs on average (of 800): lost update 8, check then act 6,
 * lost wake-up 12, of ten fibers two meet 20, a stack's ABA 267, a window of one operation in fibers of unequal length 400. One walk
 * or one rate of changes alone needs 13 to 600 for the first three; pace without stalls, where equal fibers keep step, needs 1 to
 * 2, and never finds the last three. Chosen and counted on the same races, some of which were made easier on the way: other programs
 * will need more.
 */
const styles: ReadonlyArray<Style> = [
  { _tag: "Walk", setAside: 0 },
  { _tag: "Pace", jitter: 1 / 4, stall: 0 },
  { _tag: "Ranks", change: 1 / 4 },
  { _tag: "Pace", jitter: 1 / 4, stall: 1 / 128 },
  { _tag: "Ranks", change: 1 / 64 },
  { _tag: "Pace", jitter: 1, stall: 0 },
  { _tag: "Ranks", change: 1 / 256 },
  { _tag: "Pace", jitter: 1 / 4, stall: 1 / 32 }
]

const longestPause = 64

/** The schedule of a seed. */
export const seededSchedule = (
  seed: number,
  options: { readonly hurry: number; readonly style?: Style | undefined }
): Schedule => {
  const { below, chance, next } = seededRandom(seed)
  const style = options.style ?? styles[seed % styles.length]!
  const { hurry } = options
  return {
    ...(style._tag === "Walk"
      ? walk(style.setAside, { below, chance })
      : style._tag === "Pace"
      ? pace(style, next)
      : ranks(style.change, { next, chance })),
    letsPromisesIn: () => chance(1 / 16),
    // As many short ones as long ones.
    hurries: () => hurry > 0 && chance(hurry) ? 2 ** (next() * Math.log2(longestPause)) : 0
  }
}

type Draws = ReturnType<typeof seededRandom>

const walk = (setAside: number, { below, chance }: Pick<Draws, "below" | "chance">) => ({
  rank: () => 0,
  wakes: () => {},
  setsAside: () => chance(setAside),
  next: (ready: ReadonlyArray<Ready>) => below(ready.length)
})

const rankOf = ({ rank, strand }: Ready): number => strand?.rank ?? rank

const isOutranked = ({ rank }: Strand, ready: ReadonlyArray<Ready>): boolean =>
  ready.some((other) => rankOf(other) > rank)

const highest = (ready: ReadonlyArray<Ready>): number => {
  let best = 0
  for (let i = 1; i < ready.length; i++) if (rankOf(ready[i]!) > rankOf(ready[best]!)) best = i
  return best
}

const ranks = (change: number, { chance, next }: Pick<Draws, "chance" | "next">) => {
  let lowest = 0
  return {
    rank: next,
    wakes: () => {},
    setsAside: (strand: Strand, ready: ReadonlyArray<Ready>) => {
      if (chance(change)) strand.rank = --lowest
      return isOutranked(strand, ready)
    },
    next: highest
  }
}

const pace = ({ jitter, stall }: { readonly stall: number; readonly jitter: number }, next: () => number) => {
  // The rank of whoever goes on: the way it has come, negated.
  let front = 0
  return {
    rank: () => front - jitter * next(),
    wakes: (strand: Strand) => {
      strand.rank = Math.min(strand.rank, front - jitter * next())
    },
    setsAside: (strand: Strand, ready: ReadonlyArray<Ready>) => {
      strand.rank -= 1 + jitter * (next() - 0.5) + (next() < stall ? 2 ** (6 * next()) : 0)
      front = Math.min(front, strand.rank)
      return isOutranked(strand, ready)
    },
    next: (ready: ReadonlyArray<Ready>) => {
      const place = highest(ready)
      front = Math.min(front, rankOf(ready[place]!))
      return place
    }
  }
}

const placeOf = ({ nth, operation, strand }: Place): string => `${strand}:${operation}:${nth}`

export const isSamePlace = (one: Decision, other: Decision): boolean => placeOf(one.at) === placeOf(other.at)

/**
 * The plain order (whoever could go on first; nobody is set aside, time and promises come last) but for these decisions. Who is set
 * aside stays so while anybody else can go on.
 */
export const listedSchedule = (decisions: ReadonlyArray<Decision>): Schedule => {
  const byPlace = new Map(decisions.map((decision) => [placeOf(decision.at), decision]))
  const stops = new Set(
    decisions.flatMap((decision) =>
      decision._tag === "Switch" && decision.isForced ? [placeOf({ ...decision.at, nth: 0 })] : []
    )
  )
  const strands = new Set(decisions.map(({ at }) => at.strand))
  const aside = new Set<string>()
  const at = (place: Place) => strands.has(place.strand) ? byPlace.get(placeOf(place)) : undefined
  return {
    rank: () => 0,
    wakes: () => {},
    setsAside: ({ key, operations }) => {
      const isStop = strands.has(key) && stops.has(placeOf({ strand: key, operation: operations, nth: 0 }))
      if (isStop) aside.add(key)
      return isStop
    },
    next: (ready, place) => {
      const decision = at(place)
      const decided = decision?._tag === "Switch" ? ready.findIndex(({ key }) => key === decision.next) : -1
      const next = decided >= 0 ? decided : Math.max(0, ready.findIndex(({ key }) => !aside.has(key)))
      aside.delete(ready[next]!.key)
      return next
    },
    letsPromisesIn: (place) => at(place)?._tag === "Promises",
    hurries: (place) => {
      const decision = at(place)
      return decision?._tag === "Pause" ? decision.millis : 0
    }
  }
}
