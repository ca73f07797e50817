/**
 * Which number is whose, for a tool with several required numbers: the parameter whose words stand nearest to it, then
 * the order in which both are written. "A base of 10 and a height of 5" and "5, 10" give the same two values.
 */
import type { Found } from "./localReading.ts"
import type { Slot } from "./localSlot.ts"
import type { Token } from "./localToken.ts"
import { numberOf, stem, stopWords } from "./localWords.ts"

interface Numeral {
  readonly index: number
  readonly value: number
}

/** Values for each slot, several where the request gives several sets; a slot without a number is not in the map. */
export const allotNumbers = (
  slots: ReadonlyArray<Slot>,
  tokens: ReadonlyArray<Token>,
  taken: ReadonlySet<number>
): ReadonlyMap<Slot, ReadonlyArray<Found>> => {
  const numerals = numeralsOf(tokens, taken)
  const owners = spreadOverLists(numerals, numerals.map((numeral) => nearestSlot(numeral, slots, tokens)), tokens)
  const free = numerals.filter((_, i) => owners[i] === undefined)
  const open = slots.filter((slot) => !owners.includes(slot))
  // With nothing to go by, the numbers are sets in the order of the slots; else what is left goes in order, one each.
  const rounds = open.length === slots.length && free.length % Math.max(1, slots.length) === 0
  free.forEach((numeral, k) => {
    const slot = rounds ? slots[k % slots.length] : open[k]
    owners[numerals.indexOf(numeral)] = slot
  })
  return new Map(slots.flatMap((slot) => {
    const own = numerals.filter((numeral, i) => owners[i] === slot && fits(slot, numeral.value))
    return own.length === 0 ? [] : [[slot, own.map(({ index, value }) => ({ value, at: [index] }))] as const]
  }))
}

const numeralsOf = (tokens: ReadonlyArray<Token>, taken: ReadonlySet<number>): ReadonlyArray<Numeral> =>
  tokens.flatMap((token, index) => {
    // The exponent of a unit ("m/s^2") is no quantity.
    if (taken.has(index) || /^[\^/]$/.test(tokens[index - 1]?.raw ?? "")) return []
    const value = token.kind === "number"
      ? Number(token.text)
      : token.kind === "word"
      ? numberOf(token.text)
      : undefined
    return value === undefined ? [] : [{ index, value }]
  })

const fits = (slot: Slot, value: number): boolean =>
  (!slot.integer || Number.isInteger(value)) && (slot.minimum === undefined || value >= slot.minimum) &&
  (slot.maximum === undefined || value <= slot.maximum)

/** How many words before and behind a number may name it. */
const reach = { before: 6, behind: 3 }

const nearestSlot = (numeral: Numeral, slots: ReadonlyArray<Slot>, tokens: ReadonlyArray<Token>): Slot | undefined => {
  const common = (word: string) => slots.every((slot) => slot.words.map(stem).includes(word))
  let best: { slot: Slot; matched: number; distance: number } | undefined
  for (const slot of slots) {
    const labels = slot.words.filter((word) => word.length > 2 && !stopWords.has(word)).map(stem).filter((word) =>
      !common(word)
    )
    const distances = labels.map((label) => distanceTo(label, numeral.index, tokens)).filter((each) =>
      each !== undefined
    )
    if (distances.length === 0) continue
    const found = { slot, matched: distances.length, distance: Math.min(...distances) }
    const wins = best === undefined || found.distance < best.distance ||
      (found.distance === best.distance && found.matched > best.matched)
    if (wins) best = found
  }
  return best?.slot
}

// Up to the next number on either side; behind it counts a little further than before it.
const distanceTo = (label: string, index: number, tokens: ReadonlyArray<Token>): number | undefined => {
  for (let step = 1; step <= reach.before; step++) {
    const token = tokens[index - step]
    if (token === undefined || token.kind === "number") break
    if (stem(token.text) === label) return step
  }
  for (let step = 1; step <= reach.behind; step++) {
    const token = tokens[index + step]
    if (token === undefined || token.kind === "number" || token.raw === ",") break
    if (stem(token.text) === label) return step + 0.5
  }
  return undefined
}

// "For 10, 20 and 30 years": one of a list has the name, the list has the owner.
const spreadOverLists = (
  numerals: ReadonlyArray<Numeral>,
  owners: Array<Slot | undefined>,
  tokens: ReadonlyArray<Token>
): Array<Slot | undefined> => {
  const joined = (i: number): boolean =>
    numerals[i + 1] !== undefined &&
    tokens.slice(numerals[i]!.index + 1, numerals[i + 1]!.index).every((token) => /^(?:,|and|or)$/.test(token.raw))
  for (let i = owners.length - 2; i >= 0; i--) if (joined(i)) owners[i] ??= owners[i + 1]
  for (let i = 0; i < owners.length - 1; i++) if (joined(i)) owners[i + 1] ??= owners[i]
  return owners
}
