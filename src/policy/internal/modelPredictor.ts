/**
 * A faster model as a predictor: it gets the prompt and the tools of the main model at the same moment, and each call it seals is
 * a guess. It says nothing of how sure it is; that is known from how often its guesses about the tool were right.
 */
import type * as AiError from "effect/ai/AiError"
import type { LanguageModel } from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Guess, PredictorService, Question } from "./predicting.ts"
import { Trust } from "./trust.ts"
import type { Prior } from "./trust.ts"

export interface Settings {
  readonly name: string
  readonly confidenceThreshold: number
  readonly maxCalls: number
  readonly prior: Prior
}

export const modelPredictor = (model: LanguageModel, settings: Settings): PredictorService => {
  const trust = new Trust(settings.prior)
  return {
    names: [settings.name],
    // Where nothing may start, the answer is of no use to anybody, and is not paid for.
    predict: (question) =>
      question.speculable.size === 0 ? Stream.empty : guesses(answer(model, question), question, trust, settings),
    judged: (verdicts) =>
      Effect.sync(() => {
        for (const { guess, right } of verdicts) trust.judged(guess.tool, right)
      }),
    learn: () => Effect.void
  }
}

// The same request as the main model's; nobody but the engine runs a tool.
const answer = (model: LanguageModel, { prompt, tools }: Question) =>
  model.streamText({
    prompt,
    toolkit: { tools, handle: () => Effect.die("a predictor's model runs no tools") } as never,
    disableToolCallResolution: true,
    toolCallValidation: "deferred"
  }) as Stream.Stream<Response.AnyPart, AiError.AiError>

const guesses = (
  parts: Stream.Stream<Response.AnyPart, AiError.AiError>,
  { speculable, spend }: Question,
  trust: Trust,
  { confidenceThreshold, maxCalls, name }: Settings
): Stream.Stream<Guess, AiError.AiError> =>
  parts.pipe(
    Stream.tap((part) => part.type === "finish" ? Effect.sync(() => spend(tokensOf(part.usage))) : Effect.void),
    Stream.filter((part): part is Response.ToolCallPart<string, unknown> =>
      part.type === "tool-call" && !part.providerExecuted
    ),
    Stream.take(maxCalls),
    Stream.filterMap((call) => {
      // About tools that never start on a guess nothing is known here; the engine counts them.
      const isGiven = !speculable.has(call.name) || trust.gives(call.name, confidenceThreshold)
      return isGiven ? Result.succeed(guessOf(call, trust.of(call.name), name)) : Result.failVoid
    })
  )

const guessOf = (call: { readonly name: string; readonly params: unknown }, confidence: number, predictor: string) => ({
  tool: call.name,
  params: call.params,
  confidence,
  predictor
})

const tokensOf = ({ inputTokens, outputTokens }: Response.Usage): number =>
  (inputTokens.total ?? 0) + (outputTokens.total ?? 0)
