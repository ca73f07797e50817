/**
 * One run: what its turns share, and what happens to every part the model sends and every answer a call gives. Synchronous
 * throughout; the loop that drives it, and everything that waits, is in `Orchestrator` and `Asking`.
 */
import * as Prompt from "effect/ai/Prompt"
import * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scheduler from "effect/Scheduler"
import * as CancelReason from "../../domain/CancelReason.ts"
import { nearNames } from "../../domain/ToolCall.ts"
import type { AnyPart, PendingApproval } from "../../domain/ToolEvent.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import { Dispatcher } from "../Dispatcher.ts"
import { answerFollowers, notAskedAgain } from "./Adoption.ts"
import * as Approvals from "./Approvals.ts"
import { settle } from "./Attempt.ts"
import { Call } from "./Call.ts"
import type { BoundTool, Environment, Listener, Outcome } from "./Call.ts"
import { Groups } from "./Groups.ts"
import * as Limits from "./Limits.ts"
import type { Reason } from "./OrchestratorError.ts"
import { bind } from "./Pipeline.ts"
import { keyOf, Repeats } from "./Repeats.ts"
import type { TurnRecord } from "./Reporter.ts"
import type { RunSettings, Sink } from "./runSettings.ts"
import { Speculation } from "./speculating.ts"
import type { RunSpeculation } from "./speculating.ts"
import { endSpan } from "./Tracing.ts"
import { endedWell, gaveUp, Turn } from "./Turn.ts"
import * as usage from "./usage.ts"

export class Run implements Listener {
  prompt: Prompt.Prompt
  usage: Response.Usage = usage.empty
  /** Why the run must end now, once something has said so. */
  fatal: Reason | undefined = undefined
  /** The process goes down: what has not started never will. */
  isShuttingDown = false
  readonly fatalSignal = Deferred.makeUnsafe<void>()
  readonly turns: Array<TurnRecord> = []
  readonly startedAt: number
  readonly dispatcher: Dispatcher
  readonly limits: Limits.Limits | undefined
  /** The groups of its calls, where the run has completion policies. */
  readonly groups: Groups | undefined
  /** Its guesses, where the program speculates. */
  readonly speculation: RunSpeculation | undefined
  readonly settings: RunSettings
  private readonly environment: Environment
  private readonly taken: Set<string>
  private readonly repeats: Repeats
  private readonly unknownTool: BoundTool
  private readonly sink: Sink | undefined
  private turn: Turn

  constructor(settings: RunSettings) {
    this.settings = settings
    this.prompt = settings.prompt
    this.sink = settings.sink
    this.startedAt = settings.timers.now()
    this.taken = callIds(settings.prompt)
    this.repeats = new Repeats(settings.maxRepeats)
    this.limits = Limits.find(settings.context)
    this.dispatcher = new Dispatcher(
      settings.toolCallConcurrency,
      Context.get(settings.context, Scheduler.Scheduler).makeDispatcher(),
      { awaitsApproval: (call) => this.awaitsApproval(call), queued: (call) => this.queued(call), isRun: true },
      this.limits
    )
    this.groups = settings.completion === undefined
      ? undefined
      : new Groups(settings.completion, settings.timers, this.dispatcher, this.answered)
    const speculation = settings.context.mapUnsafe.get(Speculation.key) as Speculation["Service"] | undefined
    this.speculation = speculation?.begin(this)
    this.environment = {
      timers: settings.timers,
      admission: this.dispatcher,
      speculation: this.speculation,
      listener: this,
      tracing: settings.tracing,
      parent: settings.parent,
      runId: settings.runId
    }
    this.unknownTool = bind(unknown, settings.context, undefined)
    this.turn = new Turn(0, this.startedAt, this.taken)
  }

  get isEnding(): boolean {
    return this.fatal !== undefined || this.isShuttingDown
  }

  get time(): number {
    return this.settings.timers.clock.currentTimeMillisUnsafe()
  }

  emit(part: AnyPart): void {
    this.sink?.offer(part)
  }

  /**
   * Ends the run: `"all"` stops every call, also in a run that is ending already; `"broken"` lets calls finish whose outcome must
   * be known. Gives how many calls were told to stop.
   */
  fail(reason: Reason, calls: "all" | "broken", why: CancelReason.CancelReason): number {
    const isEnding = this.fatal !== undefined
    this.fatal ??= reason
    this.groups?.dissolve()
    const stopped = calls === "all" ? this.dispatcher.stopAll(why) : 0
    if (isEnding) return stopped
    if (calls === "broken") this.breakTurn(why)
    Deferred.doneUnsafe(this.fatalSignal, Effect.void)
    return stopped
  }

  /** Starts no new turn and no new call. What runs goes on, and so does an answer the model has begun. */
  shutDown(): void {
    if (this.isShuttingDown) return
    this.isShuttingDown = true
    this.dispatcher.retire(CancelReason.shutdown)
    this.speculation?.finished()
    const waitsToAsk = Number.isNaN(this.turn.endedAt) && !this.turn.isAsked
    if (waitsToAsk) this.fail(shutDown, "broken", CancelReason.shutdown)
  }

  // ---- approvals ------------------------------------------------------------------------------------------------------

  /** Sends the prompt's approved calls through the dispatcher and denies the denied ones. */
  resolveApprovals(resolved: ReadonlyArray<Approvals.Resolved>): Turn {
    const turn = this.turn = new Turn(0, this.settings.timers.now(), this.taken)
    this.dispatcher.turnEndedWell = true
    for (const { approved, call: part, reason } of resolved) {
      const call = this.makeCall(turn, part.id, part.name, part.params)
      if (call.tool === this.unknownTool) this.dispatcher.answer(call, this.unknown(call))
      else if (approved) this.dispatcher.submit(call, true)
      else this.deny(call, reason)
    }
    return turn
  }

  private deny(call: Call, reason: string | undefined): void {
    const result = Approvals.denial(reason)
    this.dispatcher.outstanding++
    settle(call, { status: "denied", isFailure: true, result, encodedResult: result })
  }

  // ---- a turn ---------------------------------------------------------------------------------------------------------

  beginTurn(step: number): Turn {
    this.repeats.nextTurn()
    this.dispatcher.turnEndedWell = false
    this.dispatcher.messages = this.prompt.content
    this.groups?.begin()
    this.turn = new Turn(step, this.settings.timers.now(), this.taken)
    this.emit({ type: "step-start", step, time: this.time })
    return this.turn
  }

  /** Takes what the model sent. */
  readonly route = (part: Response.AnyPart): void => {
    const { turn } = this
    switch (part.type) {
      case "tool-params-start":
        if (part.providerExecuted) break
        return this.open(turn, part)
      case "tool-params-delta":
        this.speculation?.grew(turn.idOf(part.id), part.delta)
        return this.emit({ ...part, id: turn.idOf(part.id) })
      case "tool-params-end":
        return this.emit({ ...part, id: turn.idOf(part.id) })
      case "tool-call":
        if (part.providerExecuted) break
        return this.seal(turn, part)
      case "text-delta":
        turn.text.push(part.delta)
        break
      case "finish":
        turn.finish = part
        this.usage = usage.sum(this.usage, part.usage)
        turn.usage = usage.sum(turn.usage, part.usage)
        if (endedWell(part.reason)) this.endedWell()
        this.speculation?.finished()
        break
      default:
    }
    turn.parts.push(part)
    this.emit(part)
  }

  private open(turn: Turn, part: Response.ToolParamsStartPart): void {
    const { id } = turn.open(part.id, part.name)
    this.speculation?.opened(id, part.name)
    this.emit({ ...part, id })
  }

  private endedWell(): void {
    this.dispatcher.turnEndedWell = true
    this.dispatcher.releaseHeld()
  }

  private seal(turn: Turn, part: Response.ToolCallPart<string, unknown>): void {
    const id = turn.seal(part.id)
    const sealed = id === part.id ? part : {
      ...part,
      id,
      metadata: { ...part.metadata, toolformer: { wireId: part.id } }
    }
    turn.parts.push(sealed)
    this.emit(sealed)
    const call = this.makeCall(turn, id, part.name, part.params, id === part.id ? undefined : part.id)
    if (this.settings.asksAgain) call.sealedAs = keyOf(call.name, part.params)
    const late = this.groups?.join(call)
    const refusal = this.refusal(turn, call) ?? late
    if (refusal !== undefined) return this.dispatcher.answer(call, refusal)
    const from = turn.earlier?.claim(call)
    if (from === undefined) return this.dispatcher.submit(call, false)
    turn.adopted++
    this.emit({ type: "tool-adopted", callId: id, name: call.name, from: from.id, time: this.time })
    this.dispatcher.adopt(call, from)
  }

  private refusal(turn: Turn, call: Call): ToolFailure.ToolFailure | undefined {
    const { maxRepeats, maxToolCalls } = this.settings
    // What joins a call that runs starts nothing.
    if (this.isShuttingDown && turn.earlier?.hasFor(call) !== true) {
      return ToolFailure.stopped(call.name, call.id, CancelReason.shutdown, false, false)
    }
    if (this.fatal !== undefined) return ToolFailure.notStarted(call.name, call.id, "the run is ending")
    if (call.tool === this.unknownTool) return this.unknown(call)
    if (turn.running > maxToolCalls && turn.earlier?.hasFor(call) !== true) {
      return ToolFailure.rejected(
        call.name,
        call.id,
        `at most ${maxToolCalls} calls are run of one answer (maxToolCalls)`
      )
    }
    if (!this.repeats.isLoop(call.name, call.params)) return undefined
    this.fail(
      { _tag: "LoopDetected", tool: call.name, callId: call.id, times: maxRepeats },
      "broken",
      CancelReason.budgetSpent("maxRepeats")
    )
    return ToolFailure.notStarted(call.name, call.id, `the same call was made in more than ${maxRepeats} turns`)
  }

  private unknown(call: Call): ToolFailure.ToolFailure {
    const available = [...this.settings.tools.keys()]
    return ToolFailure.unknownTool(call.name, call.id, available, nearNames(call.name, available))
  }

  private makeCall(turn: Turn, id: string, name: string, params: unknown, wireId?: string): Call {
    const tool = this.settings.tools.get(name) ?? this.unknownTool
    const done = this.groups?.answered ?? this.answered
    const call = new Call(id, name, params, turn.step, tool, this.environment, done, wireId)
    turn.calls.push(call)
    return call
  }

  /** The model's stream is over, well or not. What is still unsealed or held back gets its answer. */
  endReading(turn: Turn, broken: boolean): void {
    turn.endedAt = this.settings.timers.now()
    this.speculation?.endReading(turn, broken)
    const reason = turn.finish?.reason ?? "unknown"
    if (broken || gaveUp(reason)) return this.breakTurn(CancelReason.branchCancelled("the model's answer broke off"))
    const stale = turn.earlier?.stale
    if (stale !== undefined) this.dispatcher.stopAll(notAskedAgain, (call) => stale.has(call))
    for (const opened of turn.unsealed) this.truncate(turn, opened)
    if (!endedWell(reason)) {
      this.dispatcher.refuseUnstarted(
        `it waits for the end of the model's answer, which ended early (${reason})`,
        (call) => call.tool.compiled.policies.eager === "after-finish"
      )
    }
    this.groups?.close()
  }

  private truncate(
    turn: Turn,
    { id, name, wireId }: { readonly id: string; readonly name: string; readonly wireId: string }
  ): void {
    const part = Response.makePart("tool-call", {
      id,
      name,
      params: {},
      providerExecuted: false,
      metadata: { toolformer: id === wireId ? { truncated: true } : { truncated: true, wireId } }
    })
    turn.parts.push(part)
    this.emit(part)
    const call = this.makeCall(turn, id, name, {})
    this.groups?.join(call)
    this.dispatcher.answer(call, ToolFailure.truncated(name, id))
  }

  /** The answer broke off, and its turn is asked again. Calls that run go on; the new answer may adopt them. */
  restartTurn(turn: Turn): void {
    this.groups?.dissolve()
    this.groups?.begin()
    this.dispatcher.refuseUnstarted("the model's answer broke off before it could start")
    this.dispatcher.turnEndedWell = false
    turn.restart(this.settings.timers.now())
    this.repeats.restartTurn(turn.earlier!.started)
  }

  private breakTurn(why: CancelReason.CancelReason): void {
    this.groups?.dissolve()
    this.dispatcher.refuseUnstarted("the model's answer broke off before it could start")
    // Running calls have the grace of the shutdown, which is about to end in any case.
    if (this.isShuttingDown) return
    this.dispatcher.stopAll(why, (call) => call.tool.compiled.policies.repeatable)
  }

  /** Every call of the turn is answered: the history grows by the turn and its results, in call order. */
  endTurn(turn: Turn, failed: boolean): TurnRecord {
    this.groups?.end()
    if (Number.isNaN(turn.endedAt)) turn.endedAt = this.settings.timers.now()
    const { calls, parts } = turn.history(failed)
    const results = calls.flatMap((call) => call.result === undefined ? [] : [call.result])
    this.prompt = Prompt.concat(this.prompt, Prompt.fromResponseParts([...parts, ...results]))
    const record = {
      step: turn.step,
      modelMillis: turn.step === 0 ? 0 : turn.spentMillis + turn.endedAt - turn.startedAt,
      limiterMillis: turn.limiterMillis,
      finishReason: turn.finish?.reason ?? "unknown",
      calls,
      dropped: turn.earlier?.without(calls) ?? [],
      attempts: turn.attempts
    }
    this.turns.push(record)
    return record
  }

  get pendingApprovals(): ReadonlyArray<PendingApproval> {
    return this.turn.approvals
  }

  // ---- what calls say -------------------------------------------------------------------------------------------------

  private readonly answered = (call: Call, outcome: Outcome): void => {
    const { encodedResult, isFailure, modelOutput, result } = outcome
    call.result = Response.makePart("tool-result", {
      id: call.id,
      name: call.name,
      result,
      encodedResult,
      isFailure: isFailure,
      providerExecuted: false,
      preliminary: false,
      ...(modelOutput === undefined ? undefined : { modelOutput })
    }) as Response.ToolResultPart<string, unknown, unknown>
    this.sink?.forget(call.id)
    this.emit(call.result)
    this.speculation?.answered(call, outcome)
    this.dispatcher.answered(call)
    answerFollowers(call, outcome)
  }

  private awaitsApproval(call: Call): void {
    this.groups?.left(call)
    const approvalId = `approval_${call.id}`
    const part = Response.makePart("tool-approval-request", { approvalId, toolCallId: call.id })
    this.turn.parts.push(part)
    this.turn.approvals.push({ approvalId, callId: call.id, name: call.name, params: call.params })
    endSpan(call.span, this.settings.timers.clock, Exit.void)
    this.emit(part)
  }

  private queued({ id, name, step }: Call): void {
    this.sink?.offer({ type: "tool-queued", callId: id, name, step, time: this.time })
  }

  started({ attempts, hedge, id, name }: Call): void {
    const { sink } = this
    if (sink === undefined) return
    const part = { type: "tool-started", callId: id, name, attempt: attempts, time: this.time } as const
    sink.offer(hedge ? { ...part, hedge } : part)
  }

  retried({ attempts, id, name }: Call, delayMillis: number, message: string): void {
    this.emit({ type: "tool-retry", callId: id, name, attempt: attempts, delayMillis, message, time: this.time })
  }

  progress({ id, name }: Call, result: unknown, encodedResult: unknown): void {
    this.sink?.offerProgress(id, { type: "tool-progress", callId: id, name, result, encodedResult, time: this.time })
  }

  cancelled(call: Call, reason: CancelReason.CancelReason): void {
    const { adopted, attempts, id, name } = call
    const executionStarted = attempts > 0 || adopted !== undefined
    this.emit({ type: "tool-cancelled", callId: id, name, reason, executionStarted, time: this.time })
    this.groups?.stopped(call)
  }

  abandoned({ id, name, tool }: Call, reason: CancelReason.CancelReason): void {
    const { graceMillis } = tool.compiled.policies
    this.emit({ type: "tool-abandoned", callId: id, name, reason, graceMillis, time: this.time })
  }
}

/** How a run ends that has to leave off because the process goes down. */
export const shutDown: Reason = { _tag: "Cancelled", reason: CancelReason.shutdown }

// Stands in for a tool that does not exist; its calls are answered before anything of it is used.
const unknown: Tool.Any = Tool.make("unknown")

const callIds = (prompt: Prompt.Prompt): Set<string> => {
  const ids = new Set<string>()
  for (const message of prompt.content) {
    if (message.role !== "assistant") continue
    for (const part of message.content) if (part.type === "tool-call") ids.add(part.id)
  }
  return ids
}
