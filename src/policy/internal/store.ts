/**
 * The words of the store's contract, apart from the service itself.
 */
import type { Rule } from "./rule.ts"

/**
 * One limit of a lane.
 *
 * **Shape** `key` is its identity in the limiter (`global/0`, `service/openai/1`, `tenant/acme/0`); `name` is for people
 * (`service "openai", 500 calls per 60 s`); limits with one `group` are kept and expire together.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limit {
  readonly key: string
  readonly name: string
  readonly group: string
  readonly rule: Rule
}

/**
 * A set of limits that requests pass together, as the store prepared it once. A store may extend it with what it needs.
 *
 * **Shape** `owner` is who asks: one limiter of one process. Its waiting counts and claims are kept under this name; a store
 * that serves one limiter makes up its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lane {
  readonly key: string
  readonly owner: string
  readonly limits: ReadonlyArray<Limit>
}

/**
 * One request at the head of a lane. `id` names its lease; unique over all processes where the lane has permits.
 *
 * **Shape** `slack`: the share of each limit's capacity that must stay free after it; absent or 0: none. Of a rate that was learnt
 * nothing is free in this sense. A head with slack goes last in its ask, does not wait, and leaves nothing behind when it is
 * refused.
 *
 * @category models
 * @since 0.1.0
 */
export interface Head {
  readonly id: string
  readonly calls: number
  readonly tokens: number
  readonly slack?: number | undefined
}

/**
 * What a process asks for one lane: its first heads, in their order, and how many wait there in all (the heads included, but
 * for those with slack).
 *
 * **Shape** `waiting`, less the heads that pass, is kept as this owner's count for the lane until {@link keptMillis} after the
 * ask; asking renews it. Without heads it only tells the count: with `waiting: 0` nobody waits any more, and the owner's count
 * and claims of the lane are gone.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ask {
  readonly lane: Lane
  readonly heads: ReadonlyArray<Head>
  readonly waiting: number
}

/**
 * What the store says to one {@link Ask}.
 *
 * **Shape** The first `granted` heads passed, at the store's time `grantedAt` (milliseconds, the store's own clock). When some
 * did not: `waitMillis` is the least time until the next head could pass, `Infinity` where only a returned permit can tell (or
 * nothing at all: it costs more than the limit ever holds); `blockedBy` the index of the limit with the longest wait (else -1).
 * `waiting` counts the lane's waiters over all owners after this ask, those of this one included.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly granted: number
  readonly grantedAt: number
  readonly waitMillis: number
  readonly blockedBy: number
  readonly waiting: number
}

/**
 * A head that passed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Grant {
  readonly lane: Lane
  readonly head: Head
  readonly grantedAt: number
}

/**
 * What happens to a grant afterwards.
 *
 * - `Return`: its request never started; everything goes back as far as each rule can without exceeding its bound.
 * - `Settle`: `tokens` is what it really cost; more is taken though the rule be overdrawn, less is given back as above.
 * - `Release`: it has ended; its permits go back.
 *
 * @category models
 * @since 0.1.0
 */
export type Change =
  | { readonly _tag: "Return"; readonly grant: Grant }
  | { readonly _tag: "Settle"; readonly grant: Grant; readonly tokens: number }
  | { readonly _tag: "Release"; readonly grant: Grant }

/**
 * What a service's answer says about its limits. All durations in milliseconds.
 *
 * **Shape** `congested`: it refused the call for its rate (429, or overload). `retryAfterMillis`: when it wants to be asked
 * again. `limit`, `remaining`, `resetMillis`: its own count of calls, as headers tell. `latencyMillis`: how long the answer
 * took. `grantedAt`: the grant's, so that one jam is counted once. `isGuess`: nobody needed the call, so its refusal is no jam:
 * only the time that the service asks for holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signal {
  readonly congested: boolean
  readonly grantedAt: number
  readonly retryAfterMillis?: number | undefined
  readonly limit?: number | undefined
  readonly remaining?: number | undefined
  readonly resetMillis?: number | undefined
  readonly latencyMillis?: number | undefined
  readonly isGuess?: boolean | undefined
}

/**
 * The state of one limit at one moment, for a dry run. Times in milliseconds from now.
 *
 * - `Bucket`: how long until the bucket is full.
 * - `Window`: what counts still, as `[millis until it counts no more, amount]`, oldest first; a fixed window is one entry.
 * - `Permits`: how many are held.
 * - `Adaptive`: calls per second now (`Infinity`: not learnt yet), and how long the service is left alone.
 *
 * @category models
 * @since 0.1.0
 */
export type LimitState =
  | { readonly _tag: "Bucket"; readonly fullInMillis: number }
  | { readonly _tag: "Window"; readonly entries: ReadonlyArray<readonly [endsInMillis: number, amount: number]> }
  | { readonly _tag: "Permits"; readonly held: number }
  | {
    readonly _tag: "Adaptive"
    readonly callsPerSecond: number
    readonly pausedMillis: number
    readonly nextInMillis: number
  }

/**
 * How long a waiting count or a claim is kept after the ask that was told to wait for `waitMillis`: until then (at most a
 * minute; a second where it is `Infinity` or 0) and one second more. Asking renews it.
 *
 * @category protocol
 * @since 0.1.0
 */
export const keptMillis = (waitMillis: number): number =>
  1000 + (waitMillis > 0 && waitMillis < Number.POSITIVE_INFINITY ? Math.min(waitMillis, 60_000) : 1000)

/**
 * The same for stores that can answer without waiting; the limiter then needs no fiber for a request that passes at once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Synchronous {
  /**
   * Takes one head: 0 when it passed, else the least milliseconds until it could (`Infinity` for permits), and
   * {@link blockedBy} is set. `slack`: as in {@link Head}.
   */
  readonly takeUnsafe: (lane: Lane, calls: number, tokens: number, slack?: number) => number
  /** The index of the limit with the longest wait in the last refused `takeUnsafe`. */
  readonly blockedBy: () => number
  readonly changeUnsafe: (change: Change) => void
  /** The store's time of the last `takeUnsafe`, in milliseconds: what it granted, it granted then. */
  readonly takenAt: () => number
  /** The store's time, in milliseconds. */
  readonly now: () => number
}
