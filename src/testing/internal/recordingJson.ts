/**
 * JSON with the place of each literal, so that one literal of a text can be replaced and the rest of it stays as it was
 * sent. Pure and total.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"

/**
 * A string or a number of a JSON text: `value` as it is meant (a number as it is written), `start` and `end` the
 * literal's place, quotes included. `isName`: the name of a property; its `path` ends with that name.
 */
export interface Leaf {
  readonly path: ReadonlyArray<string | number>
  readonly value: string
  readonly start: number
  readonly end: number
  readonly isName: boolean
}

/** A value, or none where the text is no JSON. */
export const parse = (text: string): Option.Option<unknown> =>
  Option.fromNullishOr(
    Option.getOrUndefined(Result.getSuccess(Result.try(() => ({ value: JSON.parse(text) as unknown }))))
  )
    .pipe(Option.map(({ value }) => value))

interface Open {
  readonly isArray: boolean
  name: string
  index: number
  expectsName: boolean
}

const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]/g

/** Every string and number of a JSON text, in the order of the text. The text must be JSON: {@link parse} tells. */
export const leavesOf = (text: string): ReadonlyArray<Leaf> => {
  const leaves: Array<Leaf> = []
  const open: Array<Open> = []
  const pathOf = () => open.map((level) => level.isArray ? level.index : level.name)
  for (const match of text.matchAll(tokens)) {
    const token = match[0]
    const level = open.at(-1)
    if (token === "{") open.push({ isArray: false, name: "", index: 0, expectsName: true })
    else if (token === "[") open.push({ isArray: true, name: "", index: 0, expectsName: false })
    else if (token === "}" || token === "]") open.pop()
    else if (token === ",") step(level)
    else if (token === ":") { if (level !== undefined) level.expectsName = false }
    else if (/^["\d-]/.test(token)) {
      const isName = level?.expectsName === true
      const value = token.startsWith("\"") ? JSON.parse(token) as string : token
      if (isName) level.name = value
      leaves.push({ path: pathOf(), value, start: match.index, end: match.index + token.length, isName })
    }
  }
  return leaves
}

const step = (level: Open | undefined): void => {
  if (level === undefined) return
  if (level.isArray) level.index++
  else level.expectsName = true
}

/** What stands at a path. */
export const at = (value: unknown, path: ReadonlyArray<string | number>): unknown => {
  let found = value
  for (const step of path) {
    if (typeof found !== "object" || found === null) return undefined
    found = (found as { readonly [key: string | number]: unknown })[step]
  }
  return found
}
