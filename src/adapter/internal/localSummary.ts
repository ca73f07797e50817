/**
 * The planner's answer: a table of what the tools returned, composed from templates. It quotes and counts; it adds no
 * prose.
 */
import { describe } from "../../domain/ToolFailure.ts"
import type { Unfilled } from "./localPlan.ts"
import type { Answer } from "./localResult.ts"

/** Results of one tool are quoted one by one up to this many, and counted above it. */
export const maxQuoted = 6

export const summarise = (
  answers: ReadonlyArray<Answer>,
  unfilled: ReadonlyArray<Unfilled>,
  tools: ReadonlyArray<string>
): string => {
  const groups = Map.groupBy(answers, (answer) => answer.name)
  const lines = [...groups].flatMap(([name, group]) => describeGroup(name, group))
  const answered = new Set(groups.keys())
  const open = unfilled.filter(({ tool }) => !answered.has(tool))
    .map(({ tool, slots }) => `${tool} was not called: the request gives no value for ${slots.join(", ")}.`)
  if (lines.length + open.length > 0) return [...lines, ...new Set(open)].join("\n")
  return tools.length === 0 ? "No tool is offered." : `No offered tool fits this request. Offered: ${tools.join(", ")}.`
}

const describeGroup = (name: string, group: ReadonlyArray<Answer>): ReadonlyArray<string> => {
  const failed = group.filter((answer) => answer.isFailure)
  const succeeded = group.filter((answer) => !answer.isFailure)
  const counts = group.length === 1
    ? ""
    : ` (${group.length} calls${failed.length > 0 ? `, ${failed.length} failed` : ""})`
  const body = succeeded.length > maxQuoted
    ? totals(succeeded)
    : succeeded.map((answer) => `  ${label(answer)}${show(answer.result)}`)
  const failures = failed.slice(0, 3).map((answer) => `  ${label(answer)}failed: ${failure(answer.result)}`)
  const more = failed.length > 3 ? [`  and ${failed.length - 3} more failures`] : []
  return [`${name}${counts}:`, ...body, ...failures, ...more]
}

const label = (answer: Answer): string => {
  const values = entries(answer.params).map(([key, value]) =>
    typeof value === "string" ? compact(value, 60) : `${key} ${compact(value, 60)}`
  )
  return values.length === 0 ? "" : `${values.join(", ")}: `
}

const failure = (result: unknown): string => {
  const message = entries(result).find(([key]) => key === "message")?.[1]
  return typeof message === "string" ? line(message, 200) : compact(result, 200)
}

const entries = (value: unknown): ReadonlyArray<readonly [string, unknown]> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : []

const line = (text: string, length: number): string => {
  const flat = text.replace(/\s+/g, " ").trim()
  return flat.length <= length ? flat : `${flat.slice(0, length - 1)}…`
}

const compact = (value: unknown, length: number): string => {
  if (typeof value === "string") return line(value, length)
  if (Array.isArray(value)) return line(listed(value), length)
  if (typeof value === "object" && value !== null) {
    return line(entries(value).map(([key, item]) => `${key} ${compact(item, 120)}`).join(", "), length)
  }
  return describe(value)
}

const listed = (items: ReadonlyArray<unknown>): string =>
  items.length === 0
    ? "none"
    : `${items.length}: ${items.slice(0, 5).map((item) => compact(item, 60)).join("; ")}${
      items.length > 5 ? "; …" : ""
    }`

const show = (result: unknown): string => compact(result, 400)

// Sums, and where each number is largest: what many results of one shape have in common.
const totals = (answers: ReadonlyArray<Answer>): ReadonlyArray<string> => {
  const fields = new Map<string, { sum: number; count: number; most: number; at: string }>()
  for (const answer of answers) {
    for (const [key, value] of entries(answer.result)) {
      const amount = typeof value === "number" ? value : Array.isArray(value) ? value.length : undefined
      if (amount === undefined || !Number.isFinite(amount)) continue
      const field = fields.get(key) ?? { sum: 0, count: 0, most: Number.NEGATIVE_INFINITY, at: "" }
      if (amount > field.most) Object.assign(field, { most: amount, at: label(answer).slice(0, -2) })
      fields.set(key, { ...field, sum: field.sum + amount, count: field.count + 1 })
    }
  }
  const rows = [...fields].filter(([, field]) => field.count > 1)
    .map(([key, field]) =>
      `  ${key}: ${number(field.sum)} in all, at most ${number(field.most)}${
        field.at === "" || field.most === 0 ? "" : ` (${field.at})`
      }`
    )
  return rows.length > 0 ? rows : [`  ${answers.length} results`]
}

const number = (value: number): string =>
  Number.isInteger(value) ? String(value) : String(Math.round(value * 1000) / 1000)
