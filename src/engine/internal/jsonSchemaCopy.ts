/**
 * Schemas and values as the validator may see them. A schema somebody else wrote is copied keyword by keyword, and refused
 * where it says what would not be enforced; a value is copied before each check.
 *
 * The copies keep these faults of `@cfworker/json-schema` 4.1.1 from mattering: it asks `key in object` (objects of a copy
 * have no prototype), takes `{}` for `[]` (arrays of a copy are marked), fails on lone surrogates in keys, walks unknown
 * keywords and `dependencies` as schemas, writes into the schema, forgets that `maxContains` alone still wants one item,
 * compares `multipleOf` with an absolute tolerance of 1.2e-7, and counts what a failed `if` has seen as evaluated.
 */
import { type Dialect, dialectOf, foreign, isType, keywords, type Kind } from "./jsonSchemaKeywords.ts"

/**
 * Why a schema cannot be enforced: the keyword, and the JSON pointer of the subschema it stands in.
 *
 * @category errors
 * @since 0.1.0
 */
export interface UnsupportedSchema {
  readonly _tag: "UnsupportedSchema"
  readonly keyword: string
  readonly path: string
  readonly message: string
}

/**
 * Makes a refusal.
 *
 * @category errors
 * @since 0.1.0
 */
export const unsupported = (keyword: string, path: string, why: string): UnsupportedSchema => ({
  _tag: "UnsupportedSchema",
  keyword,
  path,
  message: `JSON Schema keyword "${keyword}" at "#${path}" cannot be enforced: ${why}`
})

/**
 * One subschema of a copy: an object without a prototype.
 *
 * @category models
 * @since 0.1.0
 */
export type Node = Record<string, unknown>

/**
 * A copied schema: its subschemas with their JSON pointers, and what the whole document uses.
 *
 * @category models
 * @since 0.1.0
 */
export interface SchemaCopy {
  readonly _tag: "SchemaCopy"
  readonly dialect: Dialect
  readonly root: Node | boolean
  readonly nodes: ReadonlyMap<Node, string>
  readonly uniqueItems: boolean
}

// Our own bounds. A schema shared within itself counts each time it is met, so they also end a cyclic object.
const maxNodes = 100_000
const maxSchemaDepth = 256
const maxValueDepth = 512

/** What a walk over one schema has gathered so far. Once `refusal` is set the walk only unwinds. */
interface Walk {
  readonly dialect: Dialect
  readonly nodes: Map<Node, string>
  readonly anchors: Set<unknown>
  refusal: UnsupportedSchema | undefined
  uniqueItems: boolean
  unevaluated: boolean
  conditional: string | undefined
}

/**
 * Copies a schema, or says why it cannot be enforced. Without a `$schema` it is read as `assumed`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const copySchema = (schema: unknown, assumed: Dialect): SchemaCopy | UnsupportedSchema => {
  const declared = isRecord(schema) ? Object.entries(schema).find(([key]) => key === "$schema") : undefined
  const dialect = declared === undefined ? assumed : dialectOf(declared[1])
  if (dialect === undefined) {
    return unsupported("$schema", "", `${show(declared?.[1])} is neither draft 2020-12 nor draft 7`)
  }
  const walk: Walk = {
    dialect,
    nodes: new Map(),
    anchors: new Set(),
    refusal: undefined,
    uniqueItems: false,
    unevaluated: false,
    conditional: undefined
  }
  const root = copyNode(walk, schema, "", 0)
  if (walk.unevaluated && walk.conditional !== undefined) {
    refuse(walk, "if", walk.conditional, "beside unevaluatedItems or unevaluatedProperties it would not be exact")
  }
  return walk.refusal ?? { _tag: "SchemaCopy", dialect, root, nodes: walk.nodes, uniqueItems: walk.uniqueItems }
}

const refuse = (walk: Walk, keyword: string, path: string, why: string): undefined => {
  walk.refusal ??= unsupported(keyword, path, why)
  return undefined
}

const copyNode = (walk: Walk, input: unknown, path: string, depth: number): Node | boolean => {
  if (typeof input === "boolean") return input
  if (!isRecord(input)) {
    refuse(walk, "schema", path, `a schema is an object or a boolean, not ${show(input)}`)
  } else if (depth > maxSchemaDepth) {
    refuse(walk, "schema", path.slice(0, 64), `it is nested deeper than ${maxSchemaDepth}`)
  } else if (walk.nodes.size >= maxNodes) refuse(walk, "schema", path, `it has more than ${maxNodes} subschemas`)
  if (walk.refusal !== undefined) return false
  const node = bare()
  walk.nodes.set(node, path)
  for (const [keyword, value] of Object.entries(input as object)) {
    const kind = keywords[walk.dialect].get(keyword)
    if (value === undefined) continue
    if (kind !== undefined) node[keyword] = copyKeyword(walk, kind, keyword, value, path, depth + 1)
    else if (foreign.has(keyword)) refuse(walk, keyword, path, foreign.get(keyword)!)
    if (walk.refusal !== undefined) return false
  }
  finish(walk, node, path)
  return node
}

type Copy = (walk: Walk, keyword: string, value: unknown, path: string, depth: number) => unknown

const copyKeyword = (
  walk: Walk,
  kind: Kind,
  ...rest: Parameters<Copy> extends [Walk, ...infer A] ? A : never
): unknown => kinds[kind](walk, ...rest)

// A value that is copied as it is, if it is what the keyword needs.
const plain = (ok: (value: unknown) => boolean, what: string): Copy => (walk, keyword, value, path) =>
  ok(value) ? value : refuse(walk, keyword, path, `it must be ${what}, not ${show(value)}`)

const one: Copy = (walk, keyword, value, path, depth) => copyNode(walk, value, `${path}/${keyword}`, depth)

const many: Copy = (walk, keyword, value, path, depth) =>
  Array.isArray(value) && value.length > 0
    ? value.map((each, i) => walk.refusal ?? copyNode(walk, each, `${path}/${keyword}/${i}`, depth))
    : refuse(walk, keyword, path, `it must be a list of schemas, not ${show(value)}`)

// An object whose values are copied by `each`; `rename` may refuse or rewrite a key.
const map =
  (each: Copy, rename: (walk: Walk, keyword: string, key: string, path: string) => string | undefined): Copy =>
  (walk, keyword, value, path, depth) => {
    if (!isRecord(value)) return refuse(walk, keyword, path, `it must be an object, not ${show(value)}`)
    const out = bare()
    for (const [key, inner] of Object.entries(value)) {
      const name = rename(walk, keyword, key, path)
      if (name !== undefined) out[name] = each(walk, escapePointer(key), inner, `${path}/${keyword}`, depth)
      if (walk.refusal !== undefined) return undefined
    }
    return out
  }

const asIs = (walk: Walk, keyword: string, key: string, path: string): string | undefined =>
  key.isWellFormed() ? key : refuse(walk, keyword, path, `the name ${show(key)} is not well-formed`)

const pattern = (walk: Walk, keyword: string, source: string, path: string): string | undefined =>
  [source, explicit(source)].find(isPattern)
    ?? refuse(walk, keyword, path, `${show(source)} is not a regular expression of ECMAScript's Unicode mode`)

const data: Copy = (walk, keyword, value, path) => {
  const copied = copyValue(value)
  return copied._tag === "Value" ? copied.value : refuse(walk, keyword, path, copied.issue)
}

const isWord = (value: unknown): value is string => typeof value === "string" && value.isWellFormed()

const names = plain((value) => Array.isArray(value) && value.every(isWord), "a list of strings")

const kinds: Record<Kind, Copy> = {
  schema: one,
  schemas: many,
  schemaMap: map(one, asIs),
  items: (walk, keyword, value, path, depth) =>
    !Array.isArray(value)
      ? one(walk, keyword, value, path, depth)
      : walk.dialect === "2020-12"
      ? refuse(walk, keyword, path, "it must be one schema; draft 2020-12 has prefixItems for a list")
      : value.length === 0
      ? true
      : many(walk, keyword, value, path, depth),
  dependencies: map((walk, keyword, value, path, depth) =>
    (Array.isArray(value) ? names : one)(
      walk,
      keyword,
      value,
      path,
      depth
    ), asIs),
  values: (walk, keyword, value, path, depth) =>
    Array.isArray(value)
      ? data(walk, keyword, value, path, depth)
      : refuse(walk, keyword, path, `it must be a list, not ${show(value)}`),
  value: data,
  number: plain(Number.isFinite, "a number"),
  factor: plain((value) => Number.isFinite(value) && Number(value) >= 1e-4, "a number of at least 0.0001"),
  count: plain((value) => Number.isInteger(value) && Number(value) >= 0, "a whole number of at least 0"),
  flag: plain((value) => typeof value === "boolean", "true or false"),
  names,
  nameMap: map(names, asIs),
  type: plain(isType, "a type or a list of types"),
  pattern: (walk, keyword, value, path) =>
    typeof value === "string"
      ? pattern(walk, keyword, value, path)
      : refuse(walk, keyword, path, `it must be a string, not ${show(value)}`),
  patternMap: map(one, pattern),
  word: plain(isWord, "a well-formed string"),
  root: (walk, keyword, value, path) => {
    if (keyword === "$schema") {
      return dialectOf(value) === walk.dialect ? value : refuse(walk, keyword, path, "a schema is of one dialect")
    }
    if (path !== "") return refuse(walk, keyword, path, "an id below the root would move the base of references")
    return isWord(value) && !/#./.test(value)
      ? value
      : refuse(walk, keyword, path, "it must be a URI without a fragment")
  }
}

// What takes more than one keyword of a subschema to say.
const finish = (walk: Walk, node: Node, path: string): void => {
  walk.uniqueItems ||= node["uniqueItems"] === true
  walk.unevaluated ||= "unevaluatedItems" in node || "unevaluatedProperties" in node
  if ("if" in node) walk.conditional ??= path
  if ("$anchor" in node) {
    if (walk.anchors.has(node["$anchor"])) refuse(walk, "$anchor", path, `${show(node["$anchor"])} stands twice`)
    walk.anchors.add(node["$anchor"])
  }
  if (walk.dialect === "draft-07" && "$ref" in node) delete node["$id"]
  if ("dependencies" in node) splitDependencies(walk, node, path)
  if ("contains" in node && "maxContains" in node) node["minContains"] ??= 1
  if (Number.isInteger(node["multipleOf"])) node["type"] = withoutFractions(node["type"])
}

const splitDependencies = (walk: Walk, node: Node, path: string): void => {
  if ("dependentRequired" in node || "dependentSchemas" in node) {
    return refuse(walk, "dependencies", path, "it stands beside dependentRequired or dependentSchemas")
  }
  const required = node["dependentRequired"] = bare()
  const schemas = node["dependentSchemas"] = bare()
  for (const [key, value] of Object.entries(node["dependencies"] as Node)) {
    if (Array.isArray(value)) required[key] = value
    else schemas[key] = value
  }
  delete node["dependencies"]
}

// A multiple of a whole number is a whole number, and `type` compares without tolerance.
const withoutFractions = (type: unknown): unknown => {
  if (type === undefined) return ["null", "boolean", "object", "array", "string", "integer"]
  const whole = (name: unknown): unknown => name === "number" ? "integer" : name
  return Array.isArray(type) ? type.map(whole) : whole(type)
}

/**
 * A copied value with what the validator's bounds need: how many values it holds, and the length of its longest array.
 *
 * @category models
 * @since 0.1.0
 */
export type ValueCopy =
  | { readonly _tag: "Value"; readonly value: unknown; readonly size: number; readonly longest: number }
  | { readonly _tag: "NotJson"; readonly issue: string }

/**
 * Copies a JSON value. Properties that are `undefined` are left out, as in JSON text; anything else that JSON does not know,
 * a cycle among it, is an issue.
 *
 * @category constructors
 * @since 0.1.0
 */
export const copyValue = (value: unknown): ValueCopy => {
  const seen = { size: 0, longest: 0, issue: undefined as string | undefined }
  const copied = copyInto(seen, value, "", 0)
  const { issue, longest, size } = seen
  return issue === undefined ? { _tag: "Value", value: copied, size, longest } : { _tag: "NotJson", issue }
}

// The package takes an object for an array if it has as many keys and each leads to the same in both. An object can match an
// array's items, its `length` and its `__proto__`, so three keys more, which no data has (lone surrogates), keep them apart.
const arrayMarks = { "\ud800": true, "\ud801": true, "\ud802": true }

const copyInto = (
  seen: { size: number; longest: number; issue: string | undefined },
  value: unknown,
  path: string,
  depth: number
): unknown => {
  seen.size++
  if (value === null || typeof value === "string" || typeof value === "boolean") return value
  if (typeof value === "number" && Number.isFinite(value)) return value
  if (typeof value !== "object") {
    seen.issue ??= `${path === "" ? "the value" : path} is ${show(value)}, which JSON does not know`
  } else if (depth >= maxValueDepth) seen.issue ??= `the value is nested deeper than ${maxValueDepth}`
  if (seen.issue !== undefined) return undefined
  if (Array.isArray(value)) {
    seen.longest = Math.max(seen.longest, value.length)
    const out = Array.from(value, (each, i) => copyInto(seen, each, `${path}/${i}`, depth + 1))
    return Object.assign(out, arrayMarks)
  }
  const out = bare()
  for (const [key, each] of Object.entries(value as object)) {
    if (each !== undefined) out[key.toWellFormed()] = copyInto(seen, each, `${path}/${escapePointer(key)}`, depth + 1)
  }
  return out
}

const bare = (): Node => Object.create(null)

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const escapePointer = (key: string): string => key.replaceAll("~", "~0").replaceAll("/", "~1")

const isPattern = (source: string): boolean => {
  try {
    return new RegExp(source, "u") instanceof RegExp
  } catch {
    return false
  }
}

// Unicode mode refuses needless escapes such as `\_` and `\-`, which schemas in the wild are full of.
const explicit = (source: string): string =>
  source.replace(
    /\\([\s\S])/g,
    (escape, char: string) =>
      /[^\w^$\\.*+?()[\]{}|/]|_/.test(char) && char.charCodeAt(0) < 0x80
        ? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`
        : escape
  )

/**
 * A value as text for a message, at most 80 characters.
 *
 * @category formatting
 * @since 0.1.0
 */
export const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 80))
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object"
  return typeof value === "function" || typeof value === "symbol" ? `a ${typeof value}` : String(value)
}
