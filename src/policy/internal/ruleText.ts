/**
 * Rules as text, for deployers and for people: `500 calls / 1 minute sliding, 200000 tokens / 1 minute bucket, 10 at once`.
 *
 * - `<count> calls|tokens / <duration> sliding|fixed|bucket`; the unit may be left out (calls), and so may the kind (sliding).
 * - `... bucket of <capacity>`: bursts of more or less than is refilled in that time.
 * - `<count> at once`, and `<count> at once, lease <duration>` as `<count> at once lease <duration>`.
 *
 * Rules are separated by commas. What is written by {@link formatRule} is read again as the same rule.
 */
import * as Result from "effect/Result"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket, type Unit } from "./rule.ts"

const units: ReadonlyArray<readonly [millis: number, names: ReadonlyArray<string>]> = [
  [86_400_000, ["day", "days", "d"]],
  [3_600_000, ["hour", "hours", "h"]],
  [60_000, ["minute", "minutes", "min", "m"]],
  [1000, ["second", "seconds", "sec", "s"]],
  [1, ["milli", "millis", "ms"]]
]

const number = "\\d[\\d_]*(?:\\.\\d+)?"
const duration = `(?:(${number}) *)?([a-z]+)`
const atOnce = new RegExp(`^(${number}) at once(?: lease ${duration})?$`)
const perTime = new RegExp(
  `^(${number})(?: *(calls?|requests?|tokens?))? *(?:/|per) *${duration}(?: (sliding|fixed|bucket(?: of (${number}))?))?$`
)
const example = `write it as "500 calls / 1 minute sliding", "200000 tokens / 1 minute bucket" or "10 at once"`

/** The rules of a text; a failure says which part is wrong, and why. */
export const parseRules = (text: string): Result.Result<ReadonlyArray<Rule>, string> => {
  const rules: Array<Rule> = []
  for (const part of text.split(",")) {
    const rule = parseRule(part)
    if (Result.isFailure(rule)) return Result.fail(rule.failure)
    rules.push(rule.success)
  }
  return Result.succeed(rules)
}

/** One rule. */
export const parseRule = (text: string): Result.Result<Rule, string> => {
  const line = text.trim().replaceAll(/\s+/g, " ").toLowerCase()
  const fail = (why: string) => Result.fail(`${shown(text)}: ${why}`)
  const held = atOnce.exec(line)
  if (held !== null) return parsePermits(held, fail)
  const timed = perTime.exec(line)
  return timed === null ? fail(`this is no rule; ${example}`) : parseTimed(timed, fail)
}

type Fail = (why: string) => Result.Result<never, string>

const parsePermits = ([, count, amount, unit]: ReadonlyArray<string | undefined>, fail: Fail) => {
  const places = integer(count!)
  if (places === undefined) return fail(`${count} must be an integer of at least 1`)
  if (unit === undefined) return Result.succeed(permits(places))
  const lease = millis(amount, unit)
  return typeof lease === "string" ? fail(lease) : Result.succeed(permits(places, { lease }))
}

const parseTimed = (
  [, count, named, amount, timeUnit, kind = "sliding", burst]: ReadonlyArray<string | undefined>,
  fail: Fail
) => {
  const unit: Unit = named?.startsWith("token") === true ? "tokens" : "calls"
  const window = millis(amount, timeUnit!)
  if (typeof window === "string") return fail(window)
  const limit = integer(count!)
  if (kind.startsWith("bucket")) {
    const refill = positive(count!)
    if (refill === undefined) return fail(`${count} must be above 0`)
    const capacity = burst === undefined ? limit : integer(burst)
    if (capacity !== undefined) return Result.succeed(tokenBucket({ capacity, refill, every: window, unit }))
    return fail(
      burst === undefined
        ? `a bucket of ${count} needs a whole number to hold: write "bucket of 1"`
        : `a bucket of ${burst}: it must be an integer of at least 1`
    )
  }
  if (limit === undefined) return fail(`${count} must be an integer of at least 1`)
  return Result.succeed((kind === "fixed" ? fixedWindow : slidingWindow)({ limit, window, unit }))
}

const positive = (text: string): number | undefined => {
  const value = Number(text.replaceAll("_", ""))
  return Number.isFinite(value) && value > 0 ? value : undefined
}

const integer = (text: string): number | undefined => {
  const value = positive(text)
  return value !== undefined && Number.isSafeInteger(value) ? value : undefined
}

const millis = (amount: string | undefined, unit: string): number | string => {
  const known = units.find(([, names]) => names.includes(unit))
  if (known === undefined) return `"${unit}" is no unit of time; use days, hours, minutes, seconds or millis`
  const count = amount === undefined ? 1 : positive(amount)
  return count === undefined || !Number.isFinite(count * known[0])
    ? `${amount} ${unit} must be above 0`
    : count * known[0]
}

const shown = (text: string): string => {
  const line = JSON.stringify(text.trim())
  return line.length > 80 ? `${line.slice(0, 77)}..."` : line
}

/** The rule as text. */
export const formatRule = (rule: Rule): string => {
  switch (rule._tag) {
    case "TokenBucket": {
      const burst = rule.capacity === rule.refill ? "" : ` of ${rule.capacity}`
      return `${timed(rule.refill, rule.unit, rule.everyMillis)} bucket${burst}`
    }
    case "SlidingWindow":
      return `${timed(rule.limit, rule.unit, rule.windowMillis)} sliding`
    case "FixedWindow":
      return `${timed(rule.limit, rule.unit, rule.windowMillis)} fixed`
    case "Permits":
      return `${rule.permits} at once${rule.leaseMillis === 30_000 ? "" : ` lease ${formatMillis(rule.leaseMillis)}`}`
    case "Adaptive":
      return "its own pace"
  }
}

const timed = (count: number, unit: Unit, millis: number): string => {
  const text = plain(count)
  return `${text} ${count === 1 ? unit.slice(0, -1) : unit} / ${formatMillis(millis)}`
}

/** A duration in its largest whole unit: `90 seconds`, `1 hour`. */
export const formatMillis = (millis: number): string => {
  const [size, names] = units.find(([size]) => millis % size === 0) ?? units.at(-1)!
  const count = millis / size
  return `${plain(count)} ${count === 1 ? names[0] : names[1]}`
}

// No exponents: 1e21 and 1e-7 are written out.
const plain = (value: number): string => {
  const text = String(value)
  return text.includes("e") ? value.toLocaleString("en-US", { useGrouping: false, maximumFractionDigits: 20 }) : text
}
