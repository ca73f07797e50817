import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type Choice, choose, defaultModel, type Wish } from "../../src/cli/provider.ts"

const nothing: Wish = { provider: undefined, model: undefined, baseUrl: undefined, api: undefined }
const vendor = {
  provider: "openai" as const,
  model: defaultModel,
  api: "responses" as const,
  apiKey: "k",
  baseURL: undefined
}

describe("provider", () => {
  const chosen: ReadonlyArray<
    readonly [name: string, wish: Partial<Wish>, environment: Record<string, string>, choice: Choice]
  > = [
    ["takes the planner when nothing is set", {}, {}, { provider: "local" }],
    ["takes the planner when the key is blank", {}, { OPENAI_API_KEY: " " }, { provider: "local" }],
    ["takes openai when its key is set", {}, { OPENAI_API_KEY: "k" }, vendor],
    ["takes the planner when it is named, whatever is set", { provider: "local" }, { OPENAI_API_KEY: "k" }, {
      provider: "local"
    }],
    ["speaks chat to another server, without a key", { baseUrl: "http://localhost:11434/v1", model: "m" }, {}, {
      provider: "openai",
      model: "m",
      api: "chat",
      apiKey: undefined,
      baseURL: "http://localhost:11434/v1"
    }],
    ["takes the server in the environment", {}, { OPENAI_BASE_URL: "http://h/v1", OPENAI_MODEL: "m" }, {
      provider: "openai",
      model: "m",
      api: "chat",
      apiKey: undefined,
      baseURL: "http://h/v1"
    }],
    ["speaks responses to the vendor's own address", {}, {
      OPENAI_API_KEY: "k",
      OPENAI_BASE_URL: "https://api.openai.com/v1"
    }, {
      ...vendor,
      baseURL: "https://api.openai.com/v1"
    }],
    ["lets the flags win", { model: "m", api: "chat" }, { OPENAI_API_KEY: "k", OPENAI_MODEL: "n" }, {
      ...vendor,
      model: "m",
      api: "chat"
    }]
  ]
  for (const [name, wish, environment, choice] of chosen) {
    it.effect(
      name,
      () => Effect.map(choose({ ...nothing, ...wish }, environment), (made) => assert.deepStrictEqual(made, choice))
    )
  }

  const refused: ReadonlyArray<
    readonly [name: string, wish: Partial<Wish>, environment: Record<string, string>, message: RegExp]
  > = [
    ["refuses openai without a key", { provider: "openai" }, {}, /OPENAI_API_KEY/],
    ["refuses anthropic, which is not built", { provider: "anthropic" }, {}, /not built yet/],
    ["refuses a provider it does not know", { provider: "gemini" }, {}, /unknown provider "gemini"/],
    ["refuses an api it does not know", { api: "soap" }, { OPENAI_API_KEY: "k" }, /unknown api "soap"/],
    ["refuses a base URL that is none", { baseUrl: "nope" }, {}, /is not a URL/],
    ["refuses another server without a model", { baseUrl: "http://h/v1" }, {}, /--model/],
    ["refuses a model for the planner", { provider: "local", model: "m" }, {}, /takes no --model/]
  ]
  for (const [name, wish, environment, message] of refused) {
    it.effect(name, () =>
      Effect.map(Effect.flip(choose({ ...nothing, ...wish }, environment)), (error) => {
        assert.strictEqual(error.kind, "usage")
        assert.match(error.message, message)
      }))
  }
})
