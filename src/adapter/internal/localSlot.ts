/**
 * A tool's parameters as slots: what kind of value each one wants, read from its JSON schema (type, format, enum), its
 * name and its description, in that order of trust.
 */
import { stem, wordsOf } from "./localWords.ts"

export type SlotKind =
  | "choice"
  | "flag"
  | "number"
  | "date"
  | "time"
  | "url"
  | "email"
  | "currency"
  | "ticker"
  | "glob"
  | "extension"
  | "file"
  | "directory"
  | "identifier"
  | "language"
  | "place"
  | "name"
  | "text"
  | "any"
  | "object"

export interface Slot {
  readonly name: string
  readonly words: ReadonlyArray<string>
  readonly description: string
  readonly kind: SlotKind
  readonly required: boolean
  readonly integer: boolean
  readonly many: boolean
  readonly choices: ReadonlyArray<unknown>
  readonly minimum: number | undefined
  readonly maximum: number | undefined
  readonly slots: ReadonlyArray<Slot>
}

type Json = { readonly [key: string]: unknown }

const record = (value: unknown): Json =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value as Json : {}
const array = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []
const text = (value: unknown): string => typeof value === "string" ? value : ""
const finite = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined

/** The slots of an object schema, required ones first; at most two levels deep. */
export const slotsOf = (schema: unknown, depth = 0): ReadonlyArray<Slot> => {
  const root = record(schema)
  const required = new Set(array(root["required"]))
  return Object.entries(record(root["properties"]))
    .map(([name, property]) => slot(name, resolve(property, record(root["$defs"])), required.has(name), depth))
    .sort((a, b) => Number(b.required) - Number(a.required))
}

// Local references, and the one real branch of `X | null`.
const resolve = (schema: unknown, definitions: Json): Json => {
  let node = record(schema)
  for (let i = 0; i < 8; i++) {
    const reference = text(node["$ref"])
    const branches = array(node["anyOf"] ?? node["oneOf"]).map(record).filter((branch) => branch["type"] !== "null")
    const all = array(node["allOf"]).map(record)
    if (reference.startsWith("#/$defs/")) {
      node = { ...node, ...record(definitions[reference.slice(8)]), $ref: undefined }
    } else if (branches.length > 0) node = { ...node, ...branches[0], anyOf: undefined, oneOf: undefined }
    else if (all.length > 0) node = { ...Object.assign({}, ...all), ...node, allOf: undefined }
    else break
  }
  return node
}

const slot = (name: string, schema: Json, required: boolean, depth: number): Slot => {
  const many = typeOf(schema) === "array"
  const item = many ? resolve(schema["items"], {}) : schema
  const description = text(schema["description"]) || text(item["description"])
  const choices = item["const"] !== undefined ? [item["const"]] : array(item["enum"])
  const kind = kindOf(name, item, description, choices)
  return {
    name,
    words: wordsOf(name),
    description,
    kind,
    required,
    integer: typeOf(item) === "integer",
    many,
    choices,
    minimum: finite(item["minimum"] ?? item["exclusiveMinimum"]),
    maximum: finite(item["maximum"] ?? item["exclusiveMaximum"]),
    slots: kind === "object" && depth < 2 ? slotsOf(item, depth + 1) : []
  }
}

const typeOf = (schema: Json): string => {
  const type = Array.isArray(schema["type"]) ? schema["type"].find((candidate) => candidate !== "null") : schema["type"]
  return text(type)
}

const kindOf = (name: string, schema: Json, description: string, choices: ReadonlyArray<unknown>): SlotKind => {
  if (choices.length > 0) return "choice"
  const type = typeOf(schema)
  if (type === "boolean") return "flag"
  if (type === "number" || type === "integer") return "number"
  if (type === "object") return "object"
  const format = text(schema["format"])
  if (formats.has(format)) return formats.get(format)!
  return kindOfWords(wordsOf(name), description)
}

const formats: ReadonlyMap<string, SlotKind> = new Map<string, SlotKind>([
  ["uri", "url"],
  ["url", "url"],
  ["email", "email"],
  ["date", "date"],
  ["date-time", "date"],
  ["time", "time"]
])

// The first row whose word stands last in the name wins, then any word of the name, then the description's opening
// words.
const kinds: ReadonlyArray<readonly [kind: SlotKind, words: string]> = [
  ["glob", "glob globs wildcard"],
  ["extension", "extension extensions ext suffix"],
  ["directory", "directory dir folder root cwd"],
  ["file", "file files filename filepath path paths filenames"],
  ["url", "url uri link href website site webpage page endpoint"],
  ["email", "email mail recipient to_email"],
  ["date", "date day deadline checkin checkout birthday when"],
  ["time", "time hour"],
  ["currency", "currency currencies"],
  ["ticker", "ticker stock"],
  ["language", "language languages lang"],
  [
    "place",
    "city cities location place country countries destination origin town region address airport state capital area venue station"
  ],
  [
    "text",
    "query search text term terms keyword keywords pattern regex needle phrase topic subject question message content body title note word words expression sentence string summary"
  ],
  [
    "name",
    "name person user author contact attendee customer employee guest people names username assignee owner artist"
  ],
  [
    "identifier",
    "id ids identifier sku order code number hash sha commit function class method variable key issue ticket reference symbol ref branch tag package"
  ]
]

const kindOfWords = (words: ReadonlyArray<string>, description: string): SlotKind => {
  const about = wordsOf(description).slice(0, 8)
  if (words.includes("symbol") && about.some((word) => word === "stock" || word === "ticker")) return "ticker"
  if (about.includes("currency") && !about.includes("amount")) return "currency"
  const find = (candidates: ReadonlyArray<string>): SlotKind | undefined =>
    kinds.find(([, list]) => candidates.some((word) => list.split(" ").includes(word)))?.[0]
  const last = words.at(-1)
  return (last === undefined ? undefined : find([last])) ?? find(words) ?? find(about) ?? "any"
}

/** The stems of what a slot is called and described as, for matching the words around a value. */
export const slotStems = (slot: Slot): ReadonlySet<string> =>
  new Set([...slot.words, ...wordsOf(slot.description)].filter((word) => word.length > 2).map(stem))
