/**
 * The Responses API: streams written from the vendor's reference ("Streaming events") and from the reports of what other servers
 * send. Faults P5, P7, P9 and P10 on this wire.
 */
import { assert, describe, it } from "@effect/vitest"
import { calls, decode, finishOf, reasonOf, sse, stepwise, textOf } from "./openai.ts"

const created = {
  type: "response.created",
  response: { id: "resp_1", model: "gpt-test", created_at: 1700000000, status: "in_progress", output: [] }
}
const usage = {
  input_tokens: 10,
  output_tokens: 7,
  input_tokens_details: { cached_tokens: 4 },
  output_tokens_details: { reasoning_tokens: 2 }
}
const completed = (output: ReadonlyArray<object> = [], rest: object = {}) => ({
  type: "response.completed",
  response: { id: "resp_1", model: "gpt-test", status: "completed", output, usage, ...rest }
})
const incomplete = (reason: string, output: ReadonlyArray<object> = []) => ({
  type: "response.incomplete",
  response: { id: "resp_1", status: "incomplete", incomplete_details: { reason }, output }
})

const call = (n: number, id: string, name: string, text: string, status = "completed") => ({
  type: "function_call",
  id: `fc_${n}`,
  call_id: id,
  name,
  arguments: text,
  status
})
const added = (n: number, id: string, name: string) => ({
  type: "response.output_item.added",
  output_index: n,
  item: call(n, id, name, "", "in_progress")
})
const delta = (n: number, text: string) => ({
  type: "response.function_call_arguments.delta",
  output_index: n,
  item_id: `fc_${n}`,
  delta: text
})
const argumentsDone = (n: number, text: string) => ({
  type: "response.function_call_arguments.done",
  output_index: n,
  item_id: `fc_${n}`,
  arguments: text
})
const itemDone = (n: number, item: object) => ({ type: "response.output_item.done", output_index: n, item })

const a = "{\"city\":\"Łódź\"}"
const b = "{\"day\":1}"
const two = [
  created,
  added(0, "call_a", "weather"),
  delta(0, "{\"city\""),
  delta(0, ":\"Łódź\"}"),
  argumentsDone(0, a),
  itemDone(0, call(0, "call_a", "weather", a)),
  added(1, "call_b", "events"),
  delta(1, b),
  argumentsDone(1, b),
  itemDone(1, call(1, "call_b", "events", b)),
  completed([call(0, "call_a", "weather", a), call(1, "call_b", "events", b)])
]
const twoCalls = [["call_a", "weather", { city: "Łódź" }], ["call_b", "events", { day: 1 }]]

describe("openAiResponses, a turn as the vendor sends it", () => {
  it("raises calls, metadata, usage and one finish, last, in every chunking", () => {
    const body = sse(two)
    const whole = decode("responses", body)
    assert.deepStrictEqual(calls(whole.parts), twoCalls as never)
    assert.strictEqual(whole.ending._tag, "Finished")
    assert.strictEqual(whole.parts.at(-1)?.type, "finish")
    assert.deepStrictEqual(finishOf(whole.parts)?.usage, {
      inputTokens: { total: 10, cacheRead: 4, uncached: 6 },
      outputTokens: { total: 7, reasoning: 2, text: 5 }
    })
    for (let size = 1; size < body.length; size += size < 40 ? 1 : 61) {
      assert.deepStrictEqual(decode("responses", body, size), whole, `chunks of ${size}`)
    }
  })

  it("seals each call at its own end mark, while others are open", () => {
    const events = [
      created,
      added(0, "call_a", "weather"),
      added(1, "call_b", "events"),
      delta(1, b),
      argumentsDone(1, b),
      delta(0, a),
      itemDone(0, call(0, "call_a", "weather", a))
    ]
    assert.deepStrictEqual(stepwise("responses", events).map((parts) => calls(parts).map(([id]) => id)), [
      [],
      [],
      [],
      [],
      ["call_b"],
      [],
      ["call_a"]
    ])
  })

  it("carries reasoning with what the provider wants back", () => {
    const { parts } = decode(
      "responses",
      sse([
        created,
        { type: "response.output_item.added", output_index: 0, item: { type: "reasoning", id: "rs_1", summary: [] } },
        { type: "response.reasoning_summary_part.added", output_index: 0, item_id: "rs_1", summary_index: 0 },
        {
          type: "response.reasoning_summary_text.delta",
          output_index: 0,
          item_id: "rs_1",
          summary_index: 0,
          delta: "First"
        },
        { type: "response.reasoning_summary_part.added", output_index: 0, item_id: "rs_1", summary_index: 1 },
        {
          type: "response.reasoning_summary_text.delta",
          output_index: 0,
          item_id: "rs_1",
          summary_index: 1,
          delta: "Then"
        },
        itemDone(0, {
          type: "reasoning",
          id: "rs_1",
          encrypted_content: "gAAA",
          summary: [{ type: "summary_text", text: "First" }, { type: "summary_text", text: "Then" }]
        }),
        completed()
      ])
    )
    assert.strictEqual(parts.map((part) => part.type === "reasoning-delta" ? part.delta : "").join(""), "First\n\nThen")
    assert.deepStrictEqual(
      parts.find((part) => part.type === "reasoning-end")?.metadata,
      { openai: { itemId: "rs_1", encryptedContent: "gAAA" } }
    )
  })

  it("raises text, refusals, citations and tools that the provider runs", () => {
    const { parts } = decode(
      "responses",
      sse([
        created,
        itemDone(0, {
          type: "web_search_call",
          id: "ws_1",
          status: "completed",
          action: { type: "search", query: "q" }
        }),
        { type: "response.output_text.delta", output_index: 1, content_index: 0, item_id: "msg_1", delta: "Hi" },
        {
          type: "response.output_text.annotation.added",
          output_index: 1,
          content_index: 0,
          annotation: { type: "url_citation", url: "https://a.example/x", title: "A", start_index: 0, end_index: 2 }
        },
        {
          type: "response.output_text.annotation.added",
          output_index: 1,
          content_index: 0,
          annotation: { type: "url_citation", url: "not a url", title: "B" }
        },
        itemDone(1, {
          type: "message",
          id: "msg_1",
          content: [{
            type: "output_text",
            text: "Hi",
            annotations: [{
              type: "url_citation",
              url: "https://a.example/x",
              title: "A",
              start_index: 0,
              end_index: 2
            }]
          }]
        }),
        { type: "response.refusal.delta", output_index: 2, content_index: 0, item_id: "msg_2", delta: "no" },
        completed()
      ])
    )
    assert.strictEqual(textOf(parts), "Hino")
    assert.deepStrictEqual(
      parts.filter((part) => part.type === "source").map((part) => part.sourceType === "url" ? part.url : ""),
      ["https://a.example/x"]
    )
    assert.deepStrictEqual(
      parts.filter((part) => part.type === "tool-call").map((part) => [part.name, part.providerExecuted]),
      [["web_search", true]]
    )
    assert.strictEqual(parts.filter((part) => part.type === "tool-result").length, 1)
    assert.strictEqual(finishOf(parts)?.reason, "content-filter")
  })

  it("reads text that came only with the finished item", () => {
    const message = { type: "message", id: "msg_1", content: [{ type: "output_text", text: "all at once" }] }
    assert.strictEqual(
      textOf(decode("responses", sse([created, itemDone(0, message), completed([message])])).parts),
      "all at once"
    )
    assert.strictEqual(textOf(decode("responses", sse([created, completed([message])])).parts), "all at once")
  })
})

describe("P10: events find their call by item id, then index, then the last open call", () => {
  const rotate = (events: ReadonlyArray<object>) => {
    let n = 0
    return events.map((event) =>
      JSON.parse(JSON.stringify(event).replace(/"fc_\d"/g, () => `"fc_rotated_${++n}"`)) as object
    )
  }
  const without = (keys: ReadonlyArray<string>, events: ReadonlyArray<object>) =>
    events.map((event) => Object.fromEntries(Object.entries(event).filter(([key]) => !keys.includes(key))))
  const cases: ReadonlyArray<readonly [name: string, events: ReadonlyArray<object>]> = [
    ["item ids that rotate from event to event", rotate(two)],
    ["no output index", without(["output_index"], two)],
    ["no item id on fragments", without(["item_id"], two)],
    ["neither of them on fragments", without(["item_id", "output_index"], two)],
    ["every output index is 0", two.map((event) => "output_index" in event ? { ...event, output_index: 0 } : event)],
    ["fragments lost, the end mark holds the text", two.filter((event) => !event.type.endsWith(".delta"))],
    ["every event twice", two.flatMap((event) => [event, event])],
    [
      "no announcement of the items",
      two.filter((event) => event.type !== "response.output_item.added" && !event.type.includes("arguments"))
    ],
    ["calls only in the last event", [created, two.at(-1)!]],
    ["interleaved", [
      created,
      added(0, "call_a", "weather"),
      added(1, "call_b", "events"),
      delta(1, "{\"day\""),
      delta(0, "{\"city\":"),
      delta(1, ":1}"),
      delta(0, "\"Łódź\"}"),
      itemDone(0, call(0, "call_a", "weather", a)),
      itemDone(1, call(1, "call_b", "events", b)),
      completed()
    ]],
    [
      "no end mark of the items, the last event lists nothing",
      two.slice(0, -1).filter((event) => !event.type.endsWith(".done")).concat([completed()])
    ]
  ]
  for (const [name, events] of cases) {
    it(name, () => assert.deepStrictEqual(calls(decode("responses", sse(events)).parts), twoCalls as never))
  }
})

describe("P9: ids", () => {
  it("makes a stable id where there is none", () => {
    const item = { type: "function_call", id: "fc_0", name: "f", arguments: "{}" }
    const body = sse([
      created,
      { type: "response.output_item.added", output_index: 0, item: { ...item, arguments: "" } },
      itemDone(0, item),
      completed()
    ])
    assert.deepStrictEqual(calls(decode("responses", body).parts).map(([id]) => id), ["call_resp_1_1"])
    assert.deepStrictEqual(calls(decode("responses", body, 1).parts).map(([id]) => id), ["call_resp_1_1"])
  })

  it("passes two calls with one id on as two", () => {
    const { parts } = decode(
      "responses",
      sse([
        created,
        added(0, "x", "f"),
        itemDone(0, call(0, "x", "f", "{\"n\":1}")),
        added(1, "x", "f"),
        itemDone(1, call(1, "x", "f", "{\"n\":2}")),
        completed()
      ])
    )
    assert.deepStrictEqual(calls(parts), [["x", "f", { n: 1 }], ["x", "f", { n: 2 }]])
  })
})

describe("P5: a stream that is cut", () => {
  it("emits only whole calls before the cut, with equal arguments, and fails typed, at every byte", () => {
    const bytes = new TextEncoder().encode(sse(two))
    for (let at = 0; at < bytes.length; at++) {
      const { ending, parts } = decode("responses", new TextDecoder().decode(bytes.subarray(0, at)))
      assert.deepStrictEqual(calls(parts), twoCalls.slice(0, calls(parts).length) as never, `cut at ${at}`)
      const finished = parts.some((part) => part.type === "finish")
      assert.strictEqual(finished, ending._tag === "Finished", `cut at ${at}`)
      if (!finished) assert.include(["NetworkError", "InvalidResponseError"], reasonOf(ending), `cut at ${at}`)
    }
  })
})

describe("P7: turns that do not end well", () => {
  it("max_output_tokens runs what is sealed and leaves half a call open", () => {
    const half = "{\"day\""
    const { parts } = decode(
      "responses",
      sse([
        ...two.slice(0, 6),
        added(1, "call_b", "events"),
        delta(1, half),
        argumentsDone(1, half),
        itemDone(1, call(1, "call_b", "events", half, "incomplete")),
        incomplete("max_output_tokens", [
          call(0, "call_a", "weather", a),
          call(1, "call_b", "events", half, "incomplete")
        ])
      ])
    )
    assert.deepStrictEqual(calls(parts), [twoCalls[0]] as never)
    assert.isTrue(parts.some((part) => part.type === "tool-params-start" && part.id === "call_b"))
    assert.strictEqual(finishOf(parts)?.reason, "length")
  })

  it("content_filter is content-filter", () => {
    assert.strictEqual(
      finishOf(decode("responses", sse([created, incomplete("content_filter")])).parts)?.reason,
      "content-filter"
    )
  })

  it("a failed response and an error event are typed, after the parts before them", () => {
    const failed = decode(
      "responses",
      sse([...two.slice(0, 6), {
        type: "response.failed",
        response: { id: "resp_1", status: "failed", error: { code: "server_error", message: "oh" } }
      }])
    )
    assert.deepStrictEqual(calls(failed.parts), [twoCalls[0]] as never)
    assert.strictEqual(reasonOf(failed.ending), "InternalProviderError")
    assert.strictEqual(
      reasonOf(
        decode("responses", sse([created, { type: "error", code: "rate_limit_exceeded", message: "slow" }])).ending
      ),
      "RateLimitError"
    )
    assert.strictEqual(
      reasonOf(
        decode(
          "responses",
          "event: error\ndata: {\"error\":{\"type\":\"invalid_request_error\",\"code\":\"context_length_exceeded\"}}\n\n"
        ).ending
      ),
      "InvalidRequestError"
    )
    assert.strictEqual(reasonOf(decode("responses", "<html>").ending), "InvalidResponseError")
    assert.strictEqual(reasonOf(decode("responses", "{}").ending), "InvalidResponseError")
  })

  it("an event that is no JSON fails the turn at its end; calls with their own end mark stand", () => {
    const { ending, parts } = decode("responses", `data: {"broken\n\n${sse(two)}`)
    assert.deepStrictEqual(calls(parts), twoCalls as never)
    assert.strictEqual(reasonOf(ending), "InvalidResponseError")
  })
})
