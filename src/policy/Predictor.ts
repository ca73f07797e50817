/**
 * Who foresees which calls the model will make. A predictor is asked at the moment the model is, sees what the model sees, and
 * gives guesses as they come; it starts nothing. Whether a guess is worth a call is decided by `Speculation`, and everything a
 * predictor does wrong (it fails, hangs, floods, invents) is a number in the ledger and nothing else.
 *
 * A predictor of your own is {@link make}; the two of the library are a faster model and the history of finished runs.
 */
import type { LanguageModel as Model } from "effect/ai/LanguageModel"
import { LanguageModel } from "effect/ai/LanguageModel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Stream from "effect/Stream"
import { makeHistory } from "./internal/historyPredictor.ts"
import { mergedPredictor } from "./internal/mergedPredictor.ts"
import { modelPredictor } from "./internal/modelPredictor.ts"
import { Predictor } from "./internal/predicting.ts"
import type { FinishedRun, Guess, Question, Verdict } from "./internal/predicting.ts"
import { customName, historySettings, modelSettings } from "./internal/predictorSettings.ts"

export {
  type FinishedRun,
  type Guess,
  Predictor,
  type PredictorService,
  type Question,
  type Verdict
} from "./internal/predicting.ts"

/**
 * A predictor of your own.
 *
 * - `name`: its name in the ledger; default `"custom"`.
 * - `predict`: its guesses about a turn, the likeliest first. Run when the model is asked, interrupted when its answer has ended.
 * - `judged`: hears when a turn is over which of its guesses the turn made.
 * - `learn`: hears of each run when it has ended; one run at a time, and no run waits for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly name?: string | undefined
  readonly predict: (question: Question) => Stream.Stream<Guess, unknown>
  readonly judged?: ((verdicts: ReadonlyArray<Verdict>) => Effect.Effect<void, unknown>) | undefined
  readonly learn?: ((run: FinishedRun) => Effect.Effect<void, unknown>) | undefined
}

/**
 * Makes a predictor of your own.
 *
 * **Errors** None that anybody sees: what it fails with, or throws, is a number in the ledger. Options that make no sense die here.
 *
 * **Example** (Whoever searches reads what was found)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Prompt } from "effect/ai"
 * import { Predictor } from "effect-toolformer"
 *
 * const reads = Predictor.make({
 *   name: "reads",
 *   predict: ({ prompt }) => {
 *     const last = prompt.content.at(-1)
 *     if (last?.role !== "tool") return Stream.empty
 *     return Stream.fromIterable(last.content.flatMap((part) =>
 *       part.type === "tool-result" && part.name === "search"
 *         ? [{ tool: "read", params: { path: part.result }, confidence: 0.8 }]
 *         : []
 *     ))
 *   }
 * })
 *
 * const prompt = Prompt.fromMessages([Prompt.toolMessage({
 *   content: [Prompt.toolResultPart({ id: "a", name: "search", isFailure: false, result: "notes.md", providerExecuted: false })]
 * })])
 * const question = { runId: "1", step: 2, prompt, from: 0, tools: {}, speculable: new Set(["read"]), spend: () => {} }
 * const program = Predictor.Predictor.use(({ predict }) => Stream.runCollect(predict(question)))
 * const guesses = await Effect.runPromise(Effect.provide(program, reads))
 * guesses // => [{ tool: "read", params: { path: "notes.md" }, confidence: 0.8, predictor: "reads" }]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const make = (options: Options): Layer.Layer<Predictor> => {
  const name = customName(options)
  return Layer.sync(Predictor, () => {
    // What is no guess is for the engine to count.
    const named = (guess: Guess): Guess =>
      typeof guess === "object" && guess !== null ? { ...guess, predictor: name } : guess
    return Predictor.of({
      names: [name],
      predict: (question) => Stream.map(Stream.suspend(() => options.predict(question)), named),
      judged: options.judged ?? (() => Effect.void),
      learn: options.learn ?? (() => Effect.void)
    })
  })
}

/**
 * How a faster model predicts.
 *
 * - `model`: the faster model, as a Layer or as the service. It is for the guesses only; the program's own model stays what it is.
 * - `confidenceThreshold`: guesses about a tool whose guesses were right less often are not given; from 0 to 1, default 0.3.
 * - `name`: its name in the ledger; default `"model"`.
 * - `maxCalls`: how many of the calls of one answer are read; its request is then ended. An integer of at least 1, default 8.
 * - `prior`: what is believed before anything is known: right with `confidence` (default 0.7), as if `weight` (default 4) guesses had
 *   said so.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelOptions<E = never, R = never> {
  readonly model: Layer.Layer<Model, E, R> | typeof LanguageModel.Service
  readonly confidenceThreshold?: number | undefined
  readonly name?: string | undefined
  readonly maxCalls?: number | undefined
  readonly prior?: { readonly confidence?: number | undefined; readonly weight?: number | undefined } | undefined
}

/**
 * Predicts with a faster model: it gets the same prompt and the same tools at the same moment as the main one, and each call
 * it makes is a guess as soon as its arguments are complete. Nothing of its answer but its calls is used.
 *
 * **Shape** Its confidence is what its past says: how often its guesses about the tool were right, beginning with the prior; the
 * last 50 or so count. Of a tool that has fallen under the threshold every tenth guess is given all the same, with its low
 * confidence: it is judged whether it is started or not, and the tool comes back when the model has become better at it. Calls of
 * tools that never start on a guess are passed on and counted as ignored.
 *
 * **Errors** Whatever the model fails with is counted and seen by nobody. Options that make no sense die here, naming them.
 *
 * **Gotchas** It costs what asking the faster model costs, each turn; tokens are counted when its answer ends, so not where the main
 * model was quicker: its request is then aborted. Where no offered tool may start on a guess it is not asked. Its requests pass no
 * limits of the program's.
 *
 * **Example** (What a faster model makes of a question)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Prompt } from "effect/ai"
 * import { Predictor } from "effect-toolformer"
 * import { TestModel, ToolCall } from "effect-toolformer/Testing"
 *
 * const fast = TestModel.script([ToolCall("weather", { city: "Paris" })])
 * const predictor = Predictor.layerModel({ model: fast })
 *
 * const prompt = Prompt.make("Do I need an umbrella in Paris?")
 * const question = { runId: "1", step: 1, prompt, from: 0, tools: {}, speculable: new Set(["weather"]), spend: () => {} }
 * const program = Predictor.Predictor.use(({ predict }) => Stream.runCollect(predict(question)))
 * const guesses = await Effect.runPromise(Effect.provide(program, predictor))
 * guesses // => [{ tool: "weather", params: { city: "Paris" }, confidence: 0.7, predictor: "model" }]
 * ```
 *
 * @see {@link make} for a rule of your own
 * @category layers
 * @since 0.1.0
 */
export const layerModel = <E = never, R = never>(options: ModelOptions<E, R>): Layer.Layer<Predictor, E, R> => {
  const settings = modelSettings(options)
  const made = Layer.effect(Predictor, Effect.map(LanguageModel, (model) => modelPredictor(model, settings)))
  return Layer.provide(made, isLayer(options.model) ? options.model : Layer.succeed(LanguageModel, options.model))
}

const isLayer = <E, R>(model: ModelOptions<E, R>["model"]): model is Layer.Layer<Model, E, R> => Layer.isLayer(model)

/**
 * Several predictors as one.
 *
 * **Shape** All are asked at once and their guesses come as they come. One that fails or hangs does not stop the others. In the ledger
 * each has its own name; where two have the same, the later one's becomes `name-2`. Each hears of its own guesses only, and all
 * learn from every run.
 *
 * **Errors** Those of building the Layers.
 *
 * **Example** (Two rules)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Prompt } from "effect/ai"
 * import { Predictor } from "effect-toolformer"
 *
 * const always = (tool: string, confidence: number) =>
 *   Predictor.make({ predict: () => Stream.succeed({ tool, params: {}, confidence }) })
 * const merged = Predictor.merge(always("clock", 0.9), always("weather", 0.4))
 *
 * const question = {
 *   runId: "1",
 *   step: 1,
 *   prompt: Prompt.make("Hello"),
 *   from: 0,
 *   tools: {},
 *   speculable: new Set(["clock", "weather"]),
 *   spend: () => {}
 * }
 * const program = Predictor.Predictor.use(({ predict }) => Stream.runCollect(predict(question)))
 * const guesses = await Effect.runPromise(Effect.provide(program, merged))
 * guesses.map(({ predictor, tool }) => `${predictor}: ${tool}`) // => ["custom: clock", "custom-2: weather"]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const merge = <const Layers extends ReadonlyArray<Layer.Layer<Predictor, unknown, unknown>>>(
  ...layers: Layers
): Layer.Layer<Predictor, Layer.Error<Layers[number]>, Layer.Services<Layers[number]>> =>
  Layer.effect(
    Predictor,
    Effect.map(Effect.forEach(layers, (layer) => Layer.build(layer)), (contexts) =>
      mergedPredictor(contexts.map((context) => Context.get(context, Predictor))))
  ) as Layer.Layer<Predictor, Layer.Error<Layers[number]>, Layer.Services<Layers[number]>>

/**
 * How {@link layerHistory} learns.
 *
 * - `store`: where what it learned is kept between processes; default: in memory only.
 * - `learn`: false: it says what it knows and learns nothing, neither from runs nor from verdicts, and writes nothing. To measure,
 *   or to serve what was learned elsewhere. Default true.
 * - `keepValues`: false: values of arguments are not kept as they are, but only how often what stood where, under hashes; a value that
 *   stands nowhere in the conversation (a currency, a country) is then not guessed. Default true: short values are kept and written,
 *   also those of a single run.
 * - `name`: its name in the ledger; default `"history"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface HistoryOptions {
  readonly store?: KeyValueStore.KeyValueStore | undefined
  readonly learn?: boolean | undefined
  readonly keepValues?: boolean | undefined
  readonly name?: string | undefined
}

/**
 * Makes a predictor that learns from finished runs: what followed what, and for each argument where its value was copied from.
 *
 * **Shape** Online and in bounded memory. What it states is calibrated on what it stated before: of all it gives 0.8, four in five
 * come true. The likeliest guess first, none under 0.001. It says little before it has seen about 20 runs and 200 turns.
 *
 * **Units** A guess takes no I/O. What was learned is written at most once in 10 seconds, and when the layer closes (at most
 * 5 seconds are waited for it then, and for what was kept when it opens).
 *
 * **Errors** Options that make no sense die here, naming them. Else none: a store that holds something else (another version, damage) or cannot be read is one warning in the log, and
 * the predictor starts knowing nothing; one that cannot be written is one warning, and what is learned is kept in memory.
 *
 * **Gotchas** Of two processes with one store the last writer wins: what the other learned since it started is not in the store
 * then. Give each its own, or let one learn. What is kept comes from the runs, and a value that one user often names may be guessed
 * in another's run: the tool is called with it, and `tool-speculated` shows it. Where that must not be, give each tenant a predictor
 * of its own, or set `keepValues` to false.
 *
 * **Example** (Keeping what was learned, in the KeyValueStore of the program)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { KeyValueStore } from "effect/persistence"
 * import { Predictor } from "effect-toolformer"
 *
 * const History = Layer.unwrap(Effect.map(KeyValueStore.KeyValueStore, (store) => Predictor.layerHistory({ store })))
 * const program = Effect.map(Predictor.Predictor, (predictor) => predictor.names)
 * const Live = History.pipe(Layer.provide(KeyValueStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => ["history"]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHistory = (options: HistoryOptions = {}): Layer.Layer<Predictor> =>
  Layer.effect(Predictor, Effect.map(makeHistory(historySettings(options)), Predictor.of))
