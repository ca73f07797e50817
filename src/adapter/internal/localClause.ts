/**
 * A request cut into clauses, one instruction each. Punctuation and "then" always cut; a comma or "and" cuts where
 * words follow, not where the list of values goes on: "weather in Paris, Rome and Oslo" is one clause with three names.
 */
import { isCalendarWord, isValue, type Token } from "./localToken.ts"
import { pronouns, sequenceWords, stopWords } from "./localWords.ts"

export interface Clause {
  readonly tokens: ReadonlyArray<Token>
  /** How many "then" stand before it. */
  readonly stage: number
  /** Begins a new sentence: it is an instruction of its own, never a tail of the clause before. */
  readonly opens: boolean
  /** The clause before others were joined to it: what it is about. */
  readonly head?: Clause
}

export const splitClauses = (tokens: ReadonlyArray<Token>): ReadonlyArray<Clause> => {
  const clauses: Array<{ tokens: Array<Token>; stage: number; opens: boolean }> = []
  let stage = 0
  for (const { piece, strong } of pieces(tokens)) {
    const first = piece.find((token) => token.kind !== "mark")
    if (first === undefined) continue
    if (clauses.length > 0 && sequenceWords.has(first.text.toLowerCase())) stage++
    const last = clauses.at(-1)
    if (last !== undefined && !strong && isTail(piece)) last.tokens.push(...piece)
    else clauses.push({ tokens: [...piece], stage, opens: strong })
  }
  return clauses
}

interface Piece {
  readonly piece: ReadonlyArray<Token>
  readonly strong: boolean
}

const pieces = (tokens: ReadonlyArray<Token>): ReadonlyArray<Piece> => {
  const out: Array<Piece> = []
  let piece: Array<Token> = []
  let strong = true
  const cut = (next: boolean) => {
    if (piece.some((token) => token.kind !== "mark" && !joins(token))) {
      out.push({ piece, strong })
      strong = next
    } else strong ||= next
    piece = []
  }
  for (const token of tokens) {
    if (isStrong(token)) cut(true)
    else if (isSequence(token)) {
      cut(false)
      piece.push(token)
    } else if (isWeak(token)) {
      cut(false)
      piece.push(token)
    } else piece.push(token)
  }
  cut(true)
  return out
}

const isStrong = (token: Token): boolean => token.kind === "mark" && /^(?:[.!?;:]+|\n+)$/.test(token.raw)
const isSequence = (token: Token): boolean => token.kind === "word" && token.text.toLowerCase() === "then"
const joins = (token: Token): boolean =>
  token.kind === "word" && ["and", "plus", "also", "or", "then"].includes(token.text.toLowerCase())
const isWeak = (token: Token): boolean =>
  (token.kind === "mark" && (token.raw === "," || token.raw === "&")) ||
  (token.kind === "word" && ["and", "plus", "or"].includes(token.text.toLowerCase()))

// Only values and words without meaning: the list of the clause before goes on.
const isTail = (piece: ReadonlyArray<Token>): boolean =>
  piece.every((token) =>
    token.kind === "mark" || isValue(token) || isCalendarWord(token.text) ||
    (stopWords.has(token.text.toLowerCase()) && !pronouns.has(token.text.toLowerCase()))
  )

/** The clause as text for the sentence encoder: values with a shape are left out, they say nothing about the tool. */
export const clauseText = (clause: Clause): string => {
  const words = clause.tokens
    .filter((token) => token.kind === "word" && !joins(token))
    .map((token) => token.text)
  return words.length > 0 ? words.join(" ") : clause.tokens.map((token) => token.text).join(" ")
}

/** Whether the clause speaks of things that are still to be found ("each of them", "every file"). */
export const refersBack = (clause: Clause): boolean =>
  clause.tokens.some((token) => token.kind === "word" && pronouns.has(token.text.toLowerCase()))
