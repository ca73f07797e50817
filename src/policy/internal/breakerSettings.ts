/** The options of a circuit breaker, checked where they are given, and read from the environment. */
import type * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Schedule from "effect/Schedule"
import { duration, number, refuseUnknown } from "./environment.ts"
import { millisOf } from "./plan.ts"

export interface RateOptions {
  readonly threshold?: number | undefined
  readonly size?: number | undefined
  readonly minimumCalls?: number | undefined
}

export interface Given {
  readonly failures?: number | undefined
  readonly rate?: RateOptions | undefined
  readonly openDuration?: Duration.Input | Schedule.Schedule<unknown, number> | undefined
  readonly maxOpenDuration?: Duration.Input | undefined
  readonly onStoreError?: "allow" | "fail" | undefined
}

export type Settings = Parameters<typeof CircuitBreaker.make>[0]

const names = ["failures", "rate", "openDuration", "maxOpenDuration", "onStoreError"]

export const settings = (given: Given): Settings => {
  refuseOther("an option", given, names)
  const { maxOpenDuration = "1 hour", onStoreError = "allow", openDuration = "30 seconds" } = given
  if (onStoreError !== "allow" && onStoreError !== "fail") die("onStoreError", onStoreError, `"allow" or "fail"`)
  return {
    tripPolicy: tripPolicyOf(given),
    openDuration: Schedule.isSchedule(openDuration)
      ? openDuration
      : positive("openDuration", openDuration, "a finite duration above 0, or a Schedule"),
    maxOpenDuration: positive("maxOpenDuration", maxOpenDuration, "a finite duration above 0"),
    onStoreError
  }
}

const tripPolicyOf = ({ failures, rate }: Given): CircuitBreaker.TripPolicy => {
  if (rate === undefined) return CircuitBreaker.consecutive(whole("failures", failures ?? 5))
  if (failures !== undefined) die("rate", "given beside failures", "given alone")
  refuseOther("rate's option", rate, ["threshold", "size", "minimumCalls"])
  const { threshold = 0.5, size = 100, minimumCalls = size } = rate
  if (!(threshold > 0 && threshold <= 1)) die("rate.threshold", threshold, "a number above 0, at most 1")
  whole("rate.size", size)
  if (whole("rate.minimumCalls", minimumCalls) > size) die("rate.minimumCalls", minimumCalls, "at most rate.size")
  return CircuitBreaker.rate({ threshold, size, minimumCalls })
}

const whole = (name: string, value: number): number =>
  Number.isInteger(value) && value >= 1 ? value : die(name, value, "an integer of at least 1")

const positive = (name: string, input: Duration.Input, wanted: string): Duration.Duration => {
  const millis = millisOf(input)
  return Number.isFinite(millis) && millis > 0 ? Duration.millis(millis) : die(name, input, wanted)
}

const refuseOther = (what: string, given: object, known: ReadonlyArray<string>): void => {
  const other = Object.keys(given).find((name) => !known.includes(name))
  if (other !== undefined) die(what, other, `one of ${known.join(", ")}`)
}

const die = (name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`Breaker.layer: ${name} is ${String(value)}; it must be ${wanted}`)
}

const prefix = "TOOLFORMER_BREAKER"
const [failuresName, openName, maxOpenName] = [
  `${prefix}_FAILURES`,
  `${prefix}_OPEN_DURATION`,
  `${prefix}_MAX_OPEN_DURATION`
]

/** Reads the options of `Breaker.layer`. What is absent keeps its default. */
export const readBreaker: Effect.Effect<Given, Config.ConfigError> = Effect.gen(function*() {
  yield* refuseUnknown(prefix, [failuresName, openName, maxOpenName])
  const isWhole = (value: number) => Number.isInteger(value) && value >= 1
  return {
    failures: yield* number(failuresName, isWhole, "an integer of at least 1"),
    openDuration: yield* duration(openName, "a finite duration above 0"),
    maxOpenDuration: yield* duration(maxOpenName, "a finite duration above 0")
  }
})
