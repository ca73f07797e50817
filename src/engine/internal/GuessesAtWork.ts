/** The guesses of a run that are not answered, and whoever waits for them. */
import * as Effect from "effect/Effect"
import * as Attempt from "./Attempt.ts"
import type { Guess } from "./Guess.ts"

export class GuessesAtWork {
  private readonly unanswered = new Set<Guess>()
  /** Attempts of calls that a guess's handler made, beyond its end. */
  private outliving = 0
  private readonly waiting = new Set<() => void>()

  started(guess: Guess): void {
    this.unanswered.add(guess)
  }

  answered(guess: Guess): void {
    this.unanswered.delete(guess)
    this.check()
  }

  readonly outlived = (): () => void => {
    this.outliving++
    return () => {
      this.outliving--
      this.check()
    }
  }

  /** The grace of those that were told to stop is over now. */
  abandonAll(): void {
    for (const { call } of this.unanswered) if (call.reason !== undefined) Attempt.abandon(call)
  }

  /** Ends when all are answered. */
  readonly awaitEnded: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const told = () => resume(Effect.void)
    if (this.isIdle) return told()
    this.waiting.add(told)
    return Effect.sync(() => this.waiting.delete(told))
  })

  private get isIdle(): boolean {
    return this.unanswered.size + this.outliving === 0
  }

  private check(): void {
    if (!this.isIdle) return
    for (const told of this.waiting) told()
    this.waiting.clear()
  }
}
