/**
 * How long models and tools take in a replay. What is drawn is drawn by name (which turn, which call), so that a replay with
 * speculation and one without live through the same times.
 */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { random, seedOf } from "../../replay/report.ts"
import type { Conversation } from "./conversation.ts"
import { turnsOf } from "./conversation.ts"

export interface Times {
  /** Until the model makes its calls, or has said its text. */
  readonly modelMillis: (turn: string) => number
  readonly toolMillis: (call: string) => number
  /** From the model's calls to the end of its answer. */
  readonly trailingMillis: number
}

/**
 * Always the same. Tools are much faster than the model: what started before a turn has ended when its calls come. With a `maxAge`
 * of `agedMillis` a guess may be claimed in its own turn and in no later one.
 */
export const constant: Times = { modelMillis: () => 1000, toolMillis: () => 100, trailingMillis: 10 }
export const agedMillis = 1005

/** Recorded times in milliseconds, and in words where they are from. */
export interface Recorded {
  readonly from: string
  readonly model: ReadonlyArray<number>
  /** Of these only the shape counts: they are scaled to a mean. */
  readonly tool: ReadonlyArray<number>
}

const processing = join("wire", "openai-processing-ms.jsonl")

// Of gpt-4o's times in that file, rounded.
const quantiles = [290, 400, 690, 1900, 4900]

/**
 * The model's times from `wire/openai-processing-ms.jsonl` of the first folder that has it (what OpenAI said that its gpt-4o took), else
 * five numbers of the same order; the tools' from the steps' seconds where the traces have them, else of the same shape.
 */
export const recorded = (
  folders: ReadonlyArray<string>,
  conversations: ReadonlyArray<Conversation>
): Recorded => {
  const file = folders.map((folder) => join(folder, processing)).find((file) => existsSync(file))
  const read = file === undefined ? [] : processingMillis(readFileSync(file, "utf8"))
  const model = read.length > 0 ? read : quantiles
  const seconds = conversations.flatMap(turnsOf).flatMap(({ calls }) => calls).flatMap(({ seconds }) => seconds ?? [])
  const measured = seconds.filter((each) => each > 0)
  return {
    from:
      `model: ${read.length > 0 ? `${read.length} times of gpt-4o in ${processing}` : "five typical times of gpt-4o"}; `
      + `tools: ${measured.length > 0 ? `${measured.length} measured steps` : "times of the same spread"}, scaled`,
    model,
    tool: measured.length > 0 ? measured : model
  }
}

const processingMillis = (text: string): ReadonlyArray<number> =>
  text.split("\n").filter((line) => line.trim() !== "").flatMap((line) => {
    const { model, processing_ms: millis } = JSON.parse(line) as { model?: unknown; processing_ms?: unknown }
    return model === "gpt-4o" && typeof millis === "number" && millis > 0 ? [millis] : []
  })

/** Times drawn from recorded ones, those of tools scaled to a mean. */
export const drawn = ({ model, tool }: Recorded, meanToolMillis: number, seed: number): Times => {
  const mean = tool.reduce((sum, each) => sum + each, 0) / tool.length
  const pick = (of: ReadonlyArray<number>, name: string): number =>
    of[Math.floor(random(seedOf(`${seed} ${name}`))() * of.length)]!
  return {
    modelMillis: (turn) => Math.round(pick(model, `model ${turn}`)),
    toolMillis: (call) => Math.max(1, Math.round(pick(tool, `tool ${call}`) / mean * meanToolMillis)),
    trailingMillis: 0
  }
}
