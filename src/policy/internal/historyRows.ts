/**
 * What the ranker learns from: the newest turns, each with the features of its choices, what came, and what was said of it before
 * that was known. A ring in pages, so that of many only those that changed are written again.
 */
import type { Row } from "./historyTypes.ts"

/** What was said of a turn before it was known, for each choice; `fitted`: by weights that had been fitted at all. */
export interface Foreseen {
  readonly fitted: boolean
  readonly ifCalling: Float64Array
  readonly confidence: Float64Array
}

/** One turn, to learn from. */
export interface Lesson {
  readonly count: number
  readonly choices: Float32Array
  readonly turn: Float32Array
  readonly calls: number
  readonly right: ReadonlyArray<number>
  readonly foreseen: Foreseen
}

/** The features of all choices in one row. */
export const flat = (choices: ReadonlyArray<{ readonly features: Float64Array }>, width: number): Float32Array => {
  const all = new Float32Array(choices.length * width)
  choices.forEach((choice, i) => all.set(choice.features, i * width))
  return all
}

export const lessonOf = (row: Row, choices: Float32Array, foreseen: Foreseen): Lesson => ({
  count: row.situation.choices.length,
  choices,
  turn: Float32Array.from(row.situation.turn),
  calls: row.truth.calls,
  right: row.truth.right,
  foreseen
})

export const capacity = 512
const perPage = 64

/** The newest lessons. */
export class Lessons {
  readonly #ring: Array<Lesson> = []
  readonly #changed = new Set<number>()
  #next = 0

  get size(): number {
    return this.#ring.length
  }

  /** The oldest first. */
  all(): Array<Lesson> {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)]
  }

  add(lesson: Lesson): void {
    this.#changed.add(Math.floor(this.#next / perPage))
    this.#ring[this.#next] = lesson
    this.#next = (this.#next + 1) % capacity
  }

  /** Where the next one goes: to be kept with the pages. */
  get next(): number {
    return this.#next
  }

  pages(only: "all" | "changed"): Map<string, string> {
    const result = new Map<string, string>()
    for (let page = 0; page * perPage < this.#ring.length; page++) {
      if (only === "changed" && !this.#changed.has(page)) continue
      result.set(`rows/${page}`, encode(this.#ring.slice(page * perPage, (page + 1) * perPage)))
    }
    this.#changed.clear()
    return result
  }

  /** From pages as written; `undefined` where they are none. */
  static from(pages: ReadonlyMap<string, string>, next: number, widths: Widths): Lessons | undefined {
    const lessons = new Lessons()
    for (let page = 0; pages.has(`rows/${page}`); page++) {
      const some = decode(pages.get(`rows/${page}`)!, widths)
      if (some === undefined || lessons.size !== page * perPage) return undefined
      lessons.#ring.push(...some)
    }
    const sound = lessons.size <= capacity && next === (lessons.size < capacity ? lessons.size : next % capacity)
    lessons.#next = next
    return sound ? lessons : undefined
  }
}

/** How many features a choice has, and a turn. */
export interface Widths {
  readonly choice: number
  readonly turn: number
}

/** A feature as 16 bits: features are log-odds and small counts, and a two-hundredth of one says nothing. */
const scale = 256
const pack = (value: number): number => Math.max(-32_768, Math.min(32_767, Math.round(value * scale)))

/** Numbers as base64 of 16-bit integers, the lower byte first. */
export const packed = (values: ArrayLike<number>): string => {
  let bytes = ""
  for (let i = 0; i < values.length; i++) {
    const number = pack(values[i]!) & 0xffff
    bytes += String.fromCharCode(number & 0xff, number >> 8)
  }
  return btoa(bytes)
}

export const unpacked = (text: string): Float32Array | undefined => {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined
  const bytes = atob(text)
  if (bytes.length % 2 !== 0) return undefined
  const values = new Float32Array(bytes.length / 2)
  for (let i = 0; i < values.length; i++) {
    const number = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8)
    values[i] = (number << 16 >> 16) / scale
  }
  return values
}

/** A line a lesson: a JSON array. What was foreseen is kept as log-odds would lose too much at the ends: in ten-thousandths. */
const encode = (lessons: ReadonlyArray<Lesson>): string =>
  lessons.map((lesson) =>
    JSON.stringify([
      lesson.calls,
      lesson.right,
      packed(lesson.choices),
      packed(lesson.turn),
      lesson.foreseen.fitted ? 1 : 0,
      Array.from(lesson.foreseen.ifCalling, inTenThousandths),
      Array.from(lesson.foreseen.confidence, inTenThousandths)
    ])
  ).join("\n")

const inTenThousandths = (probability: number): number => Math.round(probability * 10_000)

const decode = (page: string, widths: Widths): ReadonlyArray<Lesson> | undefined => {
  const lessons: Array<Lesson> = []
  for (const line of page.split("\n")) {
    const lesson = lessonFrom(parsed(line), widths)
    if (lesson === undefined) return undefined
    lessons.push(lesson)
  }
  return lessons
}

const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0
const areCounts = (value: unknown): value is ReadonlyArray<number> => Array.isArray(value) && value.every(isCount)

const lessonFrom = (line: unknown, widths: Widths): Lesson | undefined => {
  if (!Array.isArray(line) || line.length !== 7) return undefined
  const [calls, right, choiceText, turnText, fitted, ifCalling, confidence] = line as ReadonlyArray<unknown>
  const choices = typeof choiceText === "string" ? unpacked(choiceText) : undefined
  const turn = typeof turnText === "string" ? unpacked(turnText) : undefined
  if (choices === undefined || turn === undefined) return undefined
  const count = choices.length / widths.choice
  const sound = isCount(calls) && areCounts(right) && areCounts(ifCalling) && areCounts(confidence) && isCount(count) &&
    turn.length === widths.turn && ifCalling.length === count && confidence.length === count &&
    right.every((choice) => choice < count)
  if (!sound) return undefined
  const foreseen = {
    fitted: fitted === 1,
    ifCalling: asProbabilities(ifCalling),
    confidence: asProbabilities(confidence)
  }
  return { count, choices, turn, calls, right, foreseen }
}

const asProbabilities = (values: ReadonlyArray<number>): Float64Array =>
  Float64Array.from(values, (value) => value / 10_000)

const parsed = (text: string): unknown => {
  // JSON.parse has no form that does not throw.
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
