/**
 * The Effect side of every scenario: one tool, its handler, and a model that answers in process with one decision of
 * `calls` calls. Both Layers are built once per process.
 */
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/** The one tool of the bench. */
const Work = Tool.make("work", {
  description: "Does the scenario's work.",
  parameters: Schema.Struct({ index: Schema.Number }),
  success: Schema.Number
})

/** The toolkit of the bench. */
export const toolkit = Toolkit.make(Work)

/** What every program of the bench needs. */
export type Services = LanguageModel.LanguageModel | Tool.HandlersFor<typeof toolkit.tools>

/** The work itself. */
export type Handler = (index: number) => Effect.Effect<number>

/** The handler's Layer. */
const handlers = (handler: Handler) => toolkit.toLayer({ work: ({ index }) => handler(index) })

const usage = {
  inputTokens: { uncached: undefined, total: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined }
}

/** The encoded parts of one decision. */
const decision = (calls: number): ReadonlyArray<Response.StreamPartEncoded> => [
  ...Array.from({ length: calls }, (_, index): Response.StreamPartEncoded => ({
    type: "tool-call",
    id: `call_${index}`,
    name: "work",
    params: { index }
  })),
  { type: "finish", reason: "tool-calls", usage }
]

const scripted = (calls: number) => {
  const parts = decision(calls)
  return Layer.effect(
    LanguageModel.LanguageModel,
    LanguageModel.make({
      streamText: () => Stream.fromIterable(parts),
      generateText: () => Effect.die(new Error("the bench only streams"))
    })
  )
}

/** Builds a model and the handler, once. */
export const servicesWith = (
  model: Layer.Layer<LanguageModel.LanguageModel>,
  handler: Handler
): Promise<Context.Context<Services>> => ManagedRuntime.make(Layer.merge(model, handlers(handler))).context()

/** Builds the scripted model and the handler, once. */
export const services = (calls: number, handler: Handler): Promise<Context.Context<Services>> =>
  servicesWith(scripted(calls), handler)
