/** Values as one short line for a person: cut, without control characters, and without what looks like a secret. Total. */
import { describe } from "../../domain/ToolFailure.ts"

/** Cuts a text to a number of characters. */
export const cutTo = (text: string, length: number): string => {
  const characters = text.length <= length ? undefined : [...text]
  return characters === undefined || characters.length <= length
    ? text
    : `${characters.slice(0, Math.max(0, length - 1)).join("")}…`
}

/** What a model, or a tool, wrote: no control character of theirs reaches a terminal. */
export const clean = (text: string): string =>
  text.slice(0, 4096).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu, " ").trim()

const secret = /pass(word|wd|phrase)?|secret|token|api[-_ ]?key|authorization|credential|private[-_ ]?key/i

/** A value as JSON: texts of at most 24 characters, lists and objects of at most 6 entries, 4 levels; `length` in all. */
export const short = (value: unknown, length = 60): string => cutTo(clean(json(value, 4, false)), length)

/** One value of two that differ: longer texts, so that the difference shows. */
export const shortValue = (value: unknown): string =>
  typeof value === "string" ? cutTo(clean(JSON.stringify(value)), 80) : short(value, 80)

/** Whether what stands under this key is not to be shown. */
export const isSecret = (key: string): boolean => secret.test(key)

const json = (value: unknown, depth: number, hidden: boolean): string => {
  if (typeof value === "string") return JSON.stringify(hidden ? "…" : cutTo(value, 24))
  if (typeof value === "bigint") return `${value}n`
  if (typeof value !== "object" || value === null) return value === undefined ? "undefined" : describe(value)
  if (depth === 0) return Array.isArray(value) ? "[…]" : "{…}"
  if (Array.isArray(value)) return `[${entries(value, (item) => json(item, depth - 1, hidden))}]`
  const shown = entries(Object.keys(value), (key) => {
    const inner: unknown = (value as Record<string, unknown>)[key]
    return `${JSON.stringify(cutTo(key, 24))}:${json(inner, depth - 1, hidden || isSecret(key))}`
  })
  return `{${shown}}`
}

const entries = <A>(items: ReadonlyArray<A>, show: (item: A) => string): string =>
  items.slice(0, 6).map(show).join(",") + (items.length > 6 ? `,… ${items.length - 6} more` : "")
