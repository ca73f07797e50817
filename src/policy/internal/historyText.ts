/**
 * What a text offers to later calls: its words by their shape (`mia_li_3668` is not `HAT136`), quoted passages, names, numbers,
 * days in words as dates, and codes known for a name (`Seattle (SEA)`). Every pattern is linear in the text, and the text bounded.
 */
import { mix, textKey } from "./historyHash.ts"

/** Takes one value: what it is, the name of the kind of place it stood in, and whether that place alone tells little. */
export type Take = (value: string | number, place: number, loose: boolean) => void

/** What is known beyond the text: codes of names, and the year that dates without one are in. */
export interface Known {
  readonly code: (name: string) => string | undefined
  readonly year: () => string | undefined
}

/** How much of a text is read. */
export const textLimit = 8_000
const valueLimit = 80
const tokenLimit = 400
const wordLimit = 120
const wordBuckets = 4_096
const months = "january february march april may june july august september october november december".split(" ")

const placeOf = (name: string): number => textKey(name)
const place = {
  number: placeOf("number"),
  quoted: placeOf("quoted"),
  title: placeOf("title"),
  lower: placeOf("lower"),
  code: placeOf("code"),
  camel: placeOf("camel"),
  path: placeOf("path"),
  date: placeOf("date")
}

const shapeOfRun = (run: string): string => {
  if (/^[0-9]+$/.test(run)) return run.length <= 4 ? "9" + run.length : "9+"
  if (run.length >= 2 && /^[A-Z0-9]+$/.test(run)) return "X" + Math.min(run.length, 12)
  if (/^[a-z]+$/.test(run)) return "a"
  return /^[A-Z][a-z]+$/.test(run) ? "Aa" : "m"
}

/** The form of a token, runs of like characters drawn together: `mia_li_3668` is `a_a_94`. */
export const shapeOf = (token: string): string =>
  token.split(/([_\-.@:/#])/).map((part) => part === "" || /^[_\-.@:/#]$/.test(part) ? part : shapeOfRun(part)).join("")

const takeToken = (token: string, take: Take): void => {
  if (token.length > valueLimit) return
  const shape = shapeOf(token)
  if (shape === "a") return
  if (shape !== "Aa") take(token, placeOf("shape " + shape), shape.startsWith("X"))
  const at = token.indexOf("@")
  if (at > 0) take(token.slice(0, at), placeOf("part " + shapeOf(token.slice(0, at))), false)
  if (/^[A-Za-z]+$/.test(token) && /[a-z][A-Z]/.test(token)) take(token, place.camel, false)
  if (/^\d{1,15}(\.\d{1,6})?$/.test(token)) take(Number(token), place.number, true)
}

/** The code of a name, or of the end of it: a sentence begins with a capital too (`To Seattle`). */
const codeOf = (name: string, known: Known): string | undefined => {
  for (let at = 0; at >= 0; at = name.indexOf(" ", at + 1)) {
    const code = known.code(at === 0 ? name : name.slice(at + 1))
    if (code !== undefined) return code
  }
  return undefined
}

const takeName = (name: string, known: Known, take: Take): void => {
  take(name, place.title, false)
  take(name.toLowerCase(), place.lower, false)
  const code = codeOf(name, known)
  if (code !== undefined) take(code, place.code, false)
}

const dateOf = (month: string, day: string, year: string | undefined): string | undefined => {
  const at = month.length < 3 ? -1 : months.findIndex((name) => name.startsWith(month.toLowerCase()))
  return at < 0 || year === undefined ? undefined : `${year}-${String(at + 1).padStart(2, "0")}-${day.padStart(2, "0")}`
}

const takeDates = (text: string, known: Known, take: Take): void => {
  const found = (date: string | undefined) => date === undefined ? undefined : take(date, place.date, false)
  for (
    const [, month, day, year] of text.matchAll(/\b([A-Z][a-z]{2,9})\.? (\d{1,2})\b(?:st|nd|rd|th)?(?:,? (\d{4}))?/g)
  ) {
    found(dateOf(month!, day!, year ?? known.year()))
  }
  for (const [, month, day, year] of text.matchAll(/\b([A-Z][a-z]{2,9})\.? (\d{1,2})(?:st|nd|rd|th)(?:,? (\d{4}))?/g)) {
    found(dateOf(month!, day!, year ?? known.year()))
  }
  for (
    const [, day, month, year] of text.matchAll(/\b(\d{1,2})(?:st|nd|rd|th)? (?:of )?([A-Z][a-z]{2,9})(?:,? (\d{4}))?/g)
  ) {
    found(dateOf(month!, day!, year ?? known.year()))
  }
}

const upTo = function*<A>(items: Iterable<A>, most: number): Generator<A> {
  let left = most
  for (const item of items) {
    if (left-- <= 0) return
    yield item
  }
}

/** Gives everything a text offers, in the order of its kinds. */
export const readText = (whole: string, known: Known, take: Take): void => {
  const text = whole.slice(0, textLimit)
  for (const [token] of upTo(text.matchAll(/[A-Za-z0-9]+(?:[_\-.@:/][A-Za-z0-9]+)*/g), tokenLimit)) {
    takeToken(token, take)
  }
  for (const [, quoted] of upTo(text.matchAll(/["“'‘`]([^"”'’`\n]{1,60})["”'’`]/g), 64)) {
    take(quoted!, place.quoted, false)
  }
  for (const [name] of upTo(text.matchAll(/[A-Z][A-Za-z]{1,30}(?:[ -][A-Z](?:[A-Za-z]{1,30}|\.)?){0,5}/g), 128)) {
    takeName(name, known, take)
  }
  takeDates(text, known, take)
}

/** Gives the paths and file names of a text, such as a listing. */
export const readPaths = (whole: string, take: Take): void => {
  const isPath = (token: string) =>
    token.length <= valueLimit && (/\/[\w.-]/.test(token) || /^[\w-]+\.[a-z]{1,4}$/.test(token))
  for (const [token] of upTo(whole.slice(0, textLimit).matchAll(/[\w./-]+/g), tokenLimit)) {
    if (isPath(token)) take(token, place.path, false)
  }
}

/** The codes that a text gives for names, as `Seattle (SEA)`. */
export const codesIn = (text: string): ReadonlyArray<readonly [name: string, code: string]> =>
  [...upTo(
    text.slice(0, textLimit).matchAll(/([A-Z][A-Za-z]{1,30}(?: [A-Z][A-Za-z]{1,30}){0,4}) \(([A-Z0-9]{2,6})\)/g),
    64
  )]
    .map(([, name, code]) => [name!, code!] as const)

/** The year of the last date in a text. */
export const lastYearIn = (text: string): string | undefined => {
  let year: string | undefined
  for (const found of text.slice(0, 4 * textLimit).matchAll(/\b(20\d\d)-\d\d-\d\d/g)) year = found[1]
  return year
}

/** The different words of a text, as numbers below 4,096: at most 120, the first of them. */
export const wordsOf = (text: string): ReadonlyArray<number> => {
  const plain = text.slice(0, textLimit).toLowerCase()
  const words = new Set<number>()
  for (const [word] of plain.matchAll(/[a-z']{2,}|\?/g)) {
    words.add(textKey(word) & (wordBuckets - 1))
    if (words.size >= wordLimit) break
  }
  return [...words]
}

/** The form of a value, for "does this argument look like that": its type, or the shape of its text. */
export const formOf = (value: unknown): number => {
  if (typeof value !== "string") return textKey(typeof value)
  return value.includes(" ")
    ? mix(textKey("words"), Math.min(4, value.split(" ", 5).length))
    : textKey(shapeOf(value.slice(0, valueLimit)).slice(0, 24))
}
