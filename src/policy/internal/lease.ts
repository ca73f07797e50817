/** What an admitted effect holds. Made only for effects that ask for it. */
import * as Effect from "effect/Effect"
import type { Waiter } from "./lane.ts"
import type { Lease } from "./request.ts"

interface Keeper {
  readonly settle: (waiter: Waiter, tokens: number) => void
  readonly lost: (waiter: Waiter) => Effect.Effect<void>
}

export class HeldLease implements Lease {
  readonly #keeper: Keeper
  readonly #waiter: Waiter

  constructor(keeper: Keeper, waiter: Waiter) {
    this.#keeper = keeper
    this.#waiter = waiter
  }

  readonly settle: Lease["settle"] = ({ tokens }) =>
    Effect.suspend(() => {
      if (!Number.isSafeInteger(tokens) || tokens < 0) {
        return Effect.die(new RangeError(`Lease.settle: tokens is ${tokens}; it must be an integer of at least 0`))
      }
      if (this.#waiter.tokens > 0) this.#keeper.settle(this.#waiter, tokens)
      return Effect.void
    })

  get waitedMillis(): number {
    return this.#waiter.limitedFor(this.#waiter.startedAt)
  }

  get lost(): Effect.Effect<void> {
    return this.#keeper.lost(this.#waiter)
  }
}
