/** Draws a timeline as plain text, for the message of a failed test. */
import * as CancelReason from "../../domain/CancelReason.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import type { RecordedCall, RecordedTurn, Timeline } from "./recorded.ts"
import { clean, cutTo, short } from "./shortText.ts"

export interface Frame {
  readonly maxLines?: number | undefined
  readonly focus?: Iterable<string> | undefined
  readonly width?: number | undefined
}

interface Line {
  readonly text: string
  readonly isCall: boolean
  readonly matters: boolean
}

/** A headline, then turns and calls in the order they were made. */
export const draw = (timeline: Timeline, frame: Frame): string => {
  const { calls, totalMillis, turns } = timeline
  const focus = new Set(frame.focus)
  const width = Math.max(8, Math.floor(frame.width ?? 32))
  const blocks = blocksOf(calls, turns)
  const wanted = kept(blocks, Math.max(8, Math.floor(frame.maxLines ?? 60)), focus)
  const shown = blocks.filter((_, index) => wanted.has(index)).flatMap((each) => "status" in each ? [each] : [])
  const columns = columnsOf(shown)
  const lines = blocks.map((each, index): Line => {
    const matters = wanted.has(index)
    return !matters
      ? { text: "", isCall: "status" in each, matters }
      : "status" in each
      ? { text: callLine(each, totalMillis, width, columns), isCall: true, matters }
      : { text: turnLine(each), isCall: false, matters }
  })
  return [headline(timeline), ...folded(lines)].join("\n")
}

const headline = ({ calls, end, guesses, maxConcurrentCalls, totalMillis }: Timeline): string => {
  const together = calls.length === 0 ? "" : `, at most ${maxConcurrentCalls} at work at once`
  return `${millis(totalMillis)} ms, ${count(calls.length, "call")}${together}${guessed(guesses)}; ${clean(end)}`
}

const guessed = (guesses: Timeline["guesses"]): string => {
  if (guesses.length === 0) return ""
  const claimed = guesses.filter(({ outcome }) => outcome === "claimed").length
  return `, ${guesses.length} ${guesses.length === 1 ? "guess" : "guesses"}, ${claimed} claimed`
}

// Each turn, and behind it its calls. Steps count up, but for a turn whose beginning nobody saw.
const blocksOf = (
  calls: ReadonlyArray<RecordedCall>,
  turns: ReadonlyArray<RecordedTurn>
): ReadonlyArray<RecordedCall | RecordedTurn> => {
  const byStep = new Map<number, Array<RecordedCall | RecordedTurn>>()
  const of = (step: number) => {
    const known = byStep.get(step)
    if (known !== undefined) return known
    const made: Array<RecordedCall | RecordedTurn> = []
    byStep.set(step, made)
    return made
  }
  for (const turn of turns) of(turn.step).push(turn)
  for (const call of calls) of(call.step).push(call)
  return [...byStep].sort(([a], [b]) => a - b).flatMap(([, block]) => block)
}

// What is in focus, then the first lines, with the last eighth kept for the end.
const kept = (
  blocks: ReadonlyArray<RecordedCall | RecordedTurn>,
  room: number,
  focus: ReadonlySet<string>
): ReadonlySet<number> => {
  const all = blocks.map((_, index) => index)
  if (blocks.length <= room) return new Set(all)
  const isFocus = (index: number): boolean => {
    const block = blocks[index]!
    return "status" in block && focus.has(block.id)
  }
  const end = Math.floor(room / 8)
  const wanted = new Set(all.filter(isFocus).slice(0, room - end))
  for (const index of all.slice(-Math.min(end, room - wanted.size))) wanted.add(index)
  for (const index of all) {
    if (wanted.size >= room) break
    wanted.add(index)
  }
  return wanted
}

const folded = (lines: ReadonlyArray<Line>): ReadonlyArray<string> => {
  const texts: Array<string> = []
  let [calls, turns] = [0, 0]
  const note = (): void => {
    const left = [calls > 0 ? count(calls, "call") : "", turns > 0 ? count(turns, "turn") : ""].filter((text) =>
      text !== ""
    )
    if (left.length > 0) texts.push(`  … ${left.join(" and ")} left out`)
    calls = turns = 0
  }
  for (const { isCall, matters, text } of lines) {
    if (matters) {
      note()
      texts.push(text)
    } else if (isCall) calls++
    else turns++
  }
  note()
  return texts
}

const turnLine = ({ asked, endedAt, finishReason, startedAt, step }: RecordedTurn): string => {
  const again = asked > 1 ? `, asked ${asked} times` : ""
  return `turn ${step}: the model answers ${millis(startedAt)}-${endedAt === undefined ? "?" : millis(endedAt)} ms (${
    finishReason ?? "no end"
  })${again}`
}

interface Columns {
  readonly call: number
  readonly times: number
}

/** A call in a few words: its id, its tool, its parameters. */
export const titleOf = ({ id, name, params }: Pick<RecordedCall, "id" | "name" | "params">): string =>
  `${cutTo(clean(id), 24)} ${cutTo(clean(name), 32)} ${params === undefined ? "" : short(params, 60)}`.trimEnd()

/** From when to when a call was at work. */
export const timesOf = ({ endedAt, queuedAt, startedAt }: RecordedCall): string =>
  startedAt === undefined
    ? `made at ${millis(queuedAt)} ms`
    : `${millis(startedAt)}-${endedAt === undefined ? "?" : millis(endedAt)} ms`

const columnsOf = (calls: ReadonlyArray<RecordedCall>): Columns => ({
  call: calls.reduce((most, call) => Math.max(most, titleOf(call).length), 0),
  times: calls.reduce((most, call) => Math.max(most, timesOf(call).length), 0)
})

const callLine = (call: RecordedCall, total: number, width: number, columns: Columns): string =>
  `  ${titleOf(call).padEnd(columns.call)}  ${timesOf(call).padStart(columns.times)}  [${bar(call, total, width)}]  ${
    endOf(call)
  }`

// Every stretch at its place on one axis from the run's start to its end. A stretch that took time has at least one cell.
const bar = (call: RecordedCall, total: number, width: number): string => {
  const cells = Array.from({ length: width }, () => " ")
  const cell = (time: number): number =>
    total <= 0 ? 0 : Math.min(width - 1, Math.max(0, Math.floor((time / total) * width)))
  const fill = (from: number, to: number, mark: string): void => {
    if (to > from) cells.fill(mark, cell(from), to >= total ? width : Math.max(cell(to), cell(from) + 1))
  }
  fill(call.queuedAt, call.endedAt ?? total, ".")
  for (const { endedAt = total, startedAt } of call.spans) {
    fill(startedAt, endedAt, "#")
    if (endedAt <= startedAt) cells[cell(startedAt)] = "|"
  }
  return cells.join("")
}

/** How a call ended, with the reason in words. */
export const endOf = (call: RecordedCall): string => {
  const notes = [
    call.startedAt === undefined && call.status !== "awaits-approval" ? "never started" : "",
    call.claimed === undefined || call.startedAt === undefined
      ? ""
      : `guessed ${millis(call.queuedAt - call.startedAt)} ms before it was made`,
    call.attempts > 1 ? `${call.attempts} attempts` : "",
    call.abandoned ? "its handler did not stop and was abandoned" : "",
    call.adoptedFrom.length > 0 ? `begun as ${call.adoptedFrom.map((id) => cutTo(clean(id), 24)).join(", ")}` : "",
    call.endedAt !== undefined && call.startedAt === call.endedAt ? "took no time" : ""
  ].filter((note) => note !== "")
  return [outcomeOf(call), ...notes].join("; ")
}

const outcomeOf = ({ reason, result, status }: RecordedCall): string => {
  switch (status) {
    case "success":
      return "succeeded"
    case "failure":
      return `failed with ${short(result, 80)}`
    case "denied":
      return "denied"
    case "awaits-approval":
      return "awaits approval"
    case "pending":
      return reason === undefined ? "not answered" : `not answered, told to stop: ${CancelReason.message(reason)}`
    case "TimedOut":
    case "Cancelled":
      return reason === undefined ? status : `${status}: ${cutTo(clean(CancelReason.message(reason)), 120)}`
    default:
      return `${status}: ${ToolFailure.is(result) ? cutTo(clean(result.message), 160) : short(result, 80)}`
  }
}

/** Milliseconds with at most three decimals, for clocks that have them. */
export const millis = (value: number): string => String(Math.round(value * 1000) / 1000)

/** `1 call`, `2 calls`. */
export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`
