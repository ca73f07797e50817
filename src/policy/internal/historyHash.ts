/**
 * Names for what the history predictor counts: 32-bit whole numbers, mixed from texts and from each other. A count under the
 * wrong name is one in a hundred thousand look-ups at the largest table, which no estimate feels.
 */
import type * as Option from "effect/Option"
import * as Result from "effect/Result"

const prime = 0x01000193
const textLimit = 256
const wholeText = 1_000
const nodeLimit = 2000
const depthLimit = 12

/** The name of a text: of its first 256 characters and its length. */
export const textKey = (text: string): number => {
  let hash = 0x811c9dc5 ^ text.length
  const end = text.length < textLimit ? text.length : textLimit
  for (let i = 0; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), prime)
  return hash | 0
}

/** The name of a pair. */
export const mix = (a: number, b: number): number => {
  let hash = Math.imul(a ^ 0x27d4eb2f, 0x85ebca6b) ^ Math.imul(b ^ 0x165667b1, 0xc2b2ae35)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  hash = Math.imul(hash ^ (hash >>> 13), 0x297a2d39)
  return hash ^ (hash >>> 16)
}

/** JSON text as a value, or nothing. */
export const parseJson = (text: string): Option.Option<unknown> =>
  Result.getSuccess(Result.try((): unknown => JSON.parse(text)))

/** A text as JSON; of a long one its beginning, its length and its end. */
const writeText = (text: string): string =>
  text.length <= wholeText
    ? JSON.stringify(text)
    : JSON.stringify(text.slice(0, wholeText)) + "…" + text.length + "…" + textKey(text.slice(-textLimit))

const write = (value: unknown, depth: number, left: { nodes: number }): string => {
  if (left.nodes-- <= 0 || depth > depthLimit) return "…"
  if (typeof value === "string") return writeText(value)
  if (value === null || typeof value !== "object") return String(value)
  if (Array.isArray(value)) {
    return "[" + writeAll(value.slice(0, nodeLimit), (item) => write(item, depth + 1, left), left) + "]"
  }
  const record = value as Readonly<Record<string, unknown>>
  const entry = (key: string) => writeText(key) + ":" + write(record[key], depth + 1, left)
  return "{" + writeAll(Object.keys(record).slice(0, nodeLimit).sort(), entry, left) + "}"
}

const writeAll = <A>(items: ReadonlyArray<A>, one: (item: A) => string, left: { readonly nodes: number }): string => {
  const texts: Array<string> = []
  for (const item of items) {
    if (left.nodes <= 0) return texts.join(",") + ",…"
    texts.push(one(item))
  }
  return texts.join(",")
}

/** One text for equal JSON values, whatever the order of their keys; of more than 2,000 nodes or 1,000 characters the first count. */
export const canonical = (value: unknown): string => write(value, 0, { nodes: nodeLimit })
