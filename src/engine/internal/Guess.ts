/**
 * One guess at work: a `Call` outside the run, and what became of it. running → finished (it succeeded, and nobody has asked for
 * it yet) → over; a call of the run may claim it once, in either state. What it came to is settled once.
 */
import * as CancelReason from "../../domain/CancelReason.ts"
import type { ToolDiscarded } from "../../domain/ToolEvent.ts"
import { stop } from "./Attempt.ts"
import type { Call, Guessed, Outcome, Runner } from "./Call.ts"
import type { Mark } from "./Freshness.ts"
import type { Same } from "./sameParameters.ts"
import type { Candidate } from "./speculating.ts"
import type { Timer } from "./Timers.ts"

export type Why = ToolDiscarded["why"]

/** The real call that has taken a guess which still ran, and how it goes on if that comes to nothing. */
export interface Claim {
  readonly call: Call
  readonly next: Runner
  /** The guess still ran. */
  readonly joined: boolean
}

export interface GuessOwner {
  /** It is to be thrown away; called before it is stopped. */
  readonly discarded: (guess: Guess, why: Why) => void
}

export class Guess implements Guessed {
  state: "running" | "finished" | "over" = "running"
  claim: Claim | undefined = undefined
  /** When a call that has joined it waits no longer. */
  patience: Timer | undefined = undefined
  outcome: Outcome | undefined = undefined
  /** What it came to is in the ledger. */
  settled = false
  call!: Call
  readonly id: string
  readonly step: number
  readonly params: unknown
  readonly candidate: Candidate
  readonly confidence: number
  readonly same: Same
  readonly mark: Mark
  readonly madeAt: number
  private readonly owner: GuessOwner

  constructor(
    owner: GuessOwner,
    { candidate, confidence, id, madeAt, mark, params, same, step }: Pick<
      Guess,
      "candidate" | "confidence" | "id" | "madeAt" | "mark" | "params" | "same" | "step"
    >
  ) {
    this.owner = owner
    this.candidate = candidate
    this.confidence = confidence
    this.id = id
    this.madeAt = madeAt
    this.mark = mark
    this.params = params
    this.same = same
    this.step = step
  }

  get hasStarted(): boolean {
    return this.call.attempts > 0
  }

  /** When its handler started; before, when it was made. */
  get startedAt(): number {
    return this.hasStarted ? this.call.startedAt : this.madeAt
  }

  /** Nobody will ask for it. */
  discard(why: Why): void {
    if (this.state === "over" || this.claim !== undefined) return
    const { call, state } = this
    this.state = "over"
    this.owner.discarded(this, why)
    if (state === "running") return stop(call, CancelReason.misspeculated)
    // Promises that a handler has left behind hold its place.
    for (const promise of call.controllers ?? []) promise.abort(CancelReason.misspeculated)
  }

  giveWay(): boolean {
    const { call, state } = this
    if (this.claim !== undefined) return false
    if (state === "over") return call.state !== "answered"
    if (state === "finished" && !call.isActive) return false
    this.discard("preempted")
    return true
  }
}
