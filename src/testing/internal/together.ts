/** Whether calls were at work at one moment, and where they were not, why that may be. Pure. */
import * as Result from "effect/Result"
import type { Policies } from "../../domain/ToolPolicy.ts"
import { isComplete, match } from "./matching.ts"
import type { RecordedCall, Span, Timeline } from "./recorded.ts"
import { count, millis, timesOf, titleOf } from "./waterfallText.ts"

/** What may keep calls apart: how many run at once, and what their tools say. */
export interface Rules {
  readonly concurrency: number
  readonly policies: ReadonlyMap<string, Policies>
}

/**
 * Whether at one moment a call of each of the wanted was at work, told by the order of events. It is enough to look at the moments
 * at which a call begins to be: of a moment at which they all are, the last beginning is one.
 */
export const together = (
  candidates: ReadonlyArray<ReadonlyArray<number>>,
  calls: ReadonlyArray<RecordedCall>
): boolean => {
  // Those that want the same share one list, and one set.
  const sets = new Map([...new Set(candidates)].map((list) => [list, new Set(list)]))
  const relevant = [...new Set([...sets.keys()].flat())]
  const begins = relevant.flatMap((index) => calls[index]!.spans.map((span) => ({ index, span })))
    .sort((a, b) => a.span.startedAs - b.span.startedAs)
  let working: Array<{ readonly index: number; readonly span: Span }> = []
  for (const begin of begins) {
    working = working.filter(({ span }) => (span.endedAs ?? Infinity) > begin.span.startedAs)
    working.push(begin)
    if (working.length < candidates.length) continue
    const there = new Map(
      [...sets].map(([list, set]) => [list, working.map(({ index }) => index).filter((index) => set.has(index))])
    )
    if (isComplete(match(candidates.map((list) => there.get(list)!)))) return true
  }
  return false
}

/** Why calls that all ran never ran together: the pair of them that was furthest apart, and what may have kept it so. */
export const apart = (
  candidates: ReadonlyArray<ReadonlyArray<number>>,
  timeline: Timeline,
  rules: Rules
): { readonly happened: string; readonly calls: ReadonlyArray<string> } => {
  const { calls } = timeline
  const matched = match(candidates).map((index) => calls[index!]!)
  const first = matched.reduce((a, b) => endsAs(b) < endsAs(a) ? b : a)
  const last = matched.reduce((a, b) => b.startedAs! > a.startedAs! ? b : a)
  const [before, behind] = [`${titleOf(first)} (${timesOf(first)})`, `${titleOf(last)} (${timesOf(last)})`]
  const isApart = endsAs(first) < last.startedAs!
  const why = isApart
    ? `${before} ended before ${behind} started\n${reasonOf(first, last, timeline, rules)}`
    : betweenAttempts(matched)
  return {
    happened: `They were not all at work at one moment: ${why}`,
    calls: matched.slice(0, 16).map(({ id }) => id)
  }
}

const endsAs = (call: RecordedCall): number => call.endedAs ?? Infinity

// From their starts to their ends they overlap, so one of them rested meanwhile.
const betweenAttempts = (calls: ReadonlyArray<RecordedCall>): string =>
  calls.filter(({ spans }) => spans.length > 1).slice(0, 3).map((call) =>
    `${titleOf(call)} was at work ${
      call.spans.slice(0, 6).map(({ endedAt, startedAt }) =>
        `${millis(startedAt)}-${endedAt === undefined ? "?" : millis(endedAt)} ms`
      ).join(" and ")
    }, and waited between its attempts`
  ).join("; ")

const reasonOf = (first: RecordedCall, last: RecordedCall, timeline: Timeline, rules: Rules): string => {
  if (last.step > first.step) {
    return `${last.id} was asked for in turn ${last.step}, after ${first.id} of turn ${first.step} was answered: let the model make both in one turn.`
  }
  if (last.queuedAs < endsAs(first)) return waitOf(first, last, timeline, rules)
  if (first.startedAt === first.endedAt) {
    return `${first.id} took no time, so nothing could run beside it: give it a latency, such as TestTools.succeed(value, { after: "1 millis" }).`
  }
  return `${last.id} was made at ${
    millis(last.queuedAt)
  } ms, when ${first.id} had ended: give ${first.id} a longer latency, or let the model make them sooner after each other.`
}

// It was there and did not start: who may have held it up.
const waitOf = (
  first: RecordedCall,
  last: RecordedCall,
  { maxConcurrentCalls }: Timeline,
  { concurrency, policies }: Rules
): string => {
  const policy = policies.get(last.name)
  const locked = conflict(policies, first, last)
  const waited = `${last.id} waited from ${millis(last.queuedAt)} to ${millis(last.startedAt!)} ms`
  const causes = [
    locked === undefined
      ? ""
      : `both touch the resource ${JSON.stringify(locked)}, and one writes it (ToolPolicy.Resources)`,
    policy?.concurrency === undefined || first.name !== last.name
      ? ""
      : `of ${last.name} at most ${policy.concurrency} run at once (ToolPolicy.Concurrency)`,
    (last.limiterMillis ?? 0) > 0 ? `a limit held it for ${millis(last.limiterMillis!)} ms (Limiter)` : "",
    maxConcurrentCalls >= concurrency ? `of all tools at most ${concurrency} run at once (toolCallConcurrency)` : "",
    policy?.eager === "after-finish"
      ? `${last.name} starts only when the model's turn has ended (ToolPolicy.Eager)`
      : ""
  ].filter((cause) => cause !== "")
  if (causes.length > 0) return `${waited}: ${causes.join("; ")}.`
  return first.startedAt === first.endedAt
    ? `${first.id} took no time, so nothing could run beside it: give it a latency, such as TestTools.succeed(value, { after: "1 millis" }).`
    : `${waited}.`
}

/** What is touched. A function of the user's may throw, or want other parameters. */
const touched = (policy: Policies | undefined, decoded: unknown): ReadonlyArray<{ key: string; writes: boolean }> => {
  if (policy?.resources === undefined || decoded === undefined) return []
  const resources = Result.try(() => policy.resources!(decoded as never))
  return Result.getOrElse(resources, () => []).map((resource) =>
    "write" in resource ? { key: resource.write, writes: true } : { key: resource.read, writes: false }
  )
}

interface Doing {
  readonly name: string | undefined
  readonly decoded: unknown
}

/** The resource for which two calls can never run together. */
export const conflict = (policies: Rules["policies"], a: Doing, b: Doing): string | undefined => {
  const [ofA, ofB] = [a, b].map(({ decoded, name }) => touched(policies.get(name ?? ""), decoded))
  return ofA!.find((one) => ofB!.some((other) => one.key === other.key && (one.writes || other.writes)))?.key
}

/** Why calls like these can never be at work at one moment, where that is known beforehand. */
export const neverTogether = (wanted: ReadonlyArray<Doing>, { concurrency, policies }: Rules): string | undefined => {
  if (wanted.length > concurrency) {
    return `it lists ${count(wanted.length, "call")}, and at most ${concurrency} run at once (toolCallConcurrency)`
  }
  for (const [name, alike] of Map.groupBy(wanted, ({ name }) => name)) {
    const cap = policies.get(name ?? "")?.concurrency
    if (cap !== undefined && alike.length > cap) {
      return `it lists ${
        count(alike.length, "call")
      } of ${name}, and at most ${cap} of it run at once (ToolPolicy.Concurrency)`
    }
  }
  for (const [index, one] of wanted.entries()) {
    for (const other of wanted.slice(index + 1)) {
      const key = conflict(policies, one, other)
      if (key !== undefined) {
        return `a call of ${one.name} and one of ${other.name} touch the resource ${
          JSON.stringify(key)
        }, and one of them writes it, so that they run one after the other (ToolPolicy.Resources)`
      }
    }
  }
  return undefined
}
