/**
 * Stock `effect/ai`: `LanguageModel.streamText` resolves the calls itself. It has no timeout per call and is measured
 * without one, which favours it.
 */
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { toolkit } from "./scripted.ts"

/** One decision under a cap; returns how many tool results came out. */
export const decide = (concurrency: number) =>
  LanguageModel.streamText({ prompt: "work", toolkit, concurrency }).pipe(
    Stream.runFold(() => 0, (count, part) => part.type === "tool-result" ? count + 1 : count),
    Effect.withTracerEnabled(false)
  )
