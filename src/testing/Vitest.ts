/**
 * Matchers for vitest on an `Execution`, for those who like to ask after the run: `expect.extend(matchers)` once, then
 * `expect(execution).toHaveRunInParallel([...])`.
 *
 * The verdicts and their words are those of `MockOrchestrator`'s expectations. Vitest is needed for its types alone: nothing of
 * it is loaded from here.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { MatcherState } from "vitest"
import type { CancelReason } from "../domain/CancelReason.ts"
import { answer, callOf, callsOf, targetsOf, unusable } from "./internal/matcher.ts"
import type { Asked, Matched } from "./internal/matcher.ts"
import type { ToolCall } from "./ToolCall.ts"

/**
 * What the matchers take behind `expect(execution)` and `expect(execution).not`. `R` is vitest's: what a matcher gives.
 *
 * **Shape** A call is named by its id, or by a `ToolCall`: without parameters any call of the tool, without id any id. The matchers
 * know no toolkit: parameters are compared as the model sent them.
 *
 * What is judged is the execution's `timeline`; of a run that failed give `{ timeline: yield* MockOrchestrator.timeline }`.
 *
 * **Gotchas** Under `.not` the calls named have to be there all the same, so that a name spelled wrongly does not pass. That cannot be
 * for `.not.toHaveCalled`; `MockOrchestrator.expectNotCalled` knows the toolkit, and refuses a name that no tool has.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExecutionMatchers<R> {
  /** A handler of such a call has started. The only matcher for calls that are not to be made: `.not.toHaveCalled(call)`. */
  readonly toHaveCalled: (call: ToolCall) => R
  /** Each of the calls was made exactly as often as it is listed; calls of other kinds may have been made, too. */
  readonly toHaveToolCalls: (calls: ReadonlyArray<ToolCall>) => R
  /** Each of the calls was made exactly as often as it is listed, and no other. */
  readonly toHaveOnlyToolCalls: (calls: ReadonlyArray<ToolCall>) => R
  /** At one moment a call of each was at work. */
  readonly toHaveRunInParallel: (calls: ReadonlyArray<ToolCall>) => R
  /** Each started after the one before had ended. */
  readonly toHaveRunInOrder: (calls: ReadonlyArray<ToolCall>) => R
  /** At one moment both were at work. */
  readonly toHaveOverlapped: (one: string | ToolCall, other: string | ToolCall) => R
  /** The call was stopped: for any reason, for one with this tag, or for this one. */
  readonly toHaveCancelled: (call: string | ToolCall, reason?: CancelReason["_tag"] | CancelReason) => R
  /** At the fullest moment exactly so many calls were at work. */
  readonly toHaveMaxConcurrentCalls: (count: number) => R
  /** The run took at most this long, on its own clock. */
  readonly toHaveFinishedWithin: (duration: Duration.Input) => R
}

type Matcher<Name extends keyof ExecutionMatchers<void>> = (
  this: Pick<MatcherState, "isNot">,
  received: unknown,
  ...asked: Parameters<ExecutionMatchers<void>[Name]>
) => Matched

// `this` is vitest's: whether the matcher stands behind `.not`.
const matcher = <Name extends keyof ExecutionMatchers<void>>(
  name: Name,
  ask: (...asked: Parameters<ExecutionMatchers<void>[Name]>) => Asked
): Matcher<Name> =>
  function(received, ...asked) {
    return answer(name, this.isNot, received, ask(...asked))
  }

/**
 * The matchers, for `expect.extend`. Importing this module tells TypeScript of them.
 *
 * **Errors** What is no `Execution`, no call, no count or no duration fails with and without `.not`, and says what it is.
 *
 * **Example** (After the run)
 *
 * ```ts no-run
 * import { expect, it } from "@effect/vitest"
 * import { Effect, type Layer } from "effect"
 * import { MockOrchestrator, ToolCall } from "effect-toolformer/Testing"
 * import { matchers } from "effect-toolformer/Vitest"
 *
 * expect.extend(matchers)
 *
 * declare const mock: Layer.Layer<MockOrchestrator.MockOrchestrator>
 *
 * it.effect("searches twice at the same time", () =>
 *   Effect.gen(function*() {
 *     const execution = yield* MockOrchestrator.execute("What is on in Paris?")
 *     expect(execution).toHaveRunInParallel([ToolCall("search", { city: "Paris" }), ToolCall("weather")])
 *     expect(execution).not.toHaveCalled(ToolCall("book"))
 *   }).pipe(Effect.provide(mock)))
 * ```
 *
 * @category matchers
 * @since 0.1.0
 */
export const matchers: { readonly [Name in keyof ExecutionMatchers<void>]: Matcher<Name> } = {
  toHaveCalled: matcher("toHaveCalled", (call) =>
    callOf(call, (wanted) => ({
      expectations: [{ _tag: "Calls", how: "inParallel", wanted }],
      holds: [{ _tag: "NotCalled", wanted }],
      present: "anyhow"
    }))),
  toHaveToolCalls: matcher("toHaveToolCalls", (calls) =>
    callsOf(calls, (wanted) => ({
      expectations: [{ _tag: "Calls", how: "inAnyOrder", wanted }],
      holds: "each of them was called exactly as often as it is listed"
    }))),
  toHaveOnlyToolCalls: matcher("toHaveOnlyToolCalls", (calls) =>
    callsOf(calls, (wanted) => ({
      expectations: [{ _tag: "Calls", how: "inAnyOrder", wanted }, { _tag: "NoOtherCalls" }],
      holds: "each of them was called exactly as often as it is listed, and no other was made"
    }), { mayBeEmpty: true })),
  toHaveRunInParallel: matcher("toHaveRunInParallel", (calls) =>
    callsOf(calls, (wanted) => ({
      expectations: [{ _tag: "Calls", how: "inParallel", wanted }],
      holds: "at one moment a call of each was at work"
    }))),
  toHaveRunInOrder: matcher("toHaveRunInOrder", (calls) =>
    callsOf(calls, (wanted) => ({
      expectations: [{ _tag: "Calls", how: "inOrder", wanted }],
      holds: "each started after the one before had ended"
    }))),
  toHaveOverlapped: matcher("toHaveOverlapped", (one, other) =>
    targetsOf([one, other], (wanted) => ({
      expectations: [{ _tag: "Overlap", wanted }],
      holds: "at one moment both were at work"
    }))),
  toHaveCancelled: matcher("toHaveCancelled", (call, reason) =>
    targetsOf([call], (wanted) => ({
      expectations: [{ _tag: "Cancelled", wanted: wanted[0]!, reason }],
      holds: "it was cancelled",
      present: "made"
    }), reason === undefined ? [] : [reason])),
  toHaveMaxConcurrentCalls: matcher("toHaveMaxConcurrentCalls", (count) =>
    Number.isInteger(count) && count >= 0
      ? {
        shown: [count],
        check: ({ maxConcurrentCalls }) => ({
          pass: maxConcurrentCalls === count,
          happened: `${maxConcurrentCalls} ${
            maxConcurrentCalls === 1 ? "call was" : "calls were"
          } at work at the fullest moment`
        })
      }
      : unusable([count], "a count of calls is an integer of at least 0")),
  toHaveFinishedWithin: matcher("toHaveFinishedWithin", (input) =>
    Option.match(Duration.fromInput(input), {
      onNone: () => unusable([input], "it is no duration; write \"2 seconds\" or a number of milliseconds"),
      onSome: (duration) => ({
        shown: [input],
        check: ({ totalMillis }) => ({
          pass: totalMillis <= Duration.toMillis(duration),
          happened: `the run took ${totalMillis} ms on its clock, and the limit is ${Duration.toMillis(duration)} ms`
        })
      })
    }))
}

declare module "vitest" {
  interface Matchers<
    R extends void | Promise<void> = void | Promise<void>,
    T = unknown
  > extends ExecutionMatchers<R> {}
}
