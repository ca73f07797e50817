/**
 * Matchers for vitest on an `Execution`, for those who like to ask after the run: `expect.extend(matchers)` once, then
 * `expect(execution).toHaveRunInParallel([...])`.
 *
 * The verdicts and their words are those of `MockOrchestrator`'s expectations. Vitest is needed for its types alone: nothing of
 * it is loaded from here.
 */
import * as Duration from "effect/Duration"
import type { MatcherState } from "vitest"
import type { Timeline } from "./Timeline.ts"

/**
 * What the matchers take behind `expect(execution)` and `expect(execution).not`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExecutionMatchers<R> {
  /** At the fullest moment so many calls were at work. */
  readonly toHaveMaxConcurrentCalls: (count: number) => R
  /** The run took at most this long, on its own clock. */
  readonly toHaveFinishedWithin: (duration: Duration.Input) => R
}

/** What vitest asks a matcher for. @category models @since 0.1.0 */
export interface Verdict {
  readonly pass: boolean
  readonly message: () => string
}

const on = (received: unknown, verdict: (timeline: Timeline) => Verdict): Verdict =>
  verdict((received as { readonly timeline: Timeline }).timeline)

/**
 * The matchers, for `expect.extend`.
 *
 * @category matchers
 * @since 0.1.0
 */
export const matchers = {
  toHaveMaxConcurrentCalls(this: Pick<MatcherState, "isNot">, received: unknown, count: number): Verdict {
    const not = this.isNot ? "not " : ""
    return on(received, ({ maxConcurrentCalls }) => ({
      pass: maxConcurrentCalls === count,
      message: () => `at most ${maxConcurrentCalls} calls were at work at one moment, expected ${not}${count}`
    }))
  },
  toHaveFinishedWithin: (received: unknown, duration: Duration.Input): Verdict =>
    on(received, ({ totalMillis }) => ({
      pass: totalMillis <= Duration.toMillis(duration),
      message: () => `the run took ${totalMillis} ms; ${Duration.toMillis(duration)} ms were asked about`
    }))
}

declare module "vitest" {
  interface Matchers<
    R extends void | Promise<void> = void | Promise<void>,
    T = unknown
  > extends ExecutionMatchers<R> {}
}
