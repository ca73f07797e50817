/**
 * Who wins among the branches of one group, and when that is known: plain rules over what happens to the branches. No clock,
 * no fiber, no result: a branch is its number, in the order the branches joined; a driver (`Groups` for calls, `branchRace` for
 * effects) tells what happened and carries out the actions it gets back, in their order.
 *
 * The actions of one event cost what they change: a group of n branches costs n steps in all, and a sorted insert into the kept
 * ones of `best`.
 */

/** The part of a policy that decides. `count` is n of `first`, `keep` of `best`, k of `quorum`. */
export interface Rule {
  readonly _tag: "All" | "First" | "Best" | "Quorum"
  readonly count: number
  readonly enough: number | undefined
}

/** What a success is worth: its score under `best`, its class under `quorum`. */
export type Worth = number | string | boolean | undefined

/**
 * What the driver is to do.
 *
 * - `Release`: hand on the result of a finished branch that was held back (`best`).
 * - `Supersede`: stop a branch, or drop the held result of a finished one, because of the branch `by`.
 * - `Expire`: stop a branch; the group's time is up.
 * - `Cancel`: stop a branch; the quorum cannot be reached any more.
 * - `Decide`: the winners are known; always the last action of its event.
 */
export type Action =
  | { readonly _tag: "Release"; readonly branch: number }
  | { readonly _tag: "Supersede"; readonly branch: number; readonly by: number }
  | { readonly _tag: "Expire"; readonly branch: number }
  | { readonly _tag: "Cancel"; readonly branch: number }
  | { readonly _tag: "Decide"; readonly outcome: Outcome }

export type Outcome = "decided" | "unreachable" | "timed-out" | "cancelled"

/** `held`: finished, and not yet known to be kept. `out`: failed, stopped or beaten. `left`: no branch of the group any more. */
type Status = "pending" | "held" | "in" | "out" | "left"

type StopTag = "Expire" | "Cancel"

interface Scored {
  readonly branch: number
  readonly score: number
}

const nothing: ReadonlyArray<Action> = []

export class BranchRules {
  /** How it ended, once that is known. */
  outcome: Outcome | undefined = undefined
  /** The branch whose end decided it, where that stopped the others. */
  decider: number | undefined = undefined
  private readonly rule: Rule
  private readonly branches: Array<Status> = []
  private pending = 0
  private closed = false
  /** Successes in the order they came (`best`: the kept ones, best first). */
  private readonly successes: Array<number> = []
  private readonly kept: Array<Scored> = []
  private readonly classes = new Map<Worth, Array<number>>()
  /** The most that agreed, under a quorum. */
  largest = 0
  private elected: ReadonlyArray<number> = []

  constructor(rule: Rule) {
    this.rule = rule
  }

  /** How many branches there are, without those that left. */
  get size(): number {
    let size = 0
    for (const status of this.branches) if (status !== "left") size++
    return size
  }

  isPending(branch: number): boolean {
    return this.branches[branch] === "pending"
  }

  /** The winners, the best first; final once there is an outcome and every branch has ended. */
  get winners(): ReadonlyArray<number> {
    switch (this.rule._tag) {
      case "Best":
        return this.kept.map(({ branch }) => branch)
      case "Quorum":
        return this.elected
      default:
        return this.successes
    }
  }

  /** Every branch that did not win and did not leave, in the order they joined. */
  get losers(): ReadonlyArray<number> {
    const winners = new Set(this.winners)
    return [...this.branches.keys()].filter((branch) => this.branches[branch] !== "left" && !winners.has(branch))
  }

  // ---- what happens ---------------------------------------------------------------------------------------------------

  /** A branch joins; its number. Not to be called once there is an outcome. */
  joined(): number {
    this.pending++
    return this.branches.push("pending") - 1
  }

  /** A branch ended well. */
  succeeded(branch: number, worth: Worth): ReadonlyArray<Action> {
    if (!this.takeOff(branch, this.rule._tag === "Best" ? "held" : "in")) return nothing
    switch (this.rule._tag) {
      case "Best":
        return this.scored({ branch, score: worth as number })
      case "Quorum":
        return this.voted(branch, worth)
      default:
        this.successes.push(branch)
        return this.rule._tag === "First" && this.successes.length === this.rule.count
          ? this.decide("decided", branch)
          : this.look()
    }
  }

  /** A branch failed, was refused or stopped: it cannot win any more. */
  failed(branch: number): ReadonlyArray<Action> {
    return this.takeOff(branch, "out") ? this.look() : nothing
  }

  /** A branch is none any more, and counts neither way. */
  left(branch: number): ReadonlyArray<Action> {
    return this.takeOff(branch, "left") ? this.look() : nothing
  }

  /** No further branch will join. */
  close(): ReadonlyArray<Action> {
    if (this.outcome !== undefined || this.closed) return nothing
    this.closed = true
    const actions: Array<Action> = []
    for (let rank = 0; rank < this.safeRanks; rank++) this.release(rank, actions)
    return [...actions, ...this.look()]
  }

  /** The group's time is up: what still runs is stopped, what there is counts. */
  expire(): ReadonlyArray<Action> {
    return this.outcome === undefined ? this.decide("timed-out", undefined, "Expire") : nothing
  }

  /** The group is given up from outside, which stops its branches, or lets them run on; what there is counts. */
  giveUp(): ReadonlyArray<Action> {
    return this.outcome === undefined ? this.decide("cancelled") : nothing
  }

  // ---- what follows from it -------------------------------------------------------------------------------------------

  private takeOff(branch: number, status: Status): boolean {
    if (this.branches[branch] !== "pending") return false
    const open = this.outcome === undefined
    // What ends after the group was given up is nobody's win.
    this.branches[branch] = open || status === "left" ? status : "out"
    this.pending--
    return open
  }

  private look(): ReadonlyArray<Action> {
    if (!this.closed) return nothing
    if (this.rule._tag === "Quorum" && this.largest + this.pending < this.rule.count) {
      return this.decide("unreachable", undefined, "Cancel")
    }
    const actions: Array<Action> = []
    this.release(this.safeRanks - 1, actions)
    return this.pending > 0 ? actions : [...actions, ...this.decide("decided")]
  }

  private voted(branch: number, worth: Worth): ReadonlyArray<Action> {
    const agreeing = this.classes.get(worth) ?? []
    agreeing.push(branch)
    this.classes.set(worth, agreeing)
    this.largest = Math.max(this.largest, agreeing.length)
    if (agreeing.length < this.rule.count) return this.look()
    this.elected = agreeing
    return this.decide("decided", branch)
  }

  private scored(finished: Scored): ReadonlyArray<Action> {
    const { kept, rule } = this
    const actions: Array<Action> = []
    const rank = rankOf(kept, finished)
    kept.splice(rank, 0, finished)
    if (kept.length > rule.count) {
      const beaten = kept.pop()!
      this.branches[beaten.branch] = "out"
      actions.push({ _tag: "Supersede", branch: beaten.branch, by: kept.at(-1)!.branch })
    }
    const isEnough = rule.enough !== undefined && kept.length === rule.count && kept.at(-1)!.score >= rule.enough
    if (isEnough) return [...actions, ...this.decide("decided", finished.branch)]
    if (this.closed && rank < this.safeRanks) this.release(rank, actions)
    return [...actions, ...this.look()]
  }

  /**
   * How many of the kept are certain, from the best on: those that stay even if all pending branches beat them. It grows by one
   * with each branch that ends, while at most one is inserted before its end: so two places are all an event can release.
   */
  private get safeRanks(): number {
    return this.rule._tag === "Best" && this.closed
      ? Math.min(this.kept.length, this.rule.count - this.pending)
      : 0
  }

  private release(rank: number, actions: Array<Action>): void {
    const branch = this.kept[rank]?.branch
    if (branch === undefined || this.branches[branch] !== "held") return
    this.branches[branch] = "in"
    actions.push({ _tag: "Release", branch })
  }

  private decide(outcome: Outcome, by?: number, stop?: StopTag): ReadonlyArray<Action> {
    this.outcome = outcome
    this.decider = by
    const actions: Array<Action> = []
    for (let rank = 0; rank < this.kept.length; rank++) this.release(rank, actions)
    if (this.pending > 0 && (by !== undefined || stop !== undefined)) {
      for (const [branch, status] of this.branches.entries()) {
        if (status !== "pending") continue
        this.branches[branch] = "out"
        actions.push(by === undefined ? { _tag: stop!, branch } : { _tag: "Supersede", branch, by })
      }
      this.pending = 0
    }
    actions.push({ _tag: "Decide", outcome })
    return actions
  }
}

// Higher is better; of equal ones the earlier in the order of the calls.
const rankOf = (kept: ReadonlyArray<Scored>, { branch, score }: Scored): number => {
  let low = 0
  let high = kept.length
  while (low < high) {
    const middle = (low + high) >> 1
    const other = kept[middle]!
    if (other.score > score || (other.score === score && other.branch < branch)) low = middle + 1
    else high = middle
  }
  return low
}
