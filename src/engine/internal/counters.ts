/**
 * What happens after an answer can only be counted: handlers that outlived their grace, and results that came too late. Rare
 * by nature, so these metrics cost nothing on the path of a call.
 */
import * as Metric from "effect/Metric"
import type { Call } from "./Call.ts"

const abandoned = Metric.gauge("async_orchestrator_abandoned_handlers", {
  description: "Handlers that were answered without having ended and still run"
})
const late = Metric.counter("async_orchestrator_late_results_total", {
  description: "Results that arrived after their call had been answered, and were dropped",
  incremental: true
})

const labelled = (metric: Metric.Metric<number, unknown>, call: Call) =>
  Metric.withAttributes(metric, { tool_name: call.name })

export const countAbandoned = (call: Call): void => labelled(abandoned, call).modifyUnsafe(1, call.tool.context)
export const countEnded = (call: Call): void => labelled(abandoned, call).modifyUnsafe(-1, call.tool.context)
export const countLate = (call: Call): void => labelled(late, call).updateUnsafe(1, call.tool.context)
