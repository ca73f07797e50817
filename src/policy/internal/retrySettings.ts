/** The options of retries, checked where they are given: what makes no sense dies there, by name. */
import type * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { RetryOptions } from "../../domain/ToolPolicy.ts"
import type { BackoffSettings } from "./backoff.ts"
import { millisOf } from "./plan.ts"
import type { BudgetSettings } from "./retryBudget.ts"

export interface BudgetOptions {
  readonly ratio?: number | undefined
  readonly reserve?: number | undefined
  readonly window?: Duration.Input | undefined
}

export interface Given extends RetryOptions {
  readonly budget?: BudgetOptions | undefined
  readonly services?: Readonly<Record<string, RetryOptions>> | undefined
}

/** How one call is tried again. */
export interface Rules extends BackoffSettings {
  readonly attempts: number
  readonly schedule: Schedule.Schedule<unknown> | undefined
  readonly maxRetryAfterMillis: number
  readonly while: ((failure: unknown) => boolean) | undefined
}

export interface Settings {
  readonly rules: Rules
  readonly services: ReadonlyMap<string, Rules>
  readonly budget: BudgetSettings
}

const defaults: Rules = {
  attempts: 3,
  baseMillis: 200,
  factor: 2,
  maxDelayMillis: 10_000,
  schedule: undefined,
  maxRetryAfterMillis: 60_000,
  while: undefined
}

const ruleNames = ["attempts", "base", "factor", "maxDelay", "schedule", "maxRetryAfter", "while"]

export const settings = (given: Given): Settings => {
  const where = "Retry.layer"
  const { budget, services = {}, ...own } = given
  refuseOther(where, "options", given, [...ruleNames, "budget", "services"])
  const rules = rulesOf(where, own, defaults)
  if (typeof services !== "object" || services === null) return die(where, "services", services, "options by name")
  return {
    rules,
    services: new Map(
      Object.entries(services).map(([name, each]) => [name, rulesOf(`${where}: services.${name}`, each, rules)])
    ),
    budget: budgetOf(where, budget)
  }
}

/** Options over others: what is not named stays. Naming a part of the backoff puts it in the place of an outer schedule. */
export const rulesOf = (where: string, given: RetryOptions, outer: Rules = defaults): Rules => {
  refuseOther(where, "options", given, ruleNames)
  const { attempts = outer.attempts, factor = outer.factor, schedule } = given
  const backsOff = given.base !== undefined || given.factor !== undefined || given.maxDelay !== undefined
  if (!(Number.isInteger(attempts) && attempts >= 1)) die(where, "attempts", attempts, "an integer of at least 1")
  if (!(Number.isFinite(factor) && factor >= 1)) die(where, "factor", factor, "a finite number of at least 1")
  if (schedule !== undefined && !Schedule.isSchedule(schedule)) die(where, "schedule", schedule, "a Schedule")
  if (schedule !== undefined && backsOff) {
    die(where, "schedule", "given beside base, factor or maxDelay", "given alone")
  }
  if (given.while !== undefined && typeof given.while !== "function") die(where, "while", given.while, "a function")
  return {
    attempts,
    factor,
    baseMillis: finite(where, "base", given.base) ?? outer.baseMillis,
    maxDelayMillis: finite(where, "maxDelay", given.maxDelay) ?? outer.maxDelayMillis,
    schedule: schedule ?? (backsOff ? undefined : outer.schedule),
    maxRetryAfterMillis: millis(where, "maxRetryAfter", given.maxRetryAfter) ?? outer.maxRetryAfterMillis,
    while: given.while ?? outer.while
  }
}

const budgetOf = (where: string, given: BudgetOptions = {}): BudgetSettings => {
  refuseOther(where, "budget", given, ["ratio", "reserve", "window"])
  const { ratio = 0.1, reserve = 10 } = given
  if (!(Number.isFinite(ratio) && ratio >= 0)) die(where, "budget.ratio", ratio, "a finite number of at least 0")
  if (!(Number.isInteger(reserve) && reserve >= 0)) die(where, "budget.reserve", reserve, "an integer of at least 0")
  const windowMillis = finite(where, "budget.window", given.window) ?? 60_000
  if (windowMillis === 0) die(where, "budget.window", given.window, "a finite duration above 0")
  return { ratio, reserve, windowMillis }
}

const millis = (where: string, name: string, input: Duration.Input | undefined): number | undefined => {
  if (input === undefined) return undefined
  const value = millisOf(input)
  return value >= 0 ? value : die(where, name, input, "a duration of at least 0")
}

const finite = (where: string, name: string, input: Duration.Input | undefined): number | undefined => {
  const value = millis(where, name, input)
  return value === Number.POSITIVE_INFINITY ? die(where, name, input, "a finite duration of at least 0") : value
}

// A misspelt `attempts` would silently not hold.
const refuseOther = (where: string, name: string, given: object, known: ReadonlyArray<string>): void => {
  if (typeof given !== "object" || given === null) return die(where, name, given, "an object")
  const other = Object.keys(given).find((key) => !known.includes(key))
  if (other !== undefined) {
    die(where, name === "options" ? "an option" : `${name}'s option`, other, `one of ${known.join(", ")}`)
  }
}

const die = (where: string, name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`${where}: ${name} is ${String(value)}; it must be ${wanted}`)
}
