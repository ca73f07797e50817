/** What predictors and those who ask them say to each other, and the service's class, so that its Layers may stand in several files. */
import type * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
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
 * What a predictor is. Made by `Predictor.make` and the other Layers.
 *
 * - `names`: its name in the ledger; of several in one program each has its own.
 * - `predict`: its guesses about a turn, the likeliest first. Run when the model is asked, interrupted when its answer has ended.
 * - `judged`: hears of every guess of a turn when that is over.
 * - `learn`: hears of every run when it has ended; it does not hold up the run, and runs one at a time.
 * - `members`: of several in one, each by itself, so that each can be asked, and counted, by itself.
 *
 * **Errors** Whatever it fails with is counted; nobody sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface PredictorService {
  readonly names: ReadonlyArray<string>
  readonly predict: (question: Question) => Stream.Stream<Guess, unknown>
  readonly judged: (verdicts: ReadonlyArray<Verdict>) => Effect.Effect<void, unknown>
  readonly learn: (run: FinishedRun) => Effect.Effect<void, unknown>
  readonly members?: ReadonlyArray<PredictorService> | undefined
}

/**
 * The predictor of a program.
 *
 * @category services
 * @since 0.1.0
 */
export class Predictor extends Context.Service<Predictor, PredictorService>()("effect-toolformer/policy/Predictor") {}
