/**
 * When enough of a group of branches is known: completion policies over the calls of one decision (the `completion` option of a
 * run) and over any effects (`race`, `best`, `quorum`, `run`, `hedge`). Losers are interrupted at once, with a typed reason.
 *
 * A policy is data; who wins is decided by pure rules (`internal/branchRules`), which the engine's groups and the combinators
 * here only drive.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Pipeable from "effect/Pipeable"
import { BranchError } from "./internal/BranchError.ts"
import type { Loss, Outcome, Reason } from "./internal/BranchError.ts"
import { causeOf, race as raceOf } from "./internal/branchRace.ts"
import type { RaceResult, RaceSettings } from "./internal/branchRace.ts"

export { BranchError } from "./internal/BranchError.ts"
export type { Loss, Outcome, Reason } from "./internal/BranchError.ts"

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
 * **Gotchas** In a run's `completion` a function writes its parameter's type, `(hit: Hit) => hit.relevance`: which tools are in
 * the group is known when the run starts, not to the compiler. A field's name is checked then.
 *
 * @category models
 * @since 0.1.0
 */
export type Score<A> = string | ((result: A) => number)

/**
 * How the best are chosen. `keep`: how many; default 1. `enough`: the race ends at once when `keep` branches have at least this
 * score.
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
 * When branches agree: those with the same class. Unset: every success agrees with every other.
 *
 * @category models
 * @since 0.1.0
 */
export interface QuorumOptions<A> extends BranchOptions {
  readonly agree?: ((result: A) => string | number | boolean) | undefined
}

/**
 * When a group is complete, and what becomes of its branches. `count`: n of `first`, `keep` of `best`, k of `quorum`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Completion<in A = never> extends Pipeable.Pipeable {
  readonly _tag: "All" | "First" | "Best" | "Quorum"
  readonly count: number
  readonly score: Score<A> | undefined
  readonly enough: number | undefined
  readonly agree: ((result: A) => string | number | boolean) | undefined
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
export type Completions<Names extends string = string> = Readonly<
  Record<string, Completion | { readonly tools: ReadonlyArray<Names>; readonly policy: Completion }>
>

// ---- policies -----------------------------------------------------------------------------------------------------------

class Policy<in A = never> extends Pipeable.Class implements Completion<A> {
  readonly _tag: Completion["_tag"]
  readonly count: number
  readonly score: Score<A> | undefined
  readonly enough: number | undefined
  readonly agree: ((result: A) => string | number | boolean) | undefined
  readonly timeout: Duration.Duration | undefined
  readonly within: Duration.Duration | undefined
  constructor(fields: Partial<Completion<A>> & Pick<Completion<A>, "_tag" | "count">) {
    super()
    this._tag = fields._tag
    this.count = fields.count
    this.score = fields.score
    this.enough = fields.enough
    this.agree = fields.agree
    this.timeout = fields.timeout
    this.within = fields.within
  }
}

/**
 * Every branch runs to its end; no failure stops another. What a group without a policy does, with a `timeout` per branch or a
 * time for all ({@link within}).
 *
 * **Errors** A `timeout` that is no duration above 0 dies, as every constant here that makes no sense.
 *
 * @category policies
 * @since 0.1.0
 */
export const all = (options?: BranchOptions): Completion<unknown> =>
  new Policy({ _tag: "All", count: Infinity, timeout: timeoutOf("all", options) })

/**
 * The first `count` successes win; the others are stopped at once, for `Superseded`. Where fewer succeed, they are the winners.
 *
 * **Example** (The first answer is enough)
 *
 * ```ts
 * import { Branch } from "effect-toolformer"
 *
 * const policy = Branch.first(1).pipe(Branch.within("2 seconds"))
 * policy.count // => 1
 * ```
 *
 * @category policies
 * @since 0.1.0
 */
export const first = (count: number, options?: BranchOptions): Completion<unknown> =>
  new Policy({ _tag: "First", count: integer("first", "count", count), timeout: timeoutOf("first", options) })

/**
 * Waits for all and keeps the `keep` best by score, the earlier branch where scores are equal. A branch that has finished and
 * was beaten by `keep` better ones is answered `Superseded` at once; when `keep` branches have a score of at least `enough`, the
 * race is over and what still runs is stopped.
 *
 * **Shape** With options alone, a policy for a run's `completion` or {@link run}. With effects before them, an effect: the values
 * of the best, the best first.
 *
 * **Errors** Of the effect: {@link BranchError} when none could win (`AllFailed`, `InvalidScore`, `TimedOut`), or when the policy
 * does not fit (`InvalidPolicy`). A score that throws or is no finite number makes that branch a failure.
 *
 * **Example** (The best of three, and no waiting after a perfect one)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Branch } from "effect-toolformer"
 *
 * const searches = [
 *   Effect.succeed({ title: "close", relevance: 0.7 }),
 *   Effect.succeed({ title: "perfect", relevance: 1 }),
 *   Effect.never
 * ]
 * const best = Branch.best(searches, { score: "relevance", enough: 1 })
 * await Effect.runPromise(best) // => [{ title: "perfect", relevance: 1 }]
 * ```
 *
 * @category policies
 * @since 0.1.0
 */
export const best: {
  <A = never>(options: BestOptions<A>): Completion<A>
  <Eff extends Effect.Effect<unknown, unknown, unknown>>(
    effects: Iterable<Eff>,
    options: Omit<BestOptions<Effect.Success<Eff>>, "score"> & RaceOptions & {
      readonly score: NumberField<Effect.Success<Eff>> | ((result: Effect.Success<Eff>) => number)
    }
  ): Effect.Effect<
    ReadonlyArray<Effect.Success<Eff>>,
    BranchError<Effect.Error<Eff>>,
    Effect.Services<Eff>
  >
} =
  ((first: BestOptions<never> | Iterable<AnyEffect>, options?: BestOptions<never> & RaceOptions): unknown =>
    options === undefined
      ? bestPolicy(first as BestOptions<never>)
      : values(first as Iterable<AnyEffect>, options, () => bestPolicy(options))) as never

/**
 * Decided as soon as `count` branches have succeeded, with `agree` as soon as `count` have succeeded with the same class; the
 * others are stopped at once, for `Superseded`. As soon as that cannot be reached any more, what still runs is stopped for
 * `BranchCancelled`, and the group is `unreachable`.
 *
 * **Shape** As {@link best}: with a count first, a policy; with effects first, an effect that gives the values of those that
 * agree.
 *
 * **Errors** Of the effect: {@link BranchError}, `Unreachable` when too few can agree.
 *
 * **Example** (Two of three must say the same)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Branch } from "effect-toolformer"
 *
 * const votes = [Effect.succeed("yes"), Effect.succeed("no"), Effect.succeed("yes")]
 * await Effect.runPromise(Branch.quorum(votes, 2, { agree: (vote) => vote })) // => ["yes", "yes"]
 * ```
 *
 * @category policies
 * @since 0.1.0
 */
export const quorum: {
  <A = unknown>(count: number, options?: QuorumOptions<A>): Completion<A>
  <Eff extends Effect.Effect<unknown, unknown, unknown>>(
    effects: Iterable<Eff>,
    count: number,
    options?: QuorumOptions<Effect.Success<Eff>> & RaceOptions
  ): Effect.Effect<
    ReadonlyArray<Effect.Success<Eff>>,
    BranchError<Effect.Error<Eff>>,
    Effect.Services<Eff>
  >
} =
  ((first: number | Iterable<AnyEffect>, second: never, third?: QuorumOptions<never> & RaceOptions): unknown =>
    typeof first === "object"
      ? values(first, third, () => quorumPolicy(second, third))
      : quorumPolicy(first, second)) as never

const bestPolicy = ({ enough, keep = 1, score, timeout }: BestOptions<never>): Completion => {
  if (typeof score !== "function" && (typeof score !== "string" || score === "")) {
    return die("best", "score", score, "a function, or the name of a field")
  }
  if (enough !== undefined && !Number.isFinite(enough)) return die("best", "enough", enough, "a finite number")
  return new Policy({
    _tag: "Best",
    count: integer("best", "keep", keep),
    score,
    enough,
    timeout: timeoutOf("best", { timeout })
  })
}

const quorumPolicy = (count: number, options?: QuorumOptions<never>): Completion => {
  const agree = options?.agree
  if (agree !== undefined && typeof agree !== "function") return die("quorum", "agree", agree, "a function")
  return new Policy({
    _tag: "Quorum",
    count: integer("quorum", "count", count),
    agree,
    timeout: timeoutOf("quorum", options)
  })
}

/**
 * Gives a group a time, from the seal of its first call (of effects: from their start). When it is over, what still runs is
 * stopped for `Timeout`, and the policy decides among what there is.
 *
 * **Errors** What is no duration above 0 dies where it is written.
 *
 * @category policies
 * @since 0.1.0
 */
export const within = (duration: Duration.Input) => <A>(policy: Completion<A>): Completion<A> =>
  new Policy<A>({ ...policy, within: durationOf("within", "duration", duration) })

const integer = (where: string, name: string, value: number): number =>
  Number.isInteger(value) && value >= 1 ? value : die(where, name, value, "an integer of at least 1")

const timeoutOf = (where: string, options: BranchOptions | undefined): Duration.Duration | undefined =>
  options?.timeout === undefined ? undefined : durationOf(where, "timeout", options.timeout)

const durationOf = (where: string, name: string, input: Duration.Input): Duration.Duration => {
  const duration = Option.getOrUndefined(Duration.fromInput(input))
  return duration !== undefined && Duration.toMillis(duration) > 0
    ? duration
    : die(where, name, input, "a duration above 0")
}

const die = (where: string, name: string, value: unknown, wanted: string): never => {
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value)
  throw new RangeError(`Branch.${where}: ${name} is ${shown}; it must be ${wanted}`)
}

// ---- over any effects ---------------------------------------------------------------------------------------------------

/**
 * How effects are raced.
 *
 * - `timeout`: for one effect, from its start. Unset: no limit.
 * - `within`: for all, from their start. Unset: no limit.
 * - `grace`: how long an interrupted effect may clean up before it is no longer waited for; default 250 milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface RaceOptions extends BranchOptions {
  readonly within?: Duration.Input | undefined
  readonly grace?: Duration.Input | undefined
}

/**
 * How effects ended under a policy. `winners`: their places among the effects and their values, the best first. `outcomes`: what
 * became of each effect, in their order.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ended<A, E> {
  readonly outcome: "decided" | "unreachable" | "timed-out"
  readonly winners: ReadonlyArray<{ readonly branch: number; readonly value: A }>
  readonly outcomes: ReadonlyArray<Outcome<A, E>>
}

type AnyEffect = Effect.Effect<unknown, unknown, unknown>

// The fields that may hold a score, as far as the type says; of `unknown` any.
type NumberField<A> = unknown extends A ? string
  : A extends unknown
    ? { [K in keyof A & string]: A[K] extends number ? K : unknown extends A[K] ? K : never }[keyof A & string]
  : never

/**
 * Runs all effects at once and gives the value of the first that succeeds.
 *
 * **Shape** The losers are interrupted at once; their causes carry the `CancelReason` (`Superseded`). They are waited for at most
 * their grace, so one that will not stop holds up nobody. Interruption of the race interrupts all.
 *
 * **Errors** {@link BranchError}: `AllFailed`, `TimedOut`, or `InvalidPolicy` for no effects at all. A defect is a failure of its
 * effect.
 *
 * **Example** (The faster mirror)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Branch } from "effect-toolformer"
 *
 * const mirrors = [Effect.delay(Effect.succeed("slow"), "1 minute"), Effect.fail("down"), Effect.succeed("fast")]
 * await Effect.runPromise(Branch.race(mirrors)) // => "fast"
 * ```
 *
 * @see {@link best} when the first is not good enough
 * @category combinators
 * @since 0.1.0
 */
export const race = <Eff extends Effect.Effect<unknown, unknown, unknown>>(
  effects: Iterable<Eff>,
  options?: RaceOptions
): Effect.Effect<Effect.Success<Eff>, BranchError<Effect.Error<Eff>>, Effect.Services<Eff>> =>
  Effect.map(values(effects, options, () => first(1, options)), ([value]) => value) as never

/**
 * Runs all effects at once under a policy and says how each ended and who won.
 *
 * **Shape** Ends when the policy is decided and the losers have ended, or their grace is over.
 *
 * **Errors** {@link BranchError} with `InvalidPolicy` only: no effects, or a policy for more of them than there are. That nobody
 * won is no failure here.
 *
 * **Example** (What became of each)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Branch } from "effect-toolformer"
 *
 * const ended = await Effect.runPromise(Branch.run([Effect.succeed(1), Effect.fail("no"), Effect.never], Branch.first(1)))
 * ended.winners // => [{ branch: 0, value: 1 }]
 * ended.outcomes.map(({ _tag }) => _tag) // => ["Succeeded", "Stopped", "Stopped"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const run = <Eff extends Effect.Effect<unknown, unknown, unknown>>(
  effects: Iterable<Eff>,
  policy: Completion<Effect.Success<Eff>>,
  options?: Pick<RaceOptions, "grace">
): Effect.Effect<
  Ended<Effect.Success<Eff>, Effect.Error<Eff>>,
  BranchError,
  Effect.Services<Eff>
> => Effect.map(raced(effects, policy, settingsOf(policy, options)), endedOf) as never

/**
 * Starts an effect again where it is slow: a further attempt after each `after`, `max` of them at most (default 1). The first to
 * succeed gives the value, the others are interrupted.
 *
 * **Shape** Fails with the failure of the first attempt once every attempt that was started has failed; it does not retry.
 *
 * **Errors** The effect's own. Options that make no sense die where this is called.
 *
 * **Gotchas** For effects that may run twice. A tool says so by itself: `ToolPolicy.Hedge`.
 *
 * **Example** (The first attempt hangs)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Branch } from "effect-toolformer"
 *
 * let asked = 0
 * const ask = Effect.suspend(() => ++asked === 1 ? Effect.never : Effect.succeed("answer"))
 * await Effect.runPromise(ask.pipe(Branch.hedge({ after: "20 millis" }))) // => "answer"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const hedge = (options: {
  readonly after: Duration.Input
  readonly max?: number | undefined
  readonly grace?: Duration.Input | undefined
}): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> => {
  const attempts = 1 + integer("hedge", "max", options.max ?? 1)
  const apartMillis = Duration.toMillis(durationOf("hedge", "after", options.after))
  const settings = { ...settingsOf(first(1), options), apartMillis }
  return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(
      raceOf(Array.from({ length: attempts }, () => effect), settings),
      ({ outcomes, winners: [winner] }): Effect.Effect<A, E> => {
        const won = winner === undefined ? undefined : outcomes[winner]
        return won?._tag === "Succeeded"
          ? Effect.succeed(won.value)
          : Effect.failCause(outcomes[0] === undefined ? Cause.empty : causeOf(outcomes[0]))
      }
    )
}

const values = (
  effects: Iterable<AnyEffect>,
  options: RaceOptions | undefined,
  policy: () => Completion
): Effect.Effect<ReadonlyArray<unknown>, unknown, unknown> => {
  const made = options?.within === undefined ? policy() : within(options.within)(policy())
  const settings = settingsOf(made, options)
  return Effect.flatMap(raced(effects, made, settings), (result) => {
    const { winners } = endedOf(result)
    return winners.length > 0
      ? Effect.succeed(winners.map(({ value }) => value))
      : Effect.fail(new BranchError({ reason: noWinner(result, settings) }))
  })
}

const raced = (
  effects: Iterable<AnyEffect>,
  policy: Completion,
  settings: RaceSettings
): Effect.Effect<RaceResult<unknown, unknown>, BranchError, unknown> =>
  Effect.suspend(() => {
    const branches = [...effects]
    const issue = misfit(policy, branches.length)
    return issue === undefined
      ? raceOf(branches, settings)
      : Effect.fail(new BranchError({ reason: { _tag: "InvalidPolicy", issue } }))
  })

const noWinner = (
  { agreeing, outcome, outcomes }: RaceResult<unknown, unknown>,
  { rule, withinMillis }: RaceSettings
): Reason<unknown> => {
  if (outcome === "timed-out") return { _tag: "TimedOut", afterMillis: withinMillis! }
  const failures = outcomes.filter((one): one is Loss<unknown> => one._tag !== "Succeeded")
  if (outcome === "unreachable") return { _tag: "Unreachable", needed: rule.count, agreeing, failures }
  const branch = outcomes.findIndex(({ _tag }) => _tag === "Unscored")
  const unscored = outcomes[branch]
  return unscored?._tag === "Unscored"
    ? { _tag: "InvalidScore", branch, issue: unscored.issue }
    : { _tag: "AllFailed", failures }
}

const settingsOf = (policy: Completion, options: Pick<RaceOptions, "grace"> | undefined): RaceSettings => {
  const { grace = 250 } = options ?? {}
  const graceMillis = Option.getOrUndefined(Option.map(Duration.fromInput(grace), Duration.toMillis))
  return {
    rule: policy,
    judge: policy,
    timeoutMillis: policy.timeout === undefined ? undefined : Duration.toMillis(policy.timeout),
    withinMillis: policy.within === undefined ? undefined : Duration.toMillis(policy.within),
    graceMillis: graceMillis !== undefined && graceMillis >= 0
      ? graceMillis
      : die("race", "grace", grace, "a duration of at least 0")
  }
}

const misfit = ({ _tag, count }: Completion, effects: number): string | undefined =>
  effects === 0
    ? "there are no effects to choose from"
    : _tag !== "All" && count > effects
    ? `${
      _tag === "Best" ? `keep is ${count}` : `${_tag.toLowerCase()} is of ${count}`
    }, and there are ${effects} effects`
    : undefined

const endedOf = <A, E>({ outcome, outcomes, winners }: RaceResult<A, E>): Ended<A, E> => ({
  outcome,
  winners: winners.flatMap((branch) => {
    const won = outcomes[branch]
    return won?._tag === "Succeeded" ? [{ branch, value: won.value }] : []
  }),
  outcomes
})
