/**
 * The rules alone: a table of what each event does, and every order of every outcome of up to four branches under every policy,
 * judged by what must hold of the actions. Who must win is judged in `test/laws/branches.test.ts`, through the engine.
 */
import { assert, describe, it } from "@effect/vitest"
import { BranchRules } from "../../../src/engine/internal/branchRules.ts"
import type { Action, Rule, Worth } from "../../../src/engine/internal/branchRules.ts"

const all: Rule = { _tag: "All", count: Infinity, enough: undefined }
const first = (count: number): Rule => ({ _tag: "First", count, enough: undefined })
const best = (count: number, enough?: number): Rule => ({ _tag: "Best", count, enough })
const quorum = (count: number): Rule => ({ _tag: "Quorum", count, enough: undefined })

type Step =
  | readonly ["join"]
  | readonly ["ok", number, Worth?]
  | readonly ["fail", number]
  | readonly ["leave", number]
  | readonly ["close"]
  | readonly ["expire"]
  | readonly ["giveUp"]

const play = (rules: BranchRules, step: Step): ReadonlyArray<Action> => {
  switch (step[0]) {
    case "join":
      rules.joined()
      return []
    case "ok":
      return rules.succeeded(step[1], step[2])
    case "fail":
      return rules.failed(step[1])
    case "leave":
      return rules.left(step[1])
    default:
      return rules[step[0]]()
  }
}

const shown = (action: Action): string =>
  action._tag === "Decide"
    ? action.outcome
    : action._tag === "Supersede"
    ? `supersede ${action.branch} by ${action.by}`
    : `${action._tag.toLowerCase()} ${action.branch}`

const join = (count: number): ReadonlyArray<Step> => Array.from({ length: count }, () => ["join"])

describe("branchRules", () => {
  it.each<readonly [what: string, rule: Rule, before: ReadonlyArray<Step>, then: Step, actions: ReadonlyArray<string>]>(
    [
      ["all: a success holds up nothing", all, join(2), ["ok", 0], []],
      ["all: the last end decides", all, [...join(2), ["close"], ["ok", 0]], ["fail", 1], ["decided"]],
      ["all: nothing is decided while more may join", all, [...join(1), ["ok", 0]], ["close"], ["decided"]],
      ["all: an empty group is decided when it closes", all, [], ["close"], ["decided"]],
      ["first: the success that fills the count ends it", first(1), join(3), ["ok", 1], [
        "supersede 0 by 1",
        "supersede 2 by 1",
        "decided"
      ]],
      ["first: the last winner is named", first(2), [...join(3), ["ok", 2]], ["ok", 0], [
        "supersede 1 by 0",
        "decided"
      ]],
      ["first: too few are those there are", first(3), [...join(2), ["ok", 0], ["close"]], ["ok", 1], ["decided"]],
      ["first: without success it is decided by the last failure", first(1), [...join(1), ["close"]], ["fail", 0], [
        "decided"
      ]],
      ["best: a result is held back while others run", best(1), [...join(2), ["close"]], ["ok", 0, 5], []],
      [
        "best: a beaten one is superseded by the worst that is kept",
        best(2),
        [...join(4), ["ok", 0, 1], ["ok", 1, 5]],
        [
          "ok",
          2,
          3
        ],
        ["supersede 0 by 2"]
      ],
      ["best: one that comes too late is superseded itself", best(1), [...join(3), ["ok", 0, 5]], ["ok", 1, 4], [
        "supersede 1 by 0"
      ]],
      ["best: of equals the earlier call is kept", best(1), [...join(3), ["ok", 1, 5]], ["ok", 0, 5], [
        "supersede 1 by 0"
      ]],
      ["best: enough ends it at once", best(1, 9), join(3), ["ok", 1, 9], [
        "release 1",
        "supersede 0 by 1",
        "supersede 2 by 1",
        "decided"
      ]],
      ["best: enough must be reached by all that are kept", best(2, 9), [...join(3), ["ok", 1, 9]], ["ok", 0, 8], []],
      ["best: nearly enough is not", best(1, 9), join(2), ["ok", 0, 8.999], []],
      [
        "best: what cannot be beaten any more is released",
        best(2),
        [...join(3), ["close"], ["ok", 0, 1]],
        ["ok", 1, 2],
        [
          "release 1"
        ]
      ],
      ["best: before the group closes nothing is safe", best(2), [...join(2), ["ok", 0, 1]], ["ok", 1, 2], []],
      ["best: more to keep than branches holds nothing back", best(3), [...join(2), ["ok", 1, 1]], ["close"], [
        "release 1"
      ]],
      ["best: a failure makes room", best(1), [...join(2), ["close"], ["ok", 0, 1]], ["fail", 1], [
        "release 0",
        "decided"
      ]],
      ["best: time is up", best(1), [...join(3), ["ok", 1, 1]], ["expire"], [
        "release 1",
        "expire 0",
        "expire 2",
        "timed-out"
      ]],
      ["quorum: successes of one class", quorum(2), [...join(4), ["ok", 0, "a"], ["ok", 1, "b"]], ["ok", 2, "a"], [
        "supersede 3 by 2",
        "decided"
      ]],
      ["quorum: out of reach, once the group is closed", quorum(2), [...join(3), ["close"], ["fail", 0]], ["fail", 1], [
        "cancel 2",
        "unreachable"
      ]],
      ["quorum: not out of reach while more may join", quorum(2), [...join(2), ["fail", 0]], ["fail", 1], []],
      ["quorum: out of reach because they differ", quorum(3), [...join(4), ["close"], ["ok", 0, 1]], ["ok", 1, 2], []],
      ["quorum: and now for good", quorum(3), [...join(4), ["close"], ["ok", 0, 1], ["ok", 1, 2]], ["ok", 2, 3], [
        "cancel 3",
        "unreachable"
      ]],
      ["quorum: larger than the group", quorum(3), [...join(2), ["ok", 0]], ["close"], ["cancel 1", "unreachable"]],
      ["quorum: one that leaves does not count", quorum(2), [...join(2), ["close"], ["ok", 0]], ["leave", 1], [
        "unreachable"
      ]],
      ["given up: what is held is kept, what runs is left alone", best(1), [...join(2), ["ok", 0, 1]], ["giveUp"], [
        "release 0",
        "cancelled"
      ]],
      ["given up: a later end does nothing", first(1), [...join(2), ["giveUp"]], ["ok", 0], []],
      ["a branch ends once", first(1), [...join(2), ["fail", 0]], ["ok", 0], []],
      ["a group is decided once", first(1), [...join(2), ["ok", 0]], ["expire"], []]
    ]
  )("%s", (_, rule, before, then, actions) => {
    const rules = new BranchRules(rule)
    for (const step of before) play(rules, step)
    assert.deepStrictEqual(play(rules, then).map(shown), actions)
  })

  it("names winners, the best first, and losers in call order", () => {
    const rules = new BranchRules(best(2))
    const steps: ReadonlyArray<Step> = [...join(4), ["ok", 3, 1], ["ok", 0, 2], ["leave", 1], ["close"], ["ok", 2, 3]]
    for (const step of steps) play(rules, step)
    assert.deepStrictEqual([rules.winners, rules.losers, rules.size, rules.outcome], [[2, 0], [3], 3, "decided"])
  })

  it("keeps its promises in every order of every outcome of up to four branches", () => {
    let seen = 0
    for (
      const rule of [all, first(1), first(2), best(1), best(2), best(3, 2), best(1, 2), quorum(1), quorum(2), quorum(3)]
    ) {
      for (let count = 0; count <= 4; count++) seen += explore(rule, count)
    }
    assert.isAbove(seen, 100_000)
  })

  it("costs a constant number of actions a branch", () => {
    const rules = new BranchRules(best(3))
    const n = 50_000
    for (let i = 0; i < n; i++) rules.joined()
    let actions = rules.close().length
    for (let i = 0; i < n; i++) actions += rules.succeeded(i, i % 977).length
    assert.strictEqual(actions, n + 1)
  })
})

const outcomes: ReadonlyArray<(branch: number) => Step> = [
  (branch) => ["ok", branch, 1],
  (branch) => ["ok", branch, 2],
  (branch) => ["fail", branch],
  (branch) => ["leave", branch]
]

// Every order in which the branches end, with every outcome, closing at every moment, giving up or expiring at every moment.
const explore = (rule: Rule, count: number): number => {
  let leaves = 0
  const visit = (path: ReadonlyArray<Step>, left: ReadonlyArray<number>, closed: boolean): void => {
    if (left.length === 0 && closed) {
      leaves++
      return check(rule, [...join(count), ...path])
    }
    if (!closed) visit([...path, ["close"]], left, true)
    if (left.length <= 2) {
      check(rule, [...join(count), ...path, ["expire"]])
      check(rule, [...join(count), ...path, ["giveUp"], ...left.map((branch): Step => ["ok", branch, 2])])
    }
    for (const branch of left) {
      for (const outcome of outcomes) visit([...path, outcome(branch)], left.filter((one) => one !== branch), closed)
    }
  }
  visit([], [...Array.from({ length: count }).keys()], false)
  return leaves
}

// chai's own words for a million true statements take half a minute.
const must = (holds: boolean, about: () => string): void => {
  if (!holds) assert.fail(about())
}

const check = (rule: Rule, steps: ReadonlyArray<Step>): void => {
  const rules = new BranchRules(rule)
  const ended = new Map<number, string>()
  const told = new Map<number, string>()
  const log: Array<string> = []
  const about = () => `${JSON.stringify(rule)} ${JSON.stringify(steps)}: ${log.join(", ")}`
  let decisions = 0
  for (const step of steps) {
    if (step[0] === "ok" || step[0] === "fail" || step[0] === "leave") {
      // A driver tells nothing of a branch that it was made to stop.
      if (told.has(step[1])) continue
      ended.set(step[1], step[0])
    }
    const isOver = rules.outcome !== undefined
    const actions = play(rules, step)
    must(!isOver || actions.length === 0, about)
    for (const [i, action] of actions.entries()) {
      log.push(action._tag)
      if (action._tag === "Decide") {
        decisions++
        must(i === actions.length - 1, about)
        continue
      }
      must(!told.has(action.branch), about)
      told.set(action.branch, action._tag)
      const finished = ended.get(action.branch)
      if (action._tag === "Release") must(finished === "ok", about)
      else if (action._tag === "Supersede") {
        must(finished !== "fail" && ended.get(action.by) === "ok" && told.get(action.by) !== "Supersede", about)
      } else must(finished === undefined, about)
    }
  }
  must(decisions === 1 && rules.outcome !== undefined, about)
  for (const branch of rules.winners) {
    must(ended.get(branch) === "ok" && (rule._tag !== "Best" || told.get(branch) === "Release"), about)
  }
  must(rules.winners.length + rules.losers.length === rules.size, about)
  if (rule._tag !== "Best" || rules.outcome === "cancelled") return
  for (const [branch, how] of ended) must(how !== "ok" || told.has(branch), about)
}
