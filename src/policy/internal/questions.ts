/**
 * What a limiter says to its store and asks of it beside admissions: what a service answered, how limits stand. Each takes no
 * longer than a command may, and tells how the store is.
 */
import * as Effect from "effect/Effect"
import type { LimiterStore } from "../LimiterStore.ts"
import type { Commands, Outcome } from "./commands.ts"
import type { Health } from "./health.ts"
import type { LaneQueue } from "./lane.ts"
import type { Limit, Signal } from "./store.ts"

type Store = LimiterStore["Service"]

export class Questions {
  private readonly store: Store
  private readonly commands: Commands
  private readonly health: Health

  constructor(store: Store, commands: Commands, health: Health) {
    this.store = store
    this.commands = commands
    this.health = health
  }

  /** Tells what a service said. What makes it pause is heard before anybody goes on. */
  readonly feedback = (limit: Limit, signal: Signal): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      if (this.health.isAway) return resume(Effect.void)
      this.commands.run(this.store.feedback(limit, signal), (outcome) => {
        this.health.heard(outcome)
        resume(Effect.void)
      })
      if (!signal.congested) resume(Effect.void)
    })

  /** Asks what changes nothing, to see whether the store is there: the first limit of any lane. */
  probe(lanes: Iterable<LaneQueue>, done: (outcome: Outcome<unknown>) => void): void {
    const first = [...lanes].find(({ limits }) => limits.length > 0)
    this.commands.run(this.store.peek(first?.lane.limits.slice(0, 1) ?? []), done)
  }

  /** Reads the state of limits. */
  readonly peek: Store["peek"] = (limits) =>
    Effect.callback((resume) =>
      this.commands.run(this.store.peek(limits), (outcome) => {
        this.health.heard(outcome)
        resume(outcome._tag === "Done" ? Effect.succeed(outcome.value) : Effect.fail(outcome.error))
      })
    )
}
