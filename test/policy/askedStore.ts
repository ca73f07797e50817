/**
 * The memory store behind a wire: asked, not synchronous, answers after a while, and sometimes not at all. Several limiters on
 * one such store are several processes in virtual time.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Limiter from "../../src/policy/Limiter.ts"
import { layerMemory, LimiterStore, LimiterStoreError } from "../../src/policy/LimiterStore.ts"
import type { Ask, Change, Grant } from "../../src/policy/LimiterStore.ts"

type Store = LimiterStore["Service"]

export class Wire {
  /** How long a command and its reply take together, in milliseconds. */
  delay: () => number = () => 0
  /**
   * `up`: it answers. `down`: no connection. `blackhole`: commands are lost. `cut`: they are applied, and their replies lost.
   */
  state: "up" | "down" | "blackhole" | "cut" = "up"
  asks: Array<ReadonlyArray<Ask>> = []
  changes: Array<Change> = []
  /** Times at which the store granted something, on its own clock. */
  grants: Array<number> = []
  peeks = 0
  renewals: Array<ReadonlyArray<Grant>> = []
  /** Leases the store pretends to have lost. */
  lost = new Set<string>()

  command<A>(apply: Effect.Effect<A, LimiterStoreError>): Effect.Effect<A, LimiterStoreError> {
    return Effect.gen({ self: this }, function*() {
      const half = this.delay() / 2
      if (half > 0) yield* Effect.sleep(half)
      else yield* Effect.yieldNow
      if (this.state === "down") {
        return yield* new LimiterStoreError({ kind: "Unreachable", message: "connection refused", isTransient: true })
      }
      if (this.state === "blackhole") return yield* Effect.never
      const { state } = this
      const answer = yield* apply
      if (state === "cut") return yield* Effect.never
      if (half > 0) yield* Effect.sleep(half)
      return answer
    })
  }

  over(store: Store): Store {
    return LimiterStore.of({
      ...store,
      synchronous: undefined,
      ask: (asks) => {
        this.asks.push(asks)
        return this.command(Effect.tap(store.ask(asks), (answers) =>
          Effect.sync(() => {
            for (const { granted, grantedAt } of answers) for (let i = 0; i < granted; i++) this.grants.push(grantedAt)
          })))
      },
      change: (changes) => {
        this.changes.push(...changes)
        return this.command(store.change(changes))
      },
      renew: (grants) => {
        this.renewals.push(grants)
        return this.command(Effect.sync(() => grants.filter(({ head }) => this.lost.has(head.id))))
      },
      peek: (limits) => {
        this.peeks++
        return this.command(store.peek(limits))
      }
    })
  }
}

/** A store of its own behind a wire. */
export const layerAsked = (wire: Wire = new Wire()): Layer.Layer<LimiterStore> =>
  Layer.effect(LimiterStore, Effect.map(LimiterStore, (store) => wire.over(store))).pipe(Layer.provide(layerMemory))

/** The memory store itself, to be put behind wires. */
export const sharedStore = Effect.map(
  Layer.build(Layer.fresh(layerMemory)),
  (context) => Context.get(context, LimiterStore)
)

/** A limiter of its own on a store, behind a wire: one process. */
export const processOn = (store: Store, wire: Wire, options: Limiter.Options & Limiter.StoreOptions) =>
  Layer.build(Layer.fresh(Limiter.layerStore(options))).pipe(
    Effect.map((context) => Context.get(context, Limiter.Limiter)),
    // Closing waits for the store as long as a command may take: the test's clock goes on meanwhile.
    Effect.tap(Effect.addFinalizer(() => Effect.forkDetach(TestClock.adjust("1 minute")))),
    Effect.provideService(LimiterStore, wire.over(store))
  )

/** The most of the times that lie in any half-open stretch of so many milliseconds. */
export const mostWithin = (times: ReadonlyArray<number>, millis: number): number => {
  const sorted = times.toSorted((a, b) => a - b)
  let most = 0
  let first = 0
  sorted.forEach((time, index) => {
    while (sorted[first]! + millis <= time) first++
    most = Math.max(most, index - first + 1)
  })
  return most
}
