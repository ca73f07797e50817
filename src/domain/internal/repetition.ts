/** What is wrong with a tool's `Retry` or `Hedge` options: checked as data, so that a mistake dies where the tool is first used. */
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"

/** An option that makes no sense. `name` is empty for the annotation as a whole. */
export interface Issue {
  readonly name: string
  readonly value: unknown
  readonly wanted: string
}

type Check = readonly [wanted: string, holds: (value: unknown) => boolean]

const millisOf = (value: unknown): number => {
  if (Number.isNaN(value)) return Number.NaN
  const duration = Duration.fromInput(value as Duration.Input)
  return duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
}

const count: Check = ["an integer of at least 1", (value) => Number.isSafeInteger(value) && (value as number) >= 1]
const delay: Check = ["a finite duration of at least 0", (value) => {
  const millis = millisOf(value)
  return millis >= 0 && millis !== Infinity
}]

const retryChecks: Readonly<Record<string, Check>> = {
  attempts: count,
  base: delay,
  factor: ["a finite number of at least 1", (value) => Number.isFinite(value) && (value as number) >= 1],
  maxDelay: delay,
  schedule: ["a Schedule", Schedule.isSchedule],
  maxRetryAfter: ["a duration of at least 0", (value) => millisOf(value) >= 0],
  while: ["a function", (value) => typeof value === "function"]
}

const hedgeChecks: Readonly<Record<string, Check>> = {
  after: ["a finite duration above 0", (value) => {
    const millis = millisOf(value)
    return millis > 0 && millis !== Infinity
  }],
  max: count,
  budget: [
    "a number above 0 and at most 1",
    (value) => typeof value === "number" && value > 0 && value <= 1
  ]
}

const repeatable =
  "left out, or the tool annotated Tool.Readonly or Tool.Idempotent: any other call starts at most once"

/** The first issue of a tool's `Retry`; `options` as the tool has them. */
export const issueOfRetry = (options: unknown, isRepeatable: boolean): Issue | undefined =>
  options === undefined || options === false
    ? undefined
    : issueOf(options, isRepeatable, retryChecks) ?? scheduleBeside(options as Readonly<Record<string, unknown>>)

/** The first issue of a tool's `Hedge`. */
export const issueOfHedge = (options: unknown, isRepeatable: boolean): Issue | undefined =>
  options === undefined ? undefined : issueOf(options, isRepeatable, hedgeChecks)

const issueOf = (
  options: unknown,
  isRepeatable: boolean,
  checks: Readonly<Record<string, Check>>
): Issue | undefined => {
  if (typeof options !== "object" || options === null) {
    return { name: "", value: options, wanted: "an object of options" }
  }
  if (!isRepeatable) return { name: "", value: "given", wanted: repeatable }
  const names = Object.keys(checks)
  for (const [name, value] of Object.entries(options)) {
    // A misspelt option would silently not hold.
    if (!Object.hasOwn(checks, name)) return { name, value: "given", wanted: `one of ${names.join(", ")}` }
    const [wanted, holds] = checks[name]!
    if (value !== undefined && !holds(value)) return { name, value, wanted }
  }
  return undefined
}

const scheduleBeside = (options: Readonly<Record<string, unknown>>): Issue | undefined =>
  options["schedule"] !== undefined && ["base", "factor", "maxDelay"].some((name) => options[name] !== undefined)
    ? { name: "schedule", value: "given beside base, factor or maxDelay", wanted: "given alone" }
    : undefined
