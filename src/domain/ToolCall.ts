/**
 * One call the model asked for, as data: reading its arguments, comparing two calls, giving a duplicate an id of its own,
 * finding the tool that was meant. Pure and total: whatever a model or a wire sends, these functions answer.
 */

/**
 * A sealed call: its arguments are complete. `params` is what the provider sent (normally a JSON object; a string when it
 * was no JSON object at all), not yet checked against the tool. `wireId` is the provider's id where it differs from ours.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolCall {
  readonly id: string
  readonly name: string
  readonly params: unknown
  readonly wireId?: string | undefined
}

/** Limits on argument text, checked before parsing. Source: fault P8. */
export const maxArgumentsLength = 10 * 1024 * 1024
export const maxArgumentsDepth = 512

/**
 * Reads a call's argument text as a provider sent it.
 *
 * **Shape** An empty or blank text is `{}` (real providers send it for a tool without parameters). One JSON object is that
 * object, with no key that could reach a prototype (`__proto__` becomes an own property, never the prototype). Anything else
 * comes back as the text itself, a string: the Executor answers such a call `InvalidInput` and its siblings run.
 *
 * **Units** Texts longer than 10 MiB (UTF-16 units) or nested deeper than 512 are not parsed.
 *
 * **Errors** None; linear in the text.
 *
 * **Example** (What becomes of argument text)
 *
 * ```ts
 * import { ToolCall } from "effect-toolformer"
 *
 * ToolCall.parseArguments("") // => {}
 * ToolCall.parseArguments("{\"city\":\"Paris\"}") // => { city: "Paris" }
 * ToolCall.parseArguments("[1,2]") // => "[1,2]"
 * ```
 *
 * @category parsing
 * @since 0.1.0
 */
export const parseArguments = (text: string): unknown => {
  const trimmed = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
  if (isBlank(trimmed)) return {}
  if (trimmed.length > maxArgumentsLength || tooDeep(trimmed)) return text
  const value = parse(trimmed)
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : text
}

/**
 * Whether a text is one complete JSON object: what decides, on a wire without an end mark, if the last call of a truncated
 * turn was complete.
 *
 * @category parsing
 * @since 0.1.0
 */
export const isCompleteObject = (text: string): boolean => !isBlank(text) && typeof parseArguments(text) === "object"

const isBlank = (text: string): boolean => /^[\t\n\r ]*$/.test(text)

// `JSON.parse` has no error channel of its own; this is the one place that gives it one.
const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// Depth over brackets outside strings, one pass, no recursion.
const tooDeep = (text: string): boolean => {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (inString) {
      if (c === 92) i++
      else if (c === 34) inString = false
    } else if (c === 34) inString = true
    else if (c === 123 || c === 91) {
      if (++depth > maxArgumentsDepth) return true
    } else if (c === 125 || c === 93) depth--
  }
  return false
}

/**
 * The same text for the same value: object keys sorted, everything else as JSON. Two calls with one name and one canonical
 * text are the same call.
 *
 * **Example** (Key order does not count)
 *
 * ```ts
 * import { ToolCall } from "effect-toolformer"
 *
 * ToolCall.canonical({ b: 1, a: [2, { d: 3, c: 4 }] }) // => "{\"a\":[2,{\"c\":4,\"d\":3}],\"b\":1}"
 * ```
 *
 * @category comparing
 * @since 0.1.0
 */
export const canonical = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`
  if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value).sort()
    return `{${
      keys.map((key) => `${JSON.stringify(key)}:${canonical((value as Record<string, unknown>)[key])}`).join(",")
    }}`
  }
  return typeof value === "bigint" ? `${value}n` : JSON.stringify(value) ?? "null"
}

/**
 * An id for a call whose wire id is empty or already taken: the wire id with the first free number behind it, in letters every
 * provider accepts in an id.
 *
 * **Example** (A duplicate gets an id of its own)
 *
 * ```ts
 * import { ToolCall } from "effect-toolformer"
 *
 * ToolCall.deriveId("call_1", (id) => id === "call_1" || id === "call_1_2") // => "call_1_3"
 * ```
 *
 * @category ids
 * @since 0.1.0
 */
export const deriveId = (wireId: string, taken: (id: string) => boolean): string => {
  const base = wireId === "" ? "call" : wireId
  if (wireId !== "" && !taken(wireId)) return wireId
  for (let n = wireId === "" ? 1 : 2;; n++) {
    const id = `${base}_${n}`
    if (!taken(id)) return id
  }
}

/**
 * The tool names nearest to one that does not exist: same letters in another case, with a prefix such as `functions.`, or at
 * most a third of the letters away. At most three, best first.
 *
 * **Example** (A misspelt name)
 *
 * ```ts
 * import { ToolCall } from "effect-toolformer"
 *
 * ToolCall.nearNames("functions.Web_Search", ["web_search", "read_file"]) // => ["web_search"]
 * ```
 *
 * @category comparing
 * @since 0.1.0
 */
export const nearNames = (name: string, names: ReadonlyArray<string>): ReadonlyArray<string> => {
  const wanted = letters(name.slice(0, 128))
  const scored: Array<readonly [distance: number, name: string]> = []
  for (const candidate of names.slice(0, 1024)) {
    const letter = letters(candidate.slice(0, 128))
    const distance = letter === wanted || wanted.endsWith(letter) ? 0 : editDistance(wanted, letter)
    if (letter.length > 0 && distance <= Math.max(1, Math.floor(letter.length / 3))) scored.push([distance, candidate])
  }
  return scored.sort((a, b) => a[0] - b[0]).slice(0, 3).map(([, name]) => name)
}

const letters = (name: string): string => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "")

// Levenshtein with one row; both sides are at most 128 long.
const editDistance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
