/** Questions for predictors, and ways to ask them without the engine. */
import { Tool } from "effect/ai"
import * as Prompt from "effect/ai/Prompt"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Predictor } from "../../src/index.ts"

const parameters = Schema.Struct({ query: Schema.String })

/** Two reads that may start on a guess, and a write that may not. */
export const tools = {
  search: Tool.make("search", { parameters, success: Schema.String }).annotate(Tool.Readonly, true),
  read: Tool.make("read", { parameters, success: Schema.String }).annotate(Tool.Readonly, true),
  save: Tool.make("save", { parameters, success: Schema.String })
}

export const question = (over: Partial<Predictor.Question> = {}): Predictor.Question => ({
  runId: "run",
  step: 1,
  prompt: Prompt.make("Find it."),
  from: 0,
  tools,
  speculable: new Set(["search", "read"]),
  spend: () => {},
  ...over
})

/** All guesses about one question. */
export const ask = (over: Partial<Predictor.Question> = {}) =>
  Predictor.Predictor.use(({ predict }) => Stream.runCollect(predict(question(over))))

/** Tells a predictor that its guesses about a tool were right, or not. */
export const tell = (tool: string, right: boolean, times = 1, predictor?: string) =>
  Predictor.Predictor.use(({ judged }) =>
    judged(Array.from({ length: times }, () => ({ guess: { tool, params: {}, confidence: 0.5, predictor }, right })))
  )

export const words = (guesses: ReadonlyArray<Predictor.Guess>): ReadonlyArray<string> =>
  guesses.map(({ predictor, tool }) => `${predictor}: ${tool}`)
