/** What every reader of values shares: the tokens, what was found, and the small readers that others are made of. */
import type { Slot } from "./localSlot.ts"
import type { Token } from "./localToken.ts"

export interface Found {
  readonly value: unknown
  /** Indices of the tokens it was read from; another slot does not read them again. */
  readonly at: ReadonlyArray<number>
}

export interface Reading {
  readonly tokens: ReadonlyArray<Token>
  readonly taken: ReadonlySet<number>
  /** Midnight UTC of the day on which "today" is said. */
  readonly today: number
  /** Words that name the tool or its things: never a value. */
  readonly toolStems: ReadonlySet<string>
  /** Whether the tool has other slots of kind number. */
  readonly soleNumber: boolean
  readonly similar: (phrase: string, choice: string) => number
}

/** Finds the values a clause holds for a slot. */
export type Reader = (slot: Slot, reading: Reading) => ReadonlyArray<Found>

/** A token's text in small letters; empty where there is no token. */
export const lower = (token: Token | undefined): string => token?.text.toLowerCase() ?? ""

/** One value for each token that `value` accepts and no other slot has taken. */
export const each = (reading: Reading, value: (token: Token, index: number) => unknown): ReadonlyArray<Found> =>
  reading.tokens.flatMap((token, index) => {
    if (reading.taken.has(index)) return []
    const result = value(token, index)
    return result === undefined ? [] : [{ value: result, at: [index] }]
  })

/** The texts of the tokens of these kinds. */
export const ofKind = (...kinds: ReadonlyArray<Token["kind"]>): Reader => (_slot, reading) =>
  each(reading, (token) => kinds.includes(token.kind) ? token.text : undefined)

/** What the first reader that finds anything finds. */
export const first = (...all: ReadonlyArray<Reader>): Reader => (slot, reading) => {
  for (const reader of all) {
    const found = reader(slot, reading)
    if (found.length > 0) return found
  }
  return []
}
