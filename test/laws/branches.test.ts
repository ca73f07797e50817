/**
 * A model checker's patience: for every completion policy, every order in which four branches end, times every way in which each
 * of them may end, through the real engine; then seeded schedules with ties, queues, late calls and clocks. Each run is judged
 * by an oracle of its own (`branchOracle.ts`). `BRANCH_SEED=n` runs one seeded schedule alone.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { ToolFailure } from "../../src/domain/ToolFailure.ts"
import { random } from "../random.ts"
import { judge } from "./branchOracle.ts"
import type { Fate, Policy, Why } from "./branchOracle.ts"
import { branchOf, observe } from "./branchRuns.ts"
import type { Observed, Planned, Quiet, Scenario } from "./branchRuns.ts"

/** Every way to end for every branch. */
const inFull: ReadonlyArray<Policy> = [
  { kind: "first", n: 1 },
  { kind: "best", keep: 1 },
  { kind: "best", keep: 2, enough: 2 },
  { kind: "quorum", k: 2, agree: true }
]

/** Every set of successes; the others end without success in the one way or the other. */
const inBrief: ReadonlyArray<Policy> = [
  { kind: "all" },
  { kind: "first", n: 2 },
  { kind: "first", n: 5 },
  { kind: "best", keep: 2 },
  { kind: "best", keep: 5 },
  { kind: "best", keep: 1, enough: 3 },
  { kind: "quorum", k: 1, agree: true },
  { kind: "quorum", k: 2, agree: false },
  { kind: "quorum", k: 3, agree: false },
  { kind: "quorum", k: 5, agree: false }
]

const policies = [...inFull, ...inBrief]

const textOf = (policy: Policy): string => JSON.stringify(policy)

// ---- judging ------------------------------------------------------------------------------------------------------------

const reasonOf = (why: Why): object =>
  typeof why === "object"
    ? { _tag: "Superseded", by: `c${why.superseded}`, group: "g" }
    : why === "cancelled"
    ? { _tag: "BranchCancelled", note: "law" }
    : { _tag: "BranchCancelled" }

const must = (holds: boolean, what: string): void => {
  if (!holds) assert.fail(what)
}

// Of a run that was ended from outside only: every call that was made is answered once, if anybody still reads.
const judgeEnded = ({ exit, isLive, parts, scenario }: Observed): void => {
  must(exit !== undefined && !isLive, "the run is over")
  if (scenario.endsAt!.how === "interrupt") return
  const ids = (type: "tool-call" | "tool-result") =>
    parts.flatMap(({ part }) => part.type === type ? [part.id] : []).sort().join()
  must(ids("tool-result") === ids("tool-call"), `one result for each call: ${ids("tool-result")}`)
  const late = parts.find(({ part, time }) => part.type === "tool-result" && time > scenario.endsAt!.tick)
  must(late === undefined, "no result waits for anything once the run is ended")
}

const judgeRun = (one: Observed): void => {
  const { exit, happenings, isLive, parts, scenario, started } = one
  if (scenario.endsAt !== undefined) return judgeEnded(one)
  must(exit !== undefined && Exit.isSuccess(exit), `the run ended well: ${JSON.stringify(exit)}`)
  must(!isLive, "the run is not live any more")
  const verdict = judge(scenario.policy, happenings)
  const results = parts.flatMap(({ part, time }) => part.type === "tool-result" ? [{ part, time }] : [])
  const ids = results.map(({ part }) => part.id).sort().join()
  must(ids === scenario.branches.map((_, i) => `c${i}`).join(), `one result for each call: ${ids}`)
  for (const { part, time } of results) {
    const branch = branchOf(part.id)
    const fate = verdict.fates.get(branch)
    must(fate !== undefined, `the oracle knows ${part.id}`)
    const deaf = scenario.branches[branch]!.deaf === true
    must(
      time === fate!.time || (deaf && time > fate!.time),
      `${part.id} is answered at ${fate!.time} (${fate!.fate}), not at ${time}`
    )
    judgeResult(scenario, branch, part, fate!, started.has(branch))
  }
  const last = parts.at(-1)?.part
  const groups = last?.type === "run-finish" ? last.report.groups : []
  must(groups.length === 1 && groups[0]!.outcome === verdict.outcome, `the outcome is ${verdict.outcome}`)
  const winners = verdict.winners.map((branch) => `c${branch}`).join()
  must(groups[0]!.winners.join() === winners, `the winners are ${winners}, not ${groups[0]!.winners.join()}`)
  const millis = verdict.time - Math.min(...scenario.branches.map(({ sealedAt }) => sealedAt))
  must(groups[0]!.millis === millis, `it was decided after ${millis} ms, not after ${groups[0]!.millis}`)
  const losers = scenario.branches.length - verdict.winners.length
  must(groups[0]!.losers.length === losers, `there are ${losers} losers`)
}

const judgeResult = (
  { branches }: Scenario,
  branch: number,
  part: { readonly isFailure: boolean; readonly result: unknown },
  fate: Fate,
  hasStarted: boolean
): void => {
  const { how, score } = branches[branch]!
  const failure = part.result as ToolFailure
  const about = `c${branch} ${JSON.stringify(fate)}: ${JSON.stringify(part.result)}`
  if (fate.fate === "kept" || (fate.fate === "own" && how === "success")) {
    return must(!part.isFailure && (part.result as { readonly score: number } | undefined)?.score === score, about)
  }
  must(part.isFailure, about)
  if (fate.fate === "own") {
    if (how === "failure") return must(part.result === "nothing found", about)
    if (how === "timeout") return must(failure._tag === "TimedOut" && failure.clock === "attempt", about)
    return must(failure._tag === "Cancelled" && isLike(failure.reason, reasonOf("cancelled")), about)
  }
  const why = fate.fate === "notKept" ? { superseded: fate.by } : fate.why
  const startedBefore = fate.fate !== "late" && hasStarted
  if (why === "timed-out") {
    return must(
      failure._tag === "TimedOut" && failure.clock === "group" && failure.executionStarted === startedBefore,
      about
    )
  }
  must(failure._tag === "Cancelled" && isLike(failure.reason, reasonOf(why)), about)
  must(failure._tag === "Cancelled" && failure.executionStarted === startedBefore, about)
  must(failure.message.includes("was not kept") === (fate.fate === "notKept"), about)
}

const isLike = (actual: object, wanted: object): boolean =>
  Object.entries(wanted).every(([key, value]) => (actual as Record<string, unknown>)[key] === value)

const judgeAll = (observed: ReadonlyArray<Observed>, quiet: Quiet): void => {
  for (const one of observed) {
    try {
      judgeRun(one)
    } catch (error) {
      const parts = one.parts.map(({ part, time }) =>
        part.type === "tool-result" ? `${time} ${part.id} ${JSON.stringify(part.result)}` : `${time} ${part.type}`
      )
      throw new Error(
        `${one.scenario.name}: ${(error as Error).message}\n${JSON.stringify(one.scenario)}\n${
          JSON.stringify(one.happenings)
        }\n${parts.join("\n")}`,
        { cause: error }
      )
    }
  }
  assert.deepStrictEqual(quiet, { handlers: 0, sleeping: 0 })
}

const inBatches = (scenarios: ReadonlyArray<Scenario>, ticks: ReadonlyArray<number>, size: number) =>
  Effect.gen(function*() {
    for (let at = 0; at < scenarios.length; at += size) {
      const { observed, quiet } = yield* observe(scenarios.slice(at, at + size), ticks)
      judgeAll(observed, quiet)
    }
  })

// ---- every order, every outcome --------------------------------------------------------------------------------------------

const permutations = (items: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<number>> =>
  items.length === 0
    ? [[]]
    : items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]))

const hows = ["success", "failure", "timeout", "cancel"] as const
// The first and the last are equal, the second is the best.
const scores = [2, 3, 1, 2]

const everyOrder = (policy: Policy): ReadonlyArray<Scenario> =>
  permutations([10, 20, 30, 40]).flatMap((ends, order) =>
    outcomes(inFull.includes(policy), order).map((ways, code): Scenario => ({
      name: `${textOf(policy)} ends ${ends.join()} outcomes ${code}`,
      policy,
      branches: ends.map((millis, branch): Planned => ({
        sealedAt: 0,
        millis,
        how: ways[branch]!,
        score: scores[branch]!
      })),
      concurrency: 4,
      closedAt: 0
    }))
  )

const outcomes = (full: boolean, order: number): ReadonlyArray<ReadonlyArray<Planned["how"]>> =>
  Array.from({ length: full ? 4 ** 4 : 2 ** 4 }, (_, code) =>
    scores.map((_, branch) =>
      full
        ? hows[Math.floor(code / 4 ** branch) % 4]!
        : Math.floor(code / 2 ** branch) % 2 === 0
        ? "success"
        : hows[1 + (order + code + branch) % 3]!
    ))

// ---- seeded schedules -------------------------------------------------------------------------------------------------------

const schedule = (seed: number): Scenario => {
  const r = random(seed)
  const chance = r.chance(0.5)
  const branches = Array.from({ length: 4 }, (): Planned => {
    const how = r.chance(0.6) ? "success" : r.pick(hows)
    return {
      sealedAt: chance ? 0 : r.pick([0, 0, 20, 40]),
      // Ends meet ends, and nothing else: seals are at 0, cancels at 9, the close at 5 and the group's clock at 7, modulo 10.
      millis: how === "cancel" ? (chance ? r.pick([19, 39, 59]) : r.pick([59, 79])) : r.pick([11, 21, 31]),
      how,
      score: r.int(1, 3)
    }
  }).sort((a, b) => a.sealedAt - b.sealedAt)
  const last = Math.max(...branches.map(({ sealedAt }) => sealedAt))
  const concurrency = r.int(1, 4)
  // With a place for each, so that one that does not stop delays nobody's start.
  const deaf = concurrency === 4
  return {
    name: `seed ${seed}`,
    policy: r.pick(policies),
    branches: branches.map((branch) => deaf && branch.how === "cancel" ? { ...branch, deaf } : branch),
    concurrency,
    closedAt: last + r.pick([5, 15, 45]),
    ...(r.chance(0.4) ? { within: r.pick([17, 37, 57, 77]) } : undefined),
    ...(r.chance(0.2) ? { cancelGroupAt: r.pick([29, 49]) } : undefined),
    ...(!deaf && r.chance(0.2)
      ? { endsAt: { tick: r.pick([1, 16, 26, 36, 56]), how: r.pick(["cancel", "interrupt"] as const) } }
      : undefined)
  }
}

const seeds = process.env["BRANCH_SEED"] === undefined
  ? Array.from({ length: 3000 }, (_, i) => i + 1)
  : [Number(process.env["BRANCH_SEED"])]

describe("branches", () => {
  it.effect.each(policies.map((policy) => [textOf(policy), policy] as const))(
    "%s: every order of every outcome ends in one result per call, the right winners and quiet",
    ([, policy]) => inBatches(everyOrder(policy), [10, 20, 30, 40], 256),
    240_000
  )

  it.effect(
    "the same holds for ties, queues, calls that come late, the group's clock and its cancel",
    () => inBatches(seeds.map(schedule), Array.from({ length: 140 }, (_, i) => i + 1), 1500),
    240_000
  )
})
