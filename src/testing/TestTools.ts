/**
 * Handlers that do what a test says: results, failures, defects and delays in virtual time, handlers that do not stop when asked,
 * and gates that the test opens by hand. Every start of a handler is noted with its times and with how it ended.
 *
 * `TestTools.layer(toolkit, script)` stands where the toolkit's own layer stood. The engine in between is the real one.
 */
import type * as AiError from "effect/ai/AiError"
import * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { nearNames } from "../domain/ToolCall.ts"
import type * as ToolPolicy from "../domain/ToolPolicy.ts"
import { TestToolsError } from "./internal/TestToolsError.ts"
import * as Behaviours from "./internal/toolBehaviour.ts"
import { Recorder } from "./internal/toolRecorder.ts"
import type { AnyScript, HandledCall as RecordedHandling } from "./internal/toolRecorder.ts"

export { BeyondList, ListLeft, type Reason, TestToolsError, Unscripted } from "./internal/TestToolsError.ts"

/**
 * What a handler does with one call: gives `A`, fails with `E`, needs `R`. Made by the constructors of this module; a value that
 * can be used for any number of calls.
 *
 * @category models
 * @since 0.1.0
 */
export type Behaviour<A, E = never, R = never> = Behaviours.Behaviour<A, E, R>

/**
 * The call that a behaviour plays, as {@link effect} gets it. `nth`: of the tool's calls, from 1. `gate` waits until the test
 * opens the gate of that name; `preliminary` reports progress.
 *
 * @category models
 * @since 0.1.0
 */
export interface PlayedCall<A> {
  readonly id: string
  readonly name: string
  readonly params: unknown
  readonly nth: number
  readonly attempt: number
  readonly gate: (name: string) => Effect.Effect<void>
  readonly preliminary: (result: A) => Effect.Effect<void>
}

/**
 * One start of a handler, and its end. A call that is retried or hedged has one entry for each attempt, all with its id.
 *
 * **Shape** `params` as the handler got them (decoded). `nth`: of the tool's entries, from 1; `attempt`: of the call's own.
 * `status`: `"success"`, `"failure"` (the tool's own), `"defect"`, `"interrupted"`, or `"running"`. `result`: the value, the
 * failure or the defect. `reason`: why it was interrupted. `startedAs` and `endedAs` are places in the order of all starts and
 * ends, so that of two at one millisecond it is known which came first.
 *
 * **Units** `startedAt`, `endedAt`: milliseconds of the run's `Clock`.
 *
 * **Gotchas** A handler ends when it really does: one that is deaf to its interruption is `"running"` after its call was
 * answered, and so is one whose promise has not settled.
 *
 * @category models
 * @since 0.1.0
 */
export type HandledCall = RecordedHandling

/**
 * What a script says of one tool: one behaviour for every call; a list of one for each start of the handler, in that order; or a
 * function of the decoded parameters and the number of the start (from 1).
 *
 * @category models
 * @since 0.1.0
 */
export type ScriptOf<T extends Tool.Any> =
  | BehaviourOf<T>
  | ReadonlyArray<BehaviourOf<T>>
  | ((params: Tool.Parameters<T>, nth: number) => BehaviourOf<T>)

/**
 * The behaviours that fit a tool: its own success, its own failure.
 *
 * @category models
 * @since 0.1.0
 */
export type BehaviourOf<T extends Tool.Any> = Behaviour<
  Tool.Success<T>,
  Tool.Failure<T> | AiError.AiError | AiError.AiErrorReason,
  Tool.HandlerServices<T>
>

/**
 * The script of a toolkit, by tool. Tools that it does not name may stay uncalled; a call of one dies, naming it.
 *
 * @category models
 * @since 0.1.0
 */
export type Script<Tools extends Record<string, Tool.Any>> = {
  readonly [Name in keyof Tools as Tool.RequiresHandler<Tools[Name]> extends true ? Name : never]?:
    | ScriptOf<Tools[Name]>
    | undefined
}

/**
 * What the scripted handlers did, and the gates they wait at. Its values are those of the moment they are read.
 *
 * @category services
 * @since 0.1.0
 */
export class TestTools extends Context.Service<TestTools, {
  readonly calls: ReadonlyArray<HandledCall>
  readonly running: ReadonlyArray<HandledCall>
  readonly maxConcurrent: number
  readonly open: (...names: ReadonlyArray<string>) => Effect.Effect<void>
  readonly assertComplete: Effect.Effect<void, TestToolsError>
}>()("effect-toolformer/testing/TestTools") {}

/**
 * Handlers of a toolkit by a script, and the record of what they did.
 *
 * **Shape** What the toolkit's own layer provides, and {@link TestTools}. Fully typed: a result that the tool's schema does not
 * have, a failure that is not its own and a tool that is not there do not compile.
 *
 * **Errors** Dies at construction on a name that is no tool and on what is no behaviour. A call for which the script has nothing
 * dies (its result is `HandlerFailed`), saying so; `MockOrchestrator.execute` and {@link assertComplete} fail then.
 *
 * **Example** (Two searches, one of them slow)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Tool, Toolkit } from "effect/ai"
 * import { Executor } from "effect-toolformer"
 * import { TestTools } from "effect-toolformer/Testing"
 *
 * const Search = Tool.make("search", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
 * const toolkit = Toolkit.make(Search)
 * const tools = TestTools.layer(toolkit, {
 *   search: ({ query }) => TestTools.succeed(`found ${query}`, { after: query === "cats" ? "20 millis" : "1 millis" })
 * })
 * const program = Effect.gen(function*() {
 *   const search = (query: string) => Executor.call(Search, { query })
 *   const found = yield* Effect.all([search("cats"), search("dogs")], { concurrency: "unbounded" })
 *   return [...found, yield* TestTools.maxConcurrent]
 * })
 * await Effect.runPromise(Effect.provide(program, tools)) // => ["found cats", "found dogs", 2]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <Tools extends Record<string, Tool.Any>>(
  toolkit: Toolkit.Toolkit<Tools>,
  script: Script<NoInfer<Tools>>
): Layer.Layer<Tool.HandlersFor<Tools> | TestTools> => {
  makeUnsafe(toolkit, script)
  return Layer.unwrap(Effect.sync(() => makeUnsafe(toolkit, script).layer))
}

/**
 * Makes the handlers and their record at once, for tests that hold the record in a variable.
 *
 * **Gotchas** Every build of this `layer` shares the one record. {@link layer} makes one for each build.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = <Tools extends Record<string, Tool.Any>>(
  toolkit: Toolkit.Toolkit<Tools>,
  script: Script<NoInfer<Tools>>
): TestTools["Service"] & { readonly layer: Layer.Layer<Tool.HandlersFor<Tools> | TestTools> } => {
  const scripts = scriptsOf(toolkit, script)
  const recorder = new Recorder()
  const handlers = scripts.map(([name, script]) => [name, recorder.handler(name, script)])
  const tools = serviceOf(recorder)
  const handled: Layer.Layer<never> = toolkit.toLayer(Object.fromEntries(handlers) as never) as never
  return Object.assign(tools, { layer: Layer.merge(handled, Layer.succeed(TestTools, tools)) as never })
}

/**
 * Makes scripted handlers one by one, and the record of what they do: for a handler that stands inside its tool's definition, as
 * with `ToolPolicy.define`.
 *
 * **Shape** `handler` takes the tool's name, for the record, and the script of its calls, and is typed by what it gives: one that
 * does not fit the tool's schemas does not compile. The rest is what `TestTools` is, and `layer` provides it, such as to
 * `MockOrchestrator`.
 *
 * **Errors** `handler` dies at construction on a name that it was given before, and on what is no behaviour.
 *
 * **Gotchas** A result of literals needs an `as const`: `TestTools.succeed("found" as const)`.
 *
 * **Example** (A tool defined in one piece)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 * import { TestTools } from "effect-toolformer/Testing"
 *
 * const tools = TestTools.recorderUnsafe()
 * const { layer, toolkit } = ToolPolicy.define({
 *   search: ToolPolicy.tool({
 *     parameters: Schema.Struct({ query: Schema.String }),
 *     success: Schema.String,
 *     failure: Schema.String,
 *     handler: tools.handler("search", [TestTools.fail("busy"), TestTools.succeed("found", { after: "1 millis" })])
 *   })
 * })
 * const search = Effect.ignore(Executor.call(toolkit.tools.search, { query: "cats" }))
 * await Effect.runPromise(Effect.andThen(search, search).pipe(Effect.provide(layer)))
 * tools.calls.map(({ name, status }) => `${name} ${status}`) // => ["search failure", "search success"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const recorderUnsafe = (): HandlerRecorder => {
  const recorder = new Recorder()
  const names = new Set<string>()
  const tools = serviceOf(recorder)
  return Object.assign(tools, {
    handler: (name: string, script: AnyScript) => {
      if (names.has(name)) {
        Behaviours.die(`TestTools.recorderUnsafe: tool ${JSON.stringify(name)} has a handler already`)
      }
      names.add(name)
      return recorder.handler(name, script) as never
    },
    layer: Layer.succeed(TestTools, tools)
  })
}

/**
 * The record of handlers, and the way to make them; see {@link recorderUnsafe}.
 *
 * @category models
 * @since 0.1.0
 */
export type HandlerRecorder = TestTools["Service"] & {
  readonly handler: <A, E = never, R = never, Params = unknown>(
    name: string,
    script:
      | Behaviour<A, E, R>
      | ReadonlyArray<Behaviour<A, E, R>>
      | ((params: Params, nth: number) => Behaviour<A, E, R>)
  ) => (params: Params, context: ToolPolicy.HandlerContext<A>) => Effect.Effect<A, E, R>
  readonly layer: Layer.Layer<TestTools>
}

const serviceOf = (recorder: Recorder): TestTools["Service"] => ({
  get calls() {
    return recorder.entries.map(({ snapshot }) => snapshot)
  },
  get running() {
    return recorder.entries.filter(({ isRunning }) => isRunning).map(({ snapshot }) => snapshot)
  },
  get maxConcurrent() {
    return recorder.maxConcurrent
  },
  open: (...names) => Effect.sync(() => names.forEach((name) => recorder.gate(name).openUnsafe())),
  assertComplete: Effect.suspend(() => {
    const [reason, ...others] = recorder.faults
    return reason === undefined ? Effect.void : Effect.fail(new TestToolsError({ reason, others }))
  })
})

// By own name only: a tool may be called as a member of `Object.prototype` is.
const scriptsOf = (
  toolkit: Toolkit.Any,
  script: object
): ReadonlyArray<readonly [name: string, script: AnyScript | undefined]> => {
  const names = Object.entries(toolkit.tools).filter(([, tool]) => needsHandler(tool)).map(([name]) => name)
  for (const name of Object.keys(script)) if (!names.includes(name)) unknownName(name, names)
  return names.map((
    name
  ) => [name, Object.hasOwn(script, name) ? (script as Record<string, AnyScript>)[name] : undefined])
}

const needsHandler = (tool: Tool.Any): boolean => !Tool.isProviderDefined(tool) || tool.requiresHandler

const unknownName = (name: string, names: ReadonlyArray<string>): never => {
  const [near] = nearNames(name, names)
  const hint = near === undefined ? "." : `; did you mean ${JSON.stringify(near)}?`
  const tools = names.map((each) => JSON.stringify(each)).join(", ")
  return Behaviours.die(
    `TestTools.layer: the toolkit has no tool ${JSON.stringify(name)} to be scripted${hint} It has ${tools}`
  )
}

/**
 * Every start of a handler so far, in that order.
 *
 * @category reading
 * @since 0.1.0
 */
export const calls: Effect.Effect<ReadonlyArray<HandledCall>, never, TestTools> = Effect.map(
  TestTools,
  ({ calls }) => calls
)

/**
 * The calls whose handlers have started and not ended, in the order of their starts.
 *
 * @category reading
 * @since 0.1.0
 */
export const running: Effect.Effect<ReadonlyArray<HandledCall>, never, TestTools> = Effect.map(
  TestTools,
  ({ running }) => running
)

/**
 * How many handlers were at work at once, at most.
 *
 * @category reading
 * @since 0.1.0
 */
export const maxConcurrent: Effect.Effect<number, never, TestTools> = Effect.map(
  TestTools,
  ({ maxConcurrent }) => maxConcurrent
)

/**
 * Opens gates, for those who wait there and for those who come later.
 *
 * **Gotchas** Who waited goes on when the test's fiber yields, such as by `TestClock.adjust(0)`.
 *
 * @see {@link gate}
 * @category gates
 * @since 0.1.0
 */
export const open = (...names: ReadonlyArray<string>): Effect.Effect<void, never, TestTools> =>
  TestTools.use((tools) => tools.open(...names))

/**
 * Fails when a list of behaviours is not used up, and when a call was made for which the script had none.
 *
 * @category reading
 * @since 0.1.0
 */
export const assertComplete: Effect.Effect<void, TestToolsError, TestTools> = TestTools.use((tools) =>
  tools.assertComplete
)

// ---- behaviours -------------------------------------------------------------------------------------------------------

/**
 * How long a handler takes before it ends: of the run's clock, at least 0; `"Infinity"` never ends. Default 1 millisecond, so
 * that the calls of one decision overlap. With 0 the handler ends in its first step, before the next call starts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Latency {
  readonly after?: Duration.Input | undefined
}

const latencyOf = (name: string, options: Latency | undefined): Duration.Duration =>
  options?.after === undefined ? Duration.millis(1) : Behaviours.latency(`${name}: after`, options.after)

/**
 * Gives a result.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const succeed = <A>(value: A, options?: Latency): Behaviour<A> =>
  Behaviours.after(latencyOf("succeed", options), Effect.succeed(value))

/**
 * Fails with the tool's own failure.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const fail = <E>(error: E, options?: Latency): Behaviour<never, E> =>
  Behaviours.after(latencyOf("fail", options), Effect.fail(error))

/**
 * Dies, as a handler with a bug does.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const die = (defect: unknown, options?: Latency): Behaviour<never> =>
  Behaviours.after(latencyOf("die", options), Effect.die(defect))

/**
 * Never ends, unless it is interrupted.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const never: Behaviour<never> = Behaviours.make(() => Effect.never)

/**
 * Waits until the test opens its gate ({@link open}), and then gives a value at once, or plays a behaviour.
 *
 * **Shape** `name`: of the gate; default the call's id. An open gate stays open, so a second attempt of the call passes.
 *
 * **Example** (Who runs together, said by the test)
 *
 * ```ts
 * import { Effect, Fiber, Schema } from "effect"
 * import { Tool, Toolkit } from "effect/ai"
 * import { Executor } from "effect-toolformer"
 * import { TestTools } from "effect-toolformer/Testing"
 *
 * const Search = Tool.make("search", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
 * const tools = TestTools.layer(Toolkit.make(Search), {
 *   search: ({ query }) => TestTools.gate(`found ${query}`, { name: query })
 * })
 * const program = Effect.gen(function*() {
 *   const fiber = yield* Effect.forkChild(Executor.call(Search, { query: "cats" }), { startImmediately: true })
 *   const before = yield* TestTools.running
 *   yield* TestTools.open("cats")
 *   return [before.length, yield* Fiber.join(fiber)]
 * })
 * await Effect.runPromise(Effect.provide(program, tools)) // => [1, "found cats"]
 * ```
 *
 * @category behaviours
 * @since 0.1.0
 */
export const gate: {
  <A, E, R>(then: Behaviour<A, E, R>, options?: { readonly name?: string | undefined }): Behaviour<A, E, R>
  <A>(value: A, options?: { readonly name?: string | undefined }): Behaviour<A>
} = (
  then: unknown,
  options?: { readonly name?: string | undefined }
): Behaviour<never> => {
  const next = Behaviours.isBehaviour(then) ? then : Behaviours.after(Duration.zero, Effect.succeed(then))
  return Behaviours.make((call) =>
    Effect.andThen(call.gate(options?.name ?? call.id), Effect.suspend(() => next[Behaviours.TypeId](call)))
  ) as Behaviour<never>
}

/**
 * Reports progress (preliminary results), each value `every` after the one before, and then plays the last behaviour.
 *
 * **Units** `every`: a duration of at least 0; default 1 millisecond.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const progress = <A, E = never, R = never>(
  values: ReadonlyArray<A>,
  last: Behaviour<A, E, R>,
  options?: { readonly every?: Duration.Input | undefined }
): Behaviour<A, E, R> =>
  Behaviours.reporting(values, Behaviours.latency("progress: every", options?.every ?? "1 millis"), last)

/**
 * Does not hear that it is interrupted: for ever, for a duration from its start (and then it never ends, unless it is
 * interrupted), or for as long as a behaviour takes.
 *
 * **Example** (A result that comes too late)
 *
 * ```ts
 * import { Duration, Effect, Schema } from "effect"
 * import { Tool, Toolkit } from "effect/ai"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 * import { TestTools } from "effect-toolformer/Testing"
 *
 * const Save = Tool.make("save", { success: Schema.String })
 *   .annotate(ToolPolicy.Timeout, "1 millis")
 *   .annotate(ToolPolicy.Grace, Duration.zero)
 * const tools = TestTools.layer(Toolkit.make(Save), { save: TestTools.deaf(TestTools.succeed("late", { after: 20 })) })
 * const program = Effect.gen(function*() {
 *   const failure = yield* Effect.flip(Executor.call(Save, {}).pipe(Effect.timeout("1 minute")))
 *   const [call] = yield* TestTools.calls
 *   yield* Effect.sleep("100 millis")
 *   const [later] = yield* TestTools.calls
 *   return [failure._tag, call?.status, later?.status]
 * })
 * await Effect.runPromise(Effect.provide(program, tools)) // => ["TimedOut", "running", "interrupted"]
 * ```
 *
 * @category behaviours
 * @since 0.1.0
 */
export const deaf: {
  (options?: { readonly for?: Duration.Input | undefined }): Behaviour<never>
  <A, E, R>(behaviour: Behaviour<A, E, R>): Behaviour<A, E, R>
} = (options?: object): Behaviour<never> => {
  if (Behaviours.isBehaviour(options)) {
    return Behaviours.make((call) => Effect.uninterruptible(options[Behaviours.TypeId](call))) as Behaviour<never>
  }
  const duration = forHowLong("deaf", options)
  return Behaviours.make(() => Effect.andThen(Effect.uninterruptible(Behaviours.pause(duration)), Effect.never))
}

/**
 * Awaits a promise (made with `Executor.promise`) that ignores its signal: one that never settles, or one that plays a behaviour
 * to its end whatever happens to the call. The call's fiber ends when it is interrupted; the promise is what is left.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const deafPromise = <A = never, E = never, R = never>(behaviour?: Behaviour<A, E, R>): Behaviour<A, E, R> =>
  Behaviours.promised(behaviour)

/**
 * Never ends, and when it is interrupted cleans up for so long: for ever, or for a duration.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const stuckFinalizer = (options?: { readonly for?: Duration.Input | undefined }): Behaviour<never> => {
  const duration = forHowLong("stuckFinalizer", options)
  return Behaviours.make(() => Effect.onInterrupt(Effect.never, () => Behaviours.pause(duration)))
}

const forHowLong = (name: string, options: { readonly for?: Duration.Input | undefined } | undefined) =>
  options?.for === undefined ? Duration.infinity : Behaviours.latency(`${name}: for`, options.for)

/**
 * Runs an effect, or what a function of the call gives: for what the other behaviours cannot say.
 *
 * @category behaviours
 * @since 0.1.0
 */
export const effect: {
  <A, E, R>(run: Effect.Effect<A, E, R>): Behaviour<A, E, R>
  <A, E, R>(run: (call: PlayedCall<A>) => Effect.Effect<A, E, R>): Behaviour<A, E, R>
} = <A, E, R>(
  run: Effect.Effect<A, E, R> | ((call: PlayedCall<A>) => Effect.Effect<A, E, R>)
): Behaviour<A, E, R> => Effect.isEffect(run) ? Behaviours.make(() => run) : Behaviours.make((call) => run(call))
