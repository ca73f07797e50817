/**
 * The clocks of one asking of the model: until its first part, between its parts, and until its end. Time in which the reader
 * left our own parts unread is not the model's. A part costs two assignments and no timer: a timer that comes due looks
 * how long it has really been, and waits for the rest.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Reason } from "./OrchestratorError.ts"
import type { Timer, Timers } from "./Timers.ts"

/** Milliseconds; what is absent has no limit. */
export interface ModelLimits {
  readonly firstByte: number | undefined
  readonly idle: number | undefined
  readonly total: number | undefined
}

export type Expired = Extract<Reason, { readonly _tag: "TimedOut" }>

/** A timer later than this many milliseconds says that the event loop was busy, not that the model was silent. */
const busyMillis = 20

export class ModelClock {
  /** Succeeds when one of the clocks has run out. */
  readonly expired = Deferred.makeUnsafe<Expired>()
  private readonly live = new Set<Timer>()
  private readonly limits: ModelLimits
  private readonly timers: Timers
  private readonly reader: { readonly blockedMillis: number } | undefined
  private heardAt: number
  private blockedThen: number
  private silent: Timer | undefined

  constructor(limits: ModelLimits, timers: Timers, reader: { readonly blockedMillis: number } | undefined) {
    this.limits = limits
    this.timers = timers
    this.reader = reader
    this.heardAt = timers.now()
    this.blockedThen = this.blocked
    const { firstByte, total } = limits
    if (total !== undefined) this.watchTotal(total, total, this.blockedThen)
    if (firstByte !== undefined) {
      this.silent = this.watchSilence(firstByte, () => this.expire("model-first-byte", firstByte))
    }
  }

  /** The model has sent something. */
  heard(): void {
    this.heardAt = this.timers.now()
    this.blockedThen = this.blocked
    if (this.isWaitingForFirst) this.waitForNext()
  }

  /** The asking is over. */
  stop(): void {
    for (const timer of this.live) this.timers.remove(timer)
    this.live.clear()
  }

  private isWaitingForFirst = true

  private waitForNext(): void {
    this.isWaitingForFirst = false
    if (this.silent !== undefined) this.drop(this.silent)
    const { idle } = this.limits
    if (idle !== undefined) this.watchIdle(idle, idle)
  }

  private watchIdle(idle: number, millis: number): void {
    this.silent = this.watchSilence(millis, () => {
      const left = Math.ceil(idle - this.silentMillis)
      if (left > 0) this.watchIdle(idle, left)
      else this.expire("model-idle", idle)
    })
  }

  private watchTotal(total: number, millis: number, blockedBefore: number): void {
    this.add(millis, () => {
      const blocked = Math.ceil(this.blocked - blockedBefore)
      if (blocked >= 1) this.watchTotal(total, blocked, this.blocked)
      else this.expire("model", total)
    })
  }

  // What has arrived while this thread was busy gets its time to be read.
  private watchSilence(millis: number, due: () => void): Timer {
    const timer = this.add(millis, () => {
      if (this.timers.now() - timer.at < busyMillis) due()
      else this.silent = this.add(busyMillis, due)
    })
    return timer
  }

  private add(millis: number, due: () => void): Timer {
    const timer = this.timers.add(millis, () => {
      this.live.delete(timer)
      due()
    })
    this.live.add(timer)
    return timer
  }

  private drop(timer: Timer): void {
    this.live.delete(timer)
    this.timers.remove(timer)
  }

  private expire(clock: Expired["clock"], afterMillis: number): void {
    this.stop()
    Deferred.doneUnsafe(this.expired, Effect.succeed<Expired>({ _tag: "TimedOut", clock, afterMillis }))
  }

  private get blocked(): number {
    return this.reader?.blockedMillis ?? 0
  }

  private get silentMillis(): number {
    return this.timers.now() - this.heardAt - (this.blocked - this.blockedThen)
  }
}
