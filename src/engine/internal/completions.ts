/**
 * The `completion` option, checked and read once a run: which tool is in which group, and that group's policy in plain numbers.
 */
import type * as Tool from "effect/ai/Tool"
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import { nearNames } from "../../domain/ToolCall.ts"
import * as ToolPolicy from "../../domain/ToolPolicy.ts"
import type { Completion, Completions } from "../Branch.ts"

/** A group and how it is completed. */
export interface GroupPolicy {
  readonly name: string
  readonly policy: Completion
  readonly timeoutMillis: number | undefined
  readonly withinMillis: number | undefined
}

/** The group of each tool that is in one. */
export type GroupsByTool = ReadonlyMap<string, GroupPolicy>

/** Reads the option, or says what is wrong with it. */
export const resolve = (
  completion: Completions,
  tools: Readonly<Record<string, Tool.Any>>
): Result.Result<GroupsByTool, string> => {
  if (typeof completion !== "object" || completion === null) {
    return Result.fail("it is not an object of policies by group")
  }
  const groups = new Map<string, GroupPolicy>()
  for (const [name, given] of Object.entries(completion)) {
    const isPolicy = typeof given === "object" && given !== null && "_tag" in given
    const policy: Completion | undefined = isPolicy ? given : given?.policy
    if (policy === undefined) return Result.fail(`group "${name}" has no policy`)
    const members = isPolicy ? annotated(tools, name) : given.tools
    if (members.length === 0) return Result.fail(isPolicy ? unknownGroup(tools, name) : `group "${name}" has no tools`)
    const group: GroupPolicy = {
      name,
      policy,
      timeoutMillis: policy.timeout === undefined ? undefined : Duration.toMillis(policy.timeout),
      withinMillis: policy.within === undefined ? undefined : Duration.toMillis(policy.within)
    }
    for (const member of members) {
      const issue = misfit(group, member, tools, groups.get(member))
      if (issue !== undefined) return Result.fail(issue)
      groups.set(member, group)
    }
  }
  return Result.succeed(groups)
}

const annotated = (tools: Readonly<Record<string, Tool.Any>>, group: string): ReadonlyArray<string> =>
  Object.entries(tools).flatMap(([name, tool]) => ToolPolicy.read(tool).group === group ? [name] : [])

const unknownGroup = (tools: Readonly<Record<string, Tool.Any>>, name: string): string => {
  const groups = [...new Set(Object.values(tools).flatMap((tool) => ToolPolicy.read(tool).group ?? []))]
  return `no tool is annotated with the group "${name}"${nearest(name, groups)}; groups: ${
    groups.length === 0 ? "none" : groups.join(", ")
  }`
}

const nearest = (name: string, names: ReadonlyArray<string>): string => {
  const near = nearNames(name, names)
  return near.length === 0 ? "" : `, did you mean ${near.join(" or ")}?`
}

const misfit = (
  group: GroupPolicy,
  member: string,
  tools: Readonly<Record<string, Tool.Any>>,
  other: GroupPolicy | undefined
): string | undefined => {
  const tool = Object.hasOwn(tools, member) ? tools[member] : undefined
  if (tool === undefined) {
    const names = Object.keys(tools)
    return `group "${group.name}": there is no tool "${member}"${nearest(member, names)}; tools: ${names.join(", ")}`
  }
  if (other !== undefined && other !== group) {
    return `tool "${member}" is in two groups, "${other.name}" and "${group.name}"`
  }
  const { score } = group.policy
  return typeof score === "string" ? unscored(group, member, score, tool) : undefined
}

const unscored = (group: GroupPolicy, member: string, field: string, tool: Tool.Any): string | undefined => {
  const known = fieldsOf(Schema.toType(tool.successSchema).ast)
  if (known === undefined) return undefined
  const about = `group "${group.name}" scores by the field "${field}"`
  const type = known.get(field)
  return type === undefined
    ? `${about}, which results of tool "${member}" do not have; fields: ${
      known.size === 0 ? "none" : [...known.keys()].join(", ")
    }`
    : isNoNumber(type)
    ? `${about}, which is no number in results of tool "${member}"`
    : undefined
}

// What a result can never have is refused here; where the schema leaves it open (a class, `Schema.Unknown`), each result is
// looked at.
const fieldsOf = (ast: SchemaAST.AST): ReadonlyMap<string, SchemaAST.AST> | undefined => {
  switch (ast._tag) {
    case "Objects":
      return ast.indexSignatures.length > 0
        ? undefined
        : new Map(ast.propertySignatures.map(({ name, type }) => [String(name), type]))
    case "String":
    case "Number":
    case "Boolean":
    case "BigInt":
    case "Symbol":
    case "Null":
    case "Undefined":
    case "Void":
    case "Literal":
    case "TemplateLiteral":
    case "Arrays":
      return new Map()
    default:
      return undefined
  }
}

const isNoNumber = (ast: SchemaAST.AST): boolean => {
  switch (ast._tag) {
    case "Union":
      return ast.types.every(isNoNumber)
    case "Literal":
      return typeof ast.literal !== "number"
    case "Number":
    case "Enum":
    case "Unknown":
    case "Any":
    case "Suspend":
    case "Declaration":
      return false
    default:
      return true
  }
}

/** A policy in words, for the report: `best(keep 2, enough 9) within 2000 ms`. */
export const textOf = ({ policy: { _tag, count, enough }, withinMillis }: GroupPolicy, size: number): string => {
  const short = _tag !== "All" && size < count ? ` of ${size}` : ""
  const until = withinMillis === undefined ? "" : ` within ${withinMillis} ms`
  switch (_tag) {
    case "All":
      return `all${until}`
    case "Best":
      return `best(keep ${count}${enough === undefined ? "" : `, enough ${enough}`})${short}${until}`
    case "First":
      return `first(${count})${short}${until}`
    case "Quorum":
      return `quorum(${count})${short}${until}`
  }
}
