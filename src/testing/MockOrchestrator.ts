/**
 * A harness around the real `Orchestrator`: say which calls are expected and how they run beside each other, execute a prompt, and
 * get the run's timeline, or an error that says what happened instead.
 *
 * Expectations are declared first and verified by `execute`. Who ran together is told by the order of events, so a test needs no
 * stopwatch; time is virtual unless told otherwise.
 */
import type * as AiError from "effect/ai/AiError"
import type * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { CancelReason } from "../domain/CancelReason.ts"
import * as Executor from "../engine/Executor.ts"
import type * as Orchestrator from "../engine/Orchestrator.ts"
import type { Target } from "./internal/declare.ts"
import type { ExecuteOptions, Execution, ExpectedCalls, Options, OrphanOptions } from "./internal/execution.ts"
import type { ExpectationError } from "./internal/ExpectationError.ts"
import type { How } from "./internal/expectations.ts"
import * as Harness from "./internal/harness.ts"
import type { RecordedCall, Timeline } from "./internal/recorded.ts"
import type { ToolCall } from "./ToolCall.ts"

export type { Target } from "./internal/declare.ts"
export type {
  ClockMode,
  ExecuteOptions,
  Execution,
  ExpectedCalls,
  Options,
  OrphanOptions
} from "./internal/execution.ts"
export { ExpectationError, type Reason } from "./internal/ExpectationError.ts"

/**
 * The functions of this module, of one harness; each is explained at the function of its name.
 *
 * @category services
 * @since 0.1.0
 */
export class MockOrchestrator extends Context.Service<MockOrchestrator, {
  readonly expectToolCalls: (calls: ReadonlyArray<ToolCall>) => ExpectedCalls
  readonly expectNoOtherCalls: () => Effect.Effect<void>
  readonly expectNotCalled: (calls: ReadonlyArray<ToolCall>) => Effect.Effect<void, ExpectationError>
  readonly expectOverlap: (a: Target, b: Target) => Effect.Effect<void, ExpectationError>
  readonly expectCancelled: (
    call: Target,
    reason?: CancelReason["_tag"] | CancelReason
  ) => Effect.Effect<void, ExpectationError>
  readonly execute: (
    prompt: Prompt.RawInput | ExecuteOptions
  ) => Effect.Effect<Execution, ExpectationError | AiError.AiError | Orchestrator.OrchestratorError>
  readonly verify: Effect.Effect<void, ExpectationError>
  readonly timeline: Effect.Effect<Timeline, ExpectationError>
  readonly calls: Effect.Effect<ReadonlyArray<RecordedCall>, ExpectationError>
  readonly maxConcurrentCalls: Effect.Effect<number, ExpectationError>
  readonly totalDuration: Effect.Effect<Duration.Duration, ExpectationError>
  readonly assertNoOrphans: (options?: OrphanOptions) => Effect.Effect<void, ExpectationError>
}>()("effect-toolformer/testing/MockOrchestrator") {}

/**
 * A harness for a toolkit.
 *
 * **Shape** Needs what a run needs: a model and the toolkit's handlers, here mostly those of `TestModel` and `TestTools`. Of everything
 * else (settings, policies, the clock) what the caller of `execute` has in its own context goes before. Every harness starts alike: what is drawn from `Random` (how long a retry
 * waits) is the same in each unless the context has one, and what a tool's own retries and hedges may spend begins anew.
 *
 * **Errors** Where nothing else failed, closing it dies with an `ExpectationError` (`NotVerified`) when expectations were declared
 * that no `execute` and no {@link verify} looked at.
 *
 * **Gotchas** Build one for each test: in a harness that tests share, what a test declares before it fails is left to the next one,
 * and so is where the model's script stands. Without a `TestClock` in the test only the run is in virtual time: a `Limiter` that is
 * provided beside it waits in real time.
 *
 * **Example** (Two calls of one decision run in parallel)
 *
 * ```ts
 * import { Duration, Effect, Layer, Schema } from "effect"
 * import { Tool, Toolkit } from "effect/ai"
 * import { MockOrchestrator, TestModel, TestTools, ToolCall } from "effect-toolformer/Testing"
 *
 * const Search = Tool.make("search", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
 * const toolkit = Toolkit.make(Search)
 * const [cats, dogs] = [ToolCall("search", { query: "cats" }), ToolCall("search", { query: "dogs" })]
 *
 * const program = Effect.gen(function*() {
 *   yield* MockOrchestrator.expectToolCalls([cats, dogs]).inParallel()
 *   yield* MockOrchestrator.expectNoOtherCalls()
 *   const { maxConcurrentCalls, result, totalDuration } = yield* MockOrchestrator.execute("Cats or dogs?")
 *   return [result.text, maxConcurrentCalls, Duration.toSeconds(totalDuration)]
 * })
 * const test = MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge([
 *   TestModel.script([[cats, dogs], "Both."]),
 *   TestTools.layer(toolkit, { search: TestTools.succeed("found", { after: "10 seconds" }) })
 * ]))
 * await Effect.runPromise(Effect.provide(program, test)) // => ["Both.", 2, 10]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <Tools extends Record<string, Tool.Any>>(
  options: Options<Tools>
): Layer.Layer<MockOrchestrator, never, Orchestrator.Services<Tools>> =>
  Layer.effect(
    MockOrchestrator,
    Effect.contextWith((context: Context.Context<Orchestrator.Services<Tools>>) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.andThen(
            Effect.forEach(Object.values(options.toolkit.tools), Executor.forget, { discard: true }),
            Effect.sync(() => Harness.make(options, context as never))
          ),
          ({ close }, exit) => close(exit)
        ),
        serviceOf
      )
    )
  )

const serviceOf = (harness: Harness.Harness): MockOrchestrator["Service"] => {
  const expect = (how: How, calls: ReadonlyArray<ToolCall>) => () =>
    harness.declare({ _tag: "Calls", how, targets: calls })
  return {
    expectToolCalls: (calls) => ({
      inParallel: expect("inParallel", calls),
      inOrder: expect("inOrder", calls),
      inAnyOrder: expect("inAnyOrder", calls),
      anyTimes: expect("anyTimes", calls)
    }),
    expectNoOtherCalls: () => Effect.sync(() => harness.expect({ _tag: "NoOtherCalls" })),
    expectNotCalled: (targets) => harness.declare({ _tag: "NotCalled", targets }),
    expectOverlap: (a, b) => harness.declare({ _tag: "Overlap", targets: [a, b] }),
    expectCancelled: (target, reason) => harness.declare({ _tag: "Cancelled", target, reason }),
    execute: (prompt) => harness.execute(prompt),
    verify: harness.verify,
    timeline: harness.ask("timeline", (timeline) => timeline),
    calls: harness.ask("calls", ({ calls }) => calls),
    maxConcurrentCalls: harness.ask("maxConcurrentCalls", ({ maxConcurrentCalls }) => maxConcurrentCalls),
    totalDuration: harness.ask("totalDuration", ({ totalMillis }) => Duration.millis(totalMillis)),
    assertNoOrphans: (options) => harness.askOrphans(options)
  }
}

/**
 * Expects calls, and says how they are to run beside each other: `inParallel`, `inOrder`, `inAnyOrder`, or `anyTimes`.
 *
 * **Shape** Of each listed call the name, the parameters as the handler gets them, and the id are compared, as far as given. Each
 * declaration stands for itself: one call may serve several.
 *
 * **Errors** At once, where it can never hold: a tool that is not in the toolkit, parameters that do not decode or have a key that
 * the tool does not know, an empty list, an id that the script of the `TestModel` cannot make, more calls in parallel than may run (`toolCallConcurrency`, `ToolPolicy.Concurrency`,
 * a resource that one of them writes).
 *
 * **Gotchas** It declares nothing until the effect is run. Ids of calls that stand only in the history of a prompt, and not in the
 * script, count as unknown.
 *
 * @category expectations
 * @since 0.1.0
 */
export const expectToolCalls = (calls: ReadonlyArray<ToolCall>): ExpectedCalls<MockOrchestrator> => {
  const expect = (how: How) => () => MockOrchestrator.use((mock) => mock.expectToolCalls(calls)[how]())
  return {
    inParallel: expect("inParallel"),
    inOrder: expect("inOrder"),
    inAnyOrder: expect("inAnyOrder"),
    anyTimes: expect("anyTimes")
  }
}

/**
 * Expects that no call is made beyond those that other declarations name, whether it runs or not.
 *
 * **Shape** Each call may happen as often as the declaration that lists it most often lists it; those of `anyTimes` any number of
 * times. Alone it says that no call is made at all. It is about the calls of the model: those that handlers make in code
 * (`Executor.call`) are no part of the run's events.
 *
 * @category expectations
 * @since 0.1.0
 */
export const expectNoOtherCalls = (): Effect.Effect<void, never, MockOrchestrator> =>
  MockOrchestrator.use((mock) => mock.expectNoOtherCalls())

/**
 * Expects that no handler starts for any of these calls. One that was made and refused, or awaits approval, was not called.
 *
 * **Errors** As {@link expectToolCalls}.
 *
 * @category expectations
 * @since 0.1.0
 */
export const expectNotCalled = (
  calls: ReadonlyArray<ToolCall>
): Effect.Effect<void, ExpectationError, MockOrchestrator> =>
  MockOrchestrator.use((mock) => mock.expectNotCalled(calls))

/**
 * Expects that two calls, by id or as `ToolCall`s, were at work at one moment.
 *
 * **Errors** As {@link expectToolCalls}.
 *
 * @category expectations
 * @since 0.1.0
 */
export const expectOverlap = (a: Target, b: Target): Effect.Effect<void, ExpectationError, MockOrchestrator> =>
  MockOrchestrator.use((mock) => mock.expectOverlap(a, b))

/**
 * Expects that a call, by id or as a `ToolCall`, was cancelled or timed out: for any reason, for one of this tag, or for exactly this
 * one.
 *
 * **Errors** As {@link expectToolCalls}, and on a tag that is no reason's.
 *
 * **Gotchas** What happens after `execute` itself was interrupted is in no timeline.
 *
 * @category expectations
 * @since 0.1.0
 */
export const expectCancelled = (
  call: Target,
  reason?: CancelReason["_tag"] | CancelReason
): Effect.Effect<void, ExpectationError, MockOrchestrator> =>
  MockOrchestrator.use((mock) => mock.expectCancelled(call, reason))

/**
 * Runs a prompt on the real orchestrator, verifies everything that was declared since the last `execute`, and forgets it.
 *
 * **Shape** With a `TestModel` in the context, also its script must be played to the end; `turnsLeft: "allow"` where a later `execute`
 * goes on with it. With `TestTools`, every call must have had a behaviour; lists that are not used up are for
 * `TestTools.assertComplete`.
 *
 * **Errors** `ExpectationError`: `Unmet` with every expectation that does not hold and the timeline; `Stuck` where the run waits for
 * what no clock moves. The run's own failure passes as it is; what was declared for it then waits for {@link verify}, and
 * {@link timeline} tells of it.
 *
 * **Gotchas** Runs of one harness may be executed beside each other only while nothing is declared: it could not be told which of
 * them is meant (`Ambiguous`).
 *
 * @category running
 * @since 0.1.0
 */
export const execute = (
  prompt: Prompt.RawInput | ExecuteOptions
): Effect.Effect<
  Execution,
  ExpectationError | AiError.AiError | Orchestrator.OrchestratorError,
  MockOrchestrator
> => MockOrchestrator.use((mock) => mock.execute(prompt))

/**
 * Verifies what was declared for a run that failed or was interrupted, and what was declared since, against that run.
 *
 * **Example** (A run that is meant to fail)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { AiError, Tool, Toolkit } from "effect/ai"
 * import { MockOrchestrator, TestModel, TestTools, ToolCall } from "effect-toolformer/Testing"
 *
 * const Search = Tool.make("search", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
 *   .annotate(Tool.Readonly, true)
 * const toolkit = Toolkit.make(Search)
 * const cats = ToolCall("search", { query: "cats" })
 * const dead = AiError.make({
 *   module: "Test",
 *   method: "streamText",
 *   reason: new AiError.InternalProviderError({ description: "the line went dead" })
 * })
 *
 * const program = Effect.gen(function*() {
 *   yield* MockOrchestrator.expectCancelled(cats, "BranchCancelled")
 *   const error = yield* Effect.flip(MockOrchestrator.execute("Cats?"))
 *   yield* MockOrchestrator.verify
 *   return error._tag
 * })
 * const test = MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge([
 *   TestModel.script([[cats, TestModel.wait("1 seconds"), TestModel.fail(dead)]]),
 *   TestTools.layer(toolkit, { search: TestTools.never })
 * ]))
 * await Effect.runPromise(Effect.provide(program, test)) // => "OrchestratorError"
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const verify: Effect.Effect<void, ExpectationError, MockOrchestrator> = MockOrchestrator.use((mock) =>
  mock.verify
)

/**
 * What happened in the last run, failed and interrupted ones included.
 *
 * **Errors** `NothingExecuted` before the first run.
 *
 * @category reading
 * @since 0.1.0
 */
export const timeline: Effect.Effect<Timeline, ExpectationError, MockOrchestrator> = MockOrchestrator.use((mock) =>
  mock.timeline
)

/**
 * The calls of the last run, in the order they were made.
 *
 * @category reading
 * @since 0.1.0
 */
export const calls: Effect.Effect<ReadonlyArray<RecordedCall>, ExpectationError, MockOrchestrator> = MockOrchestrator
  .use((mock) => mock.calls)

/**
 * How many calls of the last run were at work at one moment, at most.
 *
 * @category reading
 * @since 0.1.0
 */
export const maxConcurrentCalls: Effect.Effect<number, ExpectationError, MockOrchestrator> = MockOrchestrator.use((
  mock
) => mock.maxConcurrentCalls)

/**
 * How long the last run took, on its clock.
 *
 * @category reading
 * @since 0.1.0
 */
export const totalDuration: Effect.Effect<Duration.Duration, ExpectationError, MockOrchestrator> = MockOrchestrator.use(
  (mock) => mock.totalDuration
)

/**
 * Succeeds when nothing of the last run is alive: no fiber, no sleep, no lease, no permit.
 *
 * **Errors** `Orphans` names each. A handler that was abandoned is one, unless `abandoned: "allow"`.
 *
 * **Gotchas** It sees what is on the run's own scheduler, clock and limiter: not a bare `setTimeout`, nor what `Effect.runFork` or a
 * fiber of another scheduler starts apart from the run.
 *
 * @category reading
 * @since 0.1.0
 */
export const assertNoOrphans = (options?: OrphanOptions): Effect.Effect<void, ExpectationError, MockOrchestrator> =>
  MockOrchestrator.use((mock) => mock.assertNoOrphans(options))
