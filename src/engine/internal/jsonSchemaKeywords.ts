/**
 * The keywords of JSON Schema, per dialect, with the shape each one's value must have. Tables only: the copy
 * (`jsonSchemaCopy.ts`) reads them. A keyword in no table is an annotation and is dropped, as the specification asks.
 *
 * `format`, `contentEncoding`, `contentMediaType` are annotations in both dialects. Source: JSON Schema Validation 2020-12
 * sections 7.2 and 8.2, draft 7 section 7.2.
 */

/**
 * The dialects that are enforced.
 *
 * @category models
 * @since 0.1.0
 */
export type Dialect = "2020-12" | "draft-07"

/**
 * What a keyword's value must be.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind =
  | "schema"
  | "schemas"
  | "schemaMap"
  | "items"
  | "dependencies"
  | "values"
  | "value"
  | "number"
  | "factor"
  | "count"
  | "flag"
  | "names"
  | "nameMap"
  | "type"
  | "pattern"
  | "patternMap"
  | "word"
  | "root"

const common: Record<string, Kind> = {
  $schema: "root",
  $id: "root",
  $ref: "word",
  $defs: "schemaMap",
  definitions: "schemaMap",
  type: "type",
  const: "value",
  enum: "values",
  multipleOf: "factor",
  minimum: "number",
  maximum: "number",
  exclusiveMinimum: "number",
  exclusiveMaximum: "number",
  minLength: "count",
  maxLength: "count",
  pattern: "pattern",
  minItems: "count",
  maxItems: "count",
  uniqueItems: "flag",
  contains: "schema",
  items: "items",
  minProperties: "count",
  maxProperties: "count",
  required: "names",
  properties: "schemaMap",
  patternProperties: "patternMap",
  additionalProperties: "schema",
  propertyNames: "schema",
  dependencies: "dependencies",
  if: "schema",
  then: "schema",
  else: "schema",
  allOf: "schemas",
  anyOf: "schemas",
  oneOf: "schemas",
  not: "schema"
}

/**
 * The keywords enforced in each dialect. `dependencies` is enforced in 2020-12 too, where it is a compatibility keyword.
 *
 * @category tables
 * @since 0.1.0
 */
export const keywords: Record<Dialect, ReadonlyMap<string, Kind>> = {
  "2020-12": new Map<string, Kind>([
    ...Object.entries(common),
    ["$anchor", "word"],
    ["prefixItems", "schemas"],
    ["minContains", "count"],
    ["maxContains", "count"],
    ["dependentRequired", "nameMap"],
    ["dependentSchemas", "schemaMap"],
    ["unevaluatedItems", "schema"],
    ["unevaluatedProperties", "schema"]
  ]),
  "draft-07": new Map<string, Kind>([...Object.entries(common), ["additionalItems", "schema"]])
}

const recursive = "recursive references of draft 2019-09 are not resolved; use $ref"
const unknownToDraft7 = "draft 7 does not know it; declare draft 2020-12 with $schema"

/**
 * Keywords that assert something in another dialect or vocabulary, and why they are refused where the schema's own table
 * does not have them. Dropping them would let through what the author meant to forbid.
 *
 * @category tables
 * @since 0.1.0
 */
export const foreign: ReadonlyMap<string, string> = new Map([
  ["$dynamicRef", "dynamic references are not resolved; use $ref"],
  ["$dynamicAnchor", "dynamic references are not resolved; use $anchor"],
  ["$recursiveRef", recursive],
  ["$recursiveAnchor", recursive],
  ["$vocabulary", "it belongs in a meta-schema"],
  ["$anchor", unknownToDraft7],
  ["prefixItems", unknownToDraft7],
  ["minContains", unknownToDraft7],
  ["maxContains", unknownToDraft7],
  ["dependentRequired", unknownToDraft7],
  ["dependentSchemas", unknownToDraft7],
  ["unevaluatedItems", unknownToDraft7],
  ["unevaluatedProperties", unknownToDraft7],
  ["additionalItems", "draft 2020-12 does not know it; use prefixItems and items"],
  ["divisibleBy", "it is of draft 3; use multipleOf"],
  ["disallow", "it is of draft 3; use not"],
  ["extends", "it is of draft 3; use allOf"],
  ["nullable", "it is of OpenAPI 3.0; put \"null\" in type"],
  ["discriminator", "it is of OpenAPI 3.0; use oneOf with a const in each branch"]
])

const dialects: ReadonlyMap<string, Dialect> = new Map([
  ["https://json-schema.org/draft/2020-12/schema", "2020-12"],
  ["http://json-schema.org/draft-07/schema", "draft-07"],
  ["https://json-schema.org/draft-07/schema", "draft-07"]
])

/**
 * The dialect a `$schema` names, where it is one we enforce.
 *
 * @category tables
 * @since 0.1.0
 */
export const dialectOf = (declared: unknown): Dialect | undefined =>
  typeof declared === "string" ? dialects.get(declared.replace(/#$/, "")) : undefined

const types: ReadonlySet<unknown> = new Set(["null", "boolean", "object", "array", "number", "integer", "string"])

/**
 * Whether a value may stand behind `type`.
 *
 * @category tables
 * @since 0.1.0
 */
export const isType = (value: unknown): boolean =>
  Array.isArray(value) ? value.length > 0 && value.every((each) => types.has(each)) : types.has(value)
