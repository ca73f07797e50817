/**
 * The model of every example: OpenAI's when `OPENAI_API_KEY` is set (`OPENAI_MODEL` names another model, `OPENAI_BASE_URL`
 * another server), else the embedded planner, which needs no key and no network.
 */
import { Config, Effect, Layer, Option } from "effect"
import * as LocalModel from "../../src/adapter/LocalModel.ts"
import * as OpenAi from "../../src/adapter/OpenAi.ts"

export const model = Layer.unwrap(Effect.gen(function*() {
  const apiKey = yield* Config.option(Config.Redacted("OPENAI_API_KEY"))
  if (Option.isNone(apiKey)) return LocalModel.layer()
  const model = yield* Config.withDefault(Config.String("OPENAI_MODEL"), "gpt-5-mini")
  return OpenAi.layerConfig({ model })
}))
