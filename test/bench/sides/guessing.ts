/**
 * Runs under full limits, with a predictor that is sure and always wrong, or without one. Each run is a few turns of several
 * calls; all runs pay one service, whose permits are always taken.
 */
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Limiter, Orchestrator, Predictor, Speculation, ToolPolicy } from "../../../src/index.ts"
import { TestModel } from "../../../src/testing/index.ts"

const [runs, turns, calls, permits, workMillis] = [8, 5, 5, 4, 5]

/** How many real calls one sample has. */
export const perSample = runs * turns * calls

const { layer, toolkit } = ToolPolicy.define({
  look: ToolPolicy.tool({
    parameters: Schema.Struct({ key: Schema.Int }),
    success: Schema.Int,
    annotations: { readonly: true, service: "api" },
    handler: ({ key }) => Effect.as(Effect.sleep(workMillis), key)
  })
})

const limits = Limiter.layer({ services: { api: Limiter.permits(permits) } })

const wrong = Predictor.make({
  predict: ({ step }) =>
    Stream.range(1, 4).pipe(Stream.map((n) => ({ tool: "look", params: { key: -step * 10 - n }, confidence: 1 })))
})

// Calls come whole: arguments that grow would be guesses of their own, and right.
const turn = (step: number): TestModel.Turn => [
  TestModel.wait(10),
  ...Array.from(
    { length: calls },
    (_, n) => ({ type: "tool-call", id: `${step}-${n}`, name: "look", params: { key: step * 100 + n } }) as const
  )
]

const model = TestModel.script(Array.from({ length: turns }, (_, n) => turn(n + 1)), { otherwise: "Done." })

/** What one sample came to: the milliseconds of each real call from its being made to its answer, and all that can be seen of it. */
export interface Sample {
  readonly millis: ReadonlyArray<number>
  readonly seen: string
}

const run = Effect.provide(Orchestrator.run({ prompt: "Go.", toolkit }), Layer.fresh(model)) as Effect.Effect<
  Orchestrator.RunResult<typeof toolkit.tools>,
  unknown,
  Exclude<Orchestrator.Services<typeof toolkit.tools>, LanguageModel.LanguageModel>
>

/** One sample: all runs at once. */
export const sample = Effect.map(
  Effect.all(Array.from({ length: runs }, () => run), { concurrency: "unbounded" }),
  (results): Sample => ({
    millis: results.flatMap(({ report }) =>
      report.calls.map(({ limiterMillis, queuedMillis, runMillis }) => limiterMillis + queuedMillis + runMillis)
    ),
    seen: JSON.stringify(results.map(({ prompt, text, toolResults, usage }) => [prompt, text, toolResults, usage]))
  })
)

/** What a sample needs; with the layer of speculation, which remembers over samples, or without. */
export const contextOf = (guesses: boolean) =>
  Layer.build(Layer.mergeAll(
    layer,
    limits,
    guesses ? Layer.merge(Speculation.layer({ maxConcurrent: 8 }), wrong) : Layer.succeedContext(Context.empty())
  ))

/** How many guesses have been started, and whether the predictor is off. */
export const standing = Effect.map(Speculation.ledger, ({ entries, predictors }) => ({
  started: entries.reduce((sum, entry) => sum + entry.started, 0),
  off: predictors.every(({ off }) => off)
}))
