/**
 * Checks the parameters of a `Tool.dynamic` against the raw JSON Schema it was given; Effect does not. Draft 2020-12 and
 * draft 7, without `$dynamicRef`, remote references, ids below the root, and `format` as an assertion.
 *
 * A schema is compiled once per tool. One that says what would not be enforced is refused then, by keyword and path; nothing
 * is ignored in silence. Pure and total: any schema compiles or is refused, any value is judged, in bounded time.
 */
import { dereference, validate } from "@cfworker/json-schema"
import * as Result from "effect/Result"
import {
  copySchema,
  copyValue,
  type Node,
  type SchemaCopy,
  unsupported,
  type UnsupportedSchema
} from "./jsonSchemaCopy.ts"
import { refuseGraph } from "./jsonSchemaGraph.ts"
import type { Dialect } from "./jsonSchemaKeywords.ts"

/**
 * What is wrong with a value, in one line that names the path of each fault (three at most), as a JSON pointer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Issue {
  readonly issue: string
}

/**
 * Judges one value: `undefined` when it is valid.
 *
 * @category models
 * @since 0.1.0
 */
export type Validate = (value: unknown) => Issue | undefined

// Applications of subschemas one check may cost. Recursive schemas with `anyOf` are exponential in the depth of a hostile
// value; honest ones need a few applications per value.
const visitsPerValue = 200
const visitsAtLeast = 10_000

// The package compares every pair of items.
const maxUniqueItems = 2000

/**
 * Compiles a schema, or says why it cannot be enforced. A schema without `$schema` is read as `assumed`; MCP and OpenAI mean
 * 2020-12.
 *
 * @category constructors
 * @since 0.1.0
 */
export const compile = (schema: unknown, assumed: Dialect = "2020-12"): Result.Result<Validate, UnsupportedSchema> =>
  Result.flatMap(
    Result.try({
      try: () => copySchema(schema, assumed),
      catch: (error) => unsupported("schema", "", `it cannot be read: ${String(error)}`)
    }),
    (copy) => copy._tag === "SchemaCopy" ? link(copy) : Result.fail(copy)
  )

/**
 * The names of a schema's top-level properties, for a message that says what was expected.
 *
 * @category reading
 * @since 0.1.0
 */
export const expectedKeys = (schema: unknown): ReadonlyArray<string> => {
  const properties = typeof schema === "object" && schema !== null ? Object.entries(schema) : []
  const value: unknown = properties.find(([key]) => key === "properties")?.[1]
  return typeof value === "object" && value !== null ? Object.keys(value) : []
}

// Resolves the references of a copy, and refuses those that lead nowhere or back to their own value.
const link = (copy: SchemaCopy): Result.Result<Validate, UnsupportedSchema> => {
  const budget = { left: Infinity }
  for (const node of copy.nodes.keys()) meter(node, budget)
  return Result.flatMap(
    Result.try({
      try: () => dereference(copy.root),
      catch: (error) => unsupported("$ref", "", `its references cannot be resolved: ${String(error)}`)
    }),
    (lookup) => {
      const refusal = refuseGraph(copy, lookup)
      return refusal === undefined ? Result.succeed(judge(copy, lookup, budget)) : Result.fail(refusal)
    }
  )
}

type Lookup = ReturnType<typeof dereference>

// The package reads this keyword of every subschema it applies, and has no bound of its own.
const meter = (node: Node, budget: { left: number }): void => {
  Object.defineProperty(node, "$recursiveRef", {
    enumerable: false,
    get: () => {
      if (budget.left-- <= 0) throw new RangeError("budget spent")
      return undefined
    }
  })
}

const judge = (copy: SchemaCopy, lookup: Lookup, budget: { left: number }): Validate => (value) => {
  const copied = copyValue(value)
  if (copied._tag === "NotJson") return { issue: copied.issue }
  if (copy.uniqueItems && copied.longest > maxUniqueItems) {
    return {
      issue:
        `an array of ${copied.longest} items is longer than the ${maxUniqueItems} that are compared for uniqueItems`
    }
  }
  budget.left = visitsAtLeast + visitsPerValue * copied.size
  const outcome = Result.try(() =>
    validate(copied.value, copy.root, copy.dialect === "draft-07" ? "7" : "2020-12", lookup)
  )
  if (Result.isFailure(outcome)) {
    return { issue: "the value is too deep or too ambiguous to be checked against its schema" }
  }
  return outcome.success.valid ? undefined : { issue: describe(outcome.success.errors) }
}

type Fault = ReturnType<typeof validate>["errors"][number]

// The package lists a fault before the faults that caused it; only the causes are worth reading. The text behind "is
// `false`" stands in the fault before it.
const describe = (errors: ReadonlyArray<Fault>): string => {
  const causes = errors.filter((error, i) =>
    error.keyword !== "false" && errors[i + 1]?.keywordLocation.startsWith(`${error.keywordLocation}/`) !== true
  )
  const lines = (causes.length > 0 ? causes : errors).slice(0, 3).map(line)
  return [...new Set(lines)].join("; ")
}

const line = (error: Fault): string => {
  const path = decodeURI(error.instanceLocation.slice(1))
  const text = error.error.replace(/\.$/, "")
  return `${path === "" ? "the value" : path}: ${text.length > 300 ? `${text.slice(0, 300)}...` : text}`
}
