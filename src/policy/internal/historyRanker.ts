/**
 * Turns a situation into honest probabilities. Two models, since "which call" and "a call or an answer" are two questions: a
 * conditional logit over the choices, learned on turns that called; and a logistic regression over the turn, its best choice and
 * how sure the first model is of that. A third, small one knows turns that make several calls. What they say is calibrated on
 * what they said of turns before those were known, and shrinks while little has been seen.
 */
import * as Effect from "effect/Effect"
import { along, clamp, Evidence, type Line, logOdds, Posteriors, straight } from "./historyCalibration.ts"
import { blank, type Example, fitting, type Model, probabilities } from "./historyLogit.ts"
import { flat, type Foreseen, type Lesson, lessonOf, Lessons, type Widths } from "./historyRows.ts"
import type { Row, Situation } from "./historyTypes.ts"

/** What is said of a choice: that this turn makes it; that it does given that it calls; and both as they were before what is known of its tool. */
export interface Stated {
  readonly confidence: number
  readonly ifCalling: number
  readonly raw: number
}

/** Everything that is fitted. */
export interface Fitted {
  readonly choice: Model
  readonly calls: Model
  readonly several: Model
  /** The mean number of calls of a turn that makes several. */
  readonly many: number
  readonly confidence: Line
  readonly ifCalling: Line
  /** Whether there was anything to fit. */
  readonly fitted: boolean
}

/** Below this many nothing is fully believed. */
const enoughRuns = 20
const enoughTurns = 200
const firstFit = 24
const roundsAtFirst = 16
const rounds = 3
/** Turns after which a prediction weighs half as much in the calibration. */
const halfLife = 256
const toolsKept = 256

/** What the second model has besides the turn and the best choice: how sure the first is of its best, its second, and of all. */
const extra = 3

export const startingAt = (widths: Widths): Fitted => ({
  choice: blank(widths.choice),
  calls: blank(widths.turn + widths.choice + extra),
  several: blank(widths.turn + widths.choice + extra),
  many: 2,
  confidence: straight,
  ifCalling: straight,
  fitted: false
})

/** The features of a turn as a whole, given what the first model says of its choices. */
const turnRow = (widths: Widths, turn: ArrayLike<number>, choices: Float32Array, said: Float64Array): Float32Array => {
  const row = new Float32Array(widths.turn + widths.choice + extra)
  row.set(turn)
  let best = -1
  let first = 0
  let second = 0
  let sum = 0
  said.forEach((probability, i) => {
    sum += probability
    if (best < 0 || probability > first) {
      second = first
      first = probability
      best = i
    } else second = Math.max(second, probability)
  })
  if (best >= 0) row.set(choices.subarray(best * widths.choice, (best + 1) * widths.choice), widths.turn)
  row.set([logOdds(first), logOdds(second), sum], widths.turn + widths.choice)
  return row
}

/**
 * The probability of each choice to be among `many` calls, when `shares` is that of the next one: calls come one after the other
 * and none comes twice, so it is more than its share and never more than 1.
 */
export const amongSeveral = (shares: Float64Array, many: number): Float64Array => {
  const rest = Math.max(0, 1 - shares.reduce((sum, share) => sum + share, 0))
  const expected = (time: number): number =>
    shares.reduce((sum, share) => sum + 1 - Math.exp(-share * time), rest * time)
  let low = 0
  let high = 64
  for (let round = 0; round < 24; round++) {
    const middle = (low + high) / 2
    if (expected(middle) < many) low = middle
    else high = middle
  }
  return shares.map((share) => 1 - Math.exp(-share * low))
}

/** What the models say, before calibration. */
const say = (
  fitted: Fitted,
  widths: Widths,
  choices: Float32Array,
  turn: ArrayLike<number>
): Omit<Foreseen, "fitted"> => {
  const next = probabilities(fitted.choice, choices)
  const row = turnRow(widths, turn, choices, next)
  const calling = probabilities(fitted.calls, row)[0]!
  const several = probabilities(fitted.several, row)[0]!
  const both = several < 0.005 ? next : amongSeveral(next, fitted.many)
  const ifCalling = next.map((share, i) => (1 - several) * share + several * both[i]!)
  return { ifCalling, confidence: ifCalling.map((share) => share * calling) }
}

/** Which calls of a turn were foreseen, as shares of all it made: the rest are none of the choices. */
const sharesOf = (lesson: Lesson): Float64Array => {
  const shares = new Float64Array(lesson.count + 1)
  for (const choice of lesson.right) shares[choice]! += 1 / lesson.calls
  shares[lesson.count] = Math.max(0, 1 - lesson.right.length / lesson.calls)
  return shares
}

const yesOrNo = (features: Float32Array, yes: boolean): Example => ({
  count: 1,
  features,
  shares: Float64Array.of(yes ? 1 : 0, yes ? 0 : 1)
})

/** Fits the calibration: newer predictions weigh more, and those of weights never fitted nothing. */
const calibrate = (lessons: ReadonlyArray<Lesson>): Pick<Fitted, "confidence" | "ifCalling"> => {
  const confidence = new Evidence()
  const ifCalling = new Evidence()
  lessons.forEach((lesson, i) => {
    if (!lesson.foreseen.fitted) return
    const weight = 0.5 ** ((lessons.length - 1 - i) / halfLife)
    for (let choice = 0; choice < lesson.count; choice++) {
      const right = lesson.right.includes(choice)
      confidence.add(lesson.foreseen.confidence[choice]!, right, weight)
      if (lesson.calls > 0) ifCalling.add(lesson.foreseen.ifCalling[choice]!, right, weight)
    }
  })
  return { confidence: confidence.line(), ifCalling: ifCalling.line() }
}

/** Fits everything to the lessons, in slices, from where it was. */
export function* fittingAll(before: Fitted, lessons: ReadonlyArray<Lesson>, widths: Widths): Generator<void, Fitted> {
  const times = before.fitted ? rounds : roundsAtFirst
  const known = lessons.filter((lesson) => lesson.count > 0)
  const calling = known.filter((lesson) => lesson.calls > 0)
  const several = calling.filter((lesson) => lesson.calls > 1)
  if (calling.length === 0) return before
  const examples = calling.map((lesson) => ({
    count: lesson.count,
    features: lesson.choices,
    shares: sharesOf(lesson)
  }))
  const choice = yield* fitting(before.choice, examples, times)
  const rowOf = (lesson: Lesson) => turnRow(widths, lesson.turn, lesson.choices, probabilities(choice, lesson.choices))
  const rows = new Map<Lesson, Float32Array>()
  for (const lesson of known) {
    rows.set(lesson, rowOf(lesson))
    if (rows.size % 32 === 0) yield
  }
  const calls = yield* fitting(before.calls, known.map((lesson) => yesOrNo(rows.get(lesson)!, lesson.calls > 0)), times)
  const more = yield* fitting(
    before.several,
    calling.map((lesson) => yesOrNo(rows.get(lesson)!, lesson.calls > 1)),
    times
  )
  yield
  const many = several.length === 0
    ? before.many
    : several.reduce((sum, lesson) => sum + lesson.calls, 0) / several.length
  return { choice, calls, several: more, many, ...calibrate(lessons), fitted: true }
}

/** Everything the ranker keeps between processes, the lessons apart. */
export interface Kept {
  readonly fitted: Fitted
  readonly runs: number
  readonly turns: number
  readonly unfitted: number
}

/** What the ranker is made of, for those who keep it. */
export class Ranker {
  readonly widths: Widths
  readonly lessons: Lessons
  /** What was judged of what was stated, over all turns; and what rows say of it, over the turns that called. */
  readonly judged = new Posteriors(toolsKept)
  readonly calling = new Posteriors(toolsKept)
  #fitted: Fitted
  #runs: number
  #turns: number
  #unfitted: number

  constructor(widths: Widths, kept?: Kept, lessons: Lessons = new Lessons()) {
    this.widths = widths
    this.lessons = lessons
    this.#fitted = kept?.fitted ?? startingAt(widths)
    this.#runs = kept?.runs ?? 0
    this.#turns = kept?.turns ?? 0
    this.#unfitted = kept?.unfitted ?? 0
  }

  get kept(): Kept {
    return { fitted: this.#fitted, runs: this.#runs, turns: this.#turns, unfitted: this.#unfitted }
  }

  /** How much is believed of what is said, from 0 to 1: all of it only after some runs and turns. */
  get belief(): number {
    return Math.min(1, this.#runs / enoughRuns, this.#turns / enoughTurns)
  }

  /** What is to be said of each choice. */
  state(situation: Situation): ReadonlyArray<Stated> {
    if (situation.choices.length === 0) return []
    const choices = flat(situation.choices, this.widths.choice)
    const said = say(this.#fitted, this.widths, choices, situation.turn)
    return situation.choices.map((choice, i) => this.#stated(choice.tool, said.confidence[i]!, said.ifCalling[i]!))
  }

  #stated(tool: string, saidConfidence: number, saidIfCalling: number): Stated {
    const raw = along(this.#fitted.confidence, saidConfidence)
    const confidence = this.judged.corrected(tool, raw) * this.belief
    const ifCalling = this.calling.corrected(tool, along(this.#fitted.ifCalling, saidIfCalling)) * this.belief
    return { raw, confidence, ifCalling: Math.max(confidence, ifCalling) }
  }

  /** Hears what came of something stated; `raw` as it was stated. */
  judge(tool: string, raw: number, right: boolean): void {
    this.judged.note(tool, clamp(raw), right)
  }

  /** Takes the rows of a run in, having said what it would have said of them. Fits nothing. */
  take(rows: ReadonlyArray<Row>): void {
    this.#runs += 1
    for (const row of rows) {
      const choices = flat(row.situation.choices, this.widths.choice)
      const said = say(this.#fitted, this.widths, choices, row.situation.turn)
      const lesson = lessonOf(row, choices, { ...said, fitted: this.#fitted.fitted })
      this.#turns += 1
      this.#unfitted += 1
      this.lessons.add(lesson)
      if (lesson.calls > 0 && lesson.foreseen.fitted) this.#compare(row, lesson)
    }
  }

  #compare(row: Row, lesson: Lesson): void {
    row.situation.choices.forEach((choice, i) => {
      const stated = along(this.#fitted.ifCalling, lesson.foreseen.ifCalling[i]!)
      if (stated >= 0.01) this.calling.note(choice.tool, stated, lesson.right.includes(i))
    })
  }

  /** Whether enough has come since the last fit. */
  get due(): boolean {
    return this.#unfitted >= Math.max(firstFit, 0.15 * this.lessons.size)
  }

  /** Fits, in slices that leave others room; what is stated meanwhile is by the weights before. */
  readonly fit: Effect.Effect<void> = Effect.suspend(() => {
    const slices = fittingAll(this.#fitted, this.lessons.all(), this.widths)
    const go: Effect.Effect<void> = Effect.suspend(() => {
      const result = slices.next()
      if (result.done !== true) return Effect.flatMap(Effect.yieldNow, () => go)
      this.#fitted = result.value
      this.#unfitted = 0
      return Effect.void
    })
    return go
  })
}
