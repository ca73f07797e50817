/**
 * One call to exactly one outcome: lookup by own name, decode, deadline, admission, attempt with its timeout, handler, encode.
 * The order is written down once (`internal/Pipeline`), the handler is taken from the context and codecs are compiled once per
 * tool. The Orchestrator's calls go this way; this module opens it to ordinary code (`call`), to plain effect/ai (`govern`) and
 * gives handlers a promise that can be told why to stop (`promise`).
 *
 * A call made here holds no place of a run and waits for none; the tool's own cap (`ToolPolicy.Concurrency`) counts, and so
 * do the limits of its service and the default `timeout.tool` of `Orchestrator.Config`.
 */
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as CancelReason from "../domain/CancelReason.ts"
import { nearNames } from "../domain/ToolCall.ts"
import type { ToolFailure } from "../domain/ToolFailure.ts"
import { cut, rejected, unknownTool } from "../domain/ToolFailure.ts"
import { Dispatcher } from "./Dispatcher.ts"
import type { Owner } from "./Dispatcher.ts"
import { hold, letGo, stop } from "./internal/Attempt.ts"
import { Call, CurrentBranch, CurrentCall, fault } from "./internal/Call.ts"
import type { BoundTool, Environment, Listener, Outcome } from "./internal/Call.ts"
import { compile, forget as forgetCompiled } from "./internal/CompiledTool.ts"
import * as Limits from "./internal/Limits.ts"
import { Config } from "./internal/options.ts"
import { bind, bindAll, decode as decodeParams } from "./internal/Pipeline.ts"
import { Timers } from "./internal/Timers.ts"

export { BlockedAfter } from "./internal/blocking.ts"

/**
 * Calls a tool from ordinary code or from another tool's handler, governed as the model's calls are.
 *
 * **Shape** Takes the tool's typed parameters and gives its success.
 *
 * **Errors** The tool's own failure, or a `ToolFailure` (plain tagged data: `TimedOut`, `HandlerFailed`, `InvalidInput` …).
 * Interruption stops the handler (reason `CallerGone`, or that of the call whose handler made this one) and waits for it at most
 * its grace.
 *
 * **Gotchas** Made inside a handler it ends with that handler's call. Made outside of any run it stands in no registry:
 * `Orchestrator.drain` neither waits for it nor stops it.
 *
 * **Example** (A tool called from code)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * const { toolkit, layer } = ToolPolicy.define({
 *   shout: ToolPolicy.tool({
 *     parameters: Schema.Struct({ text: Schema.String }),
 *     success: Schema.String,
 *     handler: ({ text }) => Effect.succeed(text.toUpperCase())
 *   })
 * })
 * const program = Executor.call(toolkit.tools.shout, { text: "hi" })
 * await Effect.runPromise(Effect.provide(program, layer)) // => "HI"
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const call = <T extends Tool.Any>(
  tool: T,
  params: Tool.Parameters<T>
): Effect.Effect<
  Tool.Success<T>,
  Tool.Failure<T> | ToolFailure,
  Tool.HandlersFor<{ readonly [Name in T["name"]]: T }> | Tool.HandlerServices<T>
> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const parent = Context.get(context, CurrentCall)
    // A handler that was stopped is interrupted before it sees or starts anything; one that cleans up may go on calling.
    const unlessStopped = <A, E>(effect: Effect.Effect<A, E>) =>
      parent?.reason === undefined ? effect : Effect.andThen(Effect.yieldNow, effect)
    return unlessStopped(Effect.callback<Tool.Success<T>, Tool.Failure<T> | ToolFailure>((resume) => {
      let forget: (() => void) | undefined
      const environment = environmentOf(context, undefined)
      const running = submit(
        context,
        environment,
        bind(tool, context, Context.get(context, Config).timeout.tool),
        tool.name,
        newCallId(tool.name),
        params,
        "check",
        ({ isFailure, result }) => {
          forget?.()
          resume(unlessStopped(
            isFailure ? Effect.fail(result as Tool.Failure<T> | ToolFailure) : Effect.succeed(result as Tool.Success<T>)
          ))
        }
      )
      if (parent?.reason === undefined && running.call.outcome === undefined) forget = follow(running.call, parent)
      return stopAndAwait(running)
    }))
  }) as never

// A stop reaches the calls under a call in the same step: what waits must not start before their caller is told.
const follow = (call: Call, parent: Call | undefined): (() => void) | undefined => {
  if (parent === undefined) return undefined
  const follower = { abort: (reason: CancelReason.CancelReason) => stop(call, reason) }
  const followers = parent.controllers ??= new Set()
  followers.add(follower)
  return () => followers.delete(follower)
}

/**
 * Reads arguments as a model sends them, as a call of the tool would, and runs nothing.
 *
 * **Errors** `InvalidInput` where they do not fit the tool's parameters, with the path; its `callId` is empty. Dies on a tool with
 * annotations, or a JSON Schema, that make no sense.
 *
 * **Example** (What a handler would get)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Tool } from "effect/ai"
 * import { Executor } from "effect-toolformer"
 *
 * const Wait = Tool.make("wait", { parameters: Schema.Struct({ seconds: Schema.NumberFromString }) })
 * await Effect.runPromise(Executor.decode(Wait, { seconds: "3" })) // => { seconds: 3 }
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = <T extends Tool.Any>(
  tool: T,
  params: unknown
): Effect.Effect<Tool.Parameters<T>, ToolFailure, Tool.HandlerServices<T>> => decodeParams(tool, params) as never

/**
 * How deep calls may be made within calls, from code ({@link call}, {@link govern}); a deeper one is answered `Rejected`, naming the
 * tools on the way. Default 16.
 *
 * @category settings
 * @since 0.1.0
 */
export const MaxDepth: Context.Reference<number> = Context.Reference<number>("effect-toolformer/Executor/MaxDepth", {
  defaultValue: () => 16
})

/**
 * What a handler may know of the call it answers. `attempt` counts from 1; `idempotencyKey` is the same for all attempts of one
 * call, and no other call has it: for services that recognise by it what they have already done. `runId`: the run it was made
 * in. `abandoned`: whether it was answered because its handler did not stop in time; read once, it does not change later.
 *
 * @category models
 * @since 0.1.0
 */
export interface CallInfo {
  readonly callId: string
  readonly name: string
  readonly attempt: number
  readonly idempotencyKey: string
  readonly runId: string | undefined
  readonly abandoned: boolean
}

/**
 * The call whose handler is running; none outside a handler.
 *
 * **Example** (A write that may be tried again)
 *
 * ```ts
 * import { Effect, Option, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * const { toolkit, layer } = ToolPolicy.define({
 *   pay: ToolPolicy.tool({
 *     success: Schema.Finite,
 *     annotations: { idempotent: true, retry: { attempts: 3 } },
 *     handler: () =>
 *       Effect.map(Executor.currentCall, (call) => {
 *         const { attempt, idempotencyKey } = Option.getOrThrow(call)
 *         // send `idempotencyKey` with the request
 *         return idempotencyKey.length > 0 ? attempt : 0
 *       })
 *   })
 * })
 * await Effect.runPromise(Effect.provide(Executor.call(toolkit.tools.pay, {}), layer)) // => 1
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const currentCall: Effect.Effect<Option.Option<CallInfo>> = Effect.map(CurrentCall, (call) => infoOf(call))

/**
 * The call that a context belongs to, such as that of a fiber: what {@link currentCall} is from outside, for tools that watch
 * fibers. None where the context is not that of a handler, nor of what a handler started.
 *
 * **Example** (Whose fiber is it)
 *
 * ```ts
 * import { Effect, Option, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * const { toolkit, layer } = ToolPolicy.define({
 *   fetch: ToolPolicy.tool({
 *     success: Schema.String,
 *     handler: () => Effect.withFiber((fiber) => Effect.fromOption(Executor.callOf(fiber.context))).pipe(
 *       Effect.map(({ name }) => name),
 *       Effect.orDie
 *     )
 *   })
 * })
 * await Effect.runPromise(Effect.provide(Executor.call(toolkit.tools.fetch, {}), layer)) // => "fetch"
 * ```
 *
 * @category diagnostics
 * @since 0.1.0
 */
export const callOf = (context: Context.Context<never>): Option.Option<CallInfo> =>
  infoOf(Context.get(context, CurrentCall))

const infoOf = (call: Call | undefined): Option.Option<CallInfo> =>
  call === undefined ? Option.none() : Option.some({
    callId: call.id,
    name: call.name,
    attempt: call.attempts,
    idempotencyKey: keyOf(call.attemptOf ?? call),
    runId: call.environment.runId,
    abandoned: call.abandoned
  })

/**
 * What is taken of a tool's own cap.
 *
 * **Shape** `limit`: the cap. `held`: permits of handlers that have not ended, `abandoned` of them by handlers that were answered
 * without having ended. `waiting`: calls that line up for one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Occupancy {
  readonly limit: number
  readonly held: number
  readonly abandoned: number
  readonly waiting: number
}

/**
 * Tells what is taken of a tool's cap (`ToolPolicy.Concurrency`) now, over every run of the process; none where the tool has no
 * cap. After the last call has ended `held` is 0.
 *
 * **Example** (Nothing is left behind)
 *
 * ```ts
 * import { Effect, Fiber, Option, Schema } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * const { toolkit, layer } = ToolPolicy.define({
 *   search: ToolPolicy.tool({
 *     success: Schema.String,
 *     annotations: { concurrency: 2 },
 *     handler: () => Effect.never
 *   })
 * })
 * const held = Effect.map(Executor.occupancy(toolkit.tools.search), (search) => Option.getOrThrow(search).held)
 * const program = Effect.gen(function*() {
 *   const call = yield* Effect.forkChild(Executor.call(toolkit.tools.search, {}), { startImmediately: true })
 *   const during = yield* held
 *   yield* Fiber.interrupt(call)
 *   return [during, yield* held]
 * })
 * await Effect.runPromise(Effect.provide(program, layer)) // => [1, 0]
 * ```
 *
 * @category diagnostics
 * @since 0.1.0
 */
export const occupancy = (tool: Tool.Any): Effect.Effect<Option.Option<Occupancy>> =>
  Effect.sync(() => {
    const { permits } = compile(tool)
    if (permits === undefined) return Option.none()
    const { abandoned, limit, used, waiters } = permits
    return Option.some({ limit, held: used, abandoned, waiting: waiters.size })
  })

/**
 * Forgets how the calls of a tool went: what its own retries (`ToolPolicy.Retry` without a `Retry` layer) and its hedges may spend
 * begins anew. For tests: both are kept by tool for the life of the process, and one test must not spend what the next one needs.
 *
 * **Gotchas** Runs under way go on with what they have. Permits of `ToolPolicy.Concurrency` are not budgets: who holds one keeps it.
 *
 * @category diagnostics
 * @since 0.1.0
 */
export const forget = (tool: Tool.Any): Effect.Effect<void> => Effect.sync(() => forgetCompiled(tool))

// Not from Effect's `Random`: two processes with one seed must not take each other's calls for their own.
const keyOf = (call: Call): string => call.key ??= globalThis.crypto.randomUUID()

let callCount = 0
const newCallId = (name: string): string => `${name}_${++callCount}`

/** A call on its way outside a run, with the dispatcher that admits it. */
interface Running {
  readonly call: Call
  readonly dispatcher: Dispatcher
}

const environmentOf =
  (context: Context.Context<never>, listener: Listener | undefined) => (dispatcher: Dispatcher): Environment => ({
    timers: new Timers(Context.get(context, Clock.Clock), context),
    admission: dispatcher,
    listener,
    tracing: undefined,
    speculation: Context.get(context, CurrentCall)?.environment.speculation?.nested,
    parent: Context.get(context, CurrentCall),
    runId: Context.get(context, CurrentCall)?.environment.runId
  })

const fromCode: Owner = { awaitsApproval: () => {}, queued: () => {}, isRun: false }

const submit = (
  context: Context.Context<never>,
  environmentFor: (dispatcher: Dispatcher) => Environment,
  tool: BoundTool,
  name: string,
  id: string,
  params: unknown,
  codec: "decode" | "check",
  onOutcome: (outcome: Outcome) => void
): Running => {
  const dispatcher: Dispatcher = new Dispatcher(
    Infinity,
    Context.get(tool.context, Scheduler.Scheduler).makeDispatcher(),
    fromCode,
    Limits.find(context)
  )
  const environment = environmentFor(dispatcher)
  const call = new Call(id, name, params, 0, tool, environment, (call, outcome) => {
    dispatcher.answered(call)
    if (call.attempts === 0) environment.speculation?.ended(call)
    if (dispatcher.outstanding > 0) over = call.parent?.environment.admission.outlived()
    onOutcome(outcome)
  })
  dispatcher.turnEndedWell = true
  // Not before: attempts that were stopped may still have their grace, and the run they were made in waits for them.
  let over: (() => void) | undefined
  dispatcher.whenIdle = () => {
    environment.timers.close()
    over?.()
    over = undefined
  }
  const tooDeep = deeperThan(Context.get(context, MaxDepth), call)
  if (tooDeep === undefined) dispatcher.submit(call, true, codec)
  else dispatcher.answer(call, tooDeep)
  return { call, dispatcher }
}

// Tools that call each other in a circle would else do so until memory is gone.
const deeperThan = (limit: number, call: Call): ToolFailure | undefined => {
  const names: Array<string> = [call.name]
  for (let at = call.parent; at !== undefined; at = at.parent) names.push(at.name)
  if (names.length <= limit) return undefined
  const chain = cut(names.reverse().join(" > "), 1024)
  return rejected(call.name, call.id, `tools call each other more than ${limit} deep: ${chain}`, undefined, false)
}

const stopAndAwait = ({ call, dispatcher }: Running): Effect.Effect<void> =>
  Effect.suspend(() => {
    stop(call, CancelReason.callerGone)
    return dispatcher.awaitIdle
  })

/**
 * Gives a toolkit whose calls are governed, for `LanguageModel.generateText`, `streamText` and `Chat` of plain effect/ai.
 *
 * **Shape** What `yield* toolkit` gives, with our timeouts, caps and isolation in `handle`: a defect, a timeout or a typed
 * failure is that call's failed result, and its siblings run on.
 *
 * **Gotchas** Unknown names and duplicate ids are answered by effect/ai before a handler is reached, and stay as they are there.
 *
 * **Example** (A defect stays with its call)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Executor, ToolPolicy } from "effect-toolformer"
 *
 * const { toolkit, layer } = ToolPolicy.define({
 *   broken: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.die("oops") })
 * })
 * const results = Effect.gen(function*() {
 *   const governed = yield* Executor.govern(toolkit)
 *   return yield* Stream.runCollect(Stream.unwrap(governed.handle("broken", {})))
 * })
 * const [result] = await Effect.runPromise(Effect.provide(results, layer))
 * result?.isFailure // => true
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const govern = <Tools extends Record<string, Tool.Any>>(
  toolkit: Toolkit.Toolkit<Tools>
): Effect.Effect<Toolkit.WithHandler<Tools>, never, Tool.HandlersFor<Tools>> =>
  Effect.map(
    Effect.context<Tool.HandlersFor<Tools>>(),
    (handlers) => ({
      tools: toolkit.tools,
      handle: (name: string, params: unknown, toolCallId?: string) =>
        Effect.map(Effect.context(), (caller) => {
          const context = Context.merge(handlers as Context.Context<never>, caller)
          return handle(
            bindAll(toolkit, context, Context.get(context, Config).timeout.tool, [name]).get(name),
            toolkit,
            context,
            name,
            params,
            toolCallId
          )
        })
    } as unknown as Toolkit.WithHandler<Tools>)
  )

const handle = (
  tool: BoundTool | undefined,
  toolkit: Toolkit.Any,
  context: Context.Context<never>,
  name: string,
  params: unknown,
  toolCallId: string | undefined
): Stream.Stream<Tool.HandlerResult<Tool.Any>> => {
  const id = toolCallId ?? newCallId(name)
  if (tool === undefined) {
    const available = Object.keys(toolkit.tools)
    return Stream.succeed(handlerResult(fault(unknownTool(name, id, available, nearNames(name, available)))))
  }
  return Stream.callback((queue) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        submit(context, environmentOf(context, progressTo(queue)), tool, name, id, params, "decode", (outcome) => {
          Queue.offerUnsafe(queue, handlerResult(outcome))
          Queue.endUnsafe(queue)
        })
      ),
      stopAndAwait
    )
  )
}

const handlerResult = ({ encodedResult, isFailure, modelOutput, result }: Outcome): Tool.HandlerResult<Tool.Any> => ({
  result: result,
  encodedResult,
  isFailure,
  preliminary: false,
  ...(isFailure ? { failureOrigin: "handler" as const } : undefined),
  ...(modelOutput === undefined ? undefined : { modelOutput })
})

const progressTo = (queue: Queue.Enqueue<Tool.HandlerResult<Tool.Any>, Cause.Done>): Listener => ({
  started: () => {},
  cancelled: () => {},
  abandoned: () => {},
  retried: () => {},
  progress: (_call, result, encodedResult) => {
    Queue.offerUnsafe(queue, { result: result, encodedResult, isFailure: false, preliminary: true })
  }
})

/**
 * `Effect.tryPromise` for handlers: the signal's `reason` is the typed `CancelReason`, and a promise that ignores its signal is
 * seen: its call is answered when the grace is over and reported as abandoned, and its permit comes back when it settles.
 *
 * **Errors** A rejection or a throw fails with `Cause.UnknownError`, or with what `catch` makes of it. What a promise does after
 * its call was stopped is ignored: no unhandled rejection, no second result.
 *
 * **Example** (A request that can be told why to stop)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Executor } from "effect-toolformer"
 *
 * const answer = Executor.promise((signal) => Promise.resolve(signal.aborted ? "stopped" : "fetched"))
 * await Effect.runPromise(answer) // => "fetched"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const promise: {
  <A>(evaluate: (signal: AbortSignal) => PromiseLike<A>): Effect.Effect<A, Cause.UnknownError>
  <A, E>(options: {
    readonly try: (signal: AbortSignal) => PromiseLike<A>
    readonly catch: (error: unknown) => E
  }): Effect.Effect<A, E>
} = <A, E>(
  options: ((signal: AbortSignal) => PromiseLike<A>) | {
    readonly try: (signal: AbortSignal) => PromiseLike<A>
    readonly catch: (error: unknown) => E
  }
): Effect.Effect<A, E> => {
  const evaluate = typeof options === "function" ? options : options.try
  const onError = typeof options === "function"
    ? (error: unknown) => new Cause.UnknownError(error) as E
    : options.catch
  return Effect.withFiber((fiber) => {
    const call = Context.get(fiber.context, CurrentCall)
    const branch = Context.get(fiber.context, CurrentBranch)
    return Effect.callback<A, E>((resume) => {
      const controller = new AbortController()
      if (call !== undefined) hold(call, controller)
      const settled = (effect: () => Effect.Effect<A, E>): void => {
        if (call !== undefined) letGo(call, controller)
        resume(Effect.suspend(effect))
      }
      // The promise's own executor turns a throwing `evaluate` into a rejection, and adopts any thenable once.
      new Promise<A>((resolve) => resolve(evaluate(controller.signal))).then(
        (value) => settled(() => Effect.succeed(value)),
        (error) => settled(() => Effect.fail(onError(error)))
      )
      return Effect.sync(() => controller.abort(branch?.stopped ?? call?.reason ?? CancelReason.callerGone))
    })
  })
}
