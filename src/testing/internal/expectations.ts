/** What was expected against what happened: an expectation and a timeline give a verdict in words. Pure. */
import type * as CancelReason from "../../domain/CancelReason.ts"
import { message as reasonText } from "../../domain/CancelReason.ts"
import { canonical } from "../../domain/ToolCall.ts"
import { isComplete, match } from "./matching.ts"
import type { RecordedCall, Timeline } from "./recorded.ts"
import { clean, cutTo } from "./shortText.ts"
import type { Rules } from "./together.ts"
import { apart, together } from "./together.ts"
import type { Wanted } from "./wanted.ts"
import { difference, fits, fitsId, fitsName, keyOf, listOf, textOf } from "./wanted.ts"
import { count, endOf, millis, timesOf, titleOf } from "./waterfallText.ts"

export type How = "inParallel" | "inOrder" | "inAnyOrder" | "anyTimes"

export type Expectation =
  | { readonly _tag: "Calls"; readonly how: How; readonly wanted: ReadonlyArray<Wanted> }
  | { readonly _tag: "Overlap"; readonly wanted: ReadonlyArray<Wanted> }
  | { readonly _tag: "Cancelled"; readonly wanted: Wanted; readonly reason: Expected }
  | { readonly _tag: "NotCalled"; readonly wanted: ReadonlyArray<Wanted> }
  | { readonly _tag: "NoOtherCalls" }

/** Any reason, one of this tag, or this one. */
export type Expected = CancelReason.CancelReason["_tag"] | CancelReason.CancelReason | undefined

/** What happened instead; `calls` are the ids it speaks of. */
export interface Failure {
  readonly expected: string
  readonly happened: string
  readonly calls: ReadonlyArray<string>
}

/** An expectation in the words of its declaration. */
export const declaration = (expectation: Expectation): string => {
  switch (expectation._tag) {
    case "Calls":
      return `expectToolCalls(${listOf(expectation.wanted)}).${expectation.how}()`
    case "Overlap":
      return `expectOverlap(${expectation.wanted.map(textOf).join(", ")})`
    case "Cancelled":
      return `expectCancelled(${textOf(expectation.wanted)}${
        expectation.reason === undefined ? "" : `, ${JSON.stringify(expectation.reason)}`
      })`
    case "NotCalled":
      return `expectNotCalled(${listOf(expectation.wanted)})`
    case "NoOtherCalls":
      return "expectNoOtherCalls()"
  }
}

/** Every expectation that does not hold, in the order of declaration. */
export const verify = (
  expectations: ReadonlyArray<Expectation>,
  timeline: Timeline,
  rules: Rules
): ReadonlyArray<Failure> =>
  expectations.flatMap((expectation) => {
    const found = verdict(expectation, expectations, timeline, rules)
    return found === undefined ? [] : [{ expected: declaration(expectation), ...found }]
  })

type Verdict = Omit<Failure, "expected"> | undefined

const verdict = (
  expectation: Expectation,
  all: ReadonlyArray<Expectation>,
  timeline: Timeline,
  rules: Rules
): Verdict => {
  const { calls } = timeline
  switch (expectation._tag) {
    case "Calls":
      switch (expectation.how) {
        case "inParallel":
          return inParallel(expectation.wanted, timeline, rules)
        case "inOrder":
          return inOrder(expectation.wanted, calls)
        case "inAnyOrder":
          return inAnyOrder(expectation.wanted, calls)
        case "anyTimes":
          return undefined
      }
      break
    case "Overlap":
      return inParallel(expectation.wanted, timeline, rules)
    case "Cancelled":
      return cancelled(expectation.wanted, expectation.reason, calls)
    case "NotCalled":
      return notCalled(expectation.wanted, calls)
    case "NoOtherCalls":
      return noOtherCalls(all, calls)
  }
}

const hasStarted = (call: RecordedCall): boolean => call.startedAs !== undefined

// Calls that fit, of those that count, by their places in `calls`. Those that want the same share one list.
const candidatesOf = (
  wanted: ReadonlyArray<Wanted>,
  calls: ReadonlyArray<RecordedCall>,
  counts: (call: RecordedCall) => boolean
): ReadonlyArray<ReadonlyArray<number>> => {
  const lists = new Map<string, ReadonlyArray<number>>()
  return wanted.map((each) => {
    const key = keyOf(each)
    const known = lists.get(key)
    if (known !== undefined) return known
    const list = calls.flatMap((call, index) => counts(call) && fits(each, call) ? [index] : [])
    lists.set(key, list)
    return list
  })
}

// ---- each happens ------------------------------------------------------------------------------------------------------

const missingOf = (wanted: ReadonlyArray<Wanted>, calls: ReadonlyArray<RecordedCall>): Verdict => {
  const matching = match(candidatesOf(wanted, calls, hasStarted))
  const missing = wanted.filter((_, index) => matching[index] === undefined)
  if (missing.length === 0) return undefined
  const notes = missing.slice(0, maxNotes).map((each) => missingNote(each, wanted, calls))
  const more = missing.length > maxNotes ? [`… and ${missing.length - maxNotes} more are missing`] : []
  return {
    happened: [...notes.map(({ text }) => text), ...more].join("\n"),
    calls: notes.flatMap((note) => note.calls)
  }
}

const maxNotes = 6

interface Note {
  readonly text: string
  readonly calls: ReadonlyArray<string>
}

const missingNote = (
  wanted: Wanted,
  listed: ReadonlyArray<Wanted>,
  calls: ReadonlyArray<RecordedCall>
): Note => {
  const fitting = calls.filter((call) => fits(wanted, call))
  const started = fitting.filter(hasStarted)
  const text = textOf(wanted)
  if (started.length > 0) {
    const wished = listed.filter((each) => started.some((call) => fits(each, call))).length
    return {
      text: `${text} was not called once more: ${ids(started)} ${
        started.length === 1 ? "is the only call" : `are the only ${count(started.length, "call")}`
      } that would do, for ${count(wished, "call")} expected`,
      calls: idsOf(started)
    }
  }
  if (fitting.length > 0) {
    return {
      text: `${text} did not run: ${fitting.slice(0, 3).map((call) => `${titleOf(call)}: ${endOf(call)}`).join("; ")}`,
      calls: idsOf(fitting)
    }
  }
  return nearNote(wanted, calls, text)
}

const nearNote = (wanted: Wanted, calls: ReadonlyArray<RecordedCall>, text: string): Note => {
  if (calls.length === 0) return { text: `${text} was not called: the model made no calls`, calls: [] }
  const named = calls.filter((call) => fitsName(wanted, call))
  if (wanted.id !== undefined && !calls.some((call) => fitsId(wanted, call))) {
    return { text: `${text} was not called: no call has this id; there are ${ids(calls)}`, calls: [] }
  }
  if (wanted.id !== undefined) {
    const call = calls.find((call) => fitsId(wanted, call))!
    const why = fitsName(wanted, call) ? ` (${differenceOf(wanted, call)})` : ""
    return { text: `${text} was not called: this id has ${titleOf(call)}${why}`, calls: [call.id] }
  }
  if (named.length === 0) {
    return {
      text: `${text} was not called: no call of ${wanted.name} was made, of ${count(calls.length, "call")} (${
        namesOf(calls)
      })`,
      calls: []
    }
  }
  const nearest = named.slice(0, 3)
  const lines = nearest.map((call) => `near: ${titleOf(call)}: ${differenceOf(wanted, call)}`)
  return {
    text: [
      `${text} was not called with these parameters; ${wanted.name} was called ${count(named.length, "time")}`,
      ...lines.map((line) => `  ${line}`)
    ].join("\n"),
    calls: idsOf(nearest)
  }
}

const namesOf = (calls: ReadonlyArray<RecordedCall>): string => {
  const names = [...new Set(calls.map(({ name }) => cutTo(clean(name), 64)))]
  return names.slice(0, 8).join(", ") + (names.length > 8 ? " …" : "")
}

const differenceOf = (wanted: Wanted, call: RecordedCall): string =>
  call.decoded === undefined
    ? "its parameters do not fit the tool"
    : difference(wanted.params, call.params) ?? difference(wanted.decoded, call.decoded) ?? "its parameters differ"

const idsOf = (calls: ReadonlyArray<RecordedCall>): ReadonlyArray<string> => calls.slice(0, 8).map(({ id }) => id)

const ids = (calls: ReadonlyArray<RecordedCall>): string =>
  calls.slice(0, 8).map(({ id }) => cutTo(clean(id), 24)).join(", ") +
  (calls.length > 8 ? ` and ${calls.length - 8} more` : "")

// ---- the expectations ----------------------------------------------------------------------------------------------------

const inParallel = (wanted: ReadonlyArray<Wanted>, timeline: Timeline, rules: Rules): Verdict => {
  const { calls } = timeline
  const candidates = candidatesOf(wanted, calls, hasStarted)
  if (together(candidates, calls)) return undefined
  const matching = match(candidates)
  return isComplete(matching) ? apart(candidates, timeline, rules) : missingOf(wanted, calls)
}

// The earliest end leaves the most room for those behind it, so taking it is never wrong.
const inOrder = (wanted: ReadonlyArray<Wanted>, calls: ReadonlyArray<RecordedCall>): Verdict => {
  let before: { readonly wanted: Wanted; readonly call: RecordedCall } | undefined
  const candidates = candidatesOf(wanted, calls, hasStarted)
  for (const [index, each] of wanted.entries()) {
    const last: RecordedCall | undefined = before?.call
    const found = candidates[index]!.map((place) => calls[place]!)
      .filter((call) => startsAfter(call, last))
      .reduce<RecordedCall | undefined>((first, call) => endsAs(call) < endsAs(first) ? call : first ?? call, undefined)
    if (found === undefined) return missingOf(wanted, calls) ?? outOfOrder(each, before!, calls)
    before = { wanted: each, call: found }
  }
  return undefined
}

const startsAfter = (call: RecordedCall, last: RecordedCall | undefined): boolean =>
  last === undefined || call.startedAs! > endsAs(last)

const endsAs = (call: RecordedCall | undefined): number => call?.endedAs ?? Infinity

const outOfOrder = (
  wanted: Wanted,
  before: { readonly wanted: Wanted; readonly call: RecordedCall },
  calls: ReadonlyArray<RecordedCall>
): Verdict => {
  const former = before.call
  const fitting = calls.filter((call) => hasStarted(call) && fits(wanted, call) && call !== former)
  const call = fitting.at(-1) ?? former
  const head = `${textOf(wanted)} did not start after ${textOf(before.wanted)} ended: `
  const told = `${titleOf(call)} (${timesOf(call)})`
  const toldFormer = `${titleOf(former)} (${timesOf(former)})`
  if (call === former) return { happened: `${head}${told} is the only call that fits both`, calls: [call.id] }
  const [text, hint] = endsAs(call) < former.startedAs!
    ? [`${told} ended before ${toldFormer} started`, "They ran in the other order."]
    : [
      `${told} started while ${toldFormer} was at work`,
      call.step === former.step
        ? "Calls of one turn run in parallel: let the model ask for it in a later turn, or order them by ToolPolicy.Resources."
        : ""
    ]
  return { happened: [`${head}${text}`, ...(hint === "" ? [] : [hint])].join("\n"), calls: [former.id, call.id] }
}

const inAnyOrder = (wanted: ReadonlyArray<Wanted>, calls: ReadonlyArray<RecordedCall>): Verdict => {
  const missing = missingOf(wanted, calls)
  const candidates = candidatesOf(wanted, calls, hasStarted)
  const taken = new Set(match(candidates))
  const extra = [...new Set(candidates.flat())].filter((index) => !taken.has(index)).map((index) => calls[index]!)
  if (extra.length === 0) return missing
  const lines = extra.slice(0, maxNotes).map((call) => {
    const alike = calls.filter((each) => hasStarted(each) && sameCall(each, call))
    return `${titleOf(call)} was called more often than listed: ${count(alike.length, "time")} (${ids(alike)})`
  })
  const more = extra.length > maxNotes ? [`… and ${extra.length - maxNotes} more`] : []
  return {
    happened: [...(missing === undefined ? [] : [missing.happened]), ...lines, ...more].join("\n"),
    calls: [...(missing?.calls ?? []), ...idsOf(extra)]
  }
}

const sameCall = (a: RecordedCall, b: RecordedCall): boolean =>
  a === b || (a.name === b.name && canonical(a.params) === canonical(b.params))

const cancelled = (wanted: Wanted, reason: Expected, calls: ReadonlyArray<RecordedCall>): Verdict => {
  const fitting = calls.filter((call) => fits(wanted, call))
  if (fitting.length === 0) {
    const note = nearNote(wanted, calls, textOf(wanted))
    return { happened: note.text, calls: note.calls }
  }
  const stopped = fitting.filter(isStopped)
  if (stopped.some((call) => reason === undefined || isReason(call.reason!, reason))) return undefined
  const told = stopped.length > 0 ? stopped : fitting
  const lines = told.slice(0, maxNotes).map((call) =>
    stopped.length > 0
      ? `${titleOf(call)} was cancelled for another reason: ${call.reason!._tag} (${
        cutTo(clean(reasonText(call.reason!)), 120)
      }), not ${typeof reason === "string" ? reason : JSON.stringify(reason)}`
      : `${titleOf(call)} was not cancelled: it ${wasOf(call)}`
  )
  return { happened: lines.join("\n"), calls: idsOf(told) }
}

const isStopped = ({ reason, status }: RecordedCall): boolean =>
  reason !== undefined && status !== "success" && status !== "failure"

const wasOf = (call: RecordedCall): string =>
  `${endOf(call)}${call.endedAt === undefined ? "" : ` at ${millis(call.endedAt)} ms`}`

const isReason = (reason: CancelReason.CancelReason, expected: Exclude<Expected, undefined>): boolean =>
  typeof expected === "string" ? reason._tag === expected : canonical(reason) === canonical(expected)

const notCalled = (wanted: ReadonlyArray<Wanted>, calls: ReadonlyArray<RecordedCall>): Verdict => {
  const called = calls.filter((call) => hasStarted(call) && wanted.some((each) => fits(each, call)))
  if (called.length === 0) return undefined
  const lines = called.slice(0, maxNotes).map((call) => `${titleOf(call)} was called: ${timesOf(call)}, ${endOf(call)}`)
  const more = called.length > maxNotes ? [`… and ${called.length - maxNotes} more`] : []
  return { happened: [...lines, ...more].join("\n"), calls: idsOf(called) }
}

const noOtherCalls = (all: ReadonlyArray<Expectation>, calls: ReadonlyArray<RecordedCall>): Verdict => {
  const allowed = all.flatMap((each) => each._tag === "Calls" && each.how === "anyTimes" ? each.wanted : [])
  const named = slotsOf(all.map(namedBy))
  const open = calls.filter((call) => !allowed.some((each) => fits(each, call)))
  const taken = new Set(match(candidatesOf(named, open, () => true)))
  const others = open.filter((_, index) => !taken.has(index))
  if (others.length === 0) return undefined
  const lines = others.slice(0, maxNotes).map((call) => {
    const alike = named.filter((each) => fits(each, call)).length
    const near = [...named, ...allowed].find((each) => each.name === call.name)
    return `${titleOf(call)} (${timesOf(call)}; ${endOf(call)}) ${
      alike > 0
        ? `is one more than the ${count(alike, "call")} that the declarations name`
        : near === undefined
        ? named.length + allowed.length === 0 ? "was made, and no call was declared" : "is named by no declaration"
        : `is named by no declaration; nearest is ${textOf(near)}: ${differenceOf(near, call)}`
    }`
  })
  const more = others.length > maxNotes ? [`… and ${others.length - maxNotes} more`] : []
  return { happened: [...lines, ...more].join("\n"), calls: idsOf(others) }
}

// What two declarations say of the same call they say of one call; as often as one of them lists it, it may happen.
const slotsOf = (lists: ReadonlyArray<ReadonlyArray<Wanted>>): ReadonlyArray<Wanted> => {
  const most = new Map<string, ReadonlyArray<Wanted>>()
  for (const list of lists) {
    for (const [key, alike] of Map.groupBy(list, keyOf)) {
      if (alike.length > (most.get(key)?.length ?? 0)) most.set(key, alike)
    }
  }
  return [...most.values()].flat()
}

const namedBy = (expectation: Expectation): ReadonlyArray<Wanted> => {
  switch (expectation._tag) {
    case "Calls":
      return expectation.how === "anyTimes" ? [] : expectation.wanted
    case "Overlap":
      return expectation.wanted
    case "Cancelled":
      return [expectation.wanted]
    default:
      return []
  }
}
