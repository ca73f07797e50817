/**
 * The options of a run: their words, their defaults, and the one place that checks them.
 */
import type * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as EffectConfig from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as ExecutionPlan from "effect/ExecutionPlan"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { ToolResult } from "../../domain/ToolEvent.ts"
import type { Completions } from "../Branch.ts"
import { compile } from "./CompiledTool.ts"
import * as Completion from "./completions.ts"
import type { ModelLimits } from "./ModelClock.ts"
import { OrchestratorError } from "./OrchestratorError.ts"

/**
 * One turn of a run: what the model said and asked for, and the answers, in call order.
 *
 * @category models
 * @since 0.1.0
 */
export interface StepResult<Tools extends Record<string, Tool.Any>> {
  readonly step: number
  readonly text: string
  readonly toolCalls: ReadonlyArray<{ readonly id: string; readonly name: string; readonly params: unknown }>
  readonly toolResults: ReadonlyArray<ToolResult<Tools>>
  readonly finishReason: Response.FinishReason
  readonly usage: Response.Usage
}

/**
 * Says, after each turn, whether the run ends here.
 *
 * @category models
 * @since 0.1.0
 */
export type StopCondition = (
  state: { readonly steps: ReadonlyArray<StepResult<Record<string, Tool.Any>>> }
) => boolean

/**
 * Stops after `count` turns.
 *
 * **Example** (Two turns are enough)
 *
 * ```ts
 * import { Orchestrator } from "effect-toolformer"
 *
 * Orchestrator.isStepCount(2)({ steps: [] }) // => false
 * ```
 *
 * @category stopping
 * @since 0.1.0
 */
export const isStepCount = (count: number): StopCondition => ({ steps }) => steps.length >= count

/**
 * Stops after a turn in which the model called the tool.
 *
 * @category stopping
 * @since 0.1.0
 */
export const hasToolCall = (name: string): StopCondition => ({ steps }) =>
  steps.at(-1)?.toolCalls.some((call) => call.name === name) ?? false

/**
 * The options of `run` and `stream`. Everything but `prompt` and `toolkit` has a default in {@link Config}.
 *
 * - `activeTools`: the names offered, of the toolkit's; a call of another is answered `UnknownTool`.
 * - `toolChoice`: as in effect/ai; a choice that forces a call holds for the first turn.
 * - `maxSteps`: turns of the model at most, an integer of at least 1.
 * - `stopWhen`: conditions asked after each turn; one that holds ends the run.
 * - `toolCallConcurrency`: handlers of this run at once, an integer of at least 1.
 * - `maxToolCalls`: calls run of one turn; further ones are answered `Rejected`.
 * - `completion`: when a group of calls of one turn is complete, by group (`Branch`).
 * - `timeout`: `total` for the run, `model` for one asking of the model, `tool` for one attempt of a tool without its own
 *   `ToolPolicy.Timeout`. Unset: no limit. Of the model: `firstByte` until the first part of its answer, `idle` between two parts,
 *   `total` (or a plain duration) until the end. Time of tools, of limits, and time in which nobody read our own parts
 *   do not count; what is no part (a keep-alive, half an event) is no progress.
 * - `modelService`: the service whose limits, pauses and circuit the model's turns share, where the program has a `Limiter`, a
 *   `Retry` or a `Breaker`; default: the name of the model's provider (`openai`), else `model`.
 * - `failover`: the models to turn to, in order, when the model of the context has failed a turn and the program's `Retry`
 *   does not have it asked again. A run stays with the model that answered. The service of each is its provider's name: a spare
 *   that shares the name shares pauses and circuit too, so give it a `ProviderName` of its own.
 * - `runId`: names the run for `Orchestrator.cancel`; made up when absent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Tools extends Record<string, Tool.Any>> {
  readonly prompt: Prompt.RawInput
  readonly toolkit: Toolkit.Toolkit<Tools>
  readonly activeTools?: ReadonlyArray<keyof Tools & string> | undefined
  readonly toolChoice?: LanguageModel.ToolChoice<keyof Tools & string> | undefined
  readonly maxSteps?: number | undefined
  readonly stopWhen?: StopCondition | ReadonlyArray<StopCondition> | undefined
  readonly toolCallConcurrency?: number | undefined
  readonly maxToolCalls?: number | undefined
  readonly completion?: Completions<keyof Tools & string> | undefined
  readonly timeout?: Timeouts | undefined
  readonly modelService?: string | undefined
  readonly failover?: FailoverPlan | undefined
  readonly runId?: string | undefined
}

/**
 * The models of {@link Options}' `failover`, made with `ExecutionPlan.make`. A step gives a model as a `Layer` (built once a run, when
 * first needed; what it holds is released at the run's end) or a `Context`. Its `attempts`, `while` and `schedule` say whether
 * and how often it is asked after a failure; where it has neither `attempts` nor `schedule`, the program's `Retry` does.
 *
 * @category models
 * @since 0.1.0
 */
export type FailoverPlan = Pick<
  // The whole type is invariant in what it provides; a plan whose models bring their provider's name would not do.
  ExecutionPlan.ExecutionPlan<{
    provides: LanguageModel.LanguageModel
    input: AiError.AiError
    error: unknown
    requirements: never
  }>,
  "steps"
>

/**
 * The clocks of one asking of the model.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelTimeouts {
  readonly firstByte?: Duration.Input | undefined
  readonly idle?: Duration.Input | undefined
  readonly total?: Duration.Input | undefined
}

interface Timeouts {
  readonly total?: Duration.Input | undefined
  readonly model?: Duration.Input | ModelTimeouts | undefined
  readonly tool?: Duration.Input | undefined
}

/**
 * What holds where a run says nothing. `maxRepeats`: in how many turns of a run one and the same call (name and arguments) may
 * be made before the run fails with `LoopDetected`; `Infinity` switches the detector off. `modelCost`: the tokens a turn of the
 * model is expected to cost, question and answer, an integer of at least 1; settled to what the model says it was.
 * Default: a fourth of the characters of the prompt and the tools, and 256 for the answer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Defaults {
  readonly maxSteps: number
  readonly toolCallConcurrency: number
  readonly maxToolCalls: number
  readonly maxRepeats: number
  readonly timeout: Timeouts
  readonly failover?: FailoverPlan | undefined
  readonly modelService?: string | undefined
  readonly modelCost?: ((turn: ModelTurn) => number) | undefined
}

/**
 * What a turn of the model is asked with.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelTurn {
  readonly prompt: Prompt.Prompt
  readonly tools: ReadonlyArray<Tool.Any>
}

const defaults: Defaults = { maxSteps: 20, toolCallConcurrency: 30, maxToolCalls: 10_000, maxRepeats: 5, timeout: {} }

/**
 * The defaults of every run under it: 20 steps, 30 calls at once, 10,000 calls a turn, 5 repeats, no timeouts.
 *
 * **Example** (Other defaults for a part of a program)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Orchestrator } from "effect-toolformer"
 *
 * const program = Effect.map(Orchestrator.Config, (config) => config.toolCallConcurrency)
 * await Effect.runPromise(program) // => 30
 * ```
 *
 * @see {@link layerConfig} to read them from the environment
 * @category settings
 * @since 0.1.0
 */
export const Config: Context.Reference<Defaults> = Context.Reference<Defaults>(
  "effect-toolformer/Orchestrator/Config",
  {
    defaultValue: () => defaults
  }
)

const duration = (name: string) => EffectConfig.option(EffectConfig.Duration(name))

/**
 * Reads the defaults from the environment: `TOOLFORMER_MAX_STEPS`, `TOOLFORMER_TOOL_CALL_CONCURRENCY`,
 * `TOOLFORMER_MAX_TOOL_CALLS`, `TOOLFORMER_MAX_REPEATS`, `TOOLFORMER_MODEL_SERVICE`, and as durations ("30 seconds") `TOOLFORMER_TIMEOUT_TOTAL`,
 * `TOOLFORMER_TIMEOUT_MODEL`, `TOOLFORMER_TIMEOUT_MODEL_FIRST_BYTE`, `TOOLFORMER_TIMEOUT_MODEL_IDLE`, `TOOLFORMER_TIMEOUT_TOOL`.
 * What is absent keeps its default.
 *
 * @category settings
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<never, EffectConfig.ConfigError> = Layer.effectContext(Effect.gen(function*() {
  const int = (name: string, value: number) => EffectConfig.withDefault(EffectConfig.Int(name), value)
  const timeout = {
    total: Option.getOrUndefined(yield* duration("TOOLFORMER_TIMEOUT_TOTAL")),
    model: {
      firstByte: Option.getOrUndefined(yield* duration("TOOLFORMER_TIMEOUT_MODEL_FIRST_BYTE")),
      idle: Option.getOrUndefined(yield* duration("TOOLFORMER_TIMEOUT_MODEL_IDLE")),
      total: Option.getOrUndefined(yield* duration("TOOLFORMER_TIMEOUT_MODEL"))
    },
    tool: Option.getOrUndefined(yield* duration("TOOLFORMER_TIMEOUT_TOOL"))
  }
  return Context.make(Config, {
    maxSteps: yield* int("TOOLFORMER_MAX_STEPS", defaults.maxSteps),
    toolCallConcurrency: yield* int("TOOLFORMER_TOOL_CALL_CONCURRENCY", defaults.toolCallConcurrency),
    maxToolCalls: yield* int("TOOLFORMER_MAX_TOOL_CALLS", defaults.maxToolCalls),
    maxRepeats: yield* int("TOOLFORMER_MAX_REPEATS", defaults.maxRepeats),
    modelService: Option.getOrUndefined(yield* EffectConfig.option(EffectConfig.String("TOOLFORMER_MODEL_SERVICE"))),
    timeout
  })
}))

/** Options that have been checked; durations in milliseconds. */
export interface Resolved {
  readonly runId: string
  readonly prompt: Prompt.Prompt
  readonly activeTools: ReadonlyArray<string> | undefined
  readonly toolChoice: LanguageModel.ToolChoice<string>
  readonly maxSteps: number
  readonly stopWhen: ReadonlyArray<StopCondition>
  readonly toolCallConcurrency: number
  readonly maxToolCalls: number
  readonly maxRepeats: number
  readonly modelService: string | undefined
  readonly failover: FailoverPlan | undefined
  readonly modelCost: ((turn: ModelTurn) => number) | undefined
  readonly completion: Completion.GroupsByTool | undefined
  readonly timeout: {
    readonly total: number | undefined
    readonly model: ModelLimits
    readonly tool: number | undefined
  }
}

/** Fills in the defaults and refuses what makes no sense, naming the option and the value. */
export const resolveOptions = Effect.fnUntraced(function*<Tools extends Record<string, Tool.Any>>(
  options: Options<Tools>,
  config: Defaults
): Effect.fn.Return<Resolved, OrchestratorError> {
  const runId = options.runId ?? (yield* newRunId)
  const refuse = (option: string, issue: string) =>
    new OrchestratorError({ runId, reason: { _tag: "InvalidOptions", option, issue }, prompt: Prompt.empty })
  const names = Object.keys(options.toolkit.tools)
  const prompt = yield* Effect.try({
    try: () => Prompt.make(options.prompt),
    catch: (error) => refuse("prompt", String(error instanceof Error ? error.message : error))
  })
  const isBlank = typeof options.prompt === "string" && options.prompt.trim() === ""
  if (isBlank || prompt.content.length === 0) return yield* refuse("prompt", "it is empty")
  const integers = {
    maxSteps: options.maxSteps ?? config.maxSteps,
    toolCallConcurrency: options.toolCallConcurrency ?? config.toolCallConcurrency,
    maxToolCalls: options.maxToolCalls ?? config.maxToolCalls,
    maxRepeats: config.maxRepeats
  }
  for (const [name, value] of Object.entries(integers)) {
    if (!(value >= 1 && (Number.isInteger(value) || value === Infinity))) {
      return yield* refuse(name, `${value} is not an integer of at least 1`)
    }
  }
  for (const name of options.activeTools ?? []) {
    if (!names.includes(name)) {
      return yield* refuse("activeTools", `there is no tool "${name}"; tools: ${names.join(", ")}`)
    }
  }
  const millis = Effect.fnUntraced(function*(name: string, input: unknown) {
    if (input === undefined) return undefined
    const value = Option.map(Duration.fromInput(input as Duration.Input), Duration.toMillis)
    return Option.isSome(value) && value.value > 0
      ? value.value
      : yield* refuse(`timeout.${name}`, `${JSON.stringify(input)} is not a duration above 0`)
  })
  const [asked, usual] = [options.timeout ?? {}, config.timeout]
  const [model, usualModel] = [modelTimeouts(asked.model), modelTimeouts(usual.model)]
  const timeout = {
    total: yield* millis("total", asked.total ?? usual.total),
    model: {
      firstByte: yield* millis("model.firstByte", model.firstByte ?? usualModel.firstByte),
      idle: yield* millis("model.idle", model.idle ?? usualModel.idle),
      total: yield* millis(isPlain(asked.model) ? "model" : "model.total", model.total ?? usualModel.total)
    },
    tool: yield* millis("tool", asked.tool ?? usual.tool)
  }
  for (const tool of Object.values(options.toolkit.tools)) {
    yield* Effect.try({
      try: () => compile(tool),
      catch: (error) => refuse("toolkit", error instanceof Error ? error.message : String(error))
    })
  }
  const completion = options.completion === undefined
    ? Result.succeed(undefined)
    : Completion.resolve(options.completion, options.toolkit.tools)
  if (Result.isFailure(completion)) return yield* refuse("completion", completion.failure)
  const failover = options.failover ?? config.failover
  if (failover !== undefined && !Array.isArray(failover.steps)) {
    return yield* refuse("failover", "it is not an ExecutionPlan; make one with ExecutionPlan.make")
  }
  const { stopWhen = [] } = options
  return {
    runId,
    prompt,
    activeTools: options.activeTools,
    toolChoice: options.toolChoice ?? "auto",
    stopWhen: typeof stopWhen === "function" ? [stopWhen] : stopWhen,
    timeout,
    modelService: options.modelService ?? config.modelService,
    failover,
    modelCost: config.modelCost,
    completion: completion.success,
    ...integers
  }
})

const isPlain = (input: Duration.Input | ModelTimeouts | undefined): input is Duration.Input =>
  typeof input !== "object" || Array.isArray(input) || Duration.isDuration(input) ||
  Object.keys(input).some((key) => !["firstByte", "idle", "total"].includes(key))

const modelTimeouts = (input: Duration.Input | ModelTimeouts | undefined): ModelTimeouts =>
  input === undefined ? {} : isPlain(input) ? { total: input } : input

// From Effect's `Random`, so a seeded program gets the same ids.
const newRunId: Effect.Effect<string> = Effect.map(
  Effect.all([Random.nextIntBetween(0, 2 ** 31), Random.nextIntBetween(0, 2 ** 31)]),
  ([a, b]) => `run_${a.toString(36)}${b.toString(36)}`
)
