/**
 * The picture of a run: one line a call, with its state, its times and a bar on the run's time axis. Pure: parts in, a
 * state; a state in, lines out, never wider or taller than the terminal. `Screen` puts the lines where a person sees
 * them.
 */
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import type { AnyPart, StepRetry, ToolAdopted, ToolRetry } from "../domain/ToolEvent.ts"

/**
 * Where a call is in its life.
 *
 * @category models
 * @since 0.1.0
 */
export type CallState = "waiting" | "running" | "done" | "failed" | "cancelled"

/**
 * One call. Times in milliseconds since 1970, as the parts give them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly callId: string
  /** Its place in the order of the calls. */
  readonly index: number
  readonly name: string
  readonly hint: string
  readonly state: CallState
  /** How many attempts were started. */
  readonly attempts: number
  readonly queuedAt: number
  readonly startedAt: number | undefined
  readonly endedAt: number | undefined
  /** It was answered by a guess that had ended before it was made. */
  readonly isGuessed?: boolean
}

/**
 * All that is drawn.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly startedAt: number
  readonly step: number
  readonly rows: HashMap.HashMap<string, Row>
  readonly hints: HashMap.HashMap<string, string>
  readonly text: string
}

/** A run that begins at `startedAt`; nothing has happened yet. @category constructors @since 0.1.0 */
export const start = (startedAt: number): State => ({
  startedAt,
  step: 0,
  rows: HashMap.empty(),
  hints: HashMap.empty(),
  text: ""
})

/**
 * The state after one more part. `now` dates the parts that carry no time of their own.
 *
 * @category folding
 * @since 0.1.0
 */
export const advance = (state: State, part: AnyPart, now: number): State => {
  switch (part.type) {
    case "run-start":
      return { ...state, startedAt: part.time }
    case "step-start":
      return { ...state, step: part.step, text: "" }
    case "text-delta":
      return { ...state, text: state.text + part.delta }
    case "tool-call":
      return withHint(state, part.id, hintOf(part.params))
    case "tool-queued":
      return withRow(state, {
        callId: part.callId,
        index: HashMap.size(state.rows),
        name: part.name,
        hint: Option.getOrElse(HashMap.get(state.hints, part.callId), () => ""),
        state: "waiting",
        attempts: 0,
        queuedAt: part.time,
        startedAt: undefined,
        endedAt: undefined
      })
    case "tool-started":
      return change(state, part.callId, (row) => ({
        ...row,
        state: "running",
        attempts: Math.max(row.attempts, part.attempt),
        startedAt: row.startedAt ?? part.time
      }))
    case "tool-claimed":
      return change(
        state,
        part.callId,
        (row) =>
          part.running
            ? { ...row, state: "running", startedAt: row.startedAt ?? part.time }
            : { ...row, isGuessed: true }
      )
    case "tool-retry":
      return change(state, part.callId, (row) => ({ ...row, state: "waiting" }))
    case "tool-adopted":
      return adopt(state, part)
    case "step-retry":
      return { ...state, text: "" }
    case "tool-cancelled":
      return change(state, part.callId, (row) => ({ ...row, state: "cancelled", endedAt: part.time }))
    case "tool-result":
      return change(state, part.id, (row) => ({
        ...row,
        state: row.state === "cancelled" ? "cancelled" : part.isFailure ? "failed" : "done",
        endedAt: now
      }))
    default:
      return state
  }
}

// What ran under the earlier call's name goes on under the new one's: one line for one piece of work.
const adopt = (state: State, { callId, from, name, time }: ToolAdopted): State => {
  const hint = Option.getOrElse(HashMap.get(state.hints, callId), () => "")
  const earlier = rowOf(state, from) ?? {
    index: HashMap.size(state.rows),
    state: "waiting",
    attempts: 0,
    queuedAt: time,
    startedAt: undefined,
    endedAt: undefined
  }
  return withRow({ ...state, rows: HashMap.remove(state.rows, from) }, { ...earlier, callId, name, hint })
}

const withRow = (state: State, row: Row): State => ({ ...state, rows: HashMap.set(state.rows, row.callId, row) })

const withHint = (state: State, id: string, hint: string): State =>
  change({ ...state, hints: HashMap.set(state.hints, id, hint) }, id, (row) => ({ ...row, hint }))

const rowOf = (state: State, id: string): Row | undefined => Option.getOrUndefined(HashMap.get(state.rows, id))

const change = (state: State, id: string, f: (row: Row) => Row): State => {
  const row = rowOf(state, id)
  return row === undefined ? state : withRow(state, f(row))
}

/** The calls in the order in which they were made. @category reading @since 0.1.0 */
export const rowsOf = (state: State): ReadonlyArray<Row> =>
  [...HashMap.values(state.rows)].sort((a, b) => a.index - b.index)

// The first short argument says which call this is.
const hintOf = (params: unknown): string => {
  if (typeof params !== "object" || params === null) return ""
  const values = Object.entries(params)
  const named = values.find(([, value]) => typeof value === "string")
  if (named !== undefined) return clean(String(named[1]))
  const counted = values.find(([, value]) => typeof value === "number")
  return counted === undefined ? "" : clean(counted.join(" "))
}

// Arguments come from a model: no control character of theirs reaches the terminal.
const clean = (text: string): string => text.slice(0, 400).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim()

// --- drawing

/**
 * What the lines must fit.
 *
 * @category models
 * @since 0.1.0
 */
export interface Frame {
  readonly columns: number
  readonly rows: number
  readonly color: boolean
}

/** How many calls are in each state. @category reading @since 0.1.0 */
export const counts = (state: State): Readonly<Record<CallState, number>> => {
  const all = { waiting: 0, running: 0, done: 0, failed: 0, cancelled: 0 }
  for (const row of HashMap.values(state.rows)) all[row.state]++
  return all
}

const marks: Readonly<Record<CallState, readonly [mark: string, color: number]>> = {
  waiting: ["·", 90],
  running: ["▸", 36],
  done: ["✓", 32],
  failed: ["✗", 31],
  cancelled: ["⊘", 33]
}

/**
 * Draws a state: a headline with the counts, then one line a call. With more calls than rows the ones that run come
 * first, then the newest that ended, and the rest is in the counts.
 *
 * **Shape** At most `frame.rows` lines of at most `frame.columns` columns (colour codes not counted).
 *
 * @category drawing
 * @since 0.1.0
 */
export const render = (state: State, now: number, frame: Frame): ReadonlyArray<string> => {
  const columns = Math.max(20, frame.columns)
  const span = Math.max(1, lastMoment(state, now) - state.startedAt)
  const room = Math.max(0, frame.rows - 1)
  const rows = chosen(rowsOf(state), room)
  const name = Math.min(34, Math.floor(columns * 0.4), Math.max(8, ...rows.map((row) => width(label(row)))))
  const lines = rows.map((row) => line(row, state, now, span, name, columns, frame.color))
  return frame.rows <= 0 ? [] : [headline(state, now, rows.length, columns), ...lines]
}

const lastMoment = (state: State, now: number): number => {
  const counted = counts(state)
  if (counted.waiting + counted.running > 0) return now
  let last = state.startedAt
  for (const row of HashMap.values(state.rows)) last = Math.max(last, row.endedAt ?? now)
  return last
}

const chosen = (rows: ReadonlyArray<Row>, room: number): ReadonlyArray<Row> => {
  if (rows.length <= room) return rows
  const rank = (row: Row): number =>
    row.state === "running" ? 0 : row.state === "failed" || row.state === "cancelled" ? 1 : row.state === "done" ? 2 : 3
  const kept = new Set(
    rows.map((row, index) => ({ row, index }))
      .sort((a, b) => rank(a.row) - rank(b.row) || (b.row.endedAt ?? 0) - (a.row.endedAt ?? 0) || a.index - b.index)
      .slice(0, room).map(({ row }) => row)
  )
  return rows.filter((row) => kept.has(row))
}

const order: ReadonlyArray<CallState> = ["running", "waiting", "done", "failed", "cancelled"]

const headline = (state: State, now: number, shown: number, columns: number): string => {
  const all = counts(state)
  const listed = order.filter((each) => all[each] > 0).map((each) => `${all[each]} ${each}`)
  const total = HashMap.size(state.rows)
  const calls = total === 0
    ? "waiting for the model"
    : `${total} ${total === 1 ? "call" : "calls"}: ${listed.join(", ")}`
  const hidden = total > shown && shown > 0 ? ` (${shown} shown)` : ""
  return fit(
    `step ${Math.max(1, state.step)} · ${millis(lastMoment(state, now) - state.startedAt)} · ${calls}${hidden}`,
    columns
  )
}

const titleOf = ({ attempts, name }: Row): string => attempts > 1 ? `${name} x${attempts}` : name

const label = (row: Row): string => row.hint === "" ? titleOf(row) : `${titleOf(row)} ${row.hint}`

const line = (
  row: Row,
  state: State,
  now: number,
  span: number,
  name: number,
  columns: number,
  color: boolean
): string => {
  const [mark, code] = marks[row.state]
  const time = row.startedAt === undefined
    ? row.isGuessed === true ? "guessed" : row.state
    : millis((row.endedAt ?? now) - row.startedAt)
  const left = `${mark} ${pad(fitLabel(row, name), name)} ${time.padStart(8)} `
  const room = columns - width(left) - 1
  return paint(left, code, color) + (room >= 8 ? paint(bar(row, state, now, span, room), code, color) : "")
}

// Waiting is drawn thin, running thick, each at its place on the axis; a call that ran at all has at least one cell.
const bar = (row: Row, state: State, now: number, span: number, room: number): string => {
  const cell = (time: number): number =>
    Math.min(room, Math.max(0, Math.round(((time - state.startedAt) / span) * room)))
  const end = row.endedAt ?? now
  const begin = Math.min(room - 1, cell(row.startedAt ?? end))
  const from = Math.min(begin, cell(row.queuedAt))
  const ran = row.startedAt === undefined ? Number(row.isGuessed === true) : Math.max(1, cell(end) - begin)
  return `${" ".repeat(from)}${"─".repeat(begin - from)}${"█".repeat(Math.min(ran, room - begin))}`
}

/**
 * The one plain line that a call's end, or its next attempt, is worth where nothing can be redrawn; `undefined` for other parts.
 *
 * @category drawing
 * @since 0.1.0
 */
export const plain = (state: State, part: AnyPart): string | undefined => {
  if (part.type === "step-start") return part.step > 0 ? `step ${part.step}` : undefined
  if (part.type === "step-retry") {
    return again(part, `step ${part.step}, ${part.failover === true ? "the next model" : "the model once more"}`)
  }
  if (part.type !== "tool-result" && part.type !== "tool-retry") return undefined
  const row = rowOf(state, part.type === "tool-result" ? part.id : part.callId)
  if (row === undefined) return undefined
  if (part.type === "tool-retry") return again(part, label(row))
  const took = row.startedAt === undefined
    ? row.isGuessed === true ? "guessed" : "not started"
    : millis((row.endedAt ?? row.startedAt) - row.startedAt)
  return `${row.state.padEnd(9)} ${took.padStart(8)}  ${label(row)}`
}

const again = ({ delayMillis, message }: ToolRetry | StepRetry, what: string): string =>
  `${"again in".padEnd(9)} ${millis(delayMillis).padStart(8)}  ${what}: ${clean(message)}`

/** A length of time for a person. @category drawing @since 0.1.0 */
export const millis = (value: number): string =>
  value < 1000
    ? `${Math.max(0, Math.round(value))} ms`
    : value < 60_000
    ? `${(value / 1000).toFixed(2)} s`
    : `${Math.floor(value / 60_000)} min ${Math.round((value % 60_000) / 1000)} s`

const paint = (text: string, code: number, color: boolean): string =>
  color && text !== "" ? `\u001b[${code}m${text}\u001b[0m` : text

// Wide characters take two columns, marks that combine take none.
const width = (text: string): number => {
  let columns = 0
  for (const character of text) columns += columnsOf(character)
  return columns
}

const columnsOf = (character: string): number =>
  /\p{M}/u.test(character)
    ? 0
    : /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u
        .test(character)
    ? 2
    : 1

const fit = (text: string, columns: number): string => {
  if (width(text) <= columns) return text
  let kept = ""
  let used = 0
  for (const character of text) {
    if (used + columnsOf(character) > columns - 1) break
    kept += character
    used += columnsOf(character)
  }
  return `${kept}…`
}

// What tells two calls of one tool apart is the end of a path, so a long hint loses its beginning.
const fitLabel = (row: Row, columns: number): string => {
  if (width(label(row)) <= columns || row.hint === "") return fit(label(row), columns)
  const title = titleOf(row)
  const room = columns - width(title) - 2
  if (room < 6) return fit(label(row), columns)
  const characters = [...row.hint]
  let kept = ""
  while (characters.length > 0 && width(characters.at(-1)! + kept) <= room) kept = characters.pop()! + kept
  return `${title} …${kept}`
}

const pad = (text: string, columns: number): string => text + " ".repeat(Math.max(0, columns - width(text)))
