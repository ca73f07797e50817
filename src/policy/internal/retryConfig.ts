/** The retries of a program from its environment. */
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { duration, number, refuseUnknown } from "./environment.ts"
import type { Given } from "./retrySettings.ts"

const prefix = "TOOLFORMER_RETRY"
const settings = [
  "ATTEMPTS",
  "BASE",
  "FACTOR",
  "MAX_DELAY",
  "MAX_RETRY_AFTER",
  "BUDGET_RATIO",
  "BUDGET_RESERVE",
  "BUDGET_WINDOW"
] as const
const known = settings.map((name) => `${prefix}_${name}`)

const atLeast = (least: number) => (value: number): boolean => Number.isFinite(value) && value >= least
const integer = (least: number) => (value: number): boolean => Number.isInteger(value) && value >= least

/** Reads the options of `Retry.layer`. What is absent keeps its default. */
export const readRetry: Effect.Effect<Given, Config.ConfigError> = Effect.gen(function*() {
  yield* refuseUnknown(prefix, known)
  const attempts = yield* number(`${prefix}_ATTEMPTS`, integer(1), "an integer of at least 1")
  const base = yield* duration(`${prefix}_BASE`, "a finite duration of at least 0")
  const factor = yield* number(`${prefix}_FACTOR`, atLeast(1), "a number of at least 1")
  const maxDelay = yield* duration(`${prefix}_MAX_DELAY`, "a finite duration of at least 0")
  const maxRetryAfter = yield* duration(`${prefix}_MAX_RETRY_AFTER`)
  const ratio = yield* number(`${prefix}_BUDGET_RATIO`, atLeast(0), "a number of at least 0")
  const reserve = yield* number(`${prefix}_BUDGET_RESERVE`, integer(0), "an integer of at least 0")
  const window = yield* duration(`${prefix}_BUDGET_WINDOW`, "a finite duration above 0")
  return { attempts, base, factor, maxDelay, maxRetryAfter, budget: { ratio, reserve, window } }
})
