/** Readers of names: places, people, languages, currencies, ticker symbols. */
import { extensionWord } from "./localReadFile.ts"
import { each, type Found, lower, type Reader, type Reading } from "./localReading.ts"
import { isCalendarWord, type Token } from "./localToken.ts"
import * as Words from "./localWords.ts"

export const place: Reader = (slot, reading) => {
  const names = properNames(slot, reading)
  return names.length > 0 || !slot.required ? names : afterPreposition(reading)
}

// Runs of capitalised words; "Rio de Janeiro" keeps its small words. Calendar words and currencies are no names.
export const properNames: Reader = (slot, reading) => {
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

export const language: Reader = (_slot, reading) =>
  each(
    reading,
    (token) =>
      token.kind === "word" && (Words.spokenLanguages.has(lower(token)) || extensionWord(token) !== undefined)
        ? token.text
        : undefined
  )

export const currency: Reader = (_slot, reading) =>
  each(reading, (token) => token.kind === "word" || token.kind === "mark" ? Words.currencyOf(token.text) : undefined)

export const ticker: Reader = (_slot, reading) =>
  each(
    reading,
    (token) => /^[A-Z]{1,5}$/.test(token.text) && token.text !== "I" && token.text !== "A" ? token.text : undefined
  )
