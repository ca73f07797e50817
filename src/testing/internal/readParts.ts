/**
 * Reads a run's parts, one after the other, into calls and turns. The fold keeps its drafts to itself and gives plain data.
 */
import type * as Prompt from "effect/ai/Prompt"
import * as CancelReason from "../../domain/CancelReason.ts"
import type { Report } from "../../domain/Report.ts"
import type { AnyPart } from "../../domain/ToolEvent.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import type { RecordedCall, RecordedGuess, RecordedTurn, Span, Timeline } from "./recorded.ts"

type Draft<A> = { -readonly [K in keyof A]: A[K] extends ReadonlyArray<infer B> ? Array<Draft<B>> : A[K] }
type Call = Draft<RecordedCall>
type Turn = Draft<RecordedTurn>
type Guess = Draft<RecordedGuess>

/** When each part happened: as it says itself; else when it was received, which is late where the reader was. */
export const timesOf = (
  parts: ReadonlyArray<AnyPart>,
  received: ReadonlyArray<number> | undefined
): ReadonlyArray<number | undefined> => {
  let next = Infinity
  return parts.map((part, index) => ({ part, received: received?.[index] })).reverse().map(({ part, received }) => {
    if ("time" in part) return next = part.time
    return received === undefined ? undefined : Math.min(received, next)
  }).reverse()
}

/** A run that is read: `take` each part, then `timeline`. */
export class Reader {
  private readonly byId = new Map<string, Call>()
  private readonly calls: Array<Call> = []
  private readonly turns: Array<Turn> = []
  private readonly guesses = new Map<string, Guess>()
  private readonly earlier: ReadonlyMap<string, Prompt.ToolCallPart>
  private startedAt: number | undefined
  private now = 0
  private as = 0
  private atWork = 0
  private peak = 0
  private end: string | undefined
  private waiting = 0
  private report: Report | undefined

  constructor(prompt: Prompt.Prompt | undefined) {
    this.earlier = callsOf(prompt)
  }

  /** Takes the next part; `time`: when it came, where that is known. */
  take(part: AnyPart, time: number | undefined): void {
    this.startedAt ??= time
    // What came before in the order of events did not happen later, even where a clock was set back.
    if (time !== undefined) this.now = Math.max(this.now, time - this.startedAt!)
    this.read(part)
    this.as++
  }

  private read(part: AnyPart): void {
    switch (part.type) {
      case "step-start":
        return void this.turns.push({
          step: part.step,
          startedAt: this.now,
          endedAt: undefined,
          answeredAt: undefined,
          finishReason: undefined,
          asked: 1
        })
      case "step-retry":
        return this.inTurn((turn) => {
          turn.asked++
          turn.endedAt = undefined
        })
      case "finish":
        return this.inTurn((turn) => Object.assign(turn, { endedAt: this.now, finishReason: part.reason }))
      case "step-finish":
        return this.inTurn((turn) => {
          turn.answeredAt = this.now
          turn.endedAt ??= this.now
          turn.finishReason ??= part.finishReason
        })
      case "tool-call":
        if (!part.providerExecuted) this.made(part.id, part.name, part.params)
        return
      case "tool-approval-request":
        return this.of(part.toolCallId, (call) => call.status = "awaits-approval")
      case "tool-result":
        if (part.providerExecuted || part.preliminary) return
        return this.answered(this.byId.get(part.id) ?? this.made(part.id, part.name, undefined), part)
      case "run-finish": {
        this.report = part.report
        this.waiting = part.pendingApprovals.length
        this.end = `finished (${part.finishReason})`
        return
      }
      default:
        this.readCall(part)
    }
  }

  private readCall(part: AnyPart): void {
    switch (part.type) {
      case "tool-queued": {
        const call = this.byId.get(part.callId) ?? this.made(part.callId, part.name, undefined)
        call.step = part.step
        call.queuedAt = this.now
        call.queuedAs = this.as
        return
      }
      case "tool-started":
        return this.of(part.callId, (call) => this.started(call))
      case "tool-retry":
        return this.of(part.callId, (call) => this.rest(call))
      case "tool-adopted":
        return this.adopted(part.callId, part.from)
      case "tool-cancelled":
        return this.of(part.callId, (call) => call.reason ??= part.reason)
      case "tool-abandoned":
        return this.of(part.callId, (call) => {
          call.reason ??= part.reason
          call.abandoned = true
        })
      default:
        this.readGuess(part)
    }
  }

  private readGuess(part: AnyPart): void {
    switch (part.type) {
      case "tool-speculated": {
        const { confidence, name, params, predictor, speculationId: id, step } = part
        const times = { startedAt: this.now, startedAs: this.as, endedAt: undefined, endedAs: undefined }
        const said = { id, name, params, predictor, confidence, step }
        return void this.guesses.set(id, { ...said, ...times, outcome: "pending", claimedBy: undefined })
      }
      case "tool-claimed":
        return this.guess(part.speculationId, (guess) => {
          Object.assign(guess, { outcome: "claimed", claimedBy: part.callId })
          this.of(part.callId, (call) => this.claimed(call, guess, part.running))
        })
      case "tool-discarded":
        return this.guess(part.speculationId, (guess) => {
          if (guess.claimedBy !== undefined) this.of(guess.claimedBy, (call) => this.afresh(call))
          Object.assign(guess, { outcome: part.why, endedAt: this.now, endedAs: this.as })
        })
      default:
    }
  }

  private guess(id: string, change: (guess: Guess) => void): void {
    const guess = this.guesses.get(id)
    if (guess !== undefined) change(guess)
  }

  // The guess's work is the call's. What had ended before ended nobody knows when; by now at the latest.
  private claimed(call: Call, guess: Guess, isRunning: boolean): void {
    const { id: claimed, startedAs, startedAt } = guess
    Object.assign(call, { claimed, startedAs, startedAt, attempts: 1 })
    const end = isRunning ? { endedAt: undefined, endedAs: undefined } : { endedAt: this.now, endedAs: this.as }
    call.spans.push({ startedAt, startedAs, ...end })
    Object.assign(guess, end)
    if (isRunning) this.peak = Math.max(this.peak, ++this.atWork)
  }

  // The guess it waited for came to nothing: it begins as if that had not been.
  private afresh(call: Call): void {
    this.rest(call)
    Object.assign(call, { claimed: undefined, startedAs: undefined, startedAt: undefined, attempts: 0, spans: [] })
  }

  private of(id: string, change: (call: Call) => void): void {
    const call = this.byId.get(id)
    if (call !== undefined) change(call)
  }

  private inTurn(change: (turn: Turn) => void): void {
    const turn = this.turns.at(-1)
    if (turn !== undefined) change(turn)
  }

  // A call that was approved, or denied, was made in an earlier run: its parameters stand in the history.
  private made(id: string, name: string, params: unknown): Call {
    const call: Call = {
      id,
      name,
      params: params ?? this.earlier.get(id)?.params,
      decoded: undefined,
      step: this.turns.at(-1)?.step ?? 0,
      queuedAt: this.now,
      queuedAs: this.as,
      startedAt: undefined,
      startedAs: undefined,
      endedAt: undefined,
      endedAs: undefined,
      spans: [],
      status: "pending",
      result: undefined,
      reason: undefined,
      attempts: 0,
      abandoned: false,
      adoptedFrom: [],
      claimed: undefined,
      limiterMillis: undefined
    }
    this.byId.set(id, call)
    this.calls.push(call)
    return call
  }

  private started(call: Call): void {
    call.attempts++
    call.startedAt ??= this.now
    call.startedAs ??= this.as
    const last = call.spans.at(-1)
    if (last !== undefined && last.endedAs === undefined) return
    call.spans.push({ startedAt: this.now, startedAs: this.as, endedAt: undefined, endedAs: undefined })
    this.peak = Math.max(this.peak, ++this.atWork)
  }

  private rest(call: Call): void {
    const span: Draft<Span> | undefined = call.spans.at(-1)
    if (span === undefined || span.endedAs !== undefined) return
    span.endedAt = this.now
    span.endedAs = this.as
    this.atWork--
  }

  // One piece of work is one call: it goes on under the new id, and what is said of the old one is said of it.
  private adopted(id: string, from: string): void {
    const [call, before] = [this.byId.get(id), this.byId.get(from)]
    if (call === undefined || before === undefined || call === before) return
    const { params, step, ...own } = call
    this.calls.splice(this.calls.indexOf(call), 1)
    Object.assign(before, {
      id: own.id,
      params,
      step,
      adoptedFrom: [...before.adoptedFrom, before.id],
      reason: undefined
    })
    this.byId.set(id, before)
  }

  private answered(
    call: Call,
    part: { readonly isFailure: boolean; readonly result: unknown }
  ): void {
    call.status = statusOf(part)
    call.result = part.result
    const failure = ToolFailure.is(part.result) ? part.result : undefined
    if (failure?._tag === "TimedOut") call.reason ??= CancelReason.timeout(failure.clock, failure.afterMillis)
    if (failure?._tag === "Cancelled") call.reason ??= failure.reason
    // A call that adopted one which had ended already is answered a second time.
    if (call.endedAs !== undefined) return
    this.rest(call)
    call.endedAt = this.now
    call.endedAs = this.as
    if (call.claimed !== undefined) this.guess(call.claimed, (guess) => this.ended(guess))
  }

  private ended(guess: Guess): void {
    guess.endedAt ??= this.now
    guess.endedAs ??= this.as
  }

  timeline(failure: unknown): Timeline {
    for (const { adoptedFrom: _, callId, ...report } of this.report?.calls ?? []) {
      this.of(callId, (call) => {
        call.limiterMillis = report.limiterMillis
        // The run's own report knows better than its reader when the answer came; of adopted work it knows the last part, and of a guess's nothing.
        if (call.adoptedFrom.length === 0 && call.claimed === undefined) endAfter(call, report.runMillis)
      })
    }
    return {
      calls: this.calls,
      guesses: [...this.guesses.values()],
      turns: this.turns,
      totalMillis: this.now,
      maxConcurrentCalls: this.peak,
      end: failure === undefined ? this.ending() : `failed: ${ToolFailure.cut(nameOf(failure), 400)}`
    }
  }

  private ending(): string {
    const approvals = this.waiting === 0
      ? ""
      : `, ${this.waiting} ${this.waiting === 1 ? "call awaits" : "calls await"} approval`
    return (this.end ?? "not over") + approvals
  }
}

const endAfter = (call: Call, millis: number): void => {
  if (call.startedAt === undefined || call.endedAt === undefined) return
  call.endedAt = call.startedAt + millis
  const last = call.spans.at(-1)
  if (last !== undefined) last.endedAt = Math.max(last.startedAt, call.endedAt)
}

const statusOf = ({ isFailure, result }: { readonly isFailure: boolean; readonly result: unknown }): string =>
  !isFailure
    ? "success"
    : ToolFailure.is(result)
    ? result._tag
    : typeof result === "object" && result !== null && "type" in result && result.type === "execution-denied"
    ? "denied"
    : "failure"

// A typed error by its tags; the names of Effect's classes are long.
const nameOf = (failure: unknown): string => {
  if (typeof failure === "string") return failure
  const tag = tagOf(failure)
  if (tag === undefined || !(failure instanceof Error)) return ToolFailure.describe(failure)
  const reason = "reason" in failure ? tagOf(failure.reason) : undefined
  return `${tag}${reason === undefined ? "" : ` (${reason})`}: ${failure.message}`
}

const tagOf = (value: unknown): string | undefined =>
  typeof value === "object" && value !== null && "_tag" in value ? String(value._tag) : undefined

const callsOf = (prompt: Prompt.Prompt | undefined): ReadonlyMap<string, Prompt.ToolCallPart> => {
  const calls = new Map<string, Prompt.ToolCallPart>()
  for (const message of prompt?.content ?? []) {
    if (message.role !== "assistant") continue
    for (const part of message.content) if (part.type === "tool-call") calls.set(part.id, part)
  }
  return calls
}
