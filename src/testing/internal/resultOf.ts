/** What `Orchestrator.run` would have given, from the parts of the stream. Pure. */
import type * as Response from "effect/ai/Response"
import type * as Tool from "effect/ai/Tool"
import type { AnyPart, RunFinish } from "../../domain/ToolEvent.ts"
import type { RunResult, StepResult } from "../../engine/Orchestrator.ts"

type Tools = Record<string, Tool.Any>

interface Step {
  readonly step: number
  text: string
  finish: Extract<AnyPart, { readonly type: "step-finish" }> | undefined
}

/** `undefined` where the run did not end well. */
export const resultOf = (parts: ReadonlyArray<AnyPart>): RunResult<Tools> | undefined => {
  const end = parts.at(-1)
  if (end?.type !== "run-finish") return undefined
  const { time: _, type: __, ...rest } = end
  const results = resultsOf(parts)
  const history = callsOf(end.prompt)
  const stepOf = new Map(end.report.calls.map(({ callId, step }) => [callId, step]))
  const answers = history.flatMap(({ id }) => results.has(id) ? [results.get(id)!] : [])
  return {
    ...rest,
    steps: stepsOf(parts).map(({ finish, step, text }): StepResult<Tools> => ({
      step,
      text,
      toolCalls: history.filter(({ id }) => stepOf.get(id) === step),
      toolResults: answers.filter(({ id }) => stepOf.get(id) === step) as never,
      finishReason: finish!.finishReason,
      usage: finish!.usage
    })),
    toolResults: answers as never
  }
}

const resultsOf = (parts: ReadonlyArray<AnyPart>): ReadonlyMap<string, Response.AnyPart & { readonly id: string }> =>
  new Map(
    parts.flatMap((part) =>
      part.type === "tool-result" && !part.providerExecuted && !part.preliminary
        ? [[part.id, part as never]]
        : []
    )
  )

const callsOf = (prompt: RunFinish["prompt"]) =>
  prompt.content.flatMap((message) =>
    message.role !== "assistant" ?
      [] :
      message.content.flatMap((part) =>
        part.type === "tool-call" && !part.providerExecuted
          ? [{ id: part.id, name: part.name, params: part.params }]
          : []
      )
  )

// An answer that broke off leaves no text.
const stepsOf = (parts: ReadonlyArray<AnyPart>): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  for (const part of parts) {
    const step = steps.at(-1)
    if (part.type === "step-start") steps.push({ step: part.step, text: "", finish: undefined })
    else if (step === undefined) continue
    else if (part.type === "step-retry") step.text = ""
    else if (part.type === "text-delta") step.text += part.delta
    else if (part.type === "step-finish") step.finish = part
  }
  return steps
}
