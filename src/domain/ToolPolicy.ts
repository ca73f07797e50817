/**
 * What a tool may cost, block and be trusted with, written on the tool itself as annotations; the engine reads them once per
 * tool and run. And `tool` / `define`: definition and handler in one piece, for people who come from a decorator.
 *
 * Effect's own annotations keep their meaning: `Tool.Readonly` and `Tool.Idempotent` calls may be interrupted when a turn
 * breaks; an explicit `Tool.Destructive: true` makes a tool wait for the end of the turn.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import { issueOfHedge, issueOfRetry } from "./internal/repetition.ts"
import type { Issue } from "./internal/repetition.ts"
import { describe } from "./ToolFailure.ts"

const reference = <A>(name: string, defaultValue: A): Context.Reference<A> =>
  Context.Reference<A>(`effect-toolformer/ToolPolicy/${name}`, { defaultValue: () => defaultValue })

/**
 * How long one attempt may run, from the handler's start. Unset: the run's `timeout.tool`, else no limit. When it is over the
 * handler is interrupted and the call answered `TimedOut`.
 *
 * **Example** (A tool with a limit)
 *
 * ```ts
 * import { Tool } from "effect/ai"
 * import { ToolPolicy } from "effect-toolformer"
 *
 * const WebSearch = Tool.make("web_search").annotate(ToolPolicy.Timeout, "5 seconds")
 * ToolPolicy.read(WebSearch).timeoutMillis // => 5000
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const Timeout = reference<Duration.Input | undefined>("Timeout", undefined)

/**
 * How long the whole call may take, from the moment its arguments are complete: waiting and retries included. Unset: no limit.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Deadline = reference<Duration.Input | undefined>("Deadline", undefined)

/**
 * How long a stopped handler may clean up before its call is answered without it. Default 250 milliseconds.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Grace = reference<Duration.Input>("Grace", "250 millis")

/**
 * How many calls of this tool run at once in this process, over all runs. A call made under a call of the same tool uses that
 * call's permit, one at a time, so that a tool may call itself. An integer of at least 1. Unset: no limit of its own.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Concurrency = reference<number | undefined>("Concurrency", undefined)

/**
 * A thing a call reads or writes, under a key of the user's choice.
 *
 * @category models
 * @since 0.1.0
 */
export type Resource = { readonly read: string } | { readonly write: string }

/**
 * What a call touches, from its decoded parameters. Two calls of one run that name the same key, one of them to write, run
 * one after the other in the order the model made them; readers share.
 *
 * **Example** (Writes to one file keep their order)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Tool } from "effect/ai"
 * import { ToolPolicy } from "effect-toolformer"
 *
 * const WriteFile = Tool.make("write_file", { parameters: Schema.Struct({ path: Schema.String }) })
 *   .annotate(ToolPolicy.Resources, (params: { readonly path: string }) => [{ write: `file:${params.path}` }])
 * ToolPolicy.read(WriteFile).resources !== undefined // => true
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const Resources = reference<((params: never) => ReadonlyArray<Resource>) | undefined>("Resources", undefined)

/**
 * When a call starts: `"sealed"` as soon as its arguments are complete, while the model still streams; `"after-finish"` only
 * when the turn has ended well. Unset: `"sealed"`, or `"after-finish"` for a tool explicitly annotated `Destructive: true`.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Eager = reference<"sealed" | "after-finish" | undefined>("Eager", undefined)

/**
 * The group a tool's calls belong to, for `Orchestrator.cancel({ runId, group })` and for the policies of a run's `completion`.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Group = reference<string | undefined>("Group", undefined)

/**
 * The service whose limits a tool's calls pay, where the program has a `Limiter`; it names the calls in the report and in spans.
 *
 * **Gotchas** A call pays from its handler's start to its real end. A handler that calls a tool of its own service holds its
 * permit (`Limiter.permits`) meanwhile, and unlike a tool's own cap it lends it to nobody: where no permit is left for the
 * inner call, that is answered `Rejected` after the limiter's `maxWait`. Cap such tools by `Concurrency`, or name two services.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Service = reference<string | undefined>("Service", undefined)

/**
 * How often and how soon something that failed is tried again.
 *
 * - `attempts`: at most, the first included; an integer of at least 1; default 3.
 * - `base`, `factor`, `maxDelay`: exponential backoff with full jitter: before attempt n+1 a random time up to
 *   `base * factor^(n-1)`, at most `maxDelay`; defaults 200 milliseconds, 2, 10 seconds.
 * - `schedule`: a `Schedule` instead of that backoff; its input is the failure.
 * - `maxRetryAfter`: the longest wait a service may ask for (`Retry-After`); a longer one is not waited for and the failure
 *   stands. Default 1 minute.
 * - `while`: whether this failure may be tried again; default `Retry.isRetryable`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryOptions {
  readonly attempts?: number | undefined
  readonly base?: Duration.Input | undefined
  readonly factor?: number | undefined
  readonly maxDelay?: Duration.Input | undefined
  readonly schedule?: Schedule.Schedule<unknown> | undefined
  readonly maxRetryAfter?: Duration.Input | undefined
  readonly while?: ((failure: unknown) => boolean) | undefined
}

/**
 * How a tool's calls are tried again; `false`: never, whatever the program's `Retry` says. Unset: as the program's `Retry` says,
 * and without one not at all.
 *
 * **Errors** Options that make no sense fail the run with `InvalidOptions` (in `Executor.call` they die), and so do options on a
 * tool that is neither `Readonly` nor `Idempotent`: such a call starts at most once.
 *
 * **Example** (Tried again without a policy of the program)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * let asked = 0
 * const { toolkit, layer } = ToolPolicy.define({
 *   look_up: ToolPolicy.tool({
 *     success: Schema.String,
 *     failure: Schema.Struct({ status: Schema.Int }),
 *     annotations: { readonly: true, retry: { attempts: 3, base: "5 millis" } },
 *     handler: () => ++asked < 3 ? Effect.fail({ status: 503 }) : Effect.succeed("found")
 *   })
 * })
 * await Effect.runPromise(Effect.provide(Executor.call(toolkit.tools.look_up, {}), layer)) // => "found"
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const Retry = reference<RetryOptions | false | undefined>("Retry", undefined)

/**
 * When a second attempt is started beside one that is slow; the first to succeed is the call's result, the others are
 * interrupted.
 *
 * - `after`: how long an attempt may take before; unset: the 95th percentile of the tool's own last calls, once 20 were seen.
 * - `max`: further attempts at most, an integer of at least 1; default 1.
 * - `budget`: further attempts per call at most, over the tool's calls; above 0, at most 1; default 0.1.
 *
 * @category models
 * @since 0.1.0
 */
export interface HedgeOptions {
  readonly after?: Duration.Input | undefined
  readonly max?: number | undefined
  readonly budget?: number | undefined
}

/**
 * Hedges a tool's calls. A further attempt never waits and never holds up a call: it starts only where there is room at once.
 *
 * **Errors** As of {@link Retry}: only on a tool that is `Readonly` or `Idempotent`.
 *
 * **Example** (A second attempt beside a slow first one)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * let asked = 0
 * const { toolkit, layer } = ToolPolicy.define({
 *   look_up: ToolPolicy.tool({
 *     success: Schema.String,
 *     annotations: { readonly: true, hedge: { after: "20 millis", budget: 1 } },
 *     handler: () => ++asked === 1 ? Effect.never : Effect.succeed("found")
 *   })
 * })
 * await Effect.runPromise(Effect.provide(Executor.call(toolkit.tools.look_up, {}), layer)) // => "found"
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const Hedge = reference<HedgeOptions | undefined>("Hedge", undefined)

/**
 * What a call costs its service: an estimate of its tokens from the decoded parameters, or an object.
 *
 * - `estimate`: tokens, known before the call: an integer of at least 1.
 * - `actual`: tokens of a call that succeeded, known afterwards from its result; it replaces the estimate. An integer of at
 *   least 0; what is none, and a call that fails, leaves the estimate.
 * - `calls`: how many calls of the service one call of the tool is, an integer of at least 1; unset: 1.
 *
 * @category models
 * @since 0.1.0
 */
export type Cost<Parameters, Success> =
  | ((params: Parameters) => number)
  | {
    readonly estimate?: ((params: Parameters) => number) | undefined
    readonly actual?: ((result: Success) => number) | undefined
    readonly calls?: ((params: Parameters) => number) | undefined
  }

/**
 * What a call costs its service, for limits counted in tokens. Read where the program has a `Limiter`; unset: one call, and no
 * limit in tokens is asked.
 *
 * **Errors** A function that throws, or an estimate that is no integer of at least 1, is its call's result (`Rejected`, with the
 * value); the call is not run.
 *
 * **Example** (Tokens from the text, settled to what it really was)
 *
 * ```ts
 * import { Tool } from "effect/ai"
 * import { ToolPolicy } from "effect-toolformer"
 *
 * const Embed = Tool.make("embed").annotate(ToolPolicy.Service, "openai").annotate(ToolPolicy.Cost, {
 *   estimate: (params: { readonly text: string }) => Math.ceil(params.text.length / 4),
 *   actual: (result: { readonly tokens: number }) => result.tokens
 * })
 * ToolPolicy.read(Embed).cost?.actual?.({ tokens: 7 } as never) // => 7
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const Cost = reference<Cost<never, never> | undefined>("Cost", undefined)

/**
 * Whether a call may start on a guess, before the model has asked for it. Unset: only where the tool is annotated
 * `Tool.Readonly`. `true`: also where it is not; to be said only of a tool whose call nobody notices when it was made in vain.
 * `false`: never.
 *
 * **Gotchas** `Tool.Idempotent` is not enough: such a tool may write, and a wrong guess would write what nobody asked for. A tool
 * that needs approval, or waits for the end of the turn (`Eager`), never starts on a guess.
 *
 * **Example** (A read that is never made in vain)
 *
 * ```ts
 * import { Tool } from "effect/ai"
 * import { ToolPolicy } from "effect-toolformer"
 *
 * const Report = Tool.make("expensive_report").annotate(Tool.Readonly, true).annotate(ToolPolicy.Speculate, false)
 * ToolPolicy.read(Report).speculate // => false
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const Speculate = reference<boolean | undefined>("Speculate", undefined)

/**
 * How much waiting one call made in vain must be worth: a guess is started only where its confidence times the time it is
 * expected to save is more than this. A duration, or a function from the decoded parameters to one. Unset: 0, a call costs nothing.
 *
 * **Errors** A function that throws, or gives no duration, counts as too expensive: the guess is not started.
 *
 * **Example** (A paid search: only where half a second is saved)
 *
 * ```ts
 * import { Tool } from "effect/ai"
 * import { ToolPolicy } from "effect-toolformer"
 *
 * const Search = Tool.make("search").annotate(Tool.Readonly, true).annotate(ToolPolicy.Price, "500 millis")
 * ToolPolicy.read(Search).priceMillis // => 500
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const Price = reference<Duration.Input | ((params: never) => Duration.Input) | undefined>("Price", undefined)

/**
 * A tool's policies, read and checked once. All durations in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policies {
  readonly timeoutMillis: number | undefined
  readonly deadlineMillis: number | undefined
  readonly graceMillis: number
  readonly concurrency: number | undefined
  readonly resources: ((params: never) => ReadonlyArray<Resource>) | undefined
  readonly eager: "sealed" | "after-finish"
  readonly group: string | undefined
  readonly service: string | undefined
  readonly cost: Exclude<Cost<never, never>, (params: never) => number> | undefined
  readonly retry: RetryOptions | false | undefined
  readonly hedge: HedgeOptions | undefined
  /** Whether a call may start on a guess. */
  readonly speculate: boolean
  /** What a call made in vain costs, in milliseconds of waiting. The function may throw, or give what is no number of at least 0. */
  readonly priceMillis: number | ((params: never) => number)
  /** May be interrupted, or run again, without harm: `Readonly` or `Idempotent`. */
  readonly repeatable: boolean
}

/**
 * Reads a tool's annotations.
 *
 * **Errors** A constant that makes no sense (a concurrency of 0, a negative duration) dies with the tool and the value.
 *
 * @category reading
 * @since 0.1.0
 */
export const read = (tool: Tool.Any): Policies => {
  const get = <A>(key: Context.Reference<A>): A => Context.get(tool.annotations, key)
  const concurrency = get(Concurrency)
  if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency >= 1)) {
    die(tool, "Concurrency", concurrency, "an integer of at least 1")
  }
  const repeatable = get(Tool.Readonly) || get(Tool.Idempotent)
  check(tool, "Retry", issueOfRetry(get(Retry), repeatable))
  check(tool, "Hedge", issueOfHedge(get(Hedge), repeatable))
  return {
    timeoutMillis: millis(tool, "Timeout", get(Timeout)),
    deadlineMillis: millis(tool, "Deadline", get(Deadline)),
    graceMillis: millis(tool, "Grace", get(Grace)) ?? 250,
    concurrency,
    resources: get(Resources),
    eager: get(Eager) ?? (explicitlyDestructive(tool) ? "after-finish" : "sealed"),
    group: get(Group),
    service: get(Service),
    cost: costOf(tool, get(Cost)),
    retry: get(Retry),
    hedge: get(Hedge),
    speculate: mayGuess(tool, get(Speculate)),
    priceMillis: priceOf(tool, get(Price)),
    repeatable
  }
}

const costOf = (tool: Tool.Any, cost: Cost<never, never> | undefined): Policies["cost"] => {
  if (typeof cost === "function") return { estimate: cost }
  if (typeof cost !== "object" || cost === null) {
    return cost === undefined ? undefined : die(tool, "Cost", cost, "a function, or an object of functions")
  }
  for (const key of ["estimate", "actual", "calls"] as const) {
    const value: unknown = cost[key]
    if (value !== undefined && typeof value !== "function") die(tool, `Cost.${key}`, value, "a function")
  }
  return cost
}

const mayGuess = (tool: Tool.Any, speculate: boolean | undefined): boolean => {
  if (speculate !== undefined && typeof speculate !== "boolean") die(tool, "Speculate", speculate, "true or false")
  const eager = Context.get(tool.annotations, Eager) ?? (explicitlyDestructive(tool) ? "after-finish" : "sealed")
  const waits = eager === "after-finish" || (tool.needsApproval !== undefined && tool.needsApproval !== false)
  return !waits && (speculate ?? Context.get(tool.annotations, Tool.Readonly))
}

const priceOf = (
  tool: Tool.Any,
  price: Duration.Input | ((params: never) => Duration.Input) | undefined
): Policies["priceMillis"] => {
  if (typeof price === "function") {
    return (params) => {
      const given = price(params)
      return isDuration(given) ? Duration.toMillis(Duration.fromInputUnsafe(given)) : Number.NaN
    }
  }
  if (price !== undefined && !isDuration(price)) die(tool, "Price", price, "a duration of at least 0, or a function")
  return millis(tool, "Price", price) ?? 0
}

const unitNames = ["weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"]

// To `Duration` a NaN is 0, and so is any object that names no unit, such as a promise of a duration.
const isDuration = (input: Duration.Input): boolean =>
  typeof input === "object" && input !== null
    ? Duration.isDuration(input) || Array.isArray(input) || unitNames.some((unit) => unit in input)
    : !Number.isNaN(input)

// Effect's default for `Destructive` is true, so a tool that says nothing must not count.
const explicitlyDestructive = (tool: Tool.Any): boolean => tool.annotations.mapUnsafe.get(Tool.Destructive.key) === true

const millis = (tool: Tool.Any, name: string, input: Duration.Input | undefined): number | undefined => {
  if (input === undefined) return undefined
  const value = Option.getOrUndefined(Option.map(Duration.fromInput(input), Duration.toMillis))
  return value !== undefined && value >= 0 ? value : die(tool, name, input, "a duration of at least 0")
}

const check = (tool: Tool.Any, annotation: string, issue: Issue | undefined): void => {
  if (issue === undefined) return
  die(tool, issue.name === "" ? annotation : `${annotation}.${issue.name}`, issue.value, issue.wanted)
}

const die = (tool: Tool.Any, name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`ToolPolicy.${name} of tool "${tool.name}" is ${describe(value)}; it must be ${wanted}`)
}

/**
 * Annotations as one object, for {@link tool}. Every key is the annotation of the same name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Annotations<Parameters, Success = unknown> {
  readonly title?: string
  readonly readonly?: boolean
  readonly destructive?: boolean
  readonly idempotent?: boolean
  readonly openWorld?: boolean
  readonly strict?: boolean
  readonly timeout?: Duration.Input
  readonly deadline?: Duration.Input
  readonly grace?: Duration.Input
  readonly concurrency?: number
  readonly resources?: (params: Parameters) => ReadonlyArray<Resource>
  readonly eager?: "sealed" | "after-finish"
  readonly group?: string
  readonly service?: string
  readonly cost?: Cost<Parameters, Success>
  readonly retry?: RetryOptions | false
  readonly hedge?: HedgeOptions
  readonly speculate?: boolean
  readonly price?: Duration.Input | ((params: Parameters) => Duration.Input)
}

const keys: { readonly [K in keyof Required<Annotations<never, never>>]: Context.Key<never, never> } = {
  title: Tool.Title,
  readonly: Tool.Readonly,
  destructive: Tool.Destructive,
  idempotent: Tool.Idempotent,
  openWorld: Tool.OpenWorld,
  strict: Tool.Strict,
  timeout: Timeout,
  deadline: Deadline,
  grace: Grace,
  concurrency: Concurrency,
  resources: Resources,
  eager: Eager,
  group: Group,
  service: Service,
  cost: Cost,
  retry: Retry,
  hedge: Hedge,
  speculate: Speculate,
  price: Price
} as never

/**
 * A tool and its handler in one piece; what {@link define} takes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition<
  Parameters extends Schema.Top,
  Success extends Schema.Top,
  Failure extends Schema.Top,
  R
> {
  readonly description?: string | undefined
  readonly parameters?: Parameters | undefined
  readonly success?: Success | undefined
  readonly failure?: Failure | undefined
  readonly annotations?: Annotations<Parameters["Type"], Success["Type"]> | Context.Context<never> | undefined
  readonly needsApproval?: Tool.NeedsApproval<Parameters> | undefined
  readonly toModelOutput?: ((result: Success["Type"]) => ReadonlyArray<ModelOutputPart>) | undefined
  readonly handler: (
    params: Parameters["Type"],
    context: HandlerContext<Success["Type"]>
  ) => Effect.Effect<Success["Type"], Failure["Type"], R>
}

type ModelOutputPart = ReturnType<NonNullable<Tool.Any["toModelOutput"]>>[number]

/**
 * What a handler gets beside its parameters: the call's id, and `preliminary` to report progress (a `tool-progress` part).
 *
 * @category models
 * @since 0.1.0
 */
export interface HandlerContext<Success> {
  readonly toolCallId?: string | undefined
  readonly preliminary: (result: Success) => Effect.Effect<void>
}

/**
 * A tool and its handler in one piece, everything inferred: a result that does not fit `success` does not compile.
 *
 * @see {@link define} to make a toolkit and a Layer of such tools
 * @category constructors
 * @since 0.1.0
 */
export const tool = <
  Parameters extends Schema.Top = typeof Tool.EmptyParams,
  Success extends Schema.Top = typeof Schema.Void,
  Failure extends Schema.Top = typeof Schema.Never,
  R = never
>(definition: Definition<Parameters, Success, Failure, R>): Definition<Parameters, Success, Failure, R> => definition

interface AnyDefinition {
  readonly annotations?: object | undefined
  readonly handler: (params: never, context: never) => Effect.Effect<unknown, unknown, unknown>
}

type ToolOf<Name extends string, D> = D extends Definition<infer P, infer S, infer F, infer _R>
  ? Tool.Tool<Name, { readonly parameters: P; readonly success: S; readonly failure: F; readonly failureMode: "error" }>
  : never

type ToolsOf<Definitions> = { readonly [Name in keyof Definitions & string]: ToolOf<Name, Definitions[Name]> }

type RequirementsOf<Definitions> = {
  [Name in keyof Definitions]: Definitions[Name] extends Definition<infer _P, infer _S, infer _F, infer R> ? R : never
}[keyof Definitions]

/**
 * Makes a toolkit and the Layer of its handlers from tools written in one piece.
 *
 * **Shape** The record's keys are the tools' names. What the handlers need (`R`) is what the Layer needs.
 *
 * **Example** (Definition and handler together)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * const { toolkit, layer } = ToolPolicy.define({
 *   add: ToolPolicy.tool({
 *     description: "Adds two numbers.",
 *     parameters: Schema.Struct({ a: Schema.Finite, b: Schema.Finite }),
 *     success: Schema.Finite,
 *     annotations: { readonly: true },
 *     handler: ({ a, b }) => Effect.succeed(a + b)
 *   })
 * })
 * const sum = Executor.call(toolkit.tools.add, { a: 1, b: 2 }).pipe(Effect.provide(layer))
 * await Effect.runPromise(sum) // => 3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const define = <const Definitions extends Record<string, AnyDefinition>>(
  definitions: Definitions
): {
  readonly toolkit: Toolkit.Toolkit<ToolsOf<Definitions>>
  readonly layer: Layer.Layer<Tool.HandlersFor<ToolsOf<Definitions>>, never, RequirementsOf<Definitions>>
} => {
  const entries = Object.entries(definitions)
  const toolkit = Toolkit.make(...entries.map(([name, definition]) => annotated(name, definition)))
  const handlers = Object.fromEntries(entries.map(([name, definition]) => [name, definition.handler]))
  return { toolkit, layer: toolkit.toLayer(handlers as never) } as never
}

const annotated = (name: string, definition: AnyDefinition): Tool.Any => {
  const { annotations, handler: _, ...options } = definition
  const made: Tool.Any = Tool.make(name, options)
  if (annotations === undefined) return made
  if (Context.isContext(annotations)) return made.annotateMerge(annotations)
  return Object.entries(annotations).reduce<Tool.Any>(
    (tool, [key, value]) =>
      value === undefined || !Object.hasOwn(keys, key)
        ? tool
        : tool.annotate(keys[key as keyof typeof keys], value as never),
    made
  )
}
