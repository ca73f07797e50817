/**
 * Likely calls start before the model asks for them, and are claimed when it does: predict, pre-run, claim. Off unless provided.
 * Never wrong in a way anyone can see: only calls that may be made in vain are started, on room nobody needs; a guess that is
 * not claimed leaves no trace in the results, and one that failed is run afresh.
 */
import type * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SpeculationReport } from "../domain/Report.ts"
import { makeSpeculation } from "./internal/makeSpeculation.ts"
import { Speculation } from "./internal/speculating.ts"
import { readSpeculation, settings } from "./internal/speculationSettings.ts"

export { Speculation } from "./internal/speculating.ts"

/**
 * How a program speculates.
 *
 * - `confidenceThreshold`: guesses believed less are not started; from 0 to 1, default 0.3.
 * - `maxConcurrent`: guesses at work at once in this process, over all runs; default 4. 0: none is started, and the ledger shows
 *   which would have been right.
 * - `maxPerTurn`: guesses started in one turn; default unlimited. Those about arguments that look complete do not count.
 * - `budget`: guesses in vain: of those started in any `window` (default 1 minute), over all runs, at most `calls` (default 60) that no
 *   call has claimed. A refusal for the rate (429) halves it; it recovers as guesses get through again.
 * - `maxAge`: how old a guess may be, from its start, when its call is made; default 10 seconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly confidenceThreshold?: number | undefined
  readonly maxConcurrent?: number | undefined
  readonly maxPerTurn?: number | undefined
  readonly budget?: { readonly calls?: number | undefined; readonly window?: Duration.Input | undefined } | undefined
  readonly maxAge?: Duration.Input | undefined
}

/**
 * Makes a program speculate.
 *
 * **Shape** Whose guesses are started: the `Predictor` of the run's context, else that of the context this Layer is built in. Without
 * one only calls are foreseen whose arguments the model has written and not yet confirmed. What is known of guesses (how far a
 * predictor is believed, how long tools and the model take, who is off) is shared by all runs under the Layer, bounded, and
 * kept in this process's memory.
 *
 * A guess starts where it is believed at least `confidenceThreshold`, and its confidence times the time it is expected to save
 * (the tool's time, or what is left of the model's turn where that is less) is more than `ToolPolicy.Price`. A confidence is
 * believed as stated until its predictor has been right about the tool less often than chance explains; then in proportion.
 * A predictor, or one about one tool, that costs more than it saves and is wrong too often, or of no use, is off: for 10 seconds,
 * then one probe, then for twice as long, up to 10 minutes. What it says of a tool that is off is still held against what comes,
 * and brings it back as well.
 *
 * **Errors** Options that make no sense, and names that are none, die here, naming them.
 *
 * **Example** (A call that was foreseen is made once)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Orchestrator, Predictor, Speculation, ToolPolicy } from "effect-toolformer"
 * import { TestModel, ToolCall } from "effect-toolformer/Testing"
 *
 * let asked = 0
 * const { layer, toolkit } = ToolPolicy.define({
 *   weather: ToolPolicy.tool({
 *     parameters: Schema.Struct({ city: Schema.String }),
 *     success: Schema.String,
 *     annotations: { readonly: true },
 *     handler: ({ city }) => Effect.sync(() => `sunny in ${city}, asked ${++asked} times`)
 *   })
 * })
 * const always = Predictor.make({
 *   predict: () => Stream.make({ tool: "weather", params: { city: "Rome" }, confidence: 0.9 })
 * })
 * const model = TestModel.script([[TestModel.wait("20 millis"), ToolCall("weather", { city: "Rome" })], "It is sunny."])
 * const program = Orchestrator.run({ prompt: "How is Rome?", toolkit }).pipe(
 *   Effect.provide([Speculation.layer(), always, model, layer])
 * )
 * const { report, toolResults } = await Effect.runPromise(program)
 * toolResults[0]?.result // => "sunny in Rome, asked 1 times"
 * report.speculation?.entries[0]?.hit // => 1
 * ```
 *
 * @see {@link layerConfig} for options from the environment
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Speculation> => {
  const given = settings(options)
  return Layer.effect(Speculation, makeSpeculation(given))
}

/**
 * The options of a program's speculation as the environment has them. What is absent keeps its default.
 *
 * - `TOOLFORMER_SPECULATION_CONFIDENCE_THRESHOLD`, `TOOLFORMER_SPECULATION_MAX_CONCURRENT`,
 *   `TOOLFORMER_SPECULATION_MAX_PER_TURN`, `TOOLFORMER_SPECULATION_BUDGET_CALLS`: numbers.
 * - `TOOLFORMER_SPECULATION_BUDGET_WINDOW`, `TOOLFORMER_SPECULATION_MAX_AGE`: durations, such as `30 seconds`.
 *
 * **Errors** A `ConfigError` that names the variable and says what is wrong with it, also for a name that begins with
 * `TOOLFORMER_SPECULATION` and is none of these.
 *
 * @category settings
 * @since 0.1.0
 */
export const optionsConfig: Effect.Effect<Options, Config.ConfigError> = readSpeculation

/**
 * Makes a program speculate as the environment says.
 *
 * @see {@link optionsConfig} for the variables
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<Speculation, Config.ConfigError> = Layer.unwrap(Effect.map(optionsConfig, layer))

/**
 * What guesses came to over all runs since the Layer was built.
 *
 * **Shape** As `RunResult.report.speculation` has it of one run. At most 1,024 entries: of more pairs of a predictor and a tool those used
 * last. In each, `started` is the sum of the outcomes and of the guesses that have none yet.
 *
 * **Errors** Never fails.
 *
 * **Example** (Nobody has guessed yet)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Speculation } from "effect-toolformer"
 *
 * await Effect.runPromise(Effect.provide(Speculation.ledger, Speculation.layer())) // => { entries: [], predictors: [] }
 * ```
 *
 * @category reading
 * @since 0.1.0
 */
export const ledger: Effect.Effect<SpeculationReport, never, Speculation> = Effect.flatMap(
  Speculation,
  ({ ledger }) => ledger
)
