/** A model that notes what it is asked and passes it on: the notes of a live run that is being recorded. */
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { TestModel } from "./service.ts"
import type { Request } from "./turn.ts"

type Model = typeof LanguageModel.LanguageModel.Service

interface Asked {
  readonly prompt: Prompt.RawInput
  readonly toolkit?: { readonly tools?: Readonly<Record<string, unknown>> } | undefined
  readonly toolChoice?: LanguageModel.ToolChoice<string> | undefined
}

/** The model, and its notes. A live run is complete whatever it asks. */
export const noted = (model: Model): { readonly model: Model; readonly testModel: typeof TestModel.Service } => {
  const requests: Array<Request> = []
  const note = (method: Request["method"], { prompt, toolChoice = "auto", toolkit }: Asked): Effect.Effect<void> =>
    Effect.map(Clock.currentTimeMillis, (at) => {
      const tools = Object.keys(toolkit?.tools ?? {})
      requests.push({ number: requests.length + 1, at, method, prompt: Prompt.make(prompt), toolChoice, tools })
    })
  // The signatures say what comes out for what goes in; nothing of that is touched.
  const before = (method: "generateText" | "generateObject") => (options: Asked) =>
    Effect.andThen(
      note("generateText", options),
      (model[method] as (options: Asked) => Effect.Effect<unknown>)(options)
    )
  const streamText = (options: Asked) =>
    Stream.unwrap(Effect.as(note("streamText", options), model.streamText(options as never)))
  return {
    model: {
      ...model,
      generateText: before("generateText") as never,
      generateObject: before("generateObject") as never,
      streamText
    },
    testModel: {
      requests: Effect.sync(() => [...requests]),
      assertComplete: Effect.void,
      // What a live model calls is known only when it is asked.
      scriptedCalls: [undefined]
    }
  }
}
