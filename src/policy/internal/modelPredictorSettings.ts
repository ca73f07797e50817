/** The options of a faster model as a predictor, checked where it is made: what makes no sense dies there, by name. */
import { describe } from "../../domain/ToolFailure.ts"
import type { Settings } from "./modelPredictor.ts"

export interface Given {
  readonly confidenceThreshold?: number | undefined
  readonly name?: string | undefined
  readonly maxCalls?: number | undefined
  readonly prior?: { readonly confidence?: number | undefined; readonly weight?: number | undefined } | undefined
}

export const modelSettings = (given: Given): Settings => ({
  name: text("name", given.name ?? "model"),
  confidenceThreshold: probability("confidenceThreshold", given.confidenceThreshold ?? 0.3),
  maxCalls: count("maxCalls", given.maxCalls ?? 8),
  prior: {
    confidence: probability("prior.confidence", given.prior?.confidence ?? 0.7),
    weight: positive("prior.weight", given.prior?.weight ?? 4),
    memory: 50,
    probeEvery: 10
  }
})

const die = (name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`Predictor.layerModel: ${name} is ${describe(value)}; it must be ${wanted}`)
}

const text = (name: string, value: string): string =>
  typeof value === "string" && value !== "" ? value : die(name, value, "a text that is not empty")

const probability = (name: string, value: number): number =>
  value >= 0 && value <= 1 ? value : die(name, value, "a number from 0 to 1")

const count = (name: string, value: number): number =>
  Number.isSafeInteger(value) && value >= 1 ? value : die(name, value, "an integer of at least 1")

const positive = (name: string, value: number): number =>
  value > 0 && value < Infinity ? value : die(name, value, "a number above 0")
