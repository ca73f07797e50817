/**
 * The text of a body as it was cut on the network: several pieces that are one text. Edits are made in the whole and
 * cut back into the pieces, so that nothing hides on a border. Pure.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"

/** A place of the whole text and what stands there instead. */
export interface Edit {
  readonly start: number
  readonly end: number
  readonly text: string
}

/** A place of a text that is secret. */
export interface Span {
  readonly start: number
  readonly end: number
  readonly secret: string
}

/**
 * Makes edits that do not overlap, in the order of the text. What replaces a place goes to the piece in which that
 * place begins.
 */
export const edited = (pieces: ReadonlyArray<string>, edits: ReadonlyArray<Edit>): ReadonlyArray<string> => {
  if (edits.length === 0) return pieces
  let begin = 0
  let next = 0
  return pieces.map((piece) => {
    const end = begin + piece.length
    let result = ""
    let at = begin
    // An edit that began in an earlier piece still takes away the beginning of this one.
    const before = edits[next - 1]
    if (before !== undefined && before.end > at) at = Math.min(before.end, end)
    for (let edit = edits[next]; edit !== undefined && edit.start < end; edit = edits[++next]) {
      result += piece.slice(at - begin, edit.start - begin) + edit.text
      at = Math.min(edit.end, end)
    }
    result += piece.slice(at - begin)
    begin = end
    return result
  })
}

/** A text without its percent codes; what is none stays. */
export const percentDecoded = (text: string): string =>
  text.replace(
    /(?:%[0-9A-Fa-f]{2})+/g,
    (code) => Option.getOrElse(Result.getSuccess(Result.try(() => decodeURIComponent(code))), () => code)
  )
