/**
 * Whether a predictor, or one about one tool, is still given starts: off while it loses, and back by a probe or by being right
 * while nobody started what it said. Losing takes two: that its starts cost more than they saved, and a reason other than
 * chance (it was right less often than it stated, or its guesses came to nothing although right).
 */
import { Belief } from "./belief.ts"

/** What one guess came to, or would have. In milliseconds of waiting. */
export interface Sample {
  readonly saved: number
  readonly cost: number
  readonly right: boolean
  /** It failed, or had to make room: of no use, whether right or not. */
  readonly idle: boolean
}

/** So many guesses must have been judged before one is off, or on again by what it would have saved. */
const least = 8
/** After so many guesses an old one counts 1/e. */
const memory = 32
const keep = 1 - 1 / memory
/** Of no use as often: no accident. */
const manyIdle = least / 2

const [firstPause, longestPause] = [10_000, 600_000]

/** So much of what is known goes into each new one. */
const inertia = 0.8

const mixed = (known: number | undefined, next: number): number =>
  known === undefined ? next : inertia * known + (1 - inertia) * next

export class Standing {
  readonly belief = new Belief()
  private judged = 0
  private saved = 0
  private cost = 0
  private idle = 0
  private pauseMillis = firstPause
  private dueAt = Number.NaN
  /** It was not right often enough, so being right brings it back. */
  private wasWrong = false
  private savedEach: number | undefined = undefined
  private costEach: number | undefined = undefined
  private isProbing = false
  private isOpen = false
  isOff = false

  /** Whether it is asked: where it is off, once each time its pause is over. */
  listens(now: number): boolean {
    if (!this.isOff) return true
    if (now < this.dueAt) return false
    this.probe(now)
    this.isOpen = true
    return true
  }

  /** Whether a guess may start. */
  hasRoom(now: number): boolean {
    return !this.isOff || this.isOpen || now >= this.dueAt
  }

  /** A guess starts. Gives whether it is a probe. */
  started(now: number): boolean {
    if (!this.isOff) return false
    if (!this.isOpen) this.probe(now)
    this.isOpen = false
    return true
  }

  /** What a guess that did not start would have come to, as those did that started; else by these numbers. */
  asStarted(right: boolean, saved: number, cost: number): Sample {
    return right
      ? { right, saved: this.savedEach ?? saved, cost: 0, idle: false }
      : { right, saved: 0, cost: this.costEach ?? cost, idle: false }
  }

  /** What one came to that started. */
  learn({ cost, right, saved }: Sample): void {
    if (right) this.savedEach = mixed(this.savedEach, saved)
    else this.costEach = mixed(this.costEach, cost)
  }

  /** `isProbe`: by default every guess since the pause was over. */
  count({ cost, idle, right, saved }: Sample, now: number, isProbe: boolean = this.isProbing): void {
    this.judged++
    this.saved = this.saved * keep + saved
    this.cost = this.cost * keep + cost
    this.idle = this.idle * keep + (idle ? 1 : 0)
    if (!this.isOff) return this.watch(now)
    if (isProbe && right) this.turn(false)
    else if (this.wasWrong && this.judged >= least && this.saved > this.cost) this.turn(false)
  }

  private watch(now: number): void {
    if (this.judged < least) return
    const isWrong = this.belief.factor < 1
    if (this.saved <= this.cost && (isWrong || this.idle >= manyIdle)) {
      this.turn(true)
      this.wasWrong = isWrong
      this.dueAt = now + this.pauseMillis
    } else if (this.judged >= memory) this.pauseMillis = firstPause
  }

  /** The next probe comes later, unless this one brings it back. */
  private probe(now: number): void {
    this.isProbing = true
    this.pauseMillis = Math.min(longestPause, this.pauseMillis * 2)
    this.dueAt = now + this.pauseMillis
  }

  private turn(off: boolean): void {
    this.isOff = off
    this.isProbing = false
    this.isOpen = false
    this.judged = 0
    this.saved = 0
    this.cost = 0
    this.idle = 0
  }
}
