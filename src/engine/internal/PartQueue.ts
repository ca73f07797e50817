/**
 * The way from the engine to the stream's reader. Lifecycle parts are never held back (there are only so many per call); the
 * model's stream is read only while fewer than 256 parts wait unread; of a call's progress the newest 64 wait.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

const unreadLimit = 256
const progressLimit = 64

/** Progress of one call that nobody has read. Each entry has one place in the queue, which shows the oldest when read. */
class Progress<Part> {
  readonly parts: Array<Part> = []
}

export class PartQueue<Part extends object, E> {
  private readonly queue: Queue.Queue<Part | Progress<Part>, E | Cause.Done>
  private readonly progress = new Map<string, Progress<Part>>()
  private readonly now: () => number
  private waiting: (() => void) | undefined
  private blockedBefore = 0
  private blockedSince: number | undefined

  constructor(queue: Queue.Queue<Part | Progress<Part>, E | Cause.Done>, now: () => number) {
    this.queue = queue
    this.now = now
  }

  /** How long the model's stream was not read because nobody read ours, up to now. */
  get blockedMillis(): number {
    return this.blockedBefore + (this.blockedSince === undefined ? 0 : this.now() - this.blockedSince)
  }

  offer(part: Part): void {
    Queue.offerUnsafe(this.queue, part)
  }

  offerProgress(callId: string, part: Part): void {
    let progress = this.progress.get(callId)
    if (progress === undefined) this.progress.set(callId, progress = new Progress())
    progress.parts.push(part)
    if (progress.parts.length > progressLimit) progress.parts.shift()
    else Queue.offerUnsafe(this.queue, progress)
  }

  /** No more progress of this call will come. */
  forget(callId: string): void {
    this.progress.delete(callId)
  }

  /** Waits while too many parts are unread. */
  readonly gate: Effect.Effect<void> = Effect.suspend(() =>
    this.isOpen ? Effect.void : Effect.callback<void>((resume) => {
      // The fiber may have yielded since, and the reader have read all.
      if (this.isOpen) return resume(Effect.void)
      this.blockedSince = this.now()
      this.waiting = () => {
        this.unblocked()
        resume(Effect.void)
      }
      return Effect.sync(() => this.unblocked())
    })
  )

  private get isOpen(): boolean {
    return Queue.sizeUnsafe(this.queue) < unreadLimit
  }

  private unblocked(): void {
    this.blockedBefore = this.blockedMillis
    this.blockedSince = undefined
    this.waiting = undefined
  }

  /** Ends or fails the stream behind what has been offered. */
  end(exit: Effect.Effect<void, E>): Effect.Effect<void> {
    return Effect.matchCauseEffect(exit, {
      onFailure: (cause) => Effect.asVoid(Queue.failCause(this.queue, cause)),
      onSuccess: () => Effect.asVoid(Queue.end(this.queue))
    })
  }

  readonly stream: Stream.Stream<Part, E> = Stream.suspend(() =>
    Stream.mapArray(Stream.fromQueue(this.queue), (items) => {
      this.waiting?.()
      return items.map((item) => item instanceof Progress ? item.parts.shift()! : item) as [Part, ...Array<Part>]
    })
  ) as Stream.Stream<Part, E>
}

/** Makes the queue of one run. */
export const make = <Part extends object, E>(now: () => number): Effect.Effect<PartQueue<Part, E>> =>
  Effect.map(Queue.unbounded<Part | Progress<Part>, E | Cause.Done>(), (queue) => new PartQueue(queue, now))
