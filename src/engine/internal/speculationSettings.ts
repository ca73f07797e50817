/** The options of speculation, checked where they are given, and read from the environment. */
import type * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { duration, number, refuseUnknown } from "../../policy/Environment.ts"

interface BudgetOptions {
  readonly calls?: number | undefined
  readonly window?: Duration.Input | undefined
}

export interface Given {
  readonly confidenceThreshold?: number | undefined
  readonly maxConcurrent?: number | undefined
  readonly maxPerTurn?: number | undefined
  readonly budget?: BudgetOptions | undefined
  readonly maxAge?: Duration.Input | undefined
}

export interface Settings {
  readonly confidenceThreshold: number
  readonly maxConcurrent: number
  readonly maxPerTurn: number
  readonly budget: { readonly calls: number; readonly windowMillis: number }
  readonly maxAgeMillis: number
}

const names = ["confidenceThreshold", "maxConcurrent", "maxPerTurn", "budget", "maxAge"]

const isShare = (value: number): boolean => value >= 0 && value <= 1
const isCount = (value: number): boolean => Number.isInteger(value) && value >= 0
const isCountOrMore = (value: number): boolean => isCount(value) || value === Infinity

const [share, count, countOrMore] = [
  "a number from 0 to 1",
  "an integer of at least 0",
  "an integer of at least 0, or Infinity"
]

export const settings = (given: Given): Settings => {
  refuseOther("the value given", "an option", given, names)
  const { budget = {}, confidenceThreshold = 0.3, maxAge = 10_000, maxConcurrent = 4, maxPerTurn = Infinity } = given
  refuseOther("budget", "budget's option", budget, ["calls", "window"])
  const { calls = 60, window = 60_000 } = budget
  return {
    confidenceThreshold: checked("confidenceThreshold", confidenceThreshold, isShare, share),
    maxConcurrent: checked("maxConcurrent", maxConcurrent, isCountOrMore, countOrMore),
    maxPerTurn: checked("maxPerTurn", maxPerTurn, isCountOrMore, countOrMore),
    budget: {
      calls: checked("budget.calls", calls, isCount, count),
      windowMillis: millis(
        "budget.window",
        window,
        (value) => value > 0 && value < Infinity,
        "a finite duration above 0"
      )
    },
    maxAgeMillis: millis("maxAge", maxAge, (value) => value > 0, "a duration above 0")
  }
}

const checked = (name: string, value: number, fits: (value: number) => boolean, wanted: string): number =>
  typeof value === "number" && fits(value) ? value : die(name, value, wanted)

const millis = (name: string, input: Duration.Input, fits: (millis: number) => boolean, wanted: string): number => {
  const read = Number.isNaN(input) ? undefined : Duration.fromInput(input)
  const value = read?._tag === "Some" ? Duration.toMillis(read.value) : Number.NaN
  return fits(value) ? value : die(name, input, wanted)
}

// A misspelt `budget` would silently not hold.
const refuseOther = (whole: string, what: string, given: object, known: ReadonlyArray<string>): void => {
  if (typeof given !== "object" || given === null) return die(whole, given, "an object of options")
  const other = Object.keys(given).find((name) => !known.includes(name))
  if (other !== undefined) die(what, other, `one of ${known.join(", ")}`)
}

const die = (name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`Speculation.layer: ${name} is ${String(value)}; it must be ${wanted}`)
}

const prefix = "TOOLFORMER_SPECULATION"
const variables = ["CONFIDENCE_THRESHOLD", "MAX_CONCURRENT", "MAX_PER_TURN", "BUDGET_CALLS", "BUDGET_WINDOW", "MAX_AGE"]
  .map((name) => `${prefix}_${name}`)

/** Reads the options of `Speculation.layer`. What is absent keeps its default. */
export const readSpeculation: Effect.Effect<Given, Config.ConfigError> = Effect.gen(function*() {
  yield* refuseUnknown(prefix, variables)
  const confidenceThreshold = yield* number(`${prefix}_CONFIDENCE_THRESHOLD`, isShare, share)
  const maxConcurrent = yield* number(`${prefix}_MAX_CONCURRENT`, isCountOrMore, countOrMore)
  const maxPerTurn = yield* number(`${prefix}_MAX_PER_TURN`, isCountOrMore, countOrMore)
  const calls = yield* number(`${prefix}_BUDGET_CALLS`, isCount, count)
  const window = yield* duration(`${prefix}_BUDGET_WINDOW`, "a finite duration above 0")
  const maxAge = yield* duration(`${prefix}_MAX_AGE`)
  return { confidenceThreshold, maxConcurrent, maxPerTurn, budget: { calls, window }, maxAge }
})
