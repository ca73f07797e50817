import type { Effect, Stream } from "effect"
import { Context, Effect as E, ExecutionPlan, Layer, Schedule, Schema } from "effect"
import type { AiError, LanguageModel } from "effect/ai"
import { Tool, Toolkit } from "effect/ai"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import type { ToolEvent, ToolFailure } from "../../src/index.ts"
import { Executor, Orchestrator } from "../../src/index.ts"

class Db extends Context.Service<Db, { readonly name: string }>()("test/Db") {}

const Search = Tool.make("search", {
  parameters: Schema.Struct({ query: Schema.String }),
  success: Schema.Array(Schema.String),
  failure: Schema.Struct({ why: Schema.String })
})
const Lookup = Tool.make("lookup", { success: Schema.Finite, dependencies: [Db] })
const toolkit = Toolkit.make(Search, Lookup)
type Tools = { readonly search: typeof Search; readonly lookup: typeof Lookup }

// R: the model, the handlers and what the handlers need; E: ours and the model's.
export const run: Effect.Effect<
  Orchestrator.RunResult<Tools>,
  Orchestrator.OrchestratorError | AiError.AiError,
  LanguageModel.LanguageModel | Tool.Handler<"search"> | Tool.Handler<"lookup"> | Db
> = Orchestrator.run({ prompt: "hi", toolkit, activeTools: ["search"], toolChoice: { tool: "search" } })

export const stream: Stream.Stream<
  ToolEvent.Part<Tools>,
  Orchestrator.OrchestratorError | AiError.AiError,
  LanguageModel.LanguageModel | Tool.Handler<"search"> | Tool.Handler<"lookup"> | Db
> = Orchestrator.stream({ prompt: "hi", toolkit })

// @ts-expect-error a name the toolkit does not have
Orchestrator.run({ prompt: "hi", toolkit, activeTools: ["nope"] })
// @ts-expect-error a choice the toolkit does not have
Orchestrator.run({ prompt: "hi", toolkit, toolChoice: { tool: "nope" } })
// @ts-expect-error an option that does not exist
Orchestrator.run({ prompt: "hi", toolkit, concurrency: 3 })
// @ts-expect-error without handlers and a model it does not run
void E.runPromise(Orchestrator.run({ prompt: "hi", toolkit }))

export const called: Effect.Effect<
  ReadonlyArray<string>,
  { readonly why: string } | ToolFailure.ToolFailure,
  Tool.Handler<"search">
> = Executor.call(Search, { query: "x" })
// @ts-expect-error the parameters are the tool's
Executor.call(Search, { question: "x" })

export const governed: Effect.Effect<
  Toolkit.WithHandler<Tools>,
  never,
  Tool.Handler<"search"> | Tool.Handler<"lookup">
> = Executor.govern(toolkit)

// Models to turn to: layers and contexts that need nothing more, whatever else they bring and however they may fail.
const Named = OpenAi.layer({ model: "m", apiKey: "k" })
const FromEnvironment = OpenAi.layerConfig()
export const failover: Orchestrator.FailoverPlan = ExecutionPlan.make(
  { provide: Named, attempts: 2, while: (error: AiError.AiError) => error.isRetryable },
  { provide: FromEnvironment, schedule: Schedule.spaced("1 second") }
)
Orchestrator.run({ prompt: "hi", toolkit, failover })
const Needy = Layer.unwrap(E.map(Db, () => Named))
const needy = ExecutionPlan.make({ provide: Needy })
// @ts-expect-error a layer that needs what the run does not have
// @effect-diagnostics-next-line missingLayerContext:off
Orchestrator.run({ prompt: "hi", toolkit, failover: needy })
// ... is provided with it before.
export const satisfied = E.map(
  ExecutionPlan.make({ provide: Needy }).captureRequirements,
  (plan) => Orchestrator.run({ prompt: "hi", toolkit, failover: plan })
)
// @ts-expect-error it brings no model
Orchestrator.run({ prompt: "hi", toolkit, failover: ExecutionPlan.make({ provide: Context.make(Db, { name: "" }) }) })
const misled = ExecutionPlan.make({ provide: Named, while: (said: string) => said === "" })
// @ts-expect-error its rules are asked with the model's error
Orchestrator.run({ prompt: "hi", toolkit, failover: misled })

Orchestrator.run({ prompt: "hi", toolkit, timeout: { model: "1 minute" } })
Orchestrator.run({
  prompt: "hi",
  toolkit,
  timeout: { model: { firstByte: "5 seconds", idle: 2000, total: "1 minute" } }
})
// @ts-expect-error a clock that does not exist
Orchestrator.run({ prompt: "hi", toolkit, timeout: { model: { firstbyte: "5 seconds" } } })

// A result is typed by its tool: success, the tool's own failure, or a ToolFailure.
export const results = E.map(run, (result) =>
  result.toolResults.map((part) => {
    if (part.name === "search" && !part.isFailure) {
      const found: ReadonlyArray<string> = part.result
      return found.length
    }
    return 0
  }))
