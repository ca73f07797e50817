/** A call as a test names it, whether a call that happened is one, and how the two differ. Pure. */
import * as Equal from "effect/Equal"
import * as Result from "effect/Result"
import { canonical } from "../../domain/ToolCall.ts"
import { describe } from "../../domain/ToolFailure.ts"
import type { RecordedCall } from "./recorded.ts"
import { clean, cutTo, isSecret, short, shortValue } from "./shortText.ts"

/**
 * What a test says of a call. Without `name`: any tool's; without `params`: any parameters; without `id`: any id. `decoded` are the
 * parameters as the tool's handler gets them.
 */
export interface Wanted {
  readonly name: string | undefined
  readonly params: unknown
  readonly decoded: unknown
  readonly id: string | undefined
}

/** Whether a call is one that is wanted. Parameters are compared as handlers get them. */
export const fits = (wanted: Wanted, call: RecordedCall): boolean =>
  fitsName(wanted, call) && fitsId(wanted, call) && fitsParams(wanted, call)

export const fitsName = ({ name }: Wanted, call: RecordedCall): boolean => name === undefined || name === call.name

export const fitsId = ({ id }: Wanted, call: RecordedCall): boolean =>
  id === undefined || id === call.id || call.adoptedFrom.includes(id)

const fitsParams = (wanted: Wanted, call: RecordedCall): boolean =>
  wanted.params === undefined ||
  sameText(wanted, call) ||
  (call.decoded !== undefined && !isPlain(wanted, call) && isOpen(call.decoded, 64) &&
    Equal.equals(wanted.decoded, call.decoded))

/** A call's parameters as texts that can be compared at once: as sent, and as decoded where that is plain data. */
interface Texts {
  readonly sent: string
  readonly decoded: string | undefined
}

/** As JSON says it, since a model sends JSON: a key without a value is no key, and what is no number is `null`. */
export const asSent = (params: unknown): unknown =>
  Result.getOrElse(Result.try(() => JSON.parse(JSON.stringify(params)) as unknown), () => params)

const known = new WeakMap<object, Texts>()

const textsOf = (of: Wanted | RecordedCall): Texts => {
  let texts = known.get(of)
  if (texts === undefined) {
    texts = { sent: canonical(asSent(of.params)), decoded: isData(of.decoded, 64) ? canonical(of.decoded) : undefined }
    known.set(of, texts)
  }
  return texts
}

const sameText = (wanted: Wanted, call: RecordedCall): boolean => {
  const [one, other] = [textsOf(wanted), textsOf(call)]
  return one.sent === other.sent || (one.decoded !== undefined && one.decoded === other.decoded)
}

const isPlain = (wanted: Wanted, call: RecordedCall): boolean =>
  textsOf(wanted).decoded !== undefined && textsOf(call).decoded !== undefined

// What has a canonical text of its own. No number that JSON cannot say, and no key without a value.
const isData = (value: unknown, depth: number): boolean => {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true
  if (typeof value === "number") return Number.isFinite(value)
  if (typeof value !== "object" || depth === 0) return false
  if (Array.isArray(value)) return value.every((item) => isData(item, depth - 1))
  return Object.getPrototypeOf(value) === Object.prototype &&
    Object.values(value).every((item) => isData(item, depth - 1))
}

// Whether equality sees what a value holds: of an instance that shows nothing of itself, such as `URLSearchParams`, it sees only
// the class.
const isOpen = (value: unknown, depth: number): boolean => {
  if (typeof value !== "object" || value === null || Equal.isEqual(value) || ArrayBuffer.isView(value)) return true
  if (depth === 0) return false
  const inside: ReadonlyArray<unknown> = value instanceof Map || value instanceof Set
    ? [...value]
    : Object.values(value)
  return inside.length === 0 ? isBare(value) : inside.every((each) => isOpen(each, depth - 1))
}

const isBare = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype || knownToEqual.some((known) => value instanceof known)
}

const knownToEqual = [Array, Map, Set, Date, RegExp, URL, ArrayBuffer, Error]

/** The same text for two that want the same. */
export const keyOf = ({ id, name, params }: Wanted): string => canonical([name, params, id])

/** A wanted call in the words of its declaration. */
export const textOf = ({ id, name, params }: Wanted): string => {
  if (name === undefined) return JSON.stringify(cutTo(clean(id ?? ""), 64))
  const rest = [params === undefined ? "" : short(params, 72), id === undefined ? "" : `{ id: ${JSON.stringify(id)} }`]
  if (params === undefined && id !== undefined) rest[0] = "undefined"
  return `ToolCall(${[JSON.stringify(cutTo(clean(name), 64)), ...rest.filter((text) => text !== "")].join(", ")})`
}

/** Wanted calls as a list of at most eight. */
export const listOf = (wanted: ReadonlyArray<Wanted>): string =>
  `[${wanted.slice(0, 8).map(textOf).join(", ")}${wanted.length > 8 ? `, … ${wanted.length - 8} more` : ""}]`

/** The first place at which parameters differ, with both values; `undefined` where none is found. */
export const difference = (wanted: unknown, actual: unknown): string | undefined => {
  const found = differ(wanted, actual, [], 16)
  if (found === undefined) return undefined
  const path = found.path.length === 0 ? "the parameters" : found.path.map((key) => JSON.stringify(key)).join(".")
  return found.path.some((key) => isSecret(key))
    ? `${path} differs (not shown)`
    : `${path} is ${shown(found.actual)}, not ${shown(found.wanted)}`
}

interface Difference {
  readonly path: ReadonlyArray<string>
  readonly wanted: unknown
  readonly actual: unknown
}

const missing = Symbol("missing")

const differ = (
  wanted: unknown,
  actual: unknown,
  path: ReadonlyArray<string>,
  depth: number
): Difference | undefined => {
  if (Equal.equals(wanted, actual)) return undefined
  if (depth === 0 || !isBranch(wanted) || !isBranch(actual) || Array.isArray(wanted) !== Array.isArray(actual)) {
    return { path, wanted, actual }
  }
  for (const key of new Set([...Object.keys(wanted), ...Object.keys(actual)])) {
    const found = differ(at(wanted, key), at(actual, key), [...path, key], depth - 1)
    if (found !== undefined) return found
  }
  return Object.keys(wanted).length === 0 && Object.keys(actual).length === 0 ? { path, wanted, actual } : undefined
}

const isBranch = (value: unknown): value is object => typeof value === "object" && value !== null

const at = (value: object, key: string): unknown =>
  Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : missing

const shown = (value: unknown): string =>
  value === missing ? "missing" : isJson(value) ? shortValue(value) : cutTo(clean(describe(value)), 80)

const isJson = (value: unknown): boolean =>
  typeof value !== "object" || value === null || Array.isArray(value) ||
  Object.getPrototypeOf(value) === Object.prototype
