/**
 * The story of a prompt: the model's turn is read as it streams, every call starts as soon as its arguments are complete, every
 * answer streams out as it lands, and when a turn's calls are answered the next turn begins, until the model asks for nothing
 * more. `run` gives the result, `stream` every part on the way; both are this one loop.
 *
 * Calls are the Dispatcher's (when) and the Executor's (how); this module knows turns. There is no `Orchestrator` service: live
 * runs stand in `Runs`, defaults in `Config`.
 */
import * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CancelReason from "../domain/CancelReason.ts"
import type { Report } from "../domain/Report.ts"
import type { AnyPart, Part, PendingApproval, ToolResult } from "../domain/ToolEvent.ts"
import * as Approvals from "./internal/Approvals.ts"
import * as Asking from "./internal/Asking.ts"
import { CurrentCall } from "./internal/Call.ts"
import type { Call } from "./internal/Call.ts"
import { Models } from "./internal/Failover.ts"
import { Config, resolveOptions } from "./internal/options.ts"
import type { Options, Resolved, StepResult, StopCondition } from "./internal/options.ts"
import { OrchestratorError } from "./internal/OrchestratorError.ts"
import type { Reason } from "./internal/OrchestratorError.ts"
import * as PartQueue from "./internal/PartQueue.ts"
import { bindAll } from "./internal/Pipeline.ts"
import * as Reporter from "./internal/Reporter.ts"
import type { TurnRecord } from "./internal/Reporter.ts"
import { Run, shutDown } from "./internal/Run.ts"
import { Runs } from "./internal/Runs.ts"
import { Timers } from "./internal/Timers.ts"
import * as Tracing from "./internal/Tracing.ts"
import type { Turn } from "./internal/Turn.ts"
import { gaveUp } from "./internal/Turn.ts"

export { Config, hasToolCall, isStepCount, layerConfig } from "./internal/options.ts"
export type {
  Defaults,
  FailoverPlan,
  ModelTimeouts,
  ModelTurn,
  Options,
  StepResult,
  StopCondition
} from "./internal/options.ts"
export { OrchestratorError } from "./internal/OrchestratorError.ts"
export type { Reason } from "./internal/OrchestratorError.ts"
export { cancel, drain, layerRuns, Runs } from "./internal/Runs.ts"
export type { RunRegistry } from "./internal/Runs.ts"

/**
 * What a run ends with.
 *
 * **Shape** `text` is the last turn's text; `toolResults` every call's final result over all turns, in call order; `prompt` the
 * whole history, ready for the next run; `pendingApprovals` the calls that wait for a person (append a tool message with
 * `Prompt.toolApprovalResponsePart` to `prompt` and run again); `usage` summed over turns.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunResult<Tools extends Record<string, Tool.Any>> {
  readonly runId: string
  readonly text: string
  readonly steps: ReadonlyArray<StepResult<Tools>>
  readonly toolResults: ReadonlyArray<ToolResult<Tools>>
  readonly prompt: Prompt.Prompt
  readonly pendingApprovals: ReadonlyArray<PendingApproval>
  readonly usage: Response.Usage
  readonly finishReason: Response.FinishReason
  readonly report: Report
}

/**
 * What a run needs: a model, the toolkit's handlers, and what their schemas and handlers need.
 *
 * @category models
 * @since 0.1.0
 */
export type Services<Tools extends Record<string, Tool.Any>> =
  | LanguageModel.LanguageModel
  | Tool.HandlersFor<Tools>
  | Tool.HandlerServices<Tools[keyof Tools]>

/**
 * Runs a prompt to its end.
 *
 * **Shape** Turns of the model until it asks for no more calls, a stop condition holds, `maxSteps` is reached, or calls wait
 * for approval. Calls of one turn run in parallel under `toolCallConcurrency`; one bad call is one failed result.
 *
 * **Units** Defaults: 20 steps, 30 calls at once, 10,000 calls a turn, no timeouts; see {@link Config}.
 *
 * **Errors** `AiError` when the model fails before any call was made; `OrchestratorError` for everything else, with the history
 * so far. Interruption stops the model's request and every call (reason `CallerGone`), and waits for them at most their grace.
 *
 * **Gotchas** A `toolChoice` that forces a call holds for the first turn only; after that the model may answer.
 *
 * **Example** (A prompt, a tool, a result)
 *
 * ```ts
 * import { Effect, Layer, Schema, Stream } from "effect"
 * import { LanguageModel, type Response } from "effect/ai"
 * import { Orchestrator, ToolPolicy } from "effect-toolformer"
 *
 * const { toolkit, layer } = ToolPolicy.define({
 *   add: ToolPolicy.tool({
 *     parameters: Schema.Struct({ a: Schema.Finite, b: Schema.Finite }),
 *     success: Schema.Finite,
 *     handler: ({ a, b }) => Effect.succeed(a + b)
 *   })
 * })
 * // A model that asks for one sum, then says so.
 * const finish = (reason: Response.FinishReason): Response.StreamPartEncoded =>
 *   ({ type: "finish", reason, usage: { inputTokens: {}, outputTokens: {} }, response: undefined }) as never
 * const Model = Layer.effect(LanguageModel.LanguageModel, LanguageModel.make({
 *   generateText: () => Effect.succeed([]),
 *   streamText: ({ prompt }) => Stream.fromIterable<Response.StreamPartEncoded>(
 *     prompt.content.some((message) => message.role === "tool")
 *       ? [{ type: "text-start", id: "t" }, { type: "text-delta", id: "t", delta: "It is 3." }, { type: "text-end", id: "t" }, finish("stop")]
 *       : [{ type: "tool-call", id: "c1", name: "add", params: { a: 1, b: 2 } }, finish("tool-calls")]
 *   )
 * }))
 *
 * const result = await Effect.runPromise(
 *   Orchestrator.run({ prompt: "What is 1 + 2?", toolkit }).pipe(Effect.provide([layer, Model]))
 * )
 * result.text // => "It is 3."
 * result.toolResults[0]?.result // => 3
 * ```
 *
 * @see {@link stream} to see every part as it happens
 * @category running
 * @since 0.1.0
 */
export const run = <Tools extends Record<string, Tool.Any>>(
  options: Options<Tools>
): Effect.Effect<RunResult<Tools>, OrchestratorError | AiError.AiError, Services<Tools>> =>
  Effect.flatMap(Effect.context<Services<Tools>>(), (context) => execute(options, context, undefined))

/**
 * Runs a prompt and gives every part as it happens: Effect's own stream parts and ours (`ToolEvent`).
 *
 * **Shape** `run-start` first; each call's `tool-call`, `tool-queued`, `tool-started`, then exactly one final `tool-result`, in
 * order of completion; `run-finish` last.
 *
 * **Errors** As {@link run}; the results of a failing run come before the failure. When the reader leaves, the run stops.
 *
 * @see {@link run} when only the result counts
 * @category running
 * @since 0.1.0
 */
export const stream = <Tools extends Record<string, Tool.Any>>(
  options: Options<Tools>
): Stream.Stream<Part<Tools>, OrchestratorError | AiError.AiError, Services<Tools>> =>
  Stream.unwrap(Effect.gen(function*() {
    const context = yield* Effect.context<Services<Tools>>()
    const timers = makeTimers(context)
    const sink = yield* PartQueue.make<AnyPart, OrchestratorError | AiError.AiError>(() => timers.now())
    yield* Effect.forkScoped(sink.end(Effect.asVoid(execute(options, context, sink, timers))))
    return sink.stream as Stream.Stream<Part<Tools>, OrchestratorError | AiError.AiError>
  }))

const makeTimers = (context: Context.Context<never>): Timers => new Timers(Context.get(context, Clock.Clock), context)

type Sink = PartQueue.PartQueue<AnyPart, OrchestratorError | AiError.AiError>

const execute = Effect.fnUntraced(function*<Tools extends Record<string, Tool.Any>>(
  options: Options<Tools>,
  services: Context.Context<Services<Tools>>,
  sink: Sink | undefined,
  timers: Timers = makeTimers(services)
): Effect.fn.Return<RunResult<Tools>, OrchestratorError | AiError.AiError> {
  const context = services as Context.Context<never>
  const registry = Context.get(context, Runs)
  const settings = yield* resolveOptions(options, Context.get(context, Config))
  const tracing = Tracing.open(context, timers.clock, settings.runId)
  const policies = Asking.policiesOf(context)
  const run = new Run({
    ...settings,
    tools: bindAll(options.toolkit, context, settings.timeout.tool, settings.activeTools),
    context,
    timers,
    tracing: tracing?.calls,
    parent: Context.get(context, CurrentCall),
    asksAgain: policies.retry !== undefined || settings.failover !== undefined,
    sink
  })
  const models = new Models(services, settings.modelService, settings.failover)
  const asker = { run, settings, models, tracing, ...policies }
  return yield* loop(asker).pipe(
    // The run's own door for a stop by name, and its last act: nothing it started outlives it.
    Effect.tap((result) => Effect.sync(() => finish(run, result))),
    Effect.onExit((exit) => Effect.andThen(close(run, timers, tracing, exit), models.close)),
    (effect) => registry.register(run, effect)
  ) as Effect.Effect<RunResult<Tools>, OrchestratorError | AiError.AiError>
})

const finish = (run: Run, result: RunResult<Record<string, Tool.Any>>): void => {
  const { steps: _steps, toolResults: _results, ...rest } = result
  run.emit({ type: "run-finish", ...rest, time: run.time })
}

const close = (
  run: Run,
  timers: Timers,
  tracing: Tracing.RunTracing | undefined,
  exit: Exit.Exit<unknown, unknown>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const reason = Exit.isFailure(exit) ? CancelReason.fromCause(exit.cause) : undefined
    run.groups?.dissolve()
    run.dispatcher.stopAll(reason ?? CancelReason.callerGone)
    const speculated = run.speculation?.close()
    return speculated === undefined ? run.dispatcher.awaitIdle : Effect.andThen(run.dispatcher.awaitIdle, speculated)
  }).pipe(Effect.andThen(Effect.sync(() => {
    timers.close()
    tracing?.close(exit)
  })))

const loop = Effect.fnUntraced(function*(
  asker: Asking.Asker
): Effect.fn.Return<RunResult<Record<string, Tool.Any>>, OrchestratorError | AiError.AiError> {
  const { run, settings, tracing } = asker
  const { timers, tools } = run.settings
  const steps: Array<StepResult<Record<string, Tool.Any>>> = []
  run.emit({
    type: "run-start",
    runId: settings.runId,
    policies: activePolicies(asker),
    tools: [...tools.keys()],
    time: run.time
  })
  const total = settings.timeout.total
  if (total !== undefined) {
    timers.add(
      total,
      () =>
        run.fail({ _tag: "TimedOut", clock: "total", afterMillis: total }, "all", CancelReason.timeout("total", total))
    )
  }
  const unanswered = yield* answerApprovals(run)
  if (unanswered.length > 0) return resultOf(run, steps, unanswered, "tool-calls")
  for (let step = 1;; step++) {
    if (run.isShuttingDown) return yield* failure(run, shutDown)
    const turn = run.beginTurn(step)
    tracing?.beginStep(step)
    const exit = yield* Effect.exit(Effect.raceFirst(
      Asking.askTurn(asker, turn),
      Deferred.await(run.fatalSignal)
    ))
    const failed = run.fatal !== undefined || Exit.isFailure(exit)
    run.endReading(turn, failed)
    yield* run.dispatcher.awaitIdle
    const record = run.endTurn(turn, failed)
    tracing?.endStep()
    if (run.fatal !== undefined) return yield* failure(run, run.fatal)
    if (Exit.isFailure(exit)) return yield* modelFailure(run, turn, record, exit.cause)
    const finishReason = turn.finish?.reason ?? "unknown"
    steps.push(stepResult(turn, record))
    run.emit({ type: "step-finish", step, finishReason, usage: steps.at(-1)!.usage, time: run.time })
    if (!isOver(turn, record, settings, steps)) continue
    // What was guessed has ended, or its grace is over, before the run says that it has.
    if (run.speculation !== undefined) yield* run.speculation.close()
    return resultOf(run, steps, run.pendingApprovals, finishReason)
  }
})

const answerApprovals = Effect.fnUntraced(function*(run: Run) {
  const { resolved, unanswered } = Approvals.collect(run.prompt)
  if (resolved.length > 0) {
    const turn = run.resolveApprovals(resolved)
    yield* run.dispatcher.awaitIdle
    run.endTurn(turn, false)
    if (run.fatal !== undefined) return yield* failure(run, run.fatal)
  }
  return unanswered.map(({ approvalId, call }) => ({
    approvalId,
    callId: call.id,
    name: call.name,
    params: call.params
  }))
})

const activePolicies = ({ breaker, retry, run: { limits, speculation } }: Asking.Asker): ReadonlyArray<string> =>
  Object.entries({ limiter: limits, retry, breaker, speculation }).flatMap(([name, policy]) =>
    policy === undefined ? [] : [name]
  )

const stepResult = (turn: Turn, { calls }: TurnRecord): StepResult<Record<string, Tool.Any>> => ({
  step: turn.step,
  text: turn.text.join(""),
  toolCalls: calls.map(({ id, name, params }) => ({ id, name, params })),
  toolResults: calls.flatMap((call) => call.result === undefined ? [] : [call.result]) as never,
  finishReason: turn.finish?.reason ?? "unknown",
  usage: turn.usage
})

const isOver = (
  turn: Turn,
  { calls, step }: TurnRecord,
  settings: Resolved,
  steps: ReadonlyArray<StepResult<Record<string, Tool.Any>>>
): boolean => {
  const reason = turn.finish?.reason ?? "unknown"
  return turn.approvals.length > 0 ||
    gaveUp(reason) ||
    (turn.calls.length === 0 && reason !== "pause" && calls.every(isRepeatable)) ||
    step >= settings.maxSteps ||
    settings.stopWhen.some((stop: StopCondition) => stop({ steps }))
}

// What an answer that broke off has done is to be told to the model, which may think that it was not.
const isRepeatable = (call: Call): boolean => call.tool.compiled.policies.repeatable

const resultOf = (
  run: Run,
  steps: ReadonlyArray<StepResult<Record<string, Tool.Any>>>,
  pendingApprovals: ReadonlyArray<PendingApproval>,
  finishReason: Response.FinishReason
): RunResult<Record<string, Tool.Any>> => ({
  runId: run.settings.runId,
  text: steps.at(-1)?.text ?? "",
  steps,
  toolResults: run.turns.flatMap((turn) =>
    turn.calls.flatMap((call) => call.result === undefined ? [] : [call.result])
  ) as never,
  prompt: run.prompt,
  pendingApprovals,
  usage: run.usage,
  finishReason,
  report: Reporter.report(
    run.settings.runId,
    run.settings.timers.now() - run.startedAt,
    run.dispatcher.peak,
    run.turns,
    run.groups?.reports,
    run.speculation
  )
})

const failure = (run: Run, reason: Reason): Effect.Effect<never, OrchestratorError> =>
  Effect.fail(new OrchestratorError({ runId: run.settings.runId, reason, prompt: run.prompt }))

// Before any call was made the model's error stands for itself; after that it must not cost what has been done.
const modelFailure = (
  run: Run,
  turn: Turn,
  record: TurnRecord,
  cause: Cause.Cause<Asking.Failure>
): Effect.Effect<never, AiError.AiError | OrchestratorError> => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  const reason = error === undefined ? undefined : Asking.reasonOf(error)
  if (reason !== undefined) return failure(run, reason)
  const incomplete = turn.incomplete.map(({ id }) => id)
  const untouched = incomplete.length === 0 && run.turns.every(({ calls }) => calls.length === 0)
  return !AiError.isAiError(error) || untouched
    ? Effect.failCause(cause as Cause.Cause<AiError.AiError>)
    : failure(run, {
      _tag: "TurnBroken",
      error,
      completed: record.calls.map(({ id }) => id),
      incomplete
    })
}
