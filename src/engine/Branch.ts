/**
 * When enough of a group of branches is known: completion policies over the calls of one decision (the `completion` option of a
 * run) and over any effects (`race`, `best`, `run`). Losers are interrupted at once, with a typed reason.
 *
 * A policy is data; who wins is decided by pure rules (`internal/branchRules`), which the engine's groups and the combinators
 * here only drive.
 */
import type * as Duration from "effect/Duration"
import type { Pipeable } from "effect/Pipeable"

/**
 * What every policy takes. `timeout`: how long one branch may take, from its seal (of an effect: from its start), waits included.
 *
 * @category models
 * @since 0.1.0
 */
export interface BranchOptions {
  readonly timeout?: Duration.Input | undefined
}

/**
 * A score: a function of a branch's result, or the name of a field of it. Finite numbers; higher is better.
 *
 * @category models
 * @since 0.1.0
 */
export type Score<A> = string | ((result: A) => number)

/**
 * How the best are chosen. `keep`: how many; default 1. `enough`: a score that ends the race at once.
 *
 * @category models
 * @since 0.1.0
 */
export interface BestOptions<A> extends BranchOptions {
  readonly score: Score<A>
  readonly keep?: number | undefined
  readonly enough?: number | undefined
}

/**
 * When a group is complete, and what becomes of its branches.
 *
 * @category models
 * @since 0.1.0
 */
export interface Completion<in A = never> extends Pipeable {
  readonly _tag: "All" | "First" | "Best" | "Quorum"
  readonly count: number
  readonly score: Score<A> | undefined
  readonly enough: number | undefined
  readonly timeout: Duration.Duration | undefined
  readonly within: Duration.Duration | undefined
}

/**
 * The `completion` option of a run: policies by group. A group is the tools annotated with that `ToolPolicy.Group`, or the
 * `tools` named here.
 *
 * @category models
 * @since 0.1.0
 */
export type Completions = Readonly<
  Record<string, Completion<never> | { readonly tools: ReadonlyArray<string>; readonly policy: Completion<never> }>
>
