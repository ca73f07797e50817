/**
 * Who foresees which calls the model will make. A predictor is asked at the moment the model is, sees what the model sees, and
 * gives guesses as they come; it starts nothing. Whether a guess is worth a call is decided by `Speculation`, and everything a
 * predictor does wrong (it fails, hangs, floods, invents) is a number in the ledger and nothing else.
 *
 * A predictor of your own is {@link make}; the two of the library are a faster model and the history of finished runs.
 */
import type * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Stream from "effect/Stream"

/**
 * A likely call of the turn that the model is being asked for.
 *
 * - `params`: as a model would send them (JSON, not decoded).
 * - `confidence`: the probability that this turn makes exactly this call, 0 to 1; a turn may also answer the user.
 * - `ifCalling`: the same, given that the turn makes a call at all; at least `confidence`. For those who want to know.
 * - `predictor`: who says so; set by `make` and `merge`, not by you.
 *
 * @category models
 * @since 0.1.0
 */
export interface Guess {
  readonly tool: string
  readonly params: unknown
  readonly confidence: number
  readonly ifCalling?: number | undefined
  readonly predictor?: string | undefined
}

/**
 * What a predictor is asked: the whole history the model is asked with, the tools it is offered, and which of them may start on a
 * guess. It is not told whether the turn will make calls or answer the user.
 *
 * @category models
 * @since 0.1.0
 */
export interface Question {
  readonly runId: string
  readonly step: number
  readonly prompt: Prompt.Prompt
  /** How many messages of `prompt` the run began with: what is before belongs to earlier runs of the conversation. */
  readonly from: number
  readonly tools: Readonly<Record<string, Tool.Any>>
  /** The names of those that may start on a guess; guesses about others are ignored, and counted. */
  readonly speculable: ReadonlySet<string>
  /** Notes what asking cost, in tokens. */
  readonly spend: (tokens: number) => void
}

/**
 * What came of a guess, started or not: whether the turn made exactly this call. Told when the turn is over.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verdict {
  readonly guess: Guess
  readonly right: boolean
}

/**
 * A run that has ended, for predictors that learn: its whole history, of which the first `from` messages were there before.
 *
 * @category models
 * @since 0.1.0
 */
export interface FinishedRun {
  readonly runId: string
  readonly prompt: Prompt.Prompt
  readonly from: number
  readonly tools: Readonly<Record<string, Tool.Any>>
}

/**
 * The predictor of a program.
 *
 * **Shape** `predict` is run when the model is asked and interrupted when its answer has ended; the likeliest guesses first. `judged`
 * hears of every guess of a turn when that is over. `learn` hears of every run when it has ended; it does not hold up the run,
 * and runs one at a time.
 *
 * **Errors** Whatever it fails with is counted; nobody sees it.
 *
 * @category services
 * @since 0.1.0
 */
export class Predictor extends Context.Service<Predictor, {
  /** Its name in the ledger; of several in one program each has its own. */
  readonly names: ReadonlyArray<string>
  readonly predict: (question: Question) => Stream.Stream<Guess, unknown>
  readonly judged: (verdicts: ReadonlyArray<Verdict>) => Effect.Effect<void, unknown>
  readonly learn: (run: FinishedRun) => Effect.Effect<void, unknown>
}>()("effect-toolformer/policy/Predictor") {}

/**
 * A predictor of your own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Its name in the ledger; default `"custom"`. */
  readonly name?: string | undefined
  readonly predict: (question: Question) => Stream.Stream<Guess, unknown>
  readonly judged?: ((verdicts: ReadonlyArray<Verdict>) => Effect.Effect<void, unknown>) | undefined
  readonly learn?: ((run: FinishedRun) => Effect.Effect<void, unknown>) | undefined
}

/**
 * Makes a predictor of your own.
 *
 * @category layers
 * @since 0.1.0
 */
export const make = (options: Options): Layer.Layer<Predictor> =>
  Layer.sync(Predictor, () =>
    Predictor.of({
      names: [options.name ?? "custom"],
      predict: options.predict,
      judged: options.judged ?? (() => Effect.void),
      learn: options.learn ?? (() => Effect.void)
    }))
