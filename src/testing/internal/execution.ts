/** The words of the harness: how runs are executed, what they give, what may be expected. */
import type * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Orchestrator from "../../engine/Orchestrator.ts"
import type { ExpectationError } from "./ExpectationError.ts"
import type { RecordedCall, RecordedGuess, Timeline } from "./recorded.ts"

export type AnyTools = Record<string, Tool.Any>

/**
 * How time passes while a run is executed.
 *
 * - `"auto"`: the test's clock (`TestClock`, one of its own where the test has none) is moved from sleep to sleep until the run is
 *   over. The default. It waits for nothing real while anything sleeps: beside a handler that reads a file, a timeout passes at once.
 * - `"manual"`: nobody touches the clock; fork `execute` and move it.
 * - `"live"`: the run is on the real clock, whatever the test is on.
 *
 * @category models
 * @since 0.1.0
 */
export type ClockMode = "auto" | "manual" | "live"

/**
 * The options of every run: those of `Orchestrator.run` but its prompt, and how time passes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Tools extends AnyTools> extends Omit<Orchestrator.Options<Tools>, "prompt"> {
  readonly clock?: ClockMode | undefined
}

/**
 * The options of one run, where a prompt is not enough; they go before those of the layer. `turnsLeft: "allow"`: turns of the
 * model's script that this run does not ask for are those of a later one.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExecuteOptions extends Omit<Partial<Orchestrator.Options<AnyTools>>, "prompt" | "toolkit"> {
  readonly prompt: Prompt.RawInput
  readonly turnsLeft?: "allow" | undefined
}

/**
 * A run that was executed: what it gave, and what happened.
 *
 * **Shape** `calls` in the order they were made, `guesses` in the order they began; `maxConcurrentCalls`: the most that were at work at one moment; `totalDuration`: from
 * the run's start to its last event, on its clock.
 *
 * @category models
 * @since 0.1.0
 */
export interface Execution {
  readonly result: Orchestrator.RunResult<AnyTools>
  readonly timeline: Timeline
  readonly calls: ReadonlyArray<RecordedCall>
  readonly guesses: ReadonlyArray<RecordedGuess>
  readonly maxConcurrentCalls: number
  readonly totalDuration: Duration.Duration
  readonly assertNoOrphans: (options?: OrphanOptions) => Effect.Effect<void, ExpectationError>
}

/**
 * What is no orphan. `abandoned: "allow"`: handlers that did not stop when they were told to, and were abandoned.
 *
 * @category models
 * @since 0.1.0
 */
export interface OrphanOptions {
  readonly abandoned?: "allow" | undefined
}

/**
 * How often, and in what order, listed calls are expected. Each declares it, and fails at once where it can never hold.
 *
 * A call counts as called when its handler starts. The same listed call may stand for any call that happened and fits it; calls are
 * matched so that as many expectations as possible have one.
 *
 * - `inParallel`: at one moment a call of each was at work.
 * - `inOrder`: each started after the former had ended.
 * - `inAnyOrder`: each was called exactly as often as it is listed.
 * - `anyTimes`: they may be called, any number of times; it is for `expectNoOtherCalls`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExpectedCalls<R = never> {
  readonly inParallel: () => Effect.Effect<void, ExpectationError, R>
  readonly inOrder: () => Effect.Effect<void, ExpectationError, R>
  readonly inAnyOrder: () => Effect.Effect<void, ExpectationError, R>
  readonly anyTimes: () => Effect.Effect<void, ExpectationError, R>
}
