/**
 * Finished runs on their way to the predictors, one at a time and beside everything else. No run waits for it; one that hangs or
 * dies costs its own lesson, and the program's end waits only a little for those that are left.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"

/** What waits at most; the newest are kept. */
const mostWaiting = 64
/** One lesson has so long, and all that are left when the program ends so long together. */
const lessonMillis = 30_000
const closeMillis = 5000

/** What is to be learned, and who hears that it was not. */
export interface Lesson {
  readonly learn: () => Effect.Effect<void, unknown>
  readonly failed: () => void
}

export class Learning {
  private readonly context: Context.Context<never>
  private readonly waiting: Array<Lesson> = []
  private fiber: Fiber.Fiber<void> | undefined = undefined
  private isClosed = false

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  offer(lesson: Lesson): void {
    if (this.isClosed) return
    this.waiting.push(lesson)
    if (this.waiting.length > mostWaiting) this.waiting.shift()
    // Not in the step of who offers.
    this.fiber ??= Effect.runForkWith(this.context)(Effect.andThen(Effect.yieldNow, this.all))
  }

  /** Takes no more, and ends when what waits is learned or its time is over. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isClosed = true
    const { fiber } = this
    return fiber === undefined ? Effect.void : untilEnded(fiber, closeMillis)
  })

  private readonly all: Effect.Effect<void> = Effect.suspend(() => {
    const lesson = this.waiting.shift()
    if (lesson !== undefined) return Effect.andThen(this.one(lesson), this.all)
    this.fiber = undefined
    return Effect.void
  })

  private one(lesson: Lesson): Effect.Effect<void> {
    return Effect.suspend(() => {
      const fiber = Effect.runForkWith(this.context)(Effect.exit(Effect.suspend(lesson.learn)))
      const ended = Effect.map(untilEnded(fiber, lessonMillis), () => {
        const exit = fiber.pollUnsafe()
        if (exit === undefined || Exit.isFailure(exit) || Exit.isFailure(exit.value)) lesson.failed()
      })
      return Effect.onInterrupt(ended, () => Effect.sync(() => fiber.interruptUnsafe()))
    })
  }
}

/** Waits for a fiber; one that takes too long is told to stop, and left alone. */
const untilEnded = (fiber: Fiber.Fiber<unknown, unknown>, millis: number): Effect.Effect<void> =>
  Effect.flatMap(Effect.timeoutOption(Fiber.await(fiber), millis), () => Effect.sync(() => fiber.interruptUnsafe()))
