/**
 * Who must win, written from what the policies promise: after each event everything is worked out anew from all that has
 * happened so far, by definition and without memory. Nothing of the engine is used here.
 */

/** A policy, as a scenario states it. */
export type Policy =
  | { readonly kind: "all" }
  | { readonly kind: "first"; readonly n: number }
  | { readonly kind: "best"; readonly keep: number; readonly enough?: number }
  | { readonly kind: "quorum"; readonly k: number; readonly agree: boolean }

/** What happens to a group, in order. `time` in milliseconds. `end` without a score: the branch cannot win any more. */
export type Happening =
  | { readonly what: "join"; readonly branch: number; readonly time: number }
  | { readonly what: "end"; readonly branch: number; readonly score?: number; readonly time: number }
  | { readonly what: "close"; readonly time: number }
  | { readonly what: "expire"; readonly time: number }
  | { readonly what: "cancel"; readonly time: number }

/**
 * What must become of a branch. `own`: it is answered with what it ended with, at its end; `kept`: with its result, when that is
 * certain; `notKept`: it had finished, and `by` is why it does not count; `stopped` while it ran or waited; `late`: it came when
 * all was over.
 */
export type Fate =
  | { readonly fate: "own"; readonly time: number }
  | { readonly fate: "kept"; readonly time: number }
  | { readonly fate: "notKept"; readonly time: number; readonly by: number }
  | { readonly fate: "stopped" | "late"; readonly time: number; readonly why: Why }

export type Why = { readonly superseded: number } | "unreachable" | "timed-out" | "cancelled"

export interface Verdict {
  readonly outcome: "decided" | "unreachable" | "timed-out" | "cancelled"
  readonly winners: ReadonlyArray<number>
  /** When that was known. */
  readonly time: number
  readonly fates: ReadonlyMap<number, Fate>
}

interface Success {
  readonly branch: number
  readonly score: number
}

const isBetter = (a: Success, b: Success): boolean => a.score > b.score || (a.score === b.score && a.branch < b.branch)

const ranked = (all: ReadonlyArray<Success>): ReadonlyArray<Success> => all.toSorted((a, b) => isBetter(a, b) ? -1 : 1)

export const judge = (policy: Policy, happenings: ReadonlyArray<Happening>): Verdict => {
  const fates = new Map<number, Fate>()
  for (let length = 1; length <= happenings.length; length++) {
    const past = happenings.slice(0, length)
    const { time } = past.at(-1)!
    const over = look(policy, past)
    const { pending, successes } = situation(past)
    if (policy.kind === "best") judgeKept(policy, past, over !== undefined, fates)
    else for (const one of past) if (one.what === "end" && !fates.has(one.branch)) fates.set(one.branch, own(one.time))
    for (const one of past) {
      if (one.what === "end" && one.score === undefined && !fates.has(one.branch)) fates.set(one.branch, own(one.time))
    }
    if (over === undefined) continue
    for (const branch of pending) fates.set(branch, { fate: "stopped", time, why: over.why })
    const winners = over.winners(successes)
    for (const one of happenings.slice(length)) {
      if (one.what !== "join") continue
      const why = over.outcome === "decided" && winners.length > 0 && typeof over.why !== "object"
        ? { superseded: winners.at(-1)! }
        : over.why
      fates.set(one.branch, { fate: "late", time: one.time, why })
    }
    return { outcome: over.outcome, winners, time, fates }
  }
  throw new Error(`never decided: ${JSON.stringify({ policy, happenings })}`)
}

const own = (time: number): Fate => ({ fate: "own", time })

const situation = (past: ReadonlyArray<Happening>) => {
  const ended = new Set(past.flatMap((one) => one.what === "end" ? [one.branch] : []))
  return {
    pending: past.flatMap((one) => one.what === "join" && !ended.has(one.branch) ? [one.branch] : []),
    successes: past.flatMap((one): ReadonlyArray<Success> =>
      one.what === "end" && one.score !== undefined ? [{ branch: one.branch, score: one.score }] : []
    ),
    closed: past.some(({ what }) => what === "close")
  }
}

interface Over {
  readonly outcome: Verdict["outcome"]
  readonly why: Why
  readonly winners: (successes: ReadonlyArray<Success>) => ReadonlyArray<number>
}

const branches = (all: ReadonlyArray<Success>) => all.map(({ branch }) => branch)

/** Whether the last of these happenings is the one that decides. */
const look = (policy: Policy, past: ReadonlyArray<Happening>): Over | undefined => {
  const { closed, pending, successes } = situation(past)
  const last = past.at(-1)!
  const newest = last.what === "end" ? { superseded: last.branch } as const : "cancelled"
  const chosen = winnersOf(policy)
  if (policy.kind === "first" && successes.length >= policy.n) {
    return { outcome: "decided", why: newest, winners: chosen }
  }
  if (policy.kind === "best" && policy.enough !== undefined) {
    const { enough, keep } = policy
    if (successes.filter(({ score }) => score >= enough).length >= keep) {
      return { outcome: "decided", why: newest, winners: chosen }
    }
  }
  if (policy.kind === "quorum") {
    const largest = Math.max(0, ...successes.map((one) => agreeing(policy, successes, one).length))
    if (largest >= policy.k) return { outcome: "decided", why: newest, winners: chosen }
    if (closed && largest + pending.length < policy.k) {
      return { outcome: "unreachable", why: "unreachable", winners: () => [] }
    }
  }
  if (closed && pending.length === 0) return { outcome: "decided", why: "cancelled", winners: chosen }
  if (last.what === "expire") return { outcome: "timed-out", why: "timed-out", winners: chosen }
  if (last.what === "cancel") return { outcome: "cancelled", why: "cancelled", winners: chosen }
  return undefined
}

const agreeing = (
  { agree }: Extract<Policy, { readonly kind: "quorum" }>,
  successes: ReadonlyArray<Success>,
  { score }: Success
): ReadonlyArray<Success> => agree ? successes.filter((one) => one.score === score) : successes

const winnersOf = (policy: Policy) => (successes: ReadonlyArray<Success>): ReadonlyArray<number> => {
  switch (policy.kind) {
    case "all":
    case "first":
      return branches(successes)
    case "best":
      return branches(ranked(successes).slice(0, policy.keep))
    case "quorum": {
      const elected = successes.map((one) => agreeing(policy, successes, one)).find((all) => all.length >= policy.k)
      return branches(elected ?? [])
    }
  }
}

// A finished branch is out as soon as `keep` better ones have finished, and in as soon as so many cannot come any more.
const judgeKept = (
  { keep }: Extract<Policy, { readonly kind: "best" }>,
  past: ReadonlyArray<Happening>,
  isOver: boolean,
  fates: Map<number, Fate>
): void => {
  const { closed, pending, successes } = situation(past)
  const { time } = past.at(-1)!
  for (const one of successes) {
    if (fates.has(one.branch)) continue
    const better = successes.filter((other) => isBetter(other, one)).length
    if (better >= keep) fates.set(one.branch, { fate: "notKept", time, by: ranked(successes)[keep - 1]!.branch })
    else if (isOver || (closed && better + pending.length < keep)) fates.set(one.branch, { fate: "kept", time })
  }
}
