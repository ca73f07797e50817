/**
 * From one chosen tool and one clause to the calls it stands for: every slot filled from the clause, a required one
 * also from the rest of the request or from earlier results; several values for a required slot are several calls.
 */
import { extract } from "./localExtract.ts"
import { allotNumbers } from "./localNumbers.ts"
import type { Found, Reading } from "./localReading.ts"
import { type Answer, valuesFor } from "./localResult.ts"
import type { Slot, SlotKind } from "./localSlot.ts"
import type { Token } from "./localToken.ts"
import { stem } from "./localWords.ts"

export interface Filling {
  readonly slots: ReadonlyArray<Slot>
  readonly clause: ReadonlyArray<Token>
  /** The other clauses of the request, nearest first. */
  readonly elsewhere: ReadonlyArray<ReadonlyArray<Token>>
  /** Whether the clause speaks of what another tool finds ("each of them"). */
  readonly refersBack: boolean
  /** Earlier results by where they came from, the nearest first. */
  readonly sources: ReadonlyArray<ReadonlyArray<Answer>>
  readonly toolStems: ReadonlySet<string>
  readonly today: number
  readonly similar: (phrase: string, choice: string) => number
}

export type Filled =
  | { readonly _tag: "calls"; readonly params: ReadonlyArray<Record<string, unknown>> }
  | { readonly _tag: "missing"; readonly slots: ReadonlyArray<Slot> }

/** One decision never holds more calls of one clause than this. */
export const maxCalls = 2_000

// Shapes that cannot be mistaken come first, so that a date is no number and a path no text.
const order: ReadonlyArray<SlotKind> = [
  "choice",
  "date",
  "time",
  "url",
  "email",
  "currency",
  "glob",
  "extension",
  "file",
  "directory",
  "flag",
  "number",
  "ticker",
  "identifier",
  "language",
  "place",
  "name",
  "text",
  "any",
  "object"
]

export const fill = (filling: Filling): Filled => {
  const taken = new Set<number>()
  const allotted = new Map<Slot, ReadonlyArray<Found>>()
  const values = new Map<Slot, ReadonlyArray<unknown>>()
  const missing: Array<Slot> = []
  for (const slot of bound(filling).sort(byCertainty)) {
    const found = find(slot, filling, taken, allotted)
    for (const { at } of found) at.forEach((index) => taken.add(index))
    const all = found.length > 0 ? found.map(({ value }) => value) : slot.required ? borrowed(slot, filling) : []
    if (all.length > 0) values.set(slot, slot.required || slot.many ? all : all.slice(0, 1))
    else if (slot.required) missing.push(slot)
  }
  return missing.length > 0
    ? { _tag: "missing", slots: missing }
    : { _tag: "calls", params: combine([...values.keys()], values) }
}

// "The log of each of them" binds the one optional file: a clause that refers back must bind something.
const bound = (filling: Filling): Array<Slot> => {
  const needed = filling.slots.some((slot) => slot.required)
  const file = filling.slots.find((slot) => slot.kind === "file" && !slot.many)
  const binds = filling.refersBack && !needed && file !== undefined
  return filling.slots.map((slot) => binds && slot === file ? { ...slot, required: true } : slot)
}

const byCertainty = (a: Slot, b: Slot): number =>
  Number(b.required) - Number(a.required) || order.indexOf(a.kind) - order.indexOf(b.kind)

const find = (
  slot: Slot,
  filling: Filling,
  taken: ReadonlySet<number>,
  allotted: Map<Slot, ReadonlyArray<Found>>
): ReadonlyArray<Found> => {
  const numbers = filling.slots.filter((other) => other.required && !other.many && other.kind === "number")
  if (numbers.length < 2 || !numbers.includes(slot)) {
    return pair(slot, filling, extract(slot, reading(filling, filling.clause, taken)))
  }
  // All at once, at the first of them: which number is whose is one question.
  if (allotted.size === 0) { for (const each of allotNumbers(numbers, filling.clause, taken)) allotted.set(...each) }
  return allotted.get(slot) ?? []
}

const reading = (filling: Filling, tokens: ReadonlyArray<Token>, taken: ReadonlySet<number>): Reading => ({
  tokens,
  taken,
  today: filling.today,
  toolStems: filling.toolStems,
  soleNumber: filling.slots.filter((slot) => slot.kind === "number").length === 1,
  similar: filling.similar
})

// Two required slots of one kind share the values: by the preposition before the value where the name says it, else in
// order.
const pair = (slot: Slot, filling: Filling, found: ReadonlyArray<Found>): ReadonlyArray<Found> => {
  const peers = filling.slots.filter((other) => other.required && reads(slot, other))
  if (!slot.required || peers.length < 2 || found.length === 0) return found
  const role = roleOf(slot)
  const placed = role === undefined
    ? []
    : found.filter(({ at }) => role.includes(filling.clause[at[0]! - 1]?.text.toLowerCase() ?? ""))
  return placed.length > 0 ? placed : found.slice(0, 1)
}

// Kinds that all read names take them from one another.
const nameKinds: ReadonlySet<SlotKind> = new Set(["place", "name", "any", "text"])
const reads = (a: Slot, b: Slot): boolean => a.kind === b.kind || (nameKinds.has(a.kind) && nameKinds.has(b.kind))

const sources: ReadonlyArray<string> = ["from", "source", "origin", "start", "base", "departure"].map(stem)
const targets: ReadonlyArray<string> = ["to", "target", "destination", "end", "arrival", "quote"].map(stem)

const roleOf = (slot: Slot): ReadonlyArray<string> | undefined => {
  const words = slot.words.map(stem)
  if (words.some((word) => sources.includes(word))) return ["from", "between"]
  return words.some((word) => targets.includes(word)) ? ["to", "into", "in"] : undefined
}

// Kinds whose values are unmistakable wherever they stand in the request.
const movable: ReadonlySet<SlotKind> = new Set([
  "choice",
  "date",
  "url",
  "email",
  "currency",
  "ticker",
  "glob",
  "file",
  "directory",
  "identifier",
  "place",
  "name"
])

const borrowed = (slot: Slot, filling: Filling): ReadonlyArray<unknown> => {
  const fromAnswers = filling.sources.map((answers) => valuesFor(slot, answers)).find((values) => values.length > 0) ??
    []
  if (filling.refersBack && (fromAnswers.length > 0 || slot.kind === "file")) return fromAnswers
  if (movable.has(slot.kind)) {
    for (const tokens of filling.elsewhere) {
      const found = extract(
        { ...slot, required: slot.kind !== "choice" && slot.kind !== "place" },
        reading(filling, tokens, new Set())
      )
      if (found.length > 0) return pair(slot, { ...filling, clause: tokens }, found).map(({ value }) => value)
    }
  }
  return fromAnswers
}

// Equal numbers of values go in pairs ("from Paris to Rome"); otherwise every value meets every other.
const combine = (
  slots: ReadonlyArray<Slot>,
  values: ReadonlyMap<Slot, ReadonlyArray<unknown>>
): ReadonlyArray<Record<string, unknown>> => {
  const present = slots.filter((slot) => values.has(slot))
  const fanned = present.filter((slot) => !slot.many && values.get(slot)!.length > 1)
  const lengths = new Set(fanned.map((slot) => values.get(slot)!.length))
  const fixed = Object.fromEntries(
    present.filter((slot) => !fanned.includes(slot)).map((
      slot
    ) => [slot.name, slot.many ? values.get(slot)! : values.get(slot)![0]])
  )
  const rows: ReadonlyArray<Record<string, unknown>> = fanned.length > 1 && lengths.size === 1
    ? values.get(fanned[0]!)!.map((_, i) => Object.fromEntries(fanned.map((slot) => [slot.name, values.get(slot)![i]])))
    : fanned.reduce<ReadonlyArray<Record<string, unknown>>>(
      (all, slot) =>
        all.flatMap((row) => values.get(slot)!.map((value) => ({ ...row, [slot.name]: value }))).slice(0, maxCalls),
      [{}]
    )
  return rows.slice(0, maxCalls).map((row) =>
    Object.fromEntries(
      present.map((slot) => [slot.name, Object.hasOwn(row, slot.name) ? row[slot.name] : fixed[slot.name]])
    )
  )
}
