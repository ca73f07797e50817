/**
 * Turns the records of a finished run into its report: pure arithmetic over times the engine took anyway.
 */
import type {
  Abandoned,
  CallReport,
  GroupReport,
  Report,
  Segment,
  SpeculationReport,
  StepReport
} from "../../domain/Report.ts"
import type { Call, Claimed } from "./Call.ts"

/** One finished turn. */
export interface TurnRecord {
  readonly step: number
  readonly modelMillis: number
  readonly limiterMillis: number
  readonly finishReason: string
  /** As they stand in the history. */
  readonly calls: ReadonlyArray<Call>
  /** Calls of broken answers that do not. */
  readonly dropped: ReadonlyArray<Call>
  readonly attempts: number
}

export const report = (
  runId: string,
  totalMillis: number,
  peakConcurrency: number,
  turns: ReadonlyArray<TurnRecord>,
  groups: ReadonlyArray<GroupReport> = [],
  speculation?: { readonly abandoned: ReadonlyArray<Abandoned>; report(): SpeculationReport }
): Report => {
  const calls: Array<CallReport> = []
  const steps: Array<StepReport> = []
  const criticalPath: Array<Segment> = []
  let modelMillis = 0
  let sequentialMillis = 0
  for (const turn of turns) {
    modelMillis += turn.modelMillis
    if (turn.step > 0) {
      steps.push({
        step: turn.step,
        modelMillis: turn.modelMillis,
        limiterMillis: turn.limiterMillis,
        calls: turn.calls.length,
        finishReason: turn.finishReason,
        ...(turn.attempts === 1 ? undefined : { attempts: turn.attempts })
      })
      if (turn.limiterMillis > 0) criticalPath.push({ kind: "limiter", step: turn.step, millis: turn.limiterMillis })
      criticalPath.push({ kind: "model", step: turn.step, millis: turn.modelMillis })
    }
    let last: Call | undefined
    for (const call of everyCall(turn)) {
      const one = callReport(call)
      calls.push(one)
      if (call.adopted === undefined) sequentialMillis += call.claimed?.runMillis ?? one.runMillis
      if (call.outcome !== undefined && (last === undefined || call.answeredAt > last.answeredAt)) last = call
    }
    if (last !== undefined) criticalPath.push(...segments(last))
  }
  return {
    runId,
    totalMillis,
    modelMillis,
    sequentialMillis,
    peakConcurrency,
    calls,
    steps,
    criticalPath,
    abandoned: [...turns.flatMap(abandonedOf), ...speculation?.abandoned ?? []],
    groups,
    ...(speculation === undefined ? undefined : { speculation: speculation.report() })
  }
}

const abandonedOf = (turn: TurnRecord): ReadonlyArray<Abandoned> =>
  everyCall(turn).flatMap((call) => {
    const reason = call.governor === undefined ? call.reason : call.governor.abandoned
    return reason !== undefined && (call.abandoned || call.governor !== undefined)
      ? [{ callId: call.id, name: call.name, reason }]
      : []
  })

const everyCall = ({ calls, dropped }: TurnRecord): ReadonlyArray<Call> =>
  dropped.length === 0 ? calls : [...dropped, ...calls]

const callReport = (call: Call): CallReport => {
  // What it waited for was work, though not begun for it.
  if (call.adopted !== undefined) return adoptedReport(call, call.adopted)
  const started = call.attempts > 0
  const { service } = call.tool.compiled.policies
  // A call that waits for a person's answer has none yet, and waits for nothing of ours.
  const isPending = call.outcome === undefined
  const waited = isPending ? 0 : (started ? call.startedAt : call.answeredAt) - call.sealedAt
  return {
    callId: call.id,
    name: call.name,
    step: call.step,
    status: call.outcome?.status ?? "pending",
    queuedMillis: waited - call.limiterMillis,
    limiterMillis: call.limiterMillis,
    runMillis: started ? call.answeredAt - call.startedAt : 0,
    attempts: call.attempts,
    abandoned: call.abandoned,
    ...(service === undefined ? undefined : { service }),
    ...(call.claimed === undefined ? undefined : { claimed: claimedOf(call.claimed) })
  }
}

const claimedOf = ({ aheadMillis, speculationId }: Claimed): NonNullable<CallReport["claimed"]> => ({
  speculationId,
  aheadMillis
})

const adoptedReport = (call: Call, from: Call): CallReport => ({
  callId: call.id,
  name: call.name,
  step: call.step,
  status: call.outcome?.status ?? "pending",
  queuedMillis: 0,
  limiterMillis: 0,
  runMillis: call.answeredAt - call.sealedAt,
  attempts: 0,
  abandoned: false,
  adoptedFrom: from.id
})

const segments = (call: Call): ReadonlyArray<Segment> => {
  const { limiterMillis, queuedMillis, runMillis } = callReport(call)
  const about = { step: call.step, callId: call.id, name: call.name }
  return [
    ...(limiterMillis > 0 ? [{ kind: "limiter" as const, millis: limiterMillis, ...about }] : []),
    { kind: "queue", millis: queuedMillis, ...about },
    { kind: "tool", millis: runMillis, ...about }
  ]
}
