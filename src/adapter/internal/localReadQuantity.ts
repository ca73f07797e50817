/** Readers of quantities: numbers, dates and times. */
import { each, type Found, lower, type Reader, type Reading } from "./localReading.ts"
import { type Slot, slotStems } from "./localSlot.ts"
import type { Token } from "./localToken.ts"
import * as Words from "./localWords.ts"

export const number: Reader = (slot, reading) => {
  const stems = slotStems(slot)
  const candidates = each(reading, (token, index) => numeric(slot, token, reading.tokens[index + 1]))
  const near = candidates.filter(({ at }) => isNear(slot, stems, reading, at[0]!))
  if (near.length > 0) return slot.required ? run(near, candidates, reading) : near.slice(0, 1)
  return slot.required && !counts(slot) ? candidates : slot.required && reading.soleNumber ? candidates : []
}

const numeric = (slot: Slot, token: Token, next: Token | undefined): number | undefined => {
  const value = token.kind === "number"
    ? Number(token.text)
    : token.kind === "word"
    ? Words.numberOf(token.text)
    : undefined
  if (value === undefined || (slot.integer && !Number.isInteger(value)) || isMonth(next)) return undefined
  return (slot.minimum === undefined || value >= slot.minimum) && (slot.maximum === undefined || value <= slot.maximum)
    ? value
    : undefined
}

const isMonth = (token: Token | undefined): boolean =>
  token !== undefined && Words.months.includes(lower(token)) && token.raw !== "may"
const counts = (slot: Slot): boolean => slot.words.some((word) => countWords.has(word))
const countWords: ReadonlySet<string> = new Set([
  "limit",
  "max",
  "maximum",
  "count",
  "top",
  "results",
  "first",
  "last",
  "size",
  "depth"
])

// "5 days" for `days`, "limit 5", "top 5", "last 10 commits" for a `limit` whose description or tool speaks of commits.
const isNear = (slot: Slot, stems: ReadonlySet<string>, reading: Reading, index: number): boolean => {
  const around = [
    reading.tokens[index - 2],
    reading.tokens[index - 1],
    reading.tokens[index + 1],
    reading.tokens[index + 2]
  ]
  if (
    around.slice(1).some((token) =>
      token !== undefined && stems.has(Words.stem(token.text)) && !Words.stopWords.has(lower(token))
    )
  ) {
    return true
  }
  const before = [lower(around[0]), lower(around[1])]
  const named = (token: Token | undefined) => token !== undefined && reading.toolStems.has(Words.stem(token.text))
  return counts(slot) &&
    (before.some((word) => ["top", "first", "last", "latest", "limit", "newest", "recent"].includes(word)) ||
      named(around[2]) || named(around[3]))
}

// A list of numbers of which one stands at the slot's word: the whole list.
const run = (near: ReadonlyArray<Found>, candidates: ReadonlyArray<Found>, reading: Reading): ReadonlyArray<Found> => {
  const joined = (a: number, b: number) =>
    reading.tokens.slice(a + 1, b).every((token) =>
      token.kind === "mark" || ["and", "or", "plus"].includes(lower(token))
    )
  const all = new Set(near)
  candidates.forEach((candidate, i) => {
    const next = candidates[i + 1]
    if (next !== undefined && joined(candidate.at[0]!, next.at[0]!) && (all.has(next) || all.has(candidate))) {
      all.add(next).add(candidate)
    }
  })
  for (let i = candidates.length - 2; i >= 0; i--) {
    if (all.has(candidates[i + 1]!) && joined(candidates[i]!.at[0]!, candidates[i + 1]!.at[0]!)) all.add(candidates[i]!)
  }
  return candidates.filter((candidate) => all.has(candidate))
}

const dayMillis = 86_400_000
const iso = (time: number): string => new Date(time).toISOString().slice(0, 10)

export const date: Reader = (_slot, reading) =>
  reading.tokens.flatMap((token, index): ReadonlyArray<Found> => {
    if (token.kind === "date") return [{ value: token.text, at: [index] }]
    if (token.kind !== "word") return []
    const word = lower(token)
    const shift = { today: 0, tonight: 0, tomorrow: 1, yesterday: -1 }[word]
    if (shift !== undefined) return [{ value: iso(reading.today + shift * dayMillis), at: [index] }]
    const weekday = Words.weekdays.indexOf(word)
    if (weekday >= 0) {
      const ahead = (weekday - new Date(reading.today).getUTCDay() + 7) % 7 || 7
      const back = lower(reading.tokens[index - 1]) === "last" ? ahead - 7 || -7 : ahead
      return [{ value: iso(reading.today + back * dayMillis), at: [index] }]
    }
    return monthDay(reading, index)
  })

// "3 May", "May 3", "May 3rd, 2027"; without a year the next such day.
const monthDay = (reading: Reading, index: number): ReadonlyArray<Found> => {
  const month = Words.months.indexOf(lower(reading.tokens[index]))
  if (month < 0) return []
  const dayAt = [index + 1, index - 1].find((at) => /^\d{1,2}(?:st|nd|rd|th)?$/.test(lower(reading.tokens[at])))
  if (dayAt === undefined) return []
  const day = Number.parseInt(lower(reading.tokens[dayAt]), 10)
  const yearAt = [Math.max(dayAt, index) + 1, Math.max(dayAt, index) + 2].find((at) =>
    /^(?:19|20)\d\d$/.test(lower(reading.tokens[at]))
  )
  const current = new Date(reading.today).getUTCFullYear()
  const year = yearAt === undefined ? current : Number(reading.tokens[yearAt]!.text)
  const time = Date.UTC(year, month, day)
  if (new Date(time).getUTCMonth() !== month) return []
  const next = yearAt === undefined && time < reading.today ? Date.UTC(current + 1, month, day) : time
  return [{ value: iso(next), at: [index, dayAt, ...yearAt === undefined ? [] : [yearAt]] }]
}

export const time: Reader = (_slot, reading) =>
  each(reading, (token) => {
    if (lower(token) === "noon") return "12:00"
    const match = token.kind === "time" ? /^(\d{1,2})(?::(\d{2}))?\s?([ap]m)?$/.exec(lower(token)) : null
    if (match === null) return undefined
    const hour = (Number(match[1]) % (match[3] === undefined ? 24 : 12)) + (match[3] === "pm" ? 12 : 0)
    return `${String(hour).padStart(2, "0")}:${match[2] ?? "00"}`
  })
