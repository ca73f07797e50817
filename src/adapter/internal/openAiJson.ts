/**
 * Reading JSON that somebody else wrote. Every reader answers for every value: what is missing or of another type is
 * `undefined` (or empty), so the decoders above them are total without a check of their own.
 */
import type * as Schema from "effect/Schema"

/** A JSON object read from the wire. */
export type Json = { readonly [key: string]: unknown }

/** The value as an object; `undefined` for arrays, null and everything else. */
export const record = (u: unknown): Json | undefined =>
  typeof u === "object" && u !== null && !Array.isArray(u) ? u as Json : undefined

/** The value of an own key; never one of a prototype. */
export const field = (u: unknown, key: string): unknown => {
  const object = record(u)
  return object !== undefined && Object.hasOwn(object, key) ? object[key] : undefined
}

/** The value as an array; empty for everything else. */
export const list = (u: unknown): ReadonlyArray<unknown> => Array.isArray(u) ? u : []

/** The value as a text that says something; `undefined` for `""`. */
export const text = (u: unknown): string | undefined => typeof u === "string" && u !== "" ? u : undefined

/** The value as a count: a whole number of at least 0. */
export const count = (u: unknown): number | undefined =>
  typeof u === "number" && Number.isSafeInteger(u) && u >= 0 ? u : undefined

/** Argument text: a text as it is; an object (servers that send parsed arguments) as its JSON; else nothing. */
export const argumentText = (u: unknown): string =>
  typeof u === "string" ? u : record(u) === undefined ? "" : JSON.stringify(u)

/** Text that may be a string or a list of typed parts with a `text` each. */
export const contentText = (u: unknown): string =>
  typeof u === "string" ? u : list(u).map((part) => text(field(part, "text")) ?? "").join("")

/** Seconds since 1970 as an ISO date; `undefined` where that is no date. */
export const isoDate = (seconds: unknown): string | undefined =>
  typeof seconds === "number" && seconds > 0 && seconds < 8.64e12 ? new Date(seconds * 1000).toISOString() : undefined

/** An object without its undefined keys: what `exactOptionalPropertyTypes` and metadata ask for. */
export const defined = <A extends object>(fields: A): { [K in keyof A]: Exclude<A[K], undefined> } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never

/** Values that came from `JSON.parse` are JSON. */
export const json = (u: unknown): Schema.Json => u === undefined ? null : u as Schema.Json

/** Events nested deeper than this are not read. No wire nests them; what walks them later recurses. */
export const maxDepth = 256

/** A text as JSON; `undefined` where it is none, or too deep. */
export const parse = (text: string): unknown => {
  if (tooDeep(text)) return undefined
  // `JSON.parse` has no error channel; this is the one place of the adapter that gives it one.
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// Depth over brackets outside strings, one pass, no recursion.
const tooDeep = (text: string): boolean => {
  if (text.length <= maxDepth) return false
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === 92) i++
      else if (code === 34) inString = false
    } else if (code === 34) inString = true
    else if (code === 123 || code === 91) {
      if (++depth > maxDepth) return true
    } else if (code === 125 || code === 93) depth--
  }
  return false
}
