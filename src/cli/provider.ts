/**
 * Which model answers: the one named, else the one whose key or base URL is in the environment, else the embedded
 * planner.
 */
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as LocalModel from "../adapter/LocalModel.ts"
import { failed, firstLine, usage } from "./CommandError.ts"
import type { CommandError } from "./CommandError.ts"

/**
 * What the flags say about the model.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wish {
  readonly provider: string | undefined
  readonly model: string | undefined
  readonly baseUrl: string | undefined
  readonly api: string | undefined
}

/**
 * What was made of it. `openai` speaks to `baseURL`, the vendor's own where that is undefined.
 *
 * @category models
 * @since 0.1.0
 */
export type Choice =
  | { readonly provider: "local" }
  | {
    readonly provider: "openai"
    readonly model: string
    readonly api: "chat" | "responses"
    readonly apiKey: string | undefined
    readonly baseURL: string | undefined
  }

/** The model asked of OpenAI when none is named. @category constants @since 0.1.0 */
export const defaultModel = "gpt-5-mini"

type Environment = { readonly [name: string]: string | undefined }

const given = (text: string | undefined): string | undefined =>
  text === undefined || text.trim() === "" ? undefined : text.trim()

/**
 * Decides; pure.
 *
 * @category deciding
 * @since 0.1.0
 */
export const choose = (wish: Wish, environment: Environment): Effect.Effect<Choice, CommandError> => {
  const key = given(environment["OPENAI_API_KEY"])
  const baseURL = given(wish.baseUrl) ?? given(environment["OPENAI_BASE_URL"])
  const asksForOpenAi = given(wish.baseUrl) !== undefined || wish.api !== undefined
  const provider = wish.provider ?? (asksForOpenAi || key !== undefined || baseURL !== undefined ? "openai" : "local")
  if (provider === "anthropic") {
    return refuse("the anthropic provider is not built yet; use --provider openai or --provider local")
  }
  if (provider === "local") return chooseLocal(wish)
  if (provider !== "openai") return refuse(`unknown provider ${JSON.stringify(provider)}; use openai or local`)
  if (baseURL !== undefined && !URL.canParse(baseURL)) {
    return refuse(`the base URL ${JSON.stringify(baseURL)} is not a URL`)
  }
  const elsewhere = baseURL !== undefined && new URL(baseURL).hostname !== "api.openai.com"
  if (key === undefined && !elsewhere) {
    return refuse(
      "the openai provider needs OPENAI_API_KEY in the environment, or --base-url of a server that speaks its API"
    )
  }
  const model = given(wish.model) ?? given(environment["OPENAI_MODEL"]) ?? (elsewhere ? undefined : defaultModel)
  if (model === undefined) return refuse(`name the model that ${baseURL} serves with --model`)
  const api = wish.api ?? (elsewhere ? "chat" : "responses")
  if (api !== "chat" && api !== "responses") return refuse(`unknown api ${JSON.stringify(api)}; use chat or responses`)
  return Effect.succeed({ provider: "openai", model, api, apiKey: key, baseURL })
}

const refuse = (message: string): Effect.Effect<never, CommandError> => Effect.fail(usage(message))

const chooseLocal = (wish: Wish): Effect.Effect<Choice, CommandError> => {
  const extra = ([["--model", wish.model], ["--base-url", wish.baseUrl], ["--api", wish.api]] as const)
    .filter(([, value]) => value !== undefined).map(([flag]) => flag)
  return extra.length > 0
    ? refuse(`the local provider has one embedded planner and takes no ${extra.join(", ")}`)
    : Effect.succeed({ provider: "local" })
}

/**
 * The model's Layer. The OpenAI adapter is loaded only here, so the command runs without the `openai` package.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOf = (choice: Choice): Effect.Effect<Layer.Layer<LanguageModel.LanguageModel>, CommandError> =>
  choice.provider === "local" ? Effect.succeed(LocalModel.layer()) : Effect.map(
    Effect.tryPromise({ try: () => import("../adapter/OpenAi.ts"), catch: notLoaded }),
    (OpenAi) => {
      const { api, apiKey, baseURL, model } = choice
      return OpenAi.layer({ model, api, apiKey: apiKey === undefined ? undefined : Redacted.make(apiKey), baseURL })
    }
  )

const notLoaded = (cause: unknown): CommandError =>
  /Cannot find (?:package|module) '?openai/.test(firstLine(cause))
    ? failed("the openai provider needs the openai package: npm install openai")
    : failed(`the openai provider could not be loaded: ${firstLine(cause)}`)
