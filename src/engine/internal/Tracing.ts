/**
 * The spans of a run: `invoke_agent` > `step` > `execute_tool {name}`, made only where the program provides a `Tracer`. Names
 * and attributes follow OpenTelemetry's `gen_ai` conventions; never a prompt, an argument or a result.
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import type { Tracing } from "./Call.ts"

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
    this.step = this.open("step", this.run)
    this.step.attribute("toolformer.step", step)
    this.calls.parent = this.step
  }

  endStep(exit: Exit.Exit<unknown, unknown> = Exit.void): void {
    this.step?.end(this.clock.currentTimeNanosUnsafe(), exit)
    this.step = undefined
    this.calls.parent = this.run
  }

  inStep<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> {
    return Effect.withParentSpan(effect, this.step ?? this.run)
  }

  close(exit: Exit.Exit<unknown, unknown>): void {
    this.endStep(exit)
    this.run.end(this.clock.currentTimeNanosUnsafe(), exit)
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
  return new RunTracing(
    tracer,
    clock,
    context.mapUnsafe.get(Tracer.ParentSpan.key) as Tracer.AnySpan | undefined,
    runId
  )
}
