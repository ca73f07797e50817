/** One harness: what is expected of its next run, its runs, and what the last of them did. */
import type * as AiError from "effect/ai/AiError"
import * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { AnyPart } from "../../domain/ToolEvent.ts"
import * as ToolPolicy from "../../domain/ToolPolicy.ts"
import * as Executor from "../../engine/Executor.ts"
import * as Orchestrator from "../../engine/Orchestrator.ts"
import { TestModel } from "../TestModel.ts"
import { TestTools } from "../TestTools.ts"
import { format, fromParts } from "../Timeline.ts"
import * as Census from "./census.ts"
import { declare } from "./declare.ts"
import type { Declared, Possible } from "./declare.ts"
import type { AnyTools, ClockMode, ExecuteOptions, Execution, Options, OrphanOptions } from "./execution.ts"
import { ExpectationError, notOver } from "./ExpectationError.ts"
import type { Reason } from "./ExpectationError.ts"
import { declaration, verify } from "./expectations.ts"
import type { Expectation, Failure } from "./expectations.ts"
import type { RecordedCall, Timeline } from "./recorded.ts"
import { resultOf } from "./resultOf.ts"
import { outsideOf, turnsOf, unscriptedOf } from "./scripted.ts"
import { effectRandom } from "./seededRandom.ts"
import { isTestClock } from "./sleeps.ts"
import { hintOf } from "./stuckHint.ts"
import type { Rules } from "./together.ts"
import { advancing, Stuck } from "./virtualTime.ts"
import { endOf, millis, titleOf } from "./waterfallText.ts"

type RunError = AiError.AiError | Orchestrator.OrchestratorError

/** A run that is over, or was. */
interface Ran {
  readonly parts: ReadonlyArray<AnyPart>
  readonly timeline: Timeline
  readonly rules: Rules
  /** What it ran with, what its caller brought included. */
  readonly context: Context.Context<never>
  readonly census: Census.Census
  readonly exit: Exit.Exit<void, RunError | Stuck>
  /** Whether the caller has no TestClock, so that the harness made one for this run alone. */
  readonly isOwnClock: boolean
}

const fail = (reason: Reason): Effect.Effect<never, ExpectationError> => Effect.fail(new ExpectationError({ reason }))

export class Harness {
  private pending: ReadonlyArray<Expectation> = []
  /** Expectations of a run that failed. */
  private unverified: ReadonlyArray<Expectation> = []
  private underWay = 0
  /** Those of the run under way. */
  private claimed: ReadonlyArray<Expectation> = []
  private turnsLeft = false
  private last: Ran | undefined
  private readonly options: Options<AnyTools>
  private readonly context: Context.Context<never>
  private readonly policies: ReadonlyMap<string, ToolPolicy.Policies>

  constructor(options: Options<AnyTools>, context: Context.Context<never>) {
    this.options = options
    // What is drawn, such as how long a retry waits, is the same in every execution of a test, unless it brings a `Random`.
    this.context = Context.merge(Context.make(Random.Random, effectRandom(0)), context)
    this.policies = new Map(Object.entries(options.toolkit.tools).map(([name, tool]) => [name, ToolPolicy.read(tool)]))
  }

  // ---- before a run --------------------------------------------------------------------------------------------------

  declare(declared: Declared): Effect.Effect<void, ExpectationError> {
    const checked = Effect.contextWith((context: Context.Context<never>) => declare(declared, this.possible(context)))
    return Effect.map(this.within(checked), (expectation) => this.expect(expectation))
  }

  expect(expectation: Expectation): void {
    this.pending = [...this.pending, expectation]
  }

  // What the caller has goes before what the layer was built with, but for the model and the handlers.
  private within<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.updateContext(
      effect,
      (own: Context.Context<never>) =>
        Context.merge(Context.merge(this.context, own), outsideOf(this.options.toolkit, this.context, own))
    )
  }

  private possible(context: Context.Context<never>): Possible {
    const scripted = Option.getOrUndefined(Context.getOption(context, TestModel))?.scriptedCalls
    return {
      tools: this.options.toolkit.tools,
      rules: this.rules(this.options, context),
      ids: scripted === undefined || scripted.includes(undefined)
        ? undefined
        : new Set(scripted.flatMap((turn) => turn!.map(({ id }) => id)))
    }
  }

  private rules(
    options: { readonly toolCallConcurrency?: number | undefined },
    context: Context.Context<never>
  ): Rules {
    return {
      concurrency: options.toolCallConcurrency ?? Context.get(context, Orchestrator.Config).toolCallConcurrency,
      policies: this.policies
    }
  }

  // ---- a run -----------------------------------------------------------------------------------------------------------

  readonly execute = Effect.fnUntraced(function*(
    this: Harness,
    input: Prompt.RawInput | ExecuteOptions
  ): Effect.fn.Return<Execution, ExpectationError | RunError> {
    const { turnsLeft, ...own }: ExecuteOptions = isOptions(input) ? input : { prompt: input }
    const { expectations, ran } = yield* this.run({ ...this.options, ...own })
    this.turnsLeft = turnsLeft === "allow"
    if (Exit.isFailure(ran.exit)) return yield* this.failed(ran, ran.exit)
    yield* this.judge(ran, expectations, turnsLeft !== "allow")
    return this.executionOf(ran)
  })

  // In one step: what is declared from here on is for the next run.
  private claim(): Effect.Effect<ReadonlyArray<Expectation>, ExpectationError> {
    return Effect.suspend(() => {
      if (this.unverified.length > 0) {
        const ending = this.last === undefined ? {} : { ending: this.last.timeline.end }
        return fail({ _tag: "NotVerified", expected: this.unverified.map(declaration), ...ending })
      }
      const all = [...this.claimed, ...this.pending]
      if (this.underWay > 0 && all.length > 0) return fail({ _tag: "Ambiguous", expected: all.map(declaration) })
      this.claimed = this.pending
      this.pending = []
      this.underWay++
      return Effect.succeed(this.claimed)
    })
  }

  private run(
    { clock = "auto", ...options }: Options<AnyTools> & ExecuteOptions
  ): Effect.Effect<{ readonly ran: Ran; readonly expectations: ReadonlyArray<Expectation> }, ExpectationError> {
    const over = Effect.sync(() => {
      this.underWay--
      if (this.underWay === 0) this.claimed = []
    })
    return this.within(
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(this.claim(), (expectations) =>
          Effect.gen({ self: this }, function*() {
            const seen: Seen = { parts: [], times: [] }
            const census = yield* Census.make({ tools: Object.values(options.toolkit.tools) })
            const named = { ...options, runId: options.runId ?? newRunId() }
            const exit = yield* Effect.exit(restore(moving(clock, census.around(collect(named, seen)))))
            const timeline = fromParts(seen.parts, {
              times: seen.times,
              prompt: historyOf(options.prompt),
              ...noted(exit)
            })
            const context = yield* Effect.context()
            const rules = this.rules(options, context)
            const isOwnClock = !isTestClock(yield* Clock.Clock)
            const ran = {
              parts: seen.parts,
              timeline: yield* this.decoded(timeline),
              rules,
              context,
              census,
              exit,
              isOwnClock
            }
            this.last = ran
            if (Exit.isFailure(exit)) this.unverified = expectations
            return { ran, expectations }
          }).pipe(Effect.ensuring(over)))
      )
    )
  }

  private decoded(timeline: Timeline): Effect.Effect<Timeline> {
    const { tools } = this.options.toolkit
    const one = (call: RecordedCall): Effect.Effect<RecordedCall> => {
      const tool = Object.hasOwn(tools, call.name) ? tools[call.name] : undefined
      if (tool === undefined) return Effect.succeed(call)
      const value = Executor.decode(tool, call.params) as Effect.Effect<unknown, unknown>
      return Effect.map(Effect.exit(value), (exit) => Exit.isSuccess(exit) ? { ...call, decoded: exit.value } : call)
    }
    return Effect.map(Effect.forEach(timeline.calls, one), (calls) => ({ ...timeline, calls }))
  }

  private failed(
    ran: Ran,
    exit: Exit.Failure<void, RunError | Stuck>
  ): Effect.Effect<never, ExpectationError | RunError> {
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
    if (!(error instanceof Stuck)) return Effect.failCause(exit.cause as Cause.Cause<RunError>)
    const waiting = ran.timeline.calls.filter(({ endedAs }) => endedAs === undefined)
    return fail({
      _tag: "Stuck",
      issue: error.message,
      waiting: waiting.slice(0, 16).map((call) => `${titleOf(call)}: ${waitingSince(call)}`),
      hint: hintOf(error, ran.isOwnClock, waiting),
      timeline: format(ran.timeline, { focus: waiting.map(({ id }) => id) })
    })
  }

  // ---- after a run -----------------------------------------------------------------------------------------------------

  private judge(
    { context, rules, timeline }: Ran,
    expectations: ReadonlyArray<Expectation>,
    isComplete: boolean
  ): Effect.Effect<void, ExpectationError> {
    return Effect.map(
      this.scripts(context, isComplete),
      (scripts) => [...verify(expectations, timeline, rules), ...scripts]
    )
      .pipe(
        Effect.flatMap((failures) =>
          failures.length === 0 ? Effect.void : fail({
            _tag: "Unmet",
            failures: failures.map(({ expected, happened }) => ({ expected, happened })),
            timeline: format(timeline, { focus: failures.flatMap(({ calls }) => calls) })
          })
        )
      )
  }

  /** What the scripts of the model and of the tools have against what happened. */
  private scripts(context: Context.Context<never>, isComplete: boolean): Effect.Effect<ReadonlyArray<Failure>> {
    const model = Option.getOrUndefined(Context.getOption(context, TestModel))
    const tools = Option.getOrUndefined(Context.getOption(context, TestTools))
    const ofModel = Effect.as(model?.assertComplete ?? Effect.void, []).pipe(
      Effect.catch(({ message, reason }) => Effect.succeed(turnsOf(message, reason._tag === "TurnsLeft", isComplete)))
    )
    const ofTools = Effect.as(tools?.assertComplete ?? Effect.void, []).pipe(
      Effect.catch(({ others, reason }) => Effect.succeed(unscriptedOf([reason, ...others])))
    )
    return Effect.zipWith(ofModel, ofTools, (turns, calls) => [...turns, ...calls])
  }

  /** Verifies what was declared for a run that failed. */
  readonly verify: Effect.Effect<void, ExpectationError> = Effect.suspend(() => {
    if (this.last === undefined) return fail({ _tag: "NothingExecuted", asked: "verify" })
    const expectations = [...this.unverified, ...this.pending]
    this.unverified = []
    this.pending = []
    return this.judge(this.last, expectations, false)
  })

  private executionOf(ran: Ran): Execution {
    const { parts, timeline } = ran
    return {
      result: resultOf(parts)!,
      timeline,
      calls: timeline.calls,
      guesses: timeline.guesses,
      maxConcurrentCalls: timeline.maxConcurrentCalls,
      totalDuration: Duration.millis(timeline.totalMillis),
      assertNoOrphans: (options) => this.assertNoOrphans(ran, options)
    }
  }

  private assertNoOrphans(
    { census, timeline }: Ran,
    options: OrphanOptions = {}
  ): Effect.Effect<void, ExpectationError> {
    return Effect.flatMap(census.alive, (alive) => {
      const orphans = alive.filter(({ abandoned }) => !(abandoned && options.abandoned === "allow"))
      const focus = orphans.flatMap(({ callId }) => callId ?? [])
      return orphans.length === 0
        ? Effect.void
        : fail({ _tag: "Orphans", orphans, timeline: format(timeline, { focus }) })
    })
  }

  /** Something of the last run, failed ones included. */
  ask<A>(asked: string, read: (timeline: Timeline) => A): Effect.Effect<A, ExpectationError> {
    return Effect.suspend(() =>
      this.last === undefined ? fail({ _tag: "NothingExecuted", asked }) : Effect.succeed(read(this.last.timeline))
    )
  }

  askOrphans(options: OrphanOptions | undefined): Effect.Effect<void, ExpectationError> {
    return Effect.suspend(() =>
      this.last === undefined
        ? fail({ _tag: "NothingExecuted", asked: "assertNoOrphans" })
        : this.assertNoOrphans(this.last, options)
    )
  }

  /** Dies on what was declared and never verified, unless something failed already. */
  readonly close = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const expected = [...this.unverified, ...this.claimed, ...this.pending].map(declaration)
      if (Exit.isFailure(exit)) return Effect.void
      if (expected.length > 0) {
        const ending = this.claimed.length > 0
          ? { ending: notOver }
          : this.last === undefined
          ? {}
          : this.unverified.length > 0
          ? { ending: this.last.timeline.end }
          : { isLate: true }
        return Effect.die(new ExpectationError({ reason: { _tag: "NotVerified", expected, ...ending } }))
      }
      return this.turnsLeft && this.last !== undefined ? Effect.orDie(this.judge(this.last, [], true)) : Effect.void
    })
}

interface Seen {
  readonly parts: Array<AnyPart>
  readonly times: Array<number>
}

// The clock is that of the run, which may not be the caller's.
const collect = (options: Orchestrator.Options<AnyTools>, { parts, times }: Seen): Effect.Effect<void, RunError> =>
  Effect.flatMap(
    Clock.Clock,
    (clock) =>
      Stream.runForEachArray(Orchestrator.stream(options), (batch) =>
        Effect.sync(() => {
          for (const part of batch as ReadonlyArray<AnyPart>) {
            parts.push(part)
            times.push(clock.currentTimeMillisUnsafe())
          }
        }))
  ) as Effect.Effect<void, RunError>

// What is no prompt, the run itself refuses; what can be read only once is left to it.
const historyOf = (prompt: Prompt.RawInput): Prompt.Prompt | undefined =>
  Prompt.isPrompt(prompt) || Array.isArray(prompt)
    ? Result.getOrElse(Result.try(() => Prompt.make(prompt)), () => undefined)
    : undefined

const isOptions = (input: Prompt.RawInput | ExecuteOptions): input is ExecuteOptions =>
  typeof input === "object" && !Prompt.isPrompt(input) && "prompt" in input

const waitingSince = (call: RecordedCall): string =>
  call.startedAt === undefined ? endOf(call) : `at work since ${millis(call.startedAt)} ms`

const noted = (exit: Exit.Exit<void, RunError | Stuck>): { readonly failure?: unknown } => {
  if (Exit.isSuccess(exit)) return {}
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (error !== undefined) return { failure: error instanceof Stuck ? "stuck" : error }
  return { failure: Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : Cause.squash(exit.cause) }
}

// Two live runs of one process have two ids, whatever their `Random` gives.
let runs = 0
const newRunId = (): string => `mock_${++runs}`

const moving = <A, E>(clock: ClockMode, effect: Effect.Effect<A, E>): Effect.Effect<A, E | Stuck> =>
  clock === "auto"
    ? advancing(effect)
    : clock === "live"
    ? Effect.provideService(effect, Clock.Clock, Context.get(Context.empty(), Clock.Clock))
    : effect

export const make = <Tools extends Record<string, Tool.Any>>(
  options: Options<Tools>,
  context: Context.Context<never>
): Harness => new Harness(options as unknown as Options<AnyTools>, context)
