/** What a test runner's matcher answers: whether it passes, and the words for when that was not wanted. Pure. */
import * as Effect from "effect/Effect"
import { describe } from "../../domain/ToolFailure.ts"
import * as Timelines from "../Timeline.ts"
import type { Timeline } from "../Timeline.ts"
import { isToolCall } from "../ToolCall.ts"
import type { Expectation, Failure } from "./expectations.ts"
import { verify } from "./expectations.ts"
import { clean, cutTo, short } from "./shortText.ts"
import { fits, textOf } from "./wanted.ts"
import type { Wanted } from "./wanted.ts"

/** What a matcher gives its runner. */
export interface Matched {
  readonly pass: boolean
  readonly message: () => string
}

/** Whether it is so, and what happened; `calls` are the ids it speaks of. */
export interface Found {
  readonly pass: boolean
  readonly happened: string
  readonly calls?: ReadonlyArray<string>
}

/**
 * A matcher with its arguments. `shown`: those, for the message. `issue`: why nothing can be said. `absent`: what makes the matcher
 * fail behind `.not`, since a test that speaks of a call that is not there says nothing.
 */
export type Asked =
  & { readonly shown: ReadonlyArray<unknown> }
  & ({ readonly issue: string } | {
    readonly check: (timeline: Timeline) => Found
    readonly absent?: (timeline: Timeline) => Failure | undefined
  })

/** Arguments of which nothing can be said. */
export const unusable = (shown: ReadonlyArray<unknown>, issue: string): Asked => ({ shown, issue })

/**
 * How calls are judged. `holds`: the words for what is so, or expectations that fail then. `present`: what is asked of the calls
 * behind `.not`: that their handlers started, that the model made them, or nothing.
 */
export interface Judged {
  readonly expectations: ReadonlyArray<Expectation>
  readonly holds: string | ReadonlyArray<Expectation>
  readonly present?: "started" | "made" | "anyhow"
}

type Judge = (wanted: ReadonlyArray<Wanted>) => Judged

/** One call by its tool. */
export const callOf = (call: unknown, judge: Judge): Asked => ({ ...callsOf([call], judge), shown: [call] })

/** Calls by their tools. */
export const callsOf = (calls: unknown, judge: Judge, options?: { readonly mayBeEmpty: boolean }): Asked => {
  if (!Array.isArray(calls)) return unusable([calls], "it takes a list of ToolCall(\"name\", parameters)")
  if (calls.length === 0 && options?.mayBeEmpty !== true) return unusable([calls], "the list has no call")
  const wrong = calls.findIndex((call) => !isToolCall(call))
  return wrong >= 0
    ? unusable([calls], `${worded(calls[wrong])} is no ToolCall; write ToolCall("name", parameters)`)
    : asked([calls], calls.map(wantedOf), judge)
}

/** Calls by their ids or their tools. */
export const targetsOf = (targets: ReadonlyArray<unknown>, judge: Judge, rest: ReadonlyArray<unknown> = []): Asked => {
  const wrong = targets.findIndex((target) => typeof target !== "string" && !isToolCall(target))
  return wrong >= 0
    ? unusable([...targets, ...rest], `${worded(targets[wrong])} is no ToolCall and no call's id`)
    : asked([...targets, ...rest], targets.map(wantedOf), judge)
}

const wantedOf = (target: unknown): Wanted =>
  isToolCall(target)
    ? { name: target.name, params: target.params, decoded: target.params, id: target.id }
    : { name: undefined, params: undefined, decoded: undefined, id: String(target) }

// The toolkit and its policies are not known here.
const failuresOf = (expectations: ReadonlyArray<Expectation>, timeline: Timeline): ReadonlyArray<Failure> =>
  verify(expectations, timeline, { concurrency: Infinity, policies: new Map() })

const asked = (shown: ReadonlyArray<unknown>, wanted: ReadonlyArray<Wanted>, judge: Judge): Asked => {
  const { expectations, holds, present = "started" } = judge(wanted)
  return {
    shown,
    check: (timeline) => {
      const failures = failuresOf(expectations, timeline)
      return failures.length === 0
        ? { pass: true, ...(typeof holds === "string" ? { happened: holds } : told(failuresOf(holds, timeline))) }
        : { pass: false, ...told(failures) }
    },
    absent: (timeline) =>
      present === "anyhow" ? undefined : wanted
        .filter((each) => present === "started" || !timeline.calls.some((call) => fits(each, call)))
        .flatMap((each) => failuresOf([{ _tag: "Calls", how: "inParallel", wanted: [each] }], timeline))[0]
  }
}

const told = (failures: ReadonlyArray<Failure>): Omit<Found, "pass"> => ({
  happened: failures.map(({ happened }) => happened).join("\n"),
  calls: failures.flatMap(({ calls }) => calls)
})

/** The answer of a matcher about what it received. What cannot be judged fails with and without `.not`. */
export const answer = (name: string, isNot: boolean, received: unknown, asked: Asked): Matched => {
  const head = `expect(execution)${isNot ? ".not" : ""}.${name}(${asked.shown.map(worded).join(", ")})`
  const refused = (issue: string): Matched => ({ pass: isNot, message: () => `${head}\n\n${issue}` })
  if ("issue" in asked) return refused(`Nothing can be said: ${asked.issue}.`)
  const timeline = timelineOf(received)
  if (timeline === undefined) return refused(notAnExecution(received))
  const absent = isNot ? asked.absent?.(timeline) : undefined
  const { calls = [], happened, pass } = absent === undefined
    ? asked.check(timeline)
    : { ...absent, pass: true, happened: `Behind .not the calls still have to be there:\n${absent.happened}` }
  return {
    pass,
    message: () => `${head}\n\n${happened}\n\nWhat happened:\n${Timelines.format(timeline, { focus: calls })}`
  }
}

const timelineOf = (received: unknown): Timeline | undefined => {
  if (typeof received !== "object" || received === null || !("timeline" in received)) return undefined
  const { timeline } = received
  const isTimeline = typeof timeline === "object" && timeline !== null && "calls" in timeline && "turns" in timeline
  return isTimeline ? timeline as Timeline : undefined
}

const notAnExecution = (received: unknown): string => {
  const what = `The value is no Execution: ${cutTo(clean(describe(received)), 80)}.`
  const hint = Effect.isEffect(received) ? " It is an Effect: yield* it first." : ""
  return `${what}${hint} Give expect what MockOrchestrator.execute gives.`
}

const worded = (value: unknown): string =>
  isToolCall(value)
    ? textOf(wantedOf(value))
    : Array.isArray(value)
    ? `[${value.slice(0, 8).map(worded).join(", ")}${value.length > 8 ? `, … ${value.length - 8} more` : ""}]`
    : typeof value === "function"
    ? describe(value)
    : short(value)
