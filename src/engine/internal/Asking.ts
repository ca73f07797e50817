/**
 * A turn of the model, asked until it is answered. One asking passes the circuit breaker and the limits of the model's service
 * and is read as it streams; when it fails, the `Retry` of the program says whether and when the same model is asked
 * again, and the `failover` plan which model is next. What an answer that broke off had started, the next one adopts.
 */
import * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import * as Stream from "effect/Stream"
import * as Breaker from "../../policy/Breaker.ts"
import { Rejected } from "../../policy/Limiter.ts"
import * as Retry from "../../policy/Retry.ts"
import type { Models, Rules } from "./Failover.ts"
import { isRetryable } from "./Limits.ts"
import { admitTurn } from "./modelAdmission.ts"
import { ModelClock } from "./ModelClock.ts"
import type { Resolved } from "./options.ts"
import { OrchestratorError } from "./OrchestratorError.ts"
import type { Reason } from "./OrchestratorError.ts"
import { orElse } from "./orElse.ts"
import type { Run } from "./Run.ts"
import type * as Tracing from "./Tracing.ts"
import type { Turn } from "./Turn.ts"

/** Why an asking failed. */
export type Failure = AiError.AiError | OrchestratorError | Rejected | CircuitBreakerError

/** What all turns of a run are asked with. */
export interface Asker {
  readonly run: Run
  readonly settings: Resolved
  readonly models: Models
  readonly retry: Retry.Retry["Service"] | undefined
  readonly breaker: Breaker.Breaker["Service"] | undefined
  readonly tracing: Tracing.RunTracing | undefined
}

/** The policies of the program that concern its models. */
export const policiesOf = (context: Context.Context<never>): Pick<Asker, "retry" | "breaker"> => ({
  retry: context.mapUnsafe.get(Retry.Retry.key) as Retry.Retry["Service"] | undefined,
  breaker: context.mapUnsafe.get(Breaker.Breaker.key) as Breaker.Breaker["Service"] | undefined
})

/** Asks for a turn until it is answered or nobody is left to ask. */
export const askTurn = (asker: Asker, turn: Turn): Effect.Effect<void, Failure> => {
  const { models, retry, tracing } = asker
  const asked = retry === undefined && models.isLast && models.current.context === undefined
    ? ask(asker, turn)
    : askAgain(asker, turn)
  return tracing === undefined ? asked : tracing.inStep(asked)
}

const askAgain = Effect.fnUntraced(function*(asker: Asker, turn: Turn): Effect.fn.Return<void, Failure> {
  const { models, run } = asker
  let attempts = beginAttempts(asker)
  let rules = yield* models.begin
  // What this model was last asked in vain: it says more than that nobody was let through afterwards.
  let asked: Failure | undefined
  for (;;) {
    const exit = yield* Effect.exit(Effect.andThen(pause(asker, turn, attempts), ask(asker, turn)))
    if (Exit.isSuccess(exit)) return attempts?.succeeded()
    const failure = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
    // A defect is the adapter's, a run that ends asks no more, and what makes no sense here makes none elsewhere.
    if (failure === undefined || run.isEnding || isInvalid(failure)) return yield* exit
    if (!isRefusal(failure)) asked = failure
    const retried = yield* sameModel(attempts, rules, failure)
    if (retried !== undefined && Number.isFinite(retried)) {
      yield* startAnew(run, turn, retried, failure)
      continue
    }
    const told = asAiError(failure)
    const next = yield* Effect.mapError(models.next(told), (last) => last === told ? asked ?? failure : last)
    asked = undefined
    attempts = beginAttempts(asker)
    rules = next.rules
    yield* startAnew(run, turn, next.delay, failure, true)
  }
})

const beginAttempts = ({ models, retry, run }: Asker): Retry.Attempts | undefined =>
  retry === undefined
    ? undefined
    : orElse(() => retry.begin({ service: models.current.service }, run.settings.context), undefined)

// The policy hears of every failure, since it learns from them when the service may be asked again; only where the plan has rules
// of its own it does not decide. Where one of our own policies let nobody through, nobody was asked, and nobody waits for it.
const sameModel = (
  attempts: Retry.Attempts | undefined,
  rules: Rules | undefined,
  failure: Failure
): Effect.Effect<number | undefined> => {
  if (isRefusal(failure)) return Effect.undefined
  const told = attempts === undefined ? Effect.undefined : attempts.failed(failure)
  return rules === undefined ? told : Effect.andThen(told, rules(asAiError(failure)))
}

// A service that wants to be left alone for longer than a turn may wait is not asked at all.
const pause = Effect.fnUntraced(function*(
  { models, run }: Asker,
  turn: Turn,
  attempts: Retry.Attempts | undefined
): Effect.fn.Return<void, Rejected> {
  if (attempts === undefined) return
  for (;;) {
    const refused = attempts.refusedMillis()
    if (refused !== undefined) return yield* turnedAway(models.current.service, refused)
    const millis = attempts.pauseMillis()
    if (!(millis > 0)) return
    yield* Effect.sleep(Duration.millis(Math.ceil(millis)))
    turn.paused(run.settings.timers.now())
  }
})

const turnedAway = (service: string, retryAfterMillis: number): Rejected =>
  new Rejected({
    reason: "RateLimited",
    limit: service,
    retryAfterMillis,
    message: `${service} has asked to be left alone for ${retryAfterMillis} ms more`
  })

const startAnew = (
  run: Run,
  turn: Turn,
  delayMillis: number,
  failure: Failure,
  failover = false
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const attempt = turn.attempts
    run.restartTurn(turn)
    run.emit({
      type: "step-retry",
      step: turn.step,
      attempt,
      delayMillis,
      message: messageOf(failure),
      ...(failover ? { failover } : undefined),
      time: run.time
    })
    return delayMillis > 0 ? Effect.sleep(Duration.millis(Math.ceil(delayMillis))) : Effect.void
  }).pipe(Effect.tap(() => Effect.sync(() => turn.spend(run.settings.timers.now()))))

// ---- one asking ---------------------------------------------------------------------------------------------------------

const ask = (asker: Asker, turn: Turn): Effect.Effect<void, Failure> => {
  const { breaker, models: { current }, run, settings } = asker
  const { idle, firstByte, total } = settings.timeout.model
  const isTimed = idle !== undefined || firstByte !== undefined || total !== undefined
  const read = isTimed ? timed(asker, turn) : readAnswer(asker, turn, undefined)
  const asked = Effect.suspend(() => {
    // Ended in the step in which its limits let it pass.
    if (run.fatal !== undefined) return Effect.interrupt
    turn.isAsked = true
    run.speculation?.asked(turn)
    // What was read to its end has been asked for: settling with a limit or a circuit is no wait to ask.
    return Effect.onError(read, () => Effect.sync(() => turn.isAsked = false))
  })
  const admitted = run.limits === undefined ? asked : admitTurn(run, run.limits, turn, settings, current.service, asked)
  return breaker === undefined ? admitted : breaker.execute(current.service)(admitted)
}

// From here on, so that waiting for a limit is not counted.
const timed = (
  { models, run, settings }: Asker,
  turn: Turn
): Effect.Effect<void, AiError.AiError | OrchestratorError> =>
  Effect.suspend(() => {
    const { runId, sink, timers } = run.settings
    const clock = new ModelClock(settings.timeout.model, timers, sink)
    const expired = Effect.flatMap(Deferred.await(clock.expired), (reason) =>
      Effect.fail(new OrchestratorError({ runId, reason, prompt: run.prompt })))
    return Effect.ensuring(
      Effect.raceFirst(readAnswer({ models, run, settings }, turn, clock), expired),
      Effect.sync(() =>
        clock.stop()
      )
    )
  })

const readAnswer = (
  { models: { current }, run, settings }: Pick<Asker, "models" | "run" | "settings">,
  turn: Turn,
  clock: ModelClock | undefined
): Effect.Effect<void, AiError.AiError> => {
  const { sink, tools } = run.settings
  const toolkit = {
    tools: Object.fromEntries([...tools].map(([name, tool]) => [name, tool.compiled.tool])),
    // Stock would run approved calls of the prompt itself; they have been answered before this turn.
    handle: () => Effect.die("effect-toolformer runs the calls; the model's toolkit has no handlers")
  }
  return Stream.runForEachArray(
    current.model.streamText({
      prompt: run.prompt,
      toolkit: toolkit,
      toolChoice: toolChoice(settings, turn.step) as never,
      disableToolCallResolution: true,
      toolCallValidation: "deferred"
    }) as Stream.Stream<Response.AnyPart, AiError.AiError>,
    (parts) => {
      turn.touched = true
      parts.forEach(run.route)
      // Behind them: what a handler did in its first step was not the model's time.
      clock?.heard()
      return sink === undefined ? Effect.void : sink.gate
    }
  ).pipe(current.context === undefined ? (read) => read : Effect.provideContext(current.context))
}

// A forced choice would force a call in every turn; it is meant for the first.
const toolChoice = (settings: Resolved, step: number): LanguageModel.ToolChoice<string> => {
  const choice = settings.toolChoice
  const forces = choice === "required" ||
    (typeof choice === "object" && ("tool" in choice || choice.mode === "required"))
  return step === 1 || !forces
    ? choice
    : typeof choice === "object" && "oneOf" in choice
    ? { oneOf: choice.oneOf }
    : "auto"
}

// ---- failures -----------------------------------------------------------------------------------------------------------

const isInvalid = (failure: Failure): boolean =>
  failure instanceof OrchestratorError && failure.reason._tag === "InvalidOptions"

const isCircuit = (failure: unknown): failure is CircuitBreakerError =>
  (failure as CircuitBreakerError)._tag === "CircuitBreakerError"

// One of our own policies let nobody through.
const isRefusal = (failure: Failure): boolean => failure instanceof Rejected || isCircuit(failure)

/** Why the run fails, where an asking was refused or took too long; an error of the model's speaks for itself. */
export const reasonOf = (failure: Failure): Reason | undefined => {
  if (failure instanceof OrchestratorError) return failure.reason
  if (failure instanceof Rejected) return rejection(failure)
  if (!isCircuit(failure)) return undefined
  const { reason } = failure
  const retryAfter = reason._tag === "CircuitOpen" ? { retryAfterMillis: Duration.toMillis(reason.retryAfter) } : {}
  return { _tag: "Rejected", limit: nameOf(failure), message: messageOf(failure), isRetryable: true, ...retryAfter }
}

const rejection = (error: Rejected): Reason => ({
  _tag: "Rejected",
  limit: error.limit,
  message: error.message,
  isRetryable: isRetryable(error),
  ...(error.retryAfterMillis === undefined ? undefined : { retryAfterMillis: error.retryAfterMillis })
})

const nameOf = ({ reason }: CircuitBreakerError): string =>
  reason._tag === "CircuitBreakerStoreError" ? "circuit" : `circuit ${reason.key}`

const messageOf = (failure: Failure): string => {
  if (!isCircuit(failure)) return failure.message
  const { reason } = failure
  return reason._tag === "CircuitBreakerStoreError"
    ? `the store of the circuit breaker failed: ${reason.message}`
    : `the circuit of ${reason.key} is ${reason._tag === "CircuitOpen" ? "open" : "being probed"}`
}

// A plan's rules know the model's errors only.
const asAiError = (failure: Failure): AiError.AiError =>
  AiError.isAiError(failure) ? failure : AiError.make({
    module: "Orchestrator",
    method: "streamText",
    reason: new AiError.InternalProviderError({ description: messageOf(failure) })
  })
