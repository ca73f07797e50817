/**
 * Values for one slot from the tokens of a clause, by shape. Every value stands in the request (or is computed from
 * what stands there: a number word, a weekday's date, a language's file extension); nothing is invented.
 */
import type { Slot } from "./localSlot.ts"
import { slotStems } from "./localSlot.ts"
import { isCalendarWord, type Token } from "./localToken.ts"
import * as Words from "./localWords.ts"

export interface Found {
  readonly value: unknown
  /** Indices of the tokens it was read from; another slot does not read them again. */
  readonly at: ReadonlyArray<number>
}

export interface Reading {
  readonly tokens: ReadonlyArray<Token>
  readonly taken: ReadonlySet<number>
  /** Midnight UTC of the day on which "today" is said. */
  readonly today: number
  /** Words that name the tool or its things: never a value. */
  readonly toolStems: ReadonlySet<string>
  /** Whether the tool has other slots of kind number. */
  readonly soleNumber: boolean
  readonly similar: (phrase: string, choice: string) => number
}

const lower = (token: Token | undefined): string => token?.text.toLowerCase() ?? ""

/** Every value the tokens hold for the slot, in the order written. */
export const extract = (slot: Slot, reading: Reading): ReadonlyArray<Found> => {
  const found = readers[slot.kind](slot, reading)
  if (slot.many) return found
  const seen = new Set<string>()
  return found.filter(({ value }) => {
    const key = JSON.stringify(value)
    return seen.has(key) ? false : (seen.add(key), true)
  })
}

type Reader = (slot: Slot, reading: Reading) => ReadonlyArray<Found>

const each = (reading: Reading, value: (token: Token, index: number) => unknown): ReadonlyArray<Found> =>
  reading.tokens.flatMap((token, index) => {
    if (reading.taken.has(index)) return []
    const result = value(token, index)
    return result === undefined ? [] : [{ value: result, at: [index] }]
  })

const ofKind = (...kinds: ReadonlyArray<Token["kind"]>): Reader => (_slot, reading) =>
  each(reading, (token) => kinds.includes(token.kind) ? token.text : undefined)

const first = (...all: ReadonlyArray<Reader>): Reader => (slot, reading) => {
  for (const reader of all) {
    const found = reader(slot, reading)
    if (found.length > 0) return found
  }
  return []
}

// --- choices and flags

const choice: Reader = (slot, reading) => {
  const named = slot.choices.flatMap((option) => {
    const words = typeof option === "string" ? Words.wordsOf(option) : [String(option)]
    const at = position(reading, words)
    return at === undefined ? [] : [{ value: option, at, order: at[0]! }]
  })
  if (named.length > 0 || !slot.required) return named.sort((a, b) => a.order - b.order)
  if (slot.choices.length === 1) return [{ value: slot.choices[0], at: [] }]
  return nearest(slot, reading)
}

const position = (reading: Reading, words: ReadonlyArray<string>): ReadonlyArray<number> | undefined => {
  const wanted = words.map(Words.stem)
  for (let i = 0; i + wanted.length <= reading.tokens.length; i++) {
    if (wanted.every((word, k) => Words.stem(reading.tokens[i + k]!.text) === word)) return wanted.map((_, k) => i + k)
  }
  return undefined
}

// A required choice that is not named is taken by similarity, if one word of the clause is clearly near one option.
const nearest = (slot: Slot, reading: Reading): ReadonlyArray<Found> => {
  let best: { score: number; found: Found } | undefined
  reading.tokens.forEach((token, index) => {
    if (token.kind !== "word" || Words.stopWords.has(lower(token)) || reading.taken.has(index)) return
    for (const option of slot.choices) {
      if (typeof option !== "string") continue
      const score = reading.similar(token.text.toLowerCase(), option)
      if (score > (best?.score ?? 0.6)) best = { score, found: { value: option, at: [index] } }
    }
  })
  return best === undefined ? [] : [best.found]
}

const negations: ReadonlySet<string> = new Set(["no", "not", "without", "except", "excluding", "don't", "never"])

const flag: Reader = (slot, reading) => {
  const meaning = slot.words.filter((word) => !["is", "include", "with", "use", "enable", "has"].includes(word)).map(
    Words.stem
  )
  const index = reading.tokens.findIndex((token) => meaning.length > 0 && meaning.includes(Words.stem(token.text)))
  if (index < 0) return []
  const negated = reading.tokens.slice(Math.max(0, index - 3), index).some((token) => negations.has(lower(token)))
  return [{ value: !negated, at: [index] }]
}

// --- numbers and dates

const number: Reader = (slot, reading) => {
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

const date: Reader = (_slot, reading) =>
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

const time: Reader = (_slot, reading) =>
  each(reading, (token) => {
    if (lower(token) === "noon") return "12:00"
    const match = token.kind === "time" ? /^(\d{1,2})(?::(\d{2}))?\s?([ap]m)?$/.exec(lower(token)) : null
    if (match === null) return undefined
    const hour = (Number(match[1]) % (match[3] === undefined ? 24 : 12)) + (match[3] === "pm" ? 12 : 0)
    return `${String(hour).padStart(2, "0")}:${match[2] ?? "00"}`
  })

// --- files

const hasWildcard = (text: string): boolean => /[*{]/.test(text)
const hasExtension = (text: string): boolean => /[^/]\.[A-Za-z0-9]+$/.test(text) || /(?:^|\/)\.[A-Za-z]+$/.test(text)

const file: Reader = (_slot, reading) =>
  each(reading, (token, index) => {
    if (token.kind === "path") return hasWildcard(token.text) ? undefined : token.text
    if (
      token.kind === "quoted" && /[./]/.test(token.text) && !/\s/.test(token.text) && !hasWildcard(token.text)
    ) return token.text
    return isExtensionless(token, reading.tokens[index + 1]) ? token.text : undefined
  })

const isExtensionless = (token: Token, next: Token | undefined): boolean =>
  /^(?:README|LICENSE|CHANGELOG|CONTRIBUTING|Makefile|Dockerfile)$/.test(token.text) && next?.raw !== "."

const directory: Reader = (_slot, reading) =>
  each(reading, (token, index) => {
    const before = lower(reading.tokens[index - 1])
    const after = lower(reading.tokens[index + 1])
    const named = /^(?:folder|directory|dir|folders|directories)$/
    if (token.kind === "path") return hasWildcard(token.text) || hasExtension(token.text) ? undefined : token.text
    if (token.kind === "quoted") return named.test(after) || named.test(before) ? token.text : undefined
    if (token.kind !== "word" && token.kind !== "identifier") return undefined
    if (named.test(after) && !vague.has(lower(token))) return token.text
    const placed = ["in", "under", "inside", "within", "from", "of", "across"].includes(before)
    return placed && (Words.folders.has(lower(token)) || (before === "under" && !vague.has(lower(token))))
      ? token.text
      : undefined
  })

const vague: ReadonlySet<string> = new Set([
  "the",
  "this",
  "that",
  "a",
  "an",
  "current",
  "whole",
  "entire",
  "same",
  "each",
  "every",
  "any",
  "all",
  "working",
  "my",
  "our",
  "which"
])

const glob: Reader = first(
  (_slot, reading) =>
    each(
      reading,
      (token) => (token.kind === "path" || token.kind === "quoted") && hasWildcard(token.text) ? token.text : undefined
    ),
  (_slot, reading) =>
    each(reading, (token) => {
      const found = extensionWord(token)
      return found === undefined ? undefined : `**/*.${found}`
    })
)

const extension: Reader = (_slot, reading) =>
  each(reading, (token) => {
    const written = /^\*?\.([A-Za-z0-9]{1,6})$/.exec(token.text)
    return written === null ? extensionWord(token) : written[1]
  })

const extensionWord = (token: Token): string | undefined =>
  token.kind === "word" || token.kind === "identifier" ? Words.extensionOf(token.text) : undefined

// --- names

const place: Reader = (slot, reading) => {
  const names = properNames(slot, reading)
  return names.length > 0 || !slot.required ? names : afterPreposition(reading)
}

// Runs of capitalised words; "Rio de Janeiro" keeps its small words. Calendar words and currencies are no names.
const properNames: Reader = (slot, reading) => {
  const found: Array<Found> = []
  const isName = (index: number): boolean => {
    const token = reading.tokens[index]
    return token !== undefined && token.proper && token.kind === "word" && !reading.taken.has(index) &&
      (Words.currencyOf(token.text) === undefined || token.text !== token.text.toUpperCase()) &&
      !(slot.kind === "place" && Words.spokenLanguages.has(lower(token)))
  }
  for (let i = 0; i < reading.tokens.length; i++) {
    if (!isName(i)) continue
    const at = [i]
    for (;;) {
      const next = at.at(-1)! + 1
      const particle = ["de", "la", "le", "of", "el", "von", "van", "del", "di"].includes(lower(reading.tokens[next]))
      if (reading.tokens[next - 1]!.raw !== reading.tokens[next - 1]!.text) break
      if (isName(next)) at.push(next)
      else if (particle && isName(next + 1)) at.push(next, next + 1)
      else break
    }
    const state = slot.kind === "place" && isName(at.at(-1)! + 2) ? stateBehind(reading.tokens, at.at(-1)!) : undefined
    const name = at.map((index) => reading.tokens[index]!.text).join(" ")
    if (state !== undefined) at.push(at.at(-1)! + 1, at.at(-1)! + 2)
    found.push({ value: state === undefined ? name : `${name}, ${state}`, at })
    i = at.at(-1)!
  }
  return found
}

// "San Francisco, CA" is one place.
const stateBehind = (tokens: ReadonlyArray<Token>, last: number): string | undefined =>
  tokens[last + 1]?.raw === "," && /^[A-Z]{2}$/.test(tokens[last + 2]?.raw ?? "") ? tokens[last + 2]!.raw : undefined

// "weather in paris": the word behind the preposition, where nothing is written with a capital letter.
const afterPreposition = (reading: Reading): ReadonlyArray<Found> => {
  const index = reading.tokens.findIndex((token, i) =>
    i > 0 && token.kind === "word" && !reading.taken.has(i) &&
    ["in", "near", "around", "at"].includes(lower(reading.tokens[i - 1])) &&
    !Words.stopWords.has(lower(token)) && !isCalendarWord(token.text) && !reading.toolStems.has(Words.stem(token.text))
  )
  if (index < 0) return []
  const at = [index]
  for (let i = index + 1; i < reading.tokens.length; i++) {
    const token = reading.tokens[i]!
    const separator = token.raw === "," || lower(token) === "and"
    if (separator && reading.tokens[i + 1]?.kind === "word" && !Words.openers.has(lower(reading.tokens[i + 1]))) {
      at.push(++i)
    } else break
  }
  return at.map((i) => ({ value: reading.tokens[i]!.text, at: [i] }))
}

const language: Reader = (_slot, reading) =>
  each(
    reading,
    (token) =>
      token.kind === "word" && (Words.spokenLanguages.has(lower(token)) || extensionWord(token) !== undefined)
        ? token.text
        : undefined
  )

const currency: Reader = (_slot, reading) =>
  each(reading, (token) => token.kind === "word" || token.kind === "mark" ? Words.currencyOf(token.text) : undefined)

const ticker: Reader = (_slot, reading) =>
  each(
    reading,
    (token) => /^[A-Z]{1,5}$/.test(token.text) && token.text !== "I" && token.text !== "A" ? token.text : undefined
  )

// --- text

const quoted = ofKind("quoted")
const marks: ReadonlySet<string> = new Set([
  "for",
  "about",
  "mentioning",
  "containing",
  "named",
  "called",
  "matching",
  "mention",
  "contain",
  "on",
  "regarding"
])
const ends: ReadonlySet<string> = new Set([
  "in",
  "under",
  "within",
  "across",
  "from",
  "to",
  "into",
  "at",
  "by",
  "inside",
  "using",
  "with",
  "on"
])

// "search for rate limits in src" is "rate limits"; "translate good morning to French" is "good morning".
const phrase: Reader = (slot, reading) => {
  const { tokens } = reading
  const marked = tokens.findIndex((token, i) => i > 0 && token.kind === "word" && marks.has(lower(token)))
  const opener = tokens.findIndex((token) => token.kind === "word" && Words.openers.has(lower(token)))
  const start = marked >= 0 ? marked + 1 : opener >= 0 ? opener + 1 : -1
  if (start <= 0 || !slot.required) return []
  const at: Array<number> = []
  for (let i = start; i < tokens.length; i++) {
    if (at.length > 0 && tokens[i]!.kind === "word" && ends.has(lower(tokens[i])) && closes(reading, i)) break
    if (/^[.!?;:\n]/.test(tokens[i]!.raw)) break
    at.push(i)
  }
  return splitList(trimmed(reading, at, marked >= 0), tokens)
}

// A preposition ends the phrase before a value that another slot has taken, or before a place, path or language.
const closes = (reading: Reading, index: number): boolean => {
  if (/^(?:web|internet|net)$/.test(lower(reading.tokens[index + 2]))) return true
  const next = reading.tokens.slice(index + 1, index + 3)
  if (lower(reading.tokens[index]) === "on") return false
  return next.some((token, k) => reading.taken.has(index + 1 + k) || token.kind === "path" || token.proper) ||
    lower(next[0]) === "the" || lower(next[0]) === "this"
}

const trimmed = (reading: Reading, at: ReadonlyArray<number>, marked: boolean): ReadonlyArray<number> => {
  const empty = (index: number): boolean => {
    const token = reading.tokens[index]!
    return token.kind === "mark" || reading.taken.has(index) || Words.stopWords.has(lower(token)) ||
      (!marked && reading.toolStems.has(Words.stem(token.text)))
  }
  const from = at.findIndex((index) => !empty(index))
  const to = at.findLastIndex((index) => !empty(index))
  return from < 0 ? [] : at.slice(from, to + 1)
}

// "cats, dogs and birds" are three; "research and development" is one.
const splitList = (at: ReadonlyArray<number>, tokens: ReadonlyArray<Token>): ReadonlyArray<Found> => {
  if (at.length === 0) return []
  const commas = at.some((index) => tokens[index]!.raw === ",")
  const groups: Array<Array<number>> = [[]]
  for (const index of at) {
    const separator = commas && (tokens[index]!.raw === "," || lower(tokens[index]) === "and")
    if (separator) groups.push([])
    else groups.at(-1)!.push(index)
  }
  return groups.filter((group) => group.length > 0).map((group) => ({ value: written(group, tokens), at: group }))
}

const written = (group: ReadonlyArray<number>, tokens: ReadonlyArray<Token>): string =>
  group.map((index, i) => (i > 0 && tokens[index]!.start > tokens[group[i - 1]!]!.end ? " " : "") + tokens[index]!.raw)
    .join("")

const identifiers = ofKind("identifier")
const identifier: Reader = first(
  (_slot, reading) =>
    each(
      reading,
      (token) =>
        token.kind === "identifier"
          ? token.text.replace(/^#/, "")
          : token.kind === "quoted" && !/\s/.test(token.text)
          ? token.text
          : undefined
    ),
  (slot, reading) => {
    const stems = new Set([...slot.words.map(Words.stem), ...reading.toolStems])
    return each(reading, (token, index) => {
      const before = [reading.tokens[index - 1], reading.tokens[index - 2]]
      const listed = token.kind === "number"
      return listed && slot.required &&
          (before.some((near) => near !== undefined && (stems.has(Words.stem(near.text)) || near.kind === "number")))
        ? token.text
        : undefined
    })
  },
  (slot, reading) => slot.required ? properNames(slot, reading) : []
)

// An optional text needs its own name beside it; a required one takes what is quoted, then code, then the phrase.
const freeText: Reader = (slot, reading) => {
  if (slot.required) return first(quoted, identifiers, properText, phrase)(slot, reading)
  return quoted(slot, reading).filter(({ at }) =>
    reading.tokens.slice(Math.max(0, at[0]! - 2), at[0]).some((token) =>
      slot.words.map(Words.stem).includes(Words.stem(token.text))
    )
  )
}

// A phrase that is written out wins over a name inside it.
const properText: Reader = (slot, reading) => phrase(slot, reading).length > 0 ? [] : properNames(slot, reading)

const anything: Reader = (slot, reading) =>
  slot.required
    ? first(quoted, identifiers, properNames, ofKind("path"), ofKind("url"))(slot, reading)
    : freeText(slot, reading)

const readers: Readonly<Record<Slot["kind"], Reader>> = {
  choice,
  flag,
  number,
  date,
  time,
  url: ofKind("url"),
  email: ofKind("email"),
  currency,
  ticker,
  glob,
  extension,
  file,
  directory,
  identifier,
  language,
  place,
  name: first(properNames, (slot, reading) => slot.required ? first(quoted, identifiers)(slot, reading) : []),
  text: freeText,
  any: anything,
  object: () => []
}
