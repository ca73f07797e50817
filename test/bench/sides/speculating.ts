/** Our side of two models: a run of `look` calls with the main model alone, or with the faster one as predictor. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Executor, Orchestrator, Predictor, Speculation, ToolPolicy } from "../../../src/index.ts"
import { responses } from "./wire.ts"

/** The work of a call, which obeys its signal. */
export type Work = (page: number, signal: AbortSignal) => Promise<string>

const tools = (work: Work) =>
  ToolPolicy.define({
    look: ToolPolicy.tool({
      description: "Reads a page.",
      parameters: Schema.Struct({ page: Schema.Int }),
      success: Schema.String,
      annotations: { readonly: true },
      handler: ({ page }) => Effect.orDie(Executor.promise((signal) => work(page, signal)))
    })
  })

/** A run's results and history as text, and its ledger. */
export const run = async (
  urls: { readonly mainURL: string; readonly fastURL: string },
  steps: number,
  work: Work,
  speculates: boolean
) => {
  const { layer, toolkit } = tools(work)
  const predictor = Predictor.layerModel({ model: responses(urls.fastURL) })
  const speculation = Layer.merge(Speculation.layer(), predictor)
  const program = Orchestrator.run({ prompt: "Read on.", toolkit, maxSteps: steps }).pipe(
    Effect.provide([layer, responses(urls.mainURL)]),
    Effect.map(({ prompt, report, text, toolResults }) => ({
      results: toolResults.length,
      said: JSON.stringify([text, toolResults, prompt.content]),
      speculation: report.speculation
    })),
    Effect.withTracerEnabled(false)
  )
  return Effect.runPromise(speculates ? Effect.provide(program, speculation) : program)
}
