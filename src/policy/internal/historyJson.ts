/**
 * What a JSON value offers to later calls: its leaves by their path, elements of lists by their place, keys of maps, and a date's
 * neighbours. Arrays write `[]` in the path, and `[0]` and `[-1]` again for the first and the last; maps whose keys carry digits
 * are read as lists of those keys. Budgets bound it, whatever the value.
 */
import * as Option from "effect/Option"
import { mix, parseJson, textKey } from "./historyHash.ts"

/** Takes one leaf: its value, the name of its path, its list (-1: of none) and place there, and whether its path is in a list. */
export type TakeLeaf = (value: string | number, path: number, list: number, position: number, inList: boolean) => void

const valueLimit = 80
const breadth = 64
const depthLimit = 10
const jsonTextLimit = 400_000
const dayMillis = 86_400_000
const step = {
  each: textKey("[]"),
  first: textKey("[0]"),
  last: textKey("[-1]"),
  keys: textKey("{}"),
  any: textKey("*"),
  dayAfter: textKey("+1d"),
  dayBefore: textKey("-1d")
}

interface Walk {
  readonly take: TakeLeaf
  readonly newList: () => number
  left: number
}

interface Here {
  readonly path: number
  readonly list: number
  readonly position: number
  readonly inList: boolean
  readonly depth: number
}

const neighbour = (date: string, days: number): string => {
  const at = Date.UTC(Number(date.slice(0, 4)), Number(date.slice(5, 7)) - 1, Number(date.slice(8, 10)))
  return new Date(at + days * dayMillis).toISOString().slice(0, 10)
}

const leaf = (walk: Walk, value: unknown, at: Here): void => {
  if (typeof value !== "string" && typeof value !== "number") return
  if (value === "" || (typeof value === "string" && value.length > valueLimit)) return
  walk.take(value, at.path, at.list, at.position, at.inList)
  if (at.inList || typeof value !== "string" || !/^(19|20)\d\d-[01]\d-[0-3]\d$/.test(value)) return
  walk.take(neighbour(value, 1), mix(at.path, step.dayAfter), -1, 0, false)
  walk.take(neighbour(value, -1), mix(at.path, step.dayBefore), -1, 0, false)
}

const elements = (walk: Walk, items: ReadonlyArray<unknown>, at: Here): void => {
  const list = walk.newList()
  const depth = at.depth + 1
  const end = Math.min(items.length, breadth)
  for (let i = 0; i < end && walk.left > 0; i++) {
    const item = items[i]
    visit(walk, item, { path: mix(at.path, step.each), list, position: i, inList: true, depth })
    if (typeof item !== "object") continue
    const alone = { list: -1, position: 0, inList: at.inList, depth }
    if (i === 0) visit(walk, item, { path: mix(at.path, step.first), ...alone })
    if (i > 0 && i === items.length - 1) visit(walk, item, { path: mix(at.path, step.last), ...alone })
  }
}

/** Keys that mostly carry digits name things, not fields. */
const isMap = (keys: ReadonlyArray<string>): boolean => keys.filter((key) => /\d/.test(key)).length * 2 > keys.length

const fields = (walk: Walk, record: Readonly<Record<string, unknown>>, at: Here): void => {
  const keys = Object.keys(record).slice(0, breadth)
  const depth = at.depth + 1
  if (!isMap(keys)) {
    for (const key of keys) {
      if (walk.left > 0) visit(walk, record[key], { ...at, path: mix(at.path, textKey(key)), depth })
    }
    return
  }
  const list = walk.newList()
  keys.forEach((key, position) => {
    if (walk.left <= 0) return
    if (key.length <= valueLimit) walk.take(key, mix(at.path, step.keys), list, position, at.inList)
    visit(walk, record[key], { path: mix(at.path, step.any), list, position, inList: at.inList, depth })
  })
}

const visit = (walk: Walk, value: unknown, at: Here): void => {
  if (walk.left-- <= 0 || at.depth > depthLimit || value === null || value === undefined) return
  if (typeof value !== "object") return leaf(walk, value, at)
  if (Array.isArray(value)) return elements(walk, value, at)
  fields(walk, value as Readonly<Record<string, unknown>>, at)
}

/** Gives the leaves of a value under a path, at most `budget` places looked at. */
export const readJson = (value: unknown, path: number, budget: number, newList: () => number, take: TakeLeaf): void =>
  visit({ take, newList, left: budget }, value, { path, list: -1, position: 0, inList: false, depth: 0 })

/** A result as JSON: itself, or what its text says where that is an object, a list or a number. */
export const asJson = (result: unknown): unknown => {
  if (typeof result !== "string" || result.length > jsonTextLimit) return result
  const begins = result.trimStart().charAt(0)
  return begins === "" || !"{[\"-0123456789tfn".includes(begins)
    ? result
    : Option.getOrElse(parseJson(result), () => result)
}

/** How a call ended, as far as what comes next depends on it. */
export type Ending = "none" | "ok" | "empty" | "error"

const emptyTexts = new Set(["", "[]", "{}", "null", "\"\""])

const recordEnding = (record: Readonly<Record<string, unknown>>): Ending => {
  if (record["error"] || record["exception"] || record["success"] === false) return "error"
  return Object.keys(record).length === 0 ? "empty" : "ok"
}

/** How a call ended that gave this result. */
export const endingOf = (result: unknown, isFailure: boolean): Ending => {
  if (isFailure) return "error"
  if (result === null || result === undefined) return "empty"
  if (Array.isArray(result)) return result.length === 0 ? "empty" : "ok"
  if (typeof result === "object") return recordEnding(result as Readonly<Record<string, unknown>>)
  const text = typeof result === "string" ? result.slice(0, 200).trim() : "value"
  if (/^(error|exception|traceback|usage:|command not found)/i.test(text)) return "error"
  return emptyTexts.has(text) ? "empty" : "ok"
}
