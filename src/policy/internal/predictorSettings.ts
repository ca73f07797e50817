/** The options of predictors, checked where they are made: what makes no sense dies there, by name. */
import * as Layer from "effect/Layer"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import { describe } from "../../domain/ToolFailure.ts"
import type { Settings as HistorySettings } from "./historyPredictor.ts"
import type { Settings as ModelSettings } from "./modelPredictor.ts"

interface GivenModel {
  readonly model: unknown
  readonly confidenceThreshold?: number | undefined
  readonly name?: string | undefined
  readonly maxCalls?: number | undefined
  readonly prior?: { readonly confidence?: number | undefined; readonly weight?: number | undefined } | undefined
}

interface GivenHistory {
  readonly store?: KeyValueStore.KeyValueStore | undefined
  readonly learn?: boolean | undefined
  readonly keepValues?: boolean | undefined
  readonly name?: string | undefined
}

interface GivenCustom {
  readonly name?: string | undefined
  readonly predict: unknown
  readonly judged?: unknown
  readonly learn?: unknown
}

export const modelSettings = (given: GivenModel): ModelSettings => {
  const check = checks("Predictor.layerModel")
  check.options("the value given", given, ["model", "confidenceThreshold", "name", "maxCalls", "prior"])
  const { confidenceThreshold = 0.3, maxCalls = 8, model, name = "model", prior = {} } = given
  check.options("prior", prior, ["confidence", "weight"])
  const { confidence = 0.7, weight = 4 } = prior
  check.that("model", model, isModel, "a LanguageModel or its Layer")
  return {
    name: check.that("name", name, isName, aName),
    confidenceThreshold: check.that("confidenceThreshold", confidenceThreshold, isProbability, aProbability),
    maxCalls: check.that("maxCalls", maxCalls, isCount, "an integer of at least 1"),
    prior: {
      confidence: check.that("prior.confidence", confidence, isProbability, aProbability),
      weight: check.that("prior.weight", weight, isPositive, "a number above 0"),
      memory: 50,
      probeEvery: 10
    }
  }
}

export const historySettings = (given: GivenHistory): HistorySettings => {
  const check = checks("Predictor.layerHistory")
  check.options("the value given", given, ["store", "learn", "keepValues", "name"])
  const { keepValues = true, learn = true, name = "history", store } = given
  return {
    name: check.that("name", name, isName, aName),
    learn: check.that("learn", learn, isBoolean, "true or false"),
    keepValues: check.that("keepValues", keepValues, isBoolean, "true or false"),
    store: check.that("store", store, isStore, "a KeyValueStore (the service, not its Layer)")
  }
}

/** The name of a predictor of the user's own, the rest of whose options is there. */
export const customName = (given: GivenCustom): string => {
  const check = checks("Predictor.make")
  check.options("the value given", given, ["name", "predict", "judged", "learn"])
  const { judged, learn, name = "custom", predict } = given
  check.that("predict", predict, isFunction, "a function")
  check.that("judged", judged, isFunctionOrNone, "a function")
  check.that("learn", learn, isFunctionOrNone, "a function")
  return check.that("name", name, isName, aName)
}

// ---- checks

const aName = "a text that is not empty, nor \"arguments\", which is the engine's"
const aProbability = "a number from 0 to 1"

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null
const isName = (value: unknown): boolean => typeof value === "string" && value !== "" && value !== "arguments"
const isProbability = (value: unknown): boolean => typeof value === "number" && value >= 0 && value <= 1
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 1
const isPositive = (value: unknown): boolean => typeof value === "number" && value > 0 && value < Infinity
const isBoolean = (value: unknown): boolean => typeof value === "boolean"
const isFunction = (value: unknown): boolean => typeof value === "function"
const isFunctionOrNone = (value: unknown): boolean => value === undefined || isFunction(value)
const isModel = (value: unknown): boolean =>
  Layer.isLayer(value) || (isObject(value) && "streamText" in value && isFunction(value.streamText))
const isStore = (value: unknown): boolean =>
  value === undefined || (isObject(value) && "get" in value && isFunction(value.get))

const checks = (where: string) => {
  const die = (name: string, value: unknown, wanted: string): never => {
    throw new RangeError(`${where}: ${name} is ${describe(value)}; it must be ${wanted}`)
  }
  return {
    that: <A>(name: string, value: A, fits: (value: unknown) => boolean, wanted: string): A =>
      fits(value) ? value : die(name, value, wanted),
    // A misspelt `keepValues` would silently not hold.
    options: (name: string, given: unknown, known: ReadonlyArray<string>): void => {
      if (!isObject(given)) return die(name, given, "an object of options")
      const other = Object.keys(given).find((each) => !known.includes(each))
      if (other === undefined) return
      die(name === "prior" ? "an option of prior" : "an option", other, `one of ${known.join(", ")}`)
    }
  }
}
