/** The kit's scripted model as most of our tests want it: it keeps saying "done" after its script. */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestModel } from "../src/testing/index.ts"
import { Ids, stepsOf } from "../src/testing/internal/steps.ts"

/** The model's side is broken. */
export const aiError: AiError.AiError = AiError.make({
  module: "ScriptedModel",
  method: "streamText",
  reason: new AiError.InternalProviderError({ description: "the line went dead" })
})

/** A model that plays the turns in order, and keeps saying "done" after the last. */
export const scripted = (...turns: ReadonlyArray<TestModel.Turn>) => TestModel.script(turns, { otherwise: "done" })

/** The same, once for all its layer's builds, with its notes at hand: for programs that have several models. */
export const recording = (...turns: ReadonlyArray<TestModel.Turn>) => {
  const { languageModel, testModel } = Effect.runSync(TestModel.make(turns, { otherwise: "done" }))
  return { layer: Layer.succeed(LanguageModel.LanguageModel, languageModel), requests: testModel.requests }
}

/** The encoded parts of items, for tests that deal them out one by one. */
export const encoded = (...items: ReadonlyArray<TestModel.ChunkedItem>): ReadonlyArray<Response.StreamPartEncoded> =>
  stepsOf("encoded", [...items, TestModel.unfinished], new Ids()).steps
    .flatMap((step) => step._tag === "Parts" ? step.parts : [])
