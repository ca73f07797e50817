/**
 * The spans of a run: `invoke_agent` > `step` > `execute_tool {name}`, made only where the program provides a `Tracer`. Names
 * and attributes follow OpenTelemetry's `gen_ai` conventions; never a prompt, an argument or a result. A tracer that throws
 * costs its spans and nothing else.
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import type { Call, Outcome, Tracing } from "./Call.ts"
import { orElse } from "./orElse.ts"

export class RunTracing {
  readonly calls: Tracing
  private readonly tracer: Tracer.Tracer
  private readonly clock: Clock.Clock
  private readonly run: Tracer.Span
  private step: Tracer.Span | undefined

  constructor(tracer: Tracer.Tracer, clock: Clock.Clock, parent: Tracer.AnySpan | undefined, runId: string) {
    this.tracer = tracer
    this.clock = clock
    this.run = this.open("invoke_agent", parent)
    this.run.attribute("gen_ai.operation.name", "invoke_agent")
    this.run.attribute("toolformer.run.id", runId)
    this.calls = { tracer, parent: this.run }
  }

  beginStep(step: number): void {
    this.step = orElse(() => this.open("step", this.run), undefined)
    orElse(() => this.step?.attribute("toolformer.step", step), undefined)
    this.calls.parent = this.step ?? this.run
  }

  endStep(exit: Exit.Exit<unknown, unknown> = Exit.void): void {
    endSpan(this.step, this.clock, exit)
    this.step = undefined
    this.calls.parent = this.run
  }

  inStep<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> {
    return Effect.withParentSpan(effect, this.step ?? this.run)
  }

  close(exit: Exit.Exit<unknown, unknown>): void {
    this.endStep(exit)
    endSpan(this.run, this.clock, exit)
  }

  private open(name: string, parent: Tracer.AnySpan | undefined): Tracer.Span {
    return this.tracer.span({
      name,
      parent: Option.fromUndefinedOr(parent),
      annotations: Context.empty(),
      links: [],
      startTime: this.clock.currentTimeNanosUnsafe(),
      kind: "internal",
      root: parent === undefined,
      sampled: parent?.sampled ?? true
    })
  }
}

/** Opens the run's span if the program has a tracer of its own; Effect's default tracer shows nothing to anybody. */
export const open = (context: Context.Context<never>, clock: Clock.Clock, runId: string): RunTracing | undefined => {
  const tracer = context.mapUnsafe.get(Tracer.Tracer.key) as Tracer.Tracer | undefined
  if (tracer === undefined || !Context.get(context, References.TracerEnabled)) return undefined
  const parent = context.mapUnsafe.get(Tracer.ParentSpan.key) as Tracer.AnySpan | undefined
  return orElse(() => new RunTracing(tracer, clock, parent, runId), undefined)
}

/** Opens the span of a call, where somebody traces. */
export const openCall = (call: Call): Tracer.Span | undefined => {
  const { timers, tracing } = call.environment
  if (tracing === undefined) return undefined
  return orElse(() => {
    const span = tracing.tracer.span({
      name: `${call.guess === undefined ? "execute_tool" : "speculate"} ${call.name}`,
      parent: Option.fromUndefinedOr(tracing.parent),
      annotations: Context.empty(),
      links: [],
      startTime: timers.clock.currentTimeNanosUnsafe(),
      kind: "internal",
      root: false,
      sampled: tracing.parent?.sampled ?? true
    })
    span.attribute("gen_ai.operation.name", "execute_tool")
    span.attribute("gen_ai.tool.name", call.name)
    span.attribute("gen_ai.tool.call.id", call.id)
    span.attribute("gen_ai.tool.type", "function")
    return span
  }, undefined)
}

/** Closes the span of a call with its outcome; `exit` is the handler's, so that a defect stays visible. */
export const closeCall = (call: Call, outcome: Outcome, exit: Exit.Exit<unknown, unknown> | undefined): void => {
  const { span } = call
  if (span === undefined) return
  orElse(() => {
    if (outcome.isFailure) span.attribute("error.type", outcome.status)
    span.attribute("toolformer.status", outcome.status)
    if (call.claimed !== undefined) span.attribute("toolformer.speculation", call.claimed.speculationId)
    if (call.attempts > 1) span.attribute("toolformer.attempts", call.attempts)
  }, undefined)
  endSpan(span, call.environment.timers.clock, exit ?? (outcome.isFailure ? Exit.fail(outcome.result) : Exit.void))
}

export const endSpan = (span: Tracer.Span | undefined, clock: Clock.Clock, exit: Exit.Exit<unknown, unknown>): void => {
  orElse(() => span?.end(clock.currentTimeNanosUnsafe(), exit), undefined)
}
