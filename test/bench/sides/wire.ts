/** Our OpenAI adapter on the Responses API, pointed at the bench's own server. */
import * as OpenAi from "../../../src/adapter/OpenAi.ts"

/** A model that speaks to `baseURL`. */
export const responses = (baseURL: string) => OpenAi.layer({ model: "gpt-5.4", api: "responses", baseURL })
