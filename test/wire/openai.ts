/**
 * Helpers of the wire tests: our own small streams, decoded by the pure decoders in any chunking.
 */
import * as ChatStream from "../../src/adapter/internal/openAiChatStream.ts"
import type { Decoder, Ending, Part, Parts, Raise, WireEvent } from "../../src/adapter/internal/openAiParts.ts"
import * as ResponsesStream from "../../src/adapter/internal/openAiResponsesStream.ts"
import * as Wire from "../../src/adapter/internal/openAiStream.ts"
import * as ToolCall from "../../src/domain/ToolCall.ts"

export type Api = "chat" | "responses"

export const raise: Raise = {
  call: (name, text) => ({ name, params: ToolCall.parseArguments(text) }),
  hosted: (name) => ({ name, declared: name === "web_search" }),
  response: undefined,
  secrets: ["secret-key-1"]
}

export const decoderOf = (api: Api): Decoder<never> =>
  (api === "chat" ? ChatStream.decoder : ResponsesStream.decoder) as never

export interface Decoded {
  readonly parts: ReadonlyArray<Part>
  readonly ending: Ending
}

/** Decodes a body in pieces of `size` bytes. */
export const decode = (api: Api, body: string, size = Infinity): Decoded => {
  const bytes = new TextEncoder().encode(body)
  const state = Wire.initial(decoderOf(api), raise)
  const parts: Array<Part> = []
  for (let at = 0; at < bytes.length; at += size) {
    parts.push(...Wire.push(state, bytes.subarray(at, Math.min(bytes.length, at + size))))
  }
  parts.push(...Wire.end(state))
  return { parts, ending: state.ending }
}

/** Feeds events one by one and tells the parts of each. */
export const stepwise = (api: Api, values: ReadonlyArray<unknown>): ReadonlyArray<Parts> => {
  const decoder = decoderOf(api)
  const state = decoder.initial(raise)
  return values.map((value) => decoder.step(state, json(value))[1])
}

export const json = (value: unknown): WireEvent => ({ _tag: "Json", name: "", value })

export const sse = (values: ReadonlyArray<unknown>): string =>
  values.map((value) => `data: ${JSON.stringify(value)}\n\n`).join("")

/** A chunk of Chat Completions. */
export const chunk = (delta: object, finish: string | null = null, rest: object = {}): object => ({
  id: "chatcmpl-1",
  object: "chat.completion.chunk",
  created: 1700000000,
  model: "gpt-test",
  choices: [{ index: 0, delta, finish_reason: finish, logprobs: null }],
  ...rest
})

/** A chunk with entries of `tool_calls`. */
export const entries = (...calls: ReadonlyArray<object>): object => chunk({ tool_calls: calls })

export const calls = (
  parts: ReadonlyArray<Part>
): ReadonlyArray<readonly [id: string, name: string, params: unknown]> =>
  parts.filter((part) => part.type === "tool-call").map((part) => [part.id, part.name, part.params] as const)

export const textOf = (parts: ReadonlyArray<Part>): string =>
  parts.map((part) => part.type === "text-delta" ? part.delta : "").join("")

export const finishOf = (parts: ReadonlyArray<Part>): Extract<Part, { type: "finish" }> | undefined =>
  parts.find((part) => part.type === "finish")

export const reasonOf = (ending: Ending): string => ending._tag === "Failed" ? ending.reason._tag : ending._tag
