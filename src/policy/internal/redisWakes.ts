/**
 * News that Redis does not publish.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Answers } from "./redisEncode.ts"
import type { Answer, Ask } from "./store.ts"

/** Wakes those who wait for permits when a lease has ended, which nobody publishes. */
export class Wakes {
  readonly listeners = new Set<(keys: ReadonlyArray<string>) => void>()
  private readonly scope: Scope.Scope
  private readonly waited = new Set<string>()

  constructor(scope: Scope.Scope) {
    this.scope = scope
  }

  /** The answers, once their wakes are set; undefined where none is needed. */
  later(asks: ReadonlyArray<Ask>, { answers, leaseEnds }: Answers): Effect.Effect<ReadonlyArray<Answer>> | undefined {
    let wakes: Effect.Effect<void> | undefined
    for (const [i, { blockedBy }] of answers.entries()) {
      if (leaseEnds[i]! < 0) continue
      const { key } = asks[i]!.lane.limits[blockedBy]!
      if (this.waited.has(key)) continue
      this.waited.add(key)
      const wake = this.wakeAfter(key, leaseEnds[i]! + 1)
      wakes = wakes === undefined ? wake : Effect.andThen(wakes, wake)
    }
    return wakes === undefined ? undefined : Effect.as(wakes, answers)
  }

  /** A subscription begins, perhaps after a gap. */
  missed(listener: (keys: ReadonlyArray<string>) => void): void {
    if (this.waited.size > 0) listener([...this.waited])
  }

  private wakeAfter(key: string, millis: number): Effect.Effect<void> {
    return Effect.sleep(millis).pipe(
      Effect.andThen(Effect.sync(() => {
        this.waited.delete(key)
        for (const listener of this.listeners) listener([key])
      })),
      Effect.forkIn(this.scope),
      Effect.asVoid
    )
  }
}
