/**
 * The groups of a run's turns: tells the rules what becomes of the calls that are branches, and does what they say. An answer of
 * such a call passes here; only `best` holds one back, until it is known to be kept or beaten. A call that comes when its group is
 * decided is answered without starting.
 *
 * A run without the `completion` option has none of this.
 */
import * as Result from "effect/Result"
import * as CancelReason from "../../domain/CancelReason.ts"
import type { GroupReport } from "../../domain/Report.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import * as Attempt from "./Attempt.ts"
import { BranchRules } from "./branchRules.ts"
import type { Action } from "./branchRules.ts"
import { worthOf } from "./branchWorth.ts"
import { fault } from "./Call.ts"
import type { Call, Outcome } from "./Call.ts"
import { textOf } from "./completions.ts"
import type { GroupPolicy, GroupsByTool } from "./completions.ts"
import type { Timer, Timers } from "./Timers.ts"

/** A call in its group. */
interface Branch {
  readonly call: Call
  readonly group: Group
  readonly place: number
  timer: Timer | undefined
  held: Outcome | undefined
}

/** The calls of one turn in one group. */
interface Group {
  readonly policy: GroupPolicy
  readonly step: number
  readonly rules: BranchRules
  readonly branches: Array<Branch>
  readonly openedAt: number
  within: Timer | undefined
  decidedAt: number
  /** What a call that comes now is answered with. */
  late: CancelReason.CancelReason | undefined
  readonly tooLate: Array<string>
}

/** Who runs the calls. */
export interface Runner {
  readonly stopAll: (reason: CancelReason.CancelReason, which: (call: Call) => boolean) => number
  readonly inOneStep: (step: () => void) => void
}

export class Groups {
  readonly reports: Array<GroupReport> = []
  private readonly tools: GroupsByTool
  private readonly timers: Timers
  private readonly runner: Runner
  private readonly forward: (call: Call, outcome: Outcome) => void
  private readonly branches = new Map<Call, Branch>()
  private readonly open = new Map<GroupPolicy, Group>()
  private dissolved = false

  constructor(
    tools: GroupsByTool,
    timers: Timers,
    runner: Runner,
    forward: (call: Call, outcome: Outcome) => void
  ) {
    this.tools = tools
    this.timers = timers
    this.runner = runner
    this.forward = forward
  }

  // ---- calls ----------------------------------------------------------------------------------------------------------

  /** A sealed call joins its group, if it has one; or why it comes too late. */
  join(call: Call): ToolFailure.ToolFailure | undefined {
    const policy = this.tools.get(call.name)
    if (policy === undefined || this.dissolved) return undefined
    const group = this.open.get(policy) ?? this.start(policy, call.step)
    if (group.late !== undefined) {
      group.tooLate.push(call.id)
      return ToolFailure.stopped(call.name, call.id, group.late, false, false)
    }
    const branch: Branch = { call, group, place: group.rules.joined(), timer: undefined, held: undefined }
    group.branches.push(branch)
    this.branches.set(call, branch)
    const { timeoutMillis } = policy
    if (timeoutMillis !== undefined) {
      branch.timer = this.timers.add(timeoutMillis, () => this.timedOut(branch, timeoutMillis))
    }
    return undefined
  }

  // With those whose time is up in the same moment: what one gives back must not start the next.
  private timedOut({ call, group: { branches }, place }: Branch, millis: number): void {
    const now = this.timers.now()
    const reason = CancelReason.timeout("branch", millis)
    const due = new Set<Call>()
    for (let i = place; i < branches.length; i++) {
      const { call, timer } = branches[i]!
      if (i > place && timer !== undefined && timer.at > now) break
      if (i === place || timer?.live === true) due.add(call)
    }
    if (due.size === 1) Attempt.stop(call, reason)
    else this.runner.stopAll(reason, (call) => due.has(call))
  }

  private start(policy: GroupPolicy, step: number): Group {
    const group: Group = {
      policy,
      step,
      rules: new BranchRules(policy.policy),
      branches: [],
      openedAt: this.timers.now(),
      within: undefined,
      decidedAt: Number.NaN,
      late: undefined,
      tooLate: []
    }
    const { withinMillis } = policy
    if (withinMillis !== undefined) {
      group.within = this.timers.add(withinMillis, () => this.apply(group, group.rules.expire()))
    }
    this.open.set(policy, group)
    return group
  }

  /** A call is answered: what `Call.done` is told in a run with groups. */
  readonly answered = (call: Call, outcome: Outcome): void => {
    const branch = this.takeOff(call)
    if (branch === undefined) this.forward(call, outcome)
    else this.runner.inOneStep(() => this.ended(branch, outcome))
  }

  private ended(branch: Branch, outcome: Outcome): void {
    const { call, group, place } = branch
    const worth = outcome.isFailure || group.rules.outcome !== undefined
      ? undefined
      : worthOf(group.policy.policy, outcome.result)
    if (worth === undefined) return this.lose(branch, outcome)
    if (Result.isFailure(worth)) return this.lose(branch, this.unworthy(call, worth.failure))
    if (group.policy.policy._tag === "Best") branch.held = outcome
    else this.forward(call, outcome)
    this.apply(group, group.rules.succeeded(place, worth.success))
  }

  private lose({ call, group, place }: Branch, outcome: Outcome): void {
    this.forward(call, outcome)
    this.apply(group, group.rules.failed(place))
  }

  private unworthy(call: Call, issue: string): Outcome {
    return call.outcome = fault(ToolFailure.invalidOutput(call.name, call.id, issue))
  }

  /** A call was told to stop, by whomever: it cannot win any more. Its answer comes later. */
  stopped(call: Call): void {
    const branch = this.branches.get(call)
    if (branch === undefined) return
    if (branch.timer !== undefined) this.timers.remove(branch.timer)
    this.apply(branch.group, branch.group.rules.failed(branch.place))
  }

  /** A call waits for a person and is no branch any more. */
  left(call: Call): void {
    const branch = this.takeOff(call)
    if (branch !== undefined) this.apply(branch.group, branch.group.rules.left(branch.place))
  }

  private takeOff(call: Call): Branch | undefined {
    const branch = this.branches.get(call)
    if (branch === undefined) return undefined
    this.branches.delete(call)
    if (branch.timer !== undefined) this.timers.remove(branch.timer)
    return branch
  }

  /** The name of the group a call's tool is in. */
  nameOf(call: Call): string | undefined {
    return this.tools.get(call.name)?.name
  }

  // ---- turns ----------------------------------------------------------------------------------------------------------

  /** An answer of the model begins. */
  begin(): void {
    this.end()
    this.dissolved = false
  }

  /** The answer was read to its end: no call will come any more. */
  close(): void {
    for (const group of this.open.values()) this.apply(group, group.rules.close())
  }

  /** The policies hold no longer: what is held back is handed on, and what runs is nobody's loser. */
  dissolve(): void {
    this.dissolved = true
    for (const group of this.open.values()) this.giveUp(group, undefined)
  }

  /** The group is cancelled by name. Its calls are stopped by who cancels it. */
  cancel(name: string, reason: CancelReason.CancelReason): void {
    for (const group of this.open.values()) if (group.policy.name === name) this.giveUp(group, reason)
  }

  private giveUp(group: Group, reason: CancelReason.CancelReason | undefined): void {
    group.late ??= reason
    this.apply(group, group.rules.giveUp())
  }

  /** Every call of the turn is answered. */
  end(): void {
    for (const group of this.open.values()) this.reports.push(reportOf(group))
    this.open.clear()
  }

  // ---- what the rules say ---------------------------------------------------------------------------------------------

  private apply(group: Group, actions: ReadonlyArray<Action>): void {
    if (actions.length > 0) this.runner.inOneStep(() => this.carryOut(group, actions))
  }

  private carryOut(group: Group, actions: ReadonlyArray<Action>): void {
    const stops = new Set<Call>()
    let reason: CancelReason.CancelReason | undefined
    for (const action of actions) {
      if (action._tag === "Decide") {
        this.decided(group)
        continue
      }
      const branch = group.branches[action.branch]!
      if (action._tag === "Release") this.handOn(branch, branch.held!)
      else {
        const why = reasonOf(group, action)
        if (branch.held !== undefined) this.handOn(branch, this.notKept(branch.call, why))
        else {
          stops.add(branch.call)
          reason = why
        }
      }
    }
    // Together, so that what one of them gives back starts none of the others.
    if (reason !== undefined) this.runner.stopAll(reason, (call) => stops.has(call))
  }

  private decided(group: Group): void {
    group.decidedAt = this.timers.now()
    group.late ??= lateReason(group)
    if (group.within !== undefined) this.timers.remove(group.within)
  }

  private handOn(branch: Branch, outcome: Outcome): void {
    branch.held = undefined
    this.forward(branch.call, outcome)
  }

  private notKept(call: Call, reason: CancelReason.CancelReason): Outcome {
    return call.outcome = fault(ToolFailure.notKept(call.name, call.id, reason))
  }
}

const reasonOf = (
  { branches, policy: { name, policy, withinMillis } }: Group,
  action: Exclude<Action, { readonly _tag: "Decide" | "Release" }>
): CancelReason.CancelReason => {
  switch (action._tag) {
    case "Supersede":
      return CancelReason.superseded(branches[action.by]!.call.id, name)
    case "Expire":
      return CancelReason.timeout("group", withinMillis!)
    case "Cancel":
      return CancelReason.branchCancelled(
        `group "${name}" can no longer have ${policy.count} calls that ${
          policy.agree === undefined ? "succeed" : "agree"
        }`
      )
  }
}

// As the losers were told.
const lateReason = ({ branches, policy: { name, withinMillis }, rules }: Group): CancelReason.CancelReason => {
  if (rules.outcome === "timed-out") return CancelReason.timeout("group", withinMillis!)
  return rules.decider === undefined
    ? CancelReason.branchCancelled(`group "${name}" is over`)
    : CancelReason.superseded(branches[rules.decider]!.call.id, name)
}

const reportOf = ({ branches, decidedAt, openedAt, policy, rules, step, tooLate }: Group): GroupReport => {
  const idOf = (place: number) => branches[place]!.call.id
  return {
    group: policy.name,
    step,
    policy: textOf(policy, rules.size),
    outcome: rules.outcome ?? "cancelled",
    winners: rules.winners.map(idOf),
    losers: [...rules.losers.map(idOf), ...tooLate],
    millis: Number.isNaN(decidedAt) ? 0 : decidedAt - openedAt
  }
}
