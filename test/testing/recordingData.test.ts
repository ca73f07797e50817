import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { TestModel } from "../../src/testing/index.ts"
import { describeData } from "../data.ts"
import { endsOf } from "../replay/exchange.ts"
import { hear, inVirtualTime, play } from "./recordings.ts"

interface Recorded {
  readonly request: { readonly url: string; readonly bodyJson?: { readonly stream?: boolean } }
  readonly response: { readonly status: number; readonly body?: string; readonly bodyJson?: unknown }
  readonly expect?: {
    readonly format?: string | null
    readonly toolCalls?: ReadonlyArray<{ readonly id: string; readonly name: string; readonly arguments: string }>
  } | null
}

const bodyOf = ({ response }: Recorded): string => response.body ?? JSON.stringify(response.bodyJson)

// Written down a second time, from the README of the set.
const apiOf = ({ expect, request }: Recorded): "chat" | "responses" | undefined => {
  if (typeof expect?.format === "string") {
    return ({ "openai-chat": "chat", "openai-responses": "responses" } as const)[expect.format]
  }
  return request.url.endsWith("/chat/completions")
    ? "chat"
    : request.url.endsWith("/responses")
    ? "responses"
    : undefined
}

// An object is an object, blank is {}, everything else stays text.
const paramsOf = (text: string): unknown => {
  if (text.trim() === "") return {}
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : text
  } catch {
    return text
  }
}

describeData("wire", "recordings of others", (folder) => {
  const all = readdirSync(folder).filter((name) => name.endsWith(".json") && name !== "index.json").sort().map((
    name
  ) => ({
    name,
    exchanges:
      (JSON.parse(readFileSync(join(folder, name), "utf8")) as { readonly interactions: ReadonlyArray<Recorded> })
        .interactions
  }))
  const ours = all.filter(({ exchanges }) => exchanges.every((exchange) => apiOf(exchange) !== undefined))
  const others = all.filter((file) => !ours.includes(file))

  it("has both kinds", () => {
    assert.isAbove(ours.length, 0)
    assert.isAbove(others.length, 0)
  })

  it.effect.each(ours)(
    "$name plays: the recorded calls, and errors as errors",
    ({ exchanges, name }) =>
      Effect.gen(function*() {
        const program = Effect.gen(function*() {
          for (const exchange of exchanges) {
            const { error, parts } = yield* inVirtualTime(hear(exchange.request.bodyJson?.stream === true))
            const api = apiOf(exchange)!
            const body = bodyOf(exchange)
            const { cut, whole } = endsOf(api, body)
            if (exchange.response.status >= 400) {
              assert.isTrue(AiError.isAiError(error), String(error))
              const { reason } = error as AiError.AiError
              assert.strictEqual("http" in reason ? reason.http?.response?.status : undefined, exchange.response.status)
              continue
            }
            assert.strictEqual(error === undefined, whole, String(error))
            // Custom tools take free text and cannot be declared; a turn that was cut holds half a call.
            const custom = new Set(
              [...body.matchAll(/\{[^{}]*"custom_tool_call"[^{}]*\}/g)].flatMap(([item]) =>
                /"call_id":\s*"([^"]*)"/.exec(item)?.[1] ?? []
              )
            )
            const wanted = (exchange.expect?.toolCalls ?? []).filter(({ id }) => !custom.has(id))
              .map(({ arguments: text, id, name }) => ({ id, name, params: paramsOf(text) }))
              .filter(({ params }) => !cut || typeof params === "object")
            const calls = parts.filter((part) => part["type"] === "tool-call" && part["providerExecuted"] !== true)
            assert.deepStrictEqual(
              calls.map(({ id, name, params }, at) => ({ id: wanted[at]?.id ? id : wanted[at]?.id, name, params })),
              wanted
            )
          }
          yield* TestModel.assertComplete
        })
        yield* Effect.provide(program, play(join(folder, name), { compare: false }))
      })
  )

  it.effect.each(others)(
    "$name is refused, each exchange named that no adapter plays",
    ({ exchanges, name }) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.provide(Effect.void, play(join(folder, name))))
        assert.strictEqual(error._tag, "RecordingError")
        assert.strictEqual(error.reason._tag, "Unplayable")
        const refused = exchanges.flatMap((exchange, index) => apiOf(exchange) === undefined ? [index + 1] : [])
        assert.deepStrictEqual(
          error.reason._tag === "Unplayable" ? error.reason.exchanges.map(({ exchange }) => exchange) : [],
          refused
        )
        for (const exchange of exchanges) {
          const format = exchange.expect?.format
          if (typeof format === "string" && apiOf(exchange) === undefined) assert.include(error.message, format)
        }
      })
  )
})

describe("a recording", () => {
  it("of others is not in the repository", () => {
    assert.isFalse(readdirSync(import.meta.dirname).some((name) => name.endsWith(".json")))
  })
})
