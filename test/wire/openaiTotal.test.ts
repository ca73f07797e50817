/**
 * Totality: the decoders answer for any JSON in any order, never throw, never merge two calls, and always come to an ending.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Response from "effect/ai/Response"
import * as Toolkit from "effect/ai/Toolkit"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { random } from "../replay/report.ts"
import { calls, chunk, decode, decoderOf, entries, json, raise } from "./openai.ts"
import type { Api } from "./openai.ts"

const seeds = 1000

type Random = () => number

const decodeParts = Schema.decodeUnknownExit(Schema.Array(Response.StreamPart(Toolkit.empty)))

const takes = (parts: ReadonlyArray<unknown>): boolean => Exit.isSuccess(decodeParts(parts))

const pick = <A>(next: Random, values: ReadonlyArray<A>): A => values[Math.floor(next() * values.length)]!

const words = [
  "response.created",
  "response.completed",
  "response.incomplete",
  "response.failed",
  "error",
  "response.output_item.added",
  "response.output_item.done",
  "response.function_call_arguments.delta",
  "response.function_call_arguments.done",
  "response.output_text.delta",
  "response.refusal.delta",
  "response.reasoning_text.delta",
  "response.reasoning_summary_part.added",
  "response.output_text.annotation.added",
  "function_call",
  "message",
  "reasoning",
  "web_search_call",
  "custom_tool_call",
  "stop",
  "length",
  "tool_calls",
  "url_citation",
  "__proto__",
  "constructor",
  "",
  "a",
  "b",
  "{}",
  "{\"n\":1}",
  "{",
  "https://a.example",
  "\ud800"
]

const keys = [
  "type",
  "id",
  "index",
  "output_index",
  "content_index",
  "item_id",
  "call_id",
  "name",
  "arguments",
  "delta",
  "item",
  "response",
  "output",
  "choices",
  "tool_calls",
  "function",
  "function_call",
  "finish_reason",
  "usage",
  "prompt_tokens",
  "completion_tokens",
  "input_tokens",
  "content",
  "summary",
  "text",
  "refusal",
  "annotations",
  "annotation",
  "url",
  "message",
  "error",
  "code",
  "status",
  "incomplete_details",
  "reason",
  "created",
  "created_at",
  "model",
  "citations",
  "reasoning_content",
  "result",
  "action",
  "__proto__",
  "toString"
]

const anyJson = (next: Random, depth: number): unknown => {
  const kind = next()
  if (depth === 0 || kind < 0.35) return pick(next, [...words, 0, 1, 2, -1, 1.5, 1e300, null, true, false])
  if (kind < 0.5) return Array.from({ length: Math.floor(next() * 4) }, () => anyJson(next, depth - 1))
  const entriesOf = Array.from({ length: Math.floor(next() * 7) }, () => [pick(next, keys), anyJson(next, depth - 1)])
  // Through text, as the wire does, so that `__proto__` is an own key.
  return JSON.parse(`{${entriesOf.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`)
}

const body = (next: Random): string => {
  const events = Array.from({ length: 1 + Math.floor(next() * 12) }, () => {
    const text = next() < 0.05 ? "{broken" : JSON.stringify(anyJson(next, 5))
    return next() < 0.1 ? `event: ${pick(next, words).replace(/\n/g, "")}\ndata: ${text}\n\n` : `data: ${text}\n\n`
  })
  return events.join("") + (next() < 0.5 ? "data: [DONE]\n\n" : "")
}

describe("openAi decoders, any input", () => {
  for (const api of ["chat", "responses"] as const) {
    it(`${api}: ${seeds} random streams come to an ending, with one finish at most, last, and nothing thrown`, () => {
      for (let seed = 0; seed < seeds; seed++) {
        const text = body(random(seed))
        const whole = decode(api, text)
        assert.notStrictEqual(whole.ending._tag, "Open", `seed ${seed}`)
        const finishes = whole.parts.flatMap((part, at) => part.type === "finish" ? [at] : [])
        assert.deepStrictEqual(
          finishes,
          whole.ending._tag === "Finished" ? [whole.parts.length - 1] : [],
          `seed ${seed}`
        )
        assert.deepStrictEqual(decode(api, text, 1 + seed % 17).parts, whole.parts, `seed ${seed}`)
        // Calls and results are checked against a toolkit; everything else must be what Effect takes for a part.
        const plain = whole.parts.filter((part) => part.type !== "tool-call" && part.type !== "tool-result")
        assert.isTrue(takes(plain), `seed ${seed}: ${JSON.stringify(plain)}`)
      }
      assert.deepStrictEqual(Object.keys(Object.prototype), [])
    })

    it(`${api}: ${seeds} random bodies that are no stream are read or refused, typed`, () => {
      for (let seed = 0; seed < seeds; seed++) {
        const value = anyJson(random(seed ^ 0x5eed), 6)
        assert.notStrictEqual(decode(api, JSON.stringify(value)).ending._tag, "Open", `seed ${seed}`)
      }
    })
  }

  it("a decoder takes no part in anything after its ending", () => {
    for (const api of ["chat", "responses"] as const satisfies ReadonlyArray<Api>) {
      const decoder = decoderOf(api)
      const state = decoder.initial(raise)
      decoder.step(state, json({ error: { message: "no" } }))
      decoder.step(state, json({ type: "error", message: "no" }))
      assert.deepStrictEqual(decoder.step(state, json(chunk({ content: "late" })))[1], [], api)
      assert.deepStrictEqual(
        decoder.step(state, json({ type: "response.output_text.delta", delta: "late" }))[1],
        [],
        api
      )
    }
  })
})

describe("openAiChat, random decisions under random quirks", () => {
  // Each call says who it is in its arguments, so a merge of two shows.
  const scripted = (next: Random) => {
    const count = 1 + Math.floor(next() * 6)
    return Array.from(
      { length: count },
      (_, n) => ({
        id: `call_${n}`,
        name: pick(next, ["f", "g"]),
        text: JSON.stringify({ n, s: "x".repeat(Math.floor(next() * 20)) })
      })
    )
  }
  const quirks = ["none", "no index", "index 0", "ids rotate", "ids repeat", "name late", "interleaved"] as const

  it(`${seeds} decisions arrive whole, in order, whatever the server does with ids and indices`, () => {
    for (let seed = 0; seed < seeds; seed++) {
      const next = random(seed)
      const quirk = pick(next, quirks)
      const wanted = scripted(next)
      const perCall = wanted.map((call, n) => {
        const cut = Math.floor(next() * call.text.length)
        const index = quirk === "no index" ? undefined : quirk === "index 0" ? 0 : n
        const id = quirk === "ids rotate" ? `rotated_${n}` : quirk === "ids repeat" ? call.id : undefined
        const fragment = (text: string, m: number) => ({
          index,
          id: quirk === "ids rotate" ? `${id}_${m}` : id,
          function: { arguments: text }
        })
        return quirk === "name late"
          ? [{ index, id: call.id, function: { arguments: call.text.slice(0, cut) } }, {
            index,
            function: { name: call.name }
          }, fragment(call.text.slice(cut), 1)]
          : [
            { index, id: call.id, function: { name: call.name, arguments: "" } },
            fragment(call.text.slice(0, cut), 0),
            fragment(call.text.slice(cut), 1)
          ]
      })
      const ordered = quirk === "interleaved"
        ? [0, 1, 2].flatMap((m) => perCall.map((pieces) => pieces[m]!))
        : perCall.flat()
      const events = [...ordered.map((piece) => entries(piece)), chunk({}, pick(next, ["tool_calls", "stop"]))]
      const { parts } = decode("chat", events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(""))
      const sealed = [...calls(parts)].sort(([one], [other]) => one < other ? -1 : 1)
      assert.deepStrictEqual(
        sealed,
        wanted.map((call) => [call.id, call.name, JSON.parse(call.text)]) as never,
        `seed ${seed}, ${quirk}`
      )
    }
  })
})
