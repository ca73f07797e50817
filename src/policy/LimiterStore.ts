/**
 * Where the state of limits is kept: in this process's memory, or in Redis for many processes.
 *
 * A store answers one question: may these heads of a lane pass all of its limits now? It takes everything or nothing, says how
 * long to wait, and keeps no waiter's slot, so a waiter that leaves costs nothing ("grant now, wait at home"). Queues, turns
 * and timers are the limiter's.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { MemoryStore } from "./internal/memoryStore.ts"
import type { Answer, Ask, Change, Grant, Lane, Limit, LimitState, Signal, Synchronous } from "./internal/store.ts"

export { keptMillis } from "./internal/store.ts"
export type {
  Answer,
  Ask,
  Change,
  Grant,
  Head,
  Lane,
  Limit,
  LimitState,
  Signal,
  Synchronous
} from "./internal/store.ts"

/**
 * The store could not answer: it is away, too slow, or says something we do not understand.
 *
 * **Shape** `kind`: `Unreachable` (no connection), `TimedOut` (no answer in time, or the connection ended before it: the
 * script may have been applied and is never sent again), `Refused` (it answered with an error; `key` names the key where one is to blame, as with WRONGTYPE).
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
 * The contract of a store.
 *
 * @category services
 * @since 0.1.0
 */
export class LimiterStore extends Context.Service<LimiterStore, {
  /** Prepares a set of limits once. No I/O. `owner`: see {@link Lane}; absent: the store's own. */
  readonly lane: (key: string, limits: ReadonlyArray<Limit>, owner?: string) => Lane
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
  /**
   * Calls `listener` with keys of limits of which something came back, in any process, while the scope is open: at least
   * where an ask was refused since it was last told. Also where something may have come back unheard, such as a lease that
   * has ended.
   */
  readonly freed: (
    listener: (keys: ReadonlyArray<string>) => void
  ) => Effect.Effect<void, LimiterStoreError, Scope.Scope>
  /** Reads, takes nothing. */
  readonly peek: (limits: ReadonlyArray<Limit>) => Effect.Effect<ReadonlyArray<LimitState>, LimiterStoreError>
  /** Present where the store can answer at once. */
  readonly synchronous: Synchronous | undefined
}>()("effect-toolformer/policy/LimiterStore") {}

/**
 * Keeps limits in this process's memory, by the monotonic time of Effect's `Clock`. Limiters under one such layer share their
 * limits. A limit that nothing happened to for as long as it remembers takes no memory.
 *
 * @see `LimiterStoreRedis` for limits shared by many processes
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<LimiterStore> = Layer.effect(
  LimiterStore,
  Effect.map(Clock.Clock, (clock) => {
    const store = new MemoryStore(clock)
    return LimiterStore.of({
      lane: store.lane,
      ask: (asks) => Effect.sync(() => store.ask(asks)),
      change: (changes) => Effect.sync(() => changes.forEach(store.changeUnsafe)),
      renew: () => Effect.succeed([]),
      feedback: (limit, signal) => Effect.sync(() => store.feedback(limit, signal)),
      freed: (listener) =>
        Effect.asVoid(Effect.acquireRelease(Effect.sync(() => store.listen(listener)), (stop) => Effect.sync(stop))),
      peek: (limits) => Effect.sync(() => store.peek(limits)),
      synchronous: store
    })
  })
)
