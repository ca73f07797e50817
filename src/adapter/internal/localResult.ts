/**
 * Values that earlier results hold for a slot: a `find_files` result is where the files to analyse come from.
 */
import type { Slot } from "./localSlot.ts"
import { stem, wordsOf } from "./localWords.ts"

/** One answered call of the conversation. */
export interface Answer {
  readonly name: string
  readonly params: unknown
  readonly result: unknown
  readonly isFailure: boolean
}

/** A result may be a tree of any size; the walk reads this many leaves and says no more. */
export const maxLeaves = 20_000

interface Leaf {
  readonly path: ReadonlyArray<string>
  readonly value: string | number | boolean
}

/** The values that fit the slot best, in the order found, each once. */
export const valuesFor = (slot: Slot, answers: ReadonlyArray<Answer>): ReadonlyArray<unknown> => {
  const leaves = answers.filter((answer) => !answer.isFailure).flatMap((answer) => walk(answer.result))
  let best = 0
  let values: Array<unknown> = []
  for (const leaf of leaves) {
    const score = fits(slot, leaf)
    if (score === 0 || score < best) continue
    if (score > best) values = []
    best = score
    values.push(slot.kind === "number" || typeof leaf.value === "string" ? leaf.value : String(leaf.value))
  }
  return [...new Set(values)]
}

const walk = (result: unknown): ReadonlyArray<Leaf> => {
  const leaves: Array<Leaf> = []
  const visit = (value: unknown, path: ReadonlyArray<string>): void => {
    if (leaves.length >= maxLeaves || path.length > 12) return
    if (Array.isArray(value)) { for (const item of value) visit(item, path) }
    else if (typeof value === "object" && value !== null) {
      for (const [key, item] of Object.entries(value)) visit(item, [...path, key])
    } else if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      leaves.push({ path, value })
    }
  }
  visit(result, [])
  return leaves
}

// 3: the key is the slot's name; 2: the slot's words stand in the path of keys; 1: the value has the slot's shape.
const fits = (slot: Slot, leaf: Leaf): number => {
  if (!hasType(slot, leaf.value)) return 0
  const stems = slot.words.map(stem)
  const last = wordsOf(leaf.path.at(-1) ?? "").map(stem)
  const shaped = hasShape(slot, leaf.value)
  if (shaped === false) return 0
  if (stems.every((word) => last.includes(word))) return 3
  const all = leaf.path.flatMap(wordsOf).map(stem)
  if (stems.every((word) => all.includes(word))) return 2
  return shaped === true ? 1 : 0
}

const hasType = (slot: Slot, value: Leaf["value"]): boolean =>
  slot.kind === "number"
    ? typeof value === "number" && (!slot.integer || Number.isInteger(value))
    : slot.kind === "flag"
    ? false
    : slot.kind === "choice"
    ? slot.choices.includes(value)
    : typeof value === "string" || slot.kind === "identifier"

// `undefined`: this kind has no shape of its own, the key decides.
const hasShape = (slot: Slot, value: Leaf["value"]): boolean | undefined => {
  const text = String(value)
  switch (slot.kind) {
    case "file":
      return text.length <= 1024 && !/[\n\0]/.test(text) && /[^/\s]\.[A-Za-z0-9]{1,10}$/.test(text) &&
        !/^https?:/.test(text)
    case "url":
      return /^https?:\/\/\S+$/.test(text)
    case "email":
      return /^[^\s@]+@[^\s@]+\.[a-z]+$/i.test(text)
    case "date":
      return /^\d{4}-\d{2}-\d{2}/.test(text)
    case "directory":
    case "glob":
      return false
    default:
      return text.length <= 4096 ? undefined : false
  }
}
