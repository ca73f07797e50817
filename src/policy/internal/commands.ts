/**
 * Commands to a store, each bounded in time. A command that took too long is given up: nobody waits for it, and it is not sent
 * again, since it may have been applied.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { LimiterStoreError } from "../LimiterStore.ts"
import type { Entry } from "./agenda.ts"
import type { Timer } from "./timer.ts"

export type Outcome<A> =
  | { readonly _tag: "Done"; readonly value: A }
  | { readonly _tag: "Failed"; readonly error: LimiterStoreError }

class Bound implements Entry {
  at = 0
  readonly rank = 2
  index = -1
  readonly fire: () => void
  constructor(fire: () => void) {
    this.fire = fire
  }
}

export class Commands {
  private readonly context: Context.Context<never>
  private readonly timer: Timer
  private readonly timeoutMillis: number
  private readonly running = new Set<Fiber.Fiber<unknown, unknown>>()
  private isClosed = false

  constructor(context: Context.Context<never>, timer: Timer, timeoutMillis: number) {
    this.context = context
    this.timer = timer
    this.timeoutMillis = timeoutMillis
  }

  run<A>(command: Effect.Effect<A, LimiterStoreError>, done: (outcome: Outcome<A>) => void): void {
    if (this.isClosed) return done({ _tag: "Failed", error: closed })
    let isOver = false
    const finish = (outcome: Outcome<A>): void => {
      if (isOver) return
      isOver = true
      this.timer.remove(bound)
      done(outcome)
    }
    const bound = new Bound(() => {
      finish({ _tag: "Failed", error: timedOut(this.timeoutMillis) })
      fiber.interruptUnsafe()
    })
    const fiber = Effect.runForkWith(this.context)(command)
    this.running.add(fiber)
    fiber.addObserver((exit) => {
      this.running.delete(fiber)
      finish(outcomeOf(exit))
    })
    if (!isOver) this.timer.set(bound, this.timer.now() + this.timeoutMillis)
  }

  /** Gives up all commands under way, and takes no more: nothing would bound them. */
  close(): void {
    this.isClosed = true
    for (const fiber of this.running) fiber.interruptUnsafe()
  }
}

const outcomeOf = <A>(exit: Exit.Exit<A, LimiterStoreError>): Outcome<A> => {
  if (Exit.isSuccess(exit)) return { _tag: "Done", value: exit.value }
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  return { _tag: "Failed", error: error ?? broken(exit.cause) }
}

const closed = new LimiterStoreError({
  kind: "Unreachable",
  message: "the limiter is closed",
  isTransient: false
})

const timedOut = (millis: number): LimiterStoreError =>
  new LimiterStoreError({ kind: "TimedOut", message: `the store did not answer in ${millis} ms`, isTransient: true })

const broken = (cause: unknown): LimiterStoreError =>
  new LimiterStoreError({ kind: "Refused", message: "the store failed", isTransient: false, cause })
