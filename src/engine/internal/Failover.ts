/**
 * The models of a run: the one of its context, and behind it those of the `failover` plan, in order. A run never goes back: the
 * model that answered one turn is the first to be asked for the next.
 *
 * A step's `attempts`, `while` and `schedule` mean what they mean to Effect's `withExecutionPlan` for a step behind a failure. Its
 * `provide` is built when the run first needs it, in the run's scope.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { describe } from "../../domain/ToolFailure.ts"
import type { FailoverPlan } from "./options.ts"

type Step = FailoverPlan["steps"][number]

/** A model to ask, and whose limits, pauses and circuit it shares. */
export interface Source {
  readonly service: string
  readonly model: LanguageModel.LanguageModel
  /** What the plan's step provides; nothing for the model of the context. */
  readonly context: Context.Context<never> | undefined
}

/** How long to wait before a model is asked (again) after a failure; `undefined` when it is not. */
export type Rules = (failure: AiError.AiError) => Effect.Effect<number | undefined>

/** The name of the provider, where the context says it. */
export const providerOf = (context: Context.Context<never>): string | undefined =>
  context.mapUnsafe.get(Model.ProviderName.key) as string | undefined

export class Models {
  current: Source
  private nextStep = 0
  private readonly steps: ReadonlyArray<Step>
  private readonly context: Context.Context<never>
  private readonly scope = Scope.makeUnsafe()

  constructor(
    context: Context.Context<LanguageModel.LanguageModel>,
    modelService: string | undefined,
    plan: FailoverPlan | undefined
  ) {
    this.context = context
    this.steps = plan?.steps ?? []
    this.current = {
      service: modelService ?? providerOf(this.context) ?? "model",
      model: Context.get(context, LanguageModel.LanguageModel),
      context: undefined
    }
  }

  /** Whether there is nobody to turn to. */
  get isLast(): boolean {
    return this.nextStep >= this.steps.length
  }

  /** Gives up what was built. A finalizer that dies does not cost the run what it has done. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => Scope.close(this.scope, Exit.void)).pipe(
    Effect.catchDefect((defect) => Effect.logError("A model of the failover plan could not be closed", defect))
  )

  /** The plan's own rules for the current model, where it has some, for a turn that it is the first to be asked for. */
  readonly begin: Effect.Effect<Rules | undefined> = Effect.suspend(() => {
    const step = this.current.context === undefined ? undefined : this.steps[this.nextStep - 1]
    return step === undefined ? Effect.undefined : Effect.map(rulesOf(step, 1), (rules) => ownRules(step, rules))
  })

  /**
   * Turns to the next model that its rules let be asked after this failure. Gives how long to wait first, and its own rules for the
   * rest of the turn; fails with the last failure where nobody is left. A layer that could not be built is one.
   */
  readonly next = (
    failure: AiError.AiError
  ): Effect.Effect<{ readonly delay: number; readonly rules: Rules | undefined }, AiError.AiError> =>
    Effect.suspend(() => {
      const step = this.steps[this.nextStep]
      if (step === undefined) return Effect.fail(failure)
      this.nextStep++
      return this.enter(step, failure)
    })

  private enter(step: Step, failure: AiError.AiError): ReturnType<Models["next"]> {
    return Effect.flatMap(
      rulesOf(step, 0),
      (rules) =>
        Effect.flatMap(
          rules(failure),
          (delay) =>
            delay === undefined ?
              this.next(failure) :
              Effect.matchEffect(this.build(step), {
                onFailure: (error) => this.next(unbuilt(this.nextStep, error)),
                onSuccess: (source) => {
                  this.current = source
                  return Effect.succeed({ delay, rules: ownRules(step, rules) })
                }
              })
        )
    )
  }

  private build({ provide }: Step): Effect.Effect<Source, unknown> {
    const built = Layer.isLayer(provide)
      ? Effect.provideContext(Layer.buildWithScope(provide, this.scope), this.context)
      : Effect.succeed(provide)
    return Effect.map(built as Effect.Effect<Context.Context<LanguageModel.LanguageModel>, unknown>, (context) => ({
      service: providerOf(context as Context.Context<never>) ?? "model",
      model: Context.get(context, LanguageModel.LanguageModel),
      context: context as Context.Context<never>
    }))
  }
}

const ownRules = ({ attempts, schedule }: Step, rules: Rules): Rules | undefined =>
  attempts === undefined && schedule === undefined ? undefined : rules

// Without attempts and without a schedule it is asked once; `used`: askings that have been.
const rulesOf = (step: Step, used: number): Effect.Effect<Rules> =>
  Effect.map(step.schedule === undefined ? Effect.undefined : Schedule.toStep(step.schedule), (delayOf) => {
    const attempts = step.attempts ?? (step.schedule === undefined ? 1 : Infinity)
    let asked = used
    return (failure) => {
      if (asked >= attempts) return Effect.undefined
      // A predicate or a schedule that fails itself lets nothing through.
      return Effect.suspend(() => step.while?.(failure) ?? Effect.succeed(true)).pipe(
        Effect.orElseSucceed(() => false),
        Effect.flatMap((mayAsk) =>
          !mayAsk ? Effect.undefined : delayOf === undefined ? Effect.succeed(0) : delayed(delayOf, failure)
        ),
        Effect.tap((delay) =>
          Effect.sync(() => {
            if (delay !== undefined) asked++
          })
        ),
        Effect.catchDefect((defect) =>
          Effect.as(Effect.logError("The failover plan: a step's while or schedule threw", defect), undefined)
        )
      )
    }
  })

const delayed = (
  delayOf: (now: number, input: AiError.AiError) => Pull.Pull<[unknown, Duration.Duration], unknown, unknown>,
  failure: AiError.AiError
): Effect.Effect<number | undefined> =>
  Effect.clockWith((clock) =>
    Effect.map(delayOf(clock.currentTimeMillisUnsafe(), failure), ([, delay]) => Duration.toMillis(delay))
  ).pipe(
    Effect.catch(() => Effect.undefined)
  )

const unbuilt = (step: number, error: unknown): AiError.AiError =>
  AiError.make({
    module: "Orchestrator",
    method: "failover",
    reason: new AiError.UnknownError({
      description: `step ${step} of the failover plan could not be built: ${describe(error)}`
    })
  })
