/**
 * Values for one slot from the tokens of a clause, by shape. Every value stands in the request (or is computed from what
 * stands there: a number word, a weekday's date, a language's file extension); nothing is invented.
 */
import { directory, extension, file, glob } from "./localReadFile.ts"
import { each, first, type Found, lower, ofKind, type Reader, type Reading } from "./localReading.ts"
import { currency, language, place, properNames, ticker } from "./localReadName.ts"
import { date, number, time } from "./localReadQuantity.ts"
import type { Slot } from "./localSlot.ts"
import type { Token } from "./localToken.ts"
import * as Words from "./localWords.ts"

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
