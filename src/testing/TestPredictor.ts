/**
 * A predictor for tests that guesses what a script says: right, wrong, late, too many, or nothing because it has died. It notes what it
 * was asked, which of its guesses were right, and which runs it could have learned from.
 *
 * `TestPredictor.recording(Predictor.layerModel(...))` only writes down what another predictor does.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Predictor } from "../policy/Predictor.ts"
import type { FinishedRun, PredictorService, Verdict } from "../policy/Predictor.ts"
import { PredictorRecord } from "./internal/predictorRecord.ts"
import type { Asked } from "./internal/predictorRecord.ts"
import { guessOf, said } from "./internal/predictorScript.ts"
import type { DoItem, GuessItem, Turn } from "./internal/predictorScript.ts"
import { millisOf } from "./internal/turn.ts"
import type { ToolCall } from "./ToolCall.ts"

export type { Asked } from "./internal/predictorRecord.ts"
export type { DoItem, GuessItem, Item, StaticTurn, Turn } from "./internal/predictorScript.ts"

/**
 * What a predictor was asked and told. Its values are those of the moment they are read.
 *
 * **Shape** `questions`: every question in the order of asking, each with its guesses. `verdicts`: what came of the guesses.
 * `finishedRuns`: what it was to learn from.
 *
 * @category services
 * @since 0.1.0
 */
export class TestPredictor extends Context.Service<TestPredictor, {
  readonly questions: ReadonlyArray<Asked>
  readonly verdicts: ReadonlyArray<Verdict>
  readonly finishedRuns: ReadonlyArray<FinishedRun>
}>()("effect-toolformer/testing/TestPredictor") {}

/**
 * Settings of a scripted predictor.
 *
 * - `name`: its name in the ledger; default `"test"`.
 * - `confidence`: how sure it is of a `ToolCall` that stands in the script as it is; default 0.9.
 * - `otherwise`: what it does when it is asked beyond its script; default nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly name?: string | undefined
  readonly confidence?: number | undefined
  readonly otherwise?: Turn | undefined
}

/**
 * A predictor that guesses turn by turn what a script says, and the record of what it was asked.
 *
 * **Shape** Each asking takes the next turn: a `ToolCall`, another item, items in order, or a function of the question. Items come one
 * after the other; their times are on the run's Clock. The script begins anew wherever the layer is built. Nothing is checked: a
 * confidence of `NaN` and a tool that is not there are guessed as they stand.
 *
 * **Example** (Two guesses, then a failure)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Prompt } from "effect/ai"
 * import { Predictor } from "effect-toolformer"
 * import { TestPredictor, ToolCall } from "effect-toolformer/Testing"
 *
 * const predictor = TestPredictor.script([
 *   [ToolCall("search", { query: "cats" }), TestPredictor.guess(ToolCall("search", { query: "dogs" }), { confidence: 0.2 })],
 *   TestPredictor.fail("out of order")
 * ])
 * const question = { runId: "1", step: 1, prompt: Prompt.make("Cats?"), from: 0, tools: {}, speculable: new Set<string>(), spend: () => {} }
 * const program = Effect.gen(function*() {
 *   const { predict } = yield* Predictor.Predictor
 *   const guesses = yield* Stream.runCollect(predict(question))
 *   const failure = yield* Effect.flip(Stream.runCollect(predict(question)))
 *   const asked = yield* TestPredictor.questions
 *   return [guesses.map(({ confidence }) => confidence), failure, asked.map(({ status }) => status)]
 * })
 * await Effect.runPromise(Effect.provide(program, predictor)) // => [[0.9, 0.2], "out of order", ["answered", "failed"]]
 * ```
 *
 * @see {@link layer} for one that does the same whenever it is asked
 * @category layers
 * @since 0.1.0
 */
export const script = (turns: ReadonlyArray<Turn>, options: Options = {}): Layer.Layer<Predictor | TestPredictor> =>
  recorded(Effect.sync(() => scripted(turns, options)))

/**
 * A predictor that does the same whenever it is asked, most often a function of the question.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  turn: Turn,
  options: Omit<Options, "otherwise"> = {}
): Layer.Layer<Predictor | TestPredictor> => script([], { ...options, otherwise: turn })

/**
 * A predictor of your choice, and the record of what it was asked; it guesses as it does without.
 *
 * @category layers
 * @since 0.1.0
 */
export const recording = <E, R>(
  predictor: Layer.Layer<Predictor, E, R>
): Layer.Layer<Predictor | TestPredictor, E, R> => Layer.provide(recorded(Predictor), predictor)

const recorded = <E, R>(
  predictor: Effect.Effect<PredictorService, E, R>
): Layer.Layer<Predictor | TestPredictor, E, R> =>
  Layer.effectContext(Effect.map(predictor, (inner) => {
    const record = new PredictorRecord()
    return Context.make(Predictor, record.around(inner)).pipe(Context.add(TestPredictor, record))
  }))

const scripted = (
  turns: ReadonlyArray<Turn>,
  { confidence = 0.9, name = "test", otherwise = [] }: Options
): PredictorService => {
  let asked = 0
  return {
    names: [name],
    predict: (question) => said(turns[asked++] ?? otherwise, question, confidence),
    judged: () => Effect.void,
    learn: () => Effect.void
  }
}

// ---- items --------------------------------------------------------------------------------------------------------------

/**
 * Guesses a call.
 *
 * **Units** `confidence`: default 0.9. `ifCalling`: default none. `after`: how long the predictor thinks before it; default none.
 *
 * @category items
 * @since 0.1.0
 */
export const guess = (
  call: ToolCall,
  { after = 0, confidence = 0.9, ifCalling }: {
    readonly confidence?: number | undefined
    readonly ifCalling?: number | undefined
    readonly after?: Duration.Input | undefined
  } = {}
): GuessItem => ({
  _tag: "Guess",
  guess: guessOf(call, confidence, ifCalling),
  afterMillis: millisOf("TestPredictor.guess, after", after)
})

/**
 * Thinks for a while, or until an effect has ended.
 *
 * @category items
 * @since 0.1.0
 */
export const wait = (until: Duration.Input | Effect.Effect<unknown>): DoItem => ({
  _tag: "Do",
  effect: Effect.isEffect(until) ? until : Effect.sleep(millisOf("TestPredictor.wait", until))
})

/**
 * Fails.
 *
 * @category items
 * @since 0.1.0
 */
export const fail = (error: unknown): DoItem => ({ _tag: "Do", effect: Effect.fail(error) })

/**
 * Dies.
 *
 * @category items
 * @since 0.1.0
 */
export const die = (defect: unknown): DoItem => ({ _tag: "Do", effect: Effect.die(defect) })

/**
 * Says nothing more, and never ends by itself.
 *
 * @category items
 * @since 0.1.0
 */
export const never: DoItem = { _tag: "Do", effect: Effect.never }

// ---- reading ------------------------------------------------------------------------------------------------------------

/**
 * Every question so far, in the order of asking, each with its guesses.
 *
 * @category reading
 * @since 0.1.0
 */
export const questions: Effect.Effect<ReadonlyArray<Asked>, never, TestPredictor> = Effect.map(
  TestPredictor,
  (record) => record.questions
)

/**
 * What came of its guesses so far, started or not.
 *
 * @category reading
 * @since 0.1.0
 */
export const verdicts: Effect.Effect<ReadonlyArray<Verdict>, never, TestPredictor> = Effect.map(
  TestPredictor,
  (record) => record.verdicts
)

/**
 * The runs it was to learn from so far. They are told after the run, which does not wait.
 *
 * @category reading
 * @since 0.1.0
 */
export const finishedRuns: Effect.Effect<ReadonlyArray<FinishedRun>, never, TestPredictor> = Effect.map(
  TestPredictor,
  (record) => record.finishedRuns
)
