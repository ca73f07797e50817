/**
 * A copied schema as a graph: which subschemas are applied to one and the same value, through `$ref` too. References that
 * lead nowhere are refused, and those that lead back to their own value, which would never end.
 *
 * So is `unevaluatedProperties` (or `Items`) where `@cfworker/json-schema` 4.1.1 would let it see what a neighbour has
 * evaluated: it hands one record of evaluated names to `$ref`, then to `allOf`, `anyOf` and `oneOf`, then to each of
 * `dependentSchemas`, and each begins with what the ones before have left.
 */
import { type Node, type SchemaCopy, show, unsupported, type UnsupportedSchema } from "./jsonSchemaCopy.ts"

type Targets = Readonly<Record<string, unknown>>

/**
 * Why a copy cannot be enforced, or `undefined`. `targets` are the package's subschemas by absolute URI.
 *
 * @category errors
 * @since 0.1.0
 */
export const refuseGraph = (copy: SchemaCopy, targets: Targets): UnsupportedSchema | undefined => {
  const groups = (node: Node): Groups => groupsOf(copy, node, targets)
  return deadReference(copy, targets) ?? loop(copy, groups) ?? sharedEvaluation(copy, groups)
}

// Subschemas applied to the value a subschema is itself applied to, in the package's order; those of one group do not see
// each other's evaluated names. `blind` ones begin with none, and leave none.
interface Groups {
  readonly ordered: ReadonlyArray<ReadonlyArray<Node>>
  readonly blind: ReadonlyArray<Node>
}

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null

const groupsOf = (copy: SchemaCopy, node: Node, targets: Targets): Groups => {
  const reference = [target(node, targets)].filter(isNode)
  if (copy.dialect === "draft-07" && node["$ref"] !== undefined) return { ordered: [reference], blind: [] }
  const under = (...keywords: ReadonlyArray<string>): ReadonlyArray<Node> =>
    keywords.flatMap((keyword) => node[keyword]).filter(isNode)
  const dependent = Object.values(node["dependentSchemas"] ?? {}).filter(isNode).map((each) => [each])
  const ordered = [reference, under("anyOf", "allOf", "oneOf"), under("if"), under("then", "else"), ...dependent]
  return { ordered: ordered.filter((group) => group.length > 0), blind: under("not") }
}

// `dereference` leaves the absolute URI in a property that is not enumerable.
const target = (node: Node, targets: Targets): unknown => {
  const uri = node["__absolute_ref__"]
  return typeof uri === "string" ? targets[uri] : undefined
}

const deadReference = (copy: SchemaCopy, targets: Targets): UnsupportedSchema | undefined => {
  for (const [node, path] of copy.nodes) {
    if (node["$ref"] === undefined) continue
    const found = target(node, targets)
    if (typeof found !== "boolean" && !copy.nodes.has(found as Node)) {
      return unsupported("$ref", path, `${show(node["$ref"])} is not a subschema of this schema; nothing is fetched`)
    }
  }
  return undefined
}

// Depth-first without recursion; a node is entered once and left once.
const loop = (copy: SchemaCopy, groups: (node: Node) => Groups): UnsupportedSchema | undefined => {
  const state = new Map<Node, "open" | "done">()
  const stack = [...copy.nodes.keys()]
  for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
    if (state.get(node) !== undefined) {
      state.set(node, "done")
      stack.pop()
      continue
    }
    state.set(node, "open")
    const { blind, ordered } = groups(node)
    for (const next of [...ordered.flat(), ...blind]) {
      if (state.get(next) === undefined) stack.push(next)
      else if (state.get(next) === "open") {
        const path = copy.nodes.get(node["$ref"] === undefined ? next : node) ?? ""
        return unsupported("$ref", path, "it leads back to itself on the same value")
      }
    }
  }
  return undefined
}

// Refuses a subschema with an unevaluated keyword behind a later group than the first. Only called on graphs without loops.
const sharedEvaluation = (copy: SchemaCopy, groups: (node: Node) => Groups): UnsupportedSchema | undefined => {
  const known = new Map<Node, Node | undefined>()
  const culprit = (node: Node): Node | undefined => {
    if (known.has(node)) return known.get(node)
    const own = keywordOf(node) === undefined ? undefined : node
    const found = own ?? groups(node).ordered.flat().map(culprit).find((each) => each !== undefined)
    known.set(node, found)
    return found
  }
  for (const node of copy.nodes.keys()) {
    const found = groups(node).ordered.slice(1).flat().map(culprit).find((each) => each !== undefined)
    if (found === undefined) continue
    const why = `it would see what a neighbour at "#${copy.nodes.get(node)}" has evaluated`
    return unsupported(keywordOf(found) ?? "", copy.nodes.get(found) ?? "", why)
  }
  return undefined
}

const keywordOf = (node: Node): string | undefined =>
  ["unevaluatedProperties", "unevaluatedItems"].find((keyword) => node[keyword] !== undefined)
