/** What guesses came to, as metrics, by tool and predictor; only when one is settled, so a call pays nothing for them. */
import * as Metric from "effect/Metric"
import type { Candidate, Settled } from "./speculating.ts"

const speculations = Metric.counter("async_orchestrator_speculations", {
  description: "Calls that started before the model asked for them, by what they came to",
  incremental: true
})
const seconds = Metric.counter("async_orchestrator_speculation_seconds", {
  description: "Time that guesses saved their calls, and time they ran in vain",
  incremental: true
})
const tokens = Metric.counter("async_orchestrator_speculation_wasted_tokens", {
  description: "What guesses cost that were made in vain",
  incremental: true
})

/** So many predictors have labels of their own; names are the user's, and so might be made up for each guess. */
const mostLabels = 32
const labels = new Set<string>()

const labelOf = (predictor: string): string => {
  if (labels.has(predictor)) return predictor
  if (labels.size >= mostLabels) return "other"
  labels.add(predictor)
  return predictor
}

export const countSettled = (candidate: Candidate, settled: Settled): void => {
  const { context, compiled } = candidate.tool
  const of = { tool_name: compiled.tool.name, predictor: labelOf(candidate.predictor) }
  const add = (metric: Metric.Metric<number, unknown>, by: number, more?: Record<string, string>): void => {
    if (by > 0) Metric.withAttributes(metric, { ...of, ...more }).updateUnsafe(by, context)
  }
  add(speculations, 1, { outcome: settled.outcome })
  add(seconds, settled.savedMillis / 1000, { kind: "saved" })
  add(seconds, settled.wastedMillis / 1000, { kind: "wasted" })
  add(tokens, settled.wastedTokens)
}
