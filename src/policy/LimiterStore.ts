/**
 * Where the state of limits is kept: in this process's memory, or in Redis for many processes.
 *
 * A store answers one question: may these heads of a lane pass all of its limits now? It takes everything or nothing, says how
 * long to wait, and keeps no waiter's slot, so a waiter that leaves costs nothing ("grant now, wait at home"). Queues, turns
 * and timers are the limiter's.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Rule } from "./internal/rule.ts"

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
 * @category models
 * @since 0.1.0
 */
export interface Head {
  readonly id: string
  readonly calls: number
  readonly tokens: number
}

/**
 * What a process asks for one lane: its first heads, in their order, and how many wait there in all (the heads included).
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
 * took. `grantedAt`: the grant's, so that one jam is counted once.
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
 * The store could not answer: it is away, too slow, or says something we do not understand.
 *
 * **Shape** `kind`: `Unreachable` (no connection), `TimedOut` (no answer in time: the script may have been applied and is never
 * sent again), `Refused` (it answered with an error; `key` names the key where one is to blame, as with WRONGTYPE).
 *
 * @category errors
 * @since 0.1.0
 */
export class LimiterStoreError extends Schema.TaggedError<LimiterStoreError>()("LimiterStoreError", {
  kind: Schema.Literals(["Unreachable", "TimedOut", "Refused"]),
  message: Schema.String,
  isTransient: Schema.Boolean,
  key: Schema.optionalKey(Schema.String),
  cause: Schema.optionalKey(Schema.Defect())
}) {}

/**
 * The same for stores that can answer without waiting; the limiter then needs no fiber for a request that passes at once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Synchronous {
  /**
   * Takes one head: 0 when it passed, else the least milliseconds until it could (`Infinity` for permits), and
   * {@link blockedBy} is set.
   */
  readonly takeUnsafe: (lane: Lane, calls: number, tokens: number) => number
  /** The index of the limit with the longest wait in the last refused `takeUnsafe`. */
  readonly blockedBy: () => number
  readonly changeUnsafe: (change: Change) => void
  /** The store's time, in milliseconds. */
  readonly now: () => number
}

/**
 * The contract of a store.
 *
 * @category services
 * @since 0.1.0
 */
export class LimiterStore extends Context.Service<LimiterStore, {
  /** Prepares a set of limits once. No I/O. `owner`: see {@link Lane}; absent: the store's own. */
  readonly lane: (key: string, limits: ReadonlyArray<Limit>, owner?: string | undefined) => Lane
  /**
   * One atomic step for all asks, in their order.
   *
   * - *Order.* Once a head was refused, later asks of the batch that need the limit that blocked it (the one with the longest
   *   wait) are refused too, and wait at least as long: nobody small overtakes. A head that costs more than its limit ever
   *   holds is refused (`Infinity`) and stops nobody.
   * - *Shares.* While other owners have waiters registered for the same lane, an ask takes of what is free at each of its
   *   limits at most `ceil(free * waiting / waiting of all)`; its first head may take more, if there is room. A head refused
   *   for this waits until the limit has refilled by its cost at its mean rate, at most until the others' counts end.
   * - *Claims.* A head with a cost above 1 that a limit blocks for a finite time, or for want of permits, leaves a claim there:
   *   owner, cost, until {@link keptMillis} after the ask. A claim keeps its age while it is renewed, and ends when its head
   *   passes or is blocked by another limit. Asks of other owners pass only if what older claims want is left over.
   */
  readonly ask: (asks: ReadonlyArray<Ask>) => Effect.Effect<ReadonlyArray<Answer>, LimiterStoreError>
  readonly change: (changes: ReadonlyArray<Change>) => Effect.Effect<void, LimiterStoreError>
  /** Renews the leases of grants that hold permits; answers with those that are lost. */
  readonly renew: (grants: ReadonlyArray<Grant>) => Effect.Effect<ReadonlyArray<Grant>, LimiterStoreError>
  /** Tells what a service said; for the `Adaptive` limit. */
  readonly feedback: (limit: Limit, signal: Signal) => Effect.Effect<void, LimiterStoreError>
  /** Calls `listener` with keys of limits of which something came back, in any process, while the scope is open. */
  readonly freed: (
    listener: (keys: ReadonlyArray<string>) => void
  ) => Effect.Effect<void, LimiterStoreError, Scope.Scope>
  /** Reads, takes nothing. */
  readonly peek: (limits: ReadonlyArray<Limit>) => Effect.Effect<ReadonlyArray<LimitState>, LimiterStoreError>
  /** Present where the store can answer at once. */
  readonly synchronous: Synchronous | undefined
}>()("effect-toolformer/policy/LimiterStore") {}
