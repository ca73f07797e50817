import { assert, describe, it } from "@effect/vitest"
import * as Sse from "../../src/adapter/internal/openAiSse.ts"

const read = (text: string | Uint8Array, size = Infinity) => {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text
  const state = Sse.initial()
  const events: Array<Sse.SseEvent> = []
  for (let at = 0; at < bytes.length; at += size) {
    events.push(...Sse.push(state, bytes.subarray(at, Math.min(bytes.length, at + size))))
  }
  const end = Sse.end(state)
  return { events: [...events, ...end.events].map((event) => [event.name, event.data]), body: end.body }
}

describe("openAiSse", () => {
  const stream = [
    "\uFEFF: a comment\n",
    "event: first\ndata: {\"a\":\"é🧨\"}\n\n",
    "id: 7\nretry: 10\n",
    "data: one\ndata: two\r\n\r\n",
    "data:no space\r\rdata\n\n",
    ":keep-alive\n\n",
    "data: [DONE]\n\n"
  ].join("")
  const expected = [["first", "{\"a\":\"é🧨\"}"], ["", "one\ntwo"], ["", "no space"], ["", "[DONE]"]]

  it("reads lines of every ending, comments, names and several data lines", () => {
    assert.deepStrictEqual(read(stream).events, expected)
  })

  it("answers the same events in every chunking, code points and CRLF split too", () => {
    const length = new TextEncoder().encode(stream).length
    for (let size = 1; size <= length; size++) {
      assert.deepStrictEqual(read(stream, size).events, expected, `chunks of ${size}`)
    }
  })

  it("takes CRLF for one line end: two data lines are one event, in every chunking", () => {
    const text = "data: one\r\ndata: two\r\n\r\n"
    for (let size = 1; size <= text.length; size++) assert.deepStrictEqual(read(text, size).events, [["", "one\ntwo"]])
  })

  it("hands on a last event that lacks its blank line", () => {
    assert.deepStrictEqual(read("data: {\"a\":1}").events, [["", "{\"a\":1}"]])
  })

  it("keeps a body that is no event stream whole", () => {
    for (const body of ["{\"error\":{}}", "  [1]", "<html>no</html>"]) {
      for (const size of [1, 3, 100]) assert.deepStrictEqual(read(body, size), { events: [], body }, body)
    }
    assert.deepStrictEqual(read(""), { events: [], body: "" })
  })

  it("survives bytes that are no UTF-8", () => {
    const bytes = new Uint8Array([...new TextEncoder().encode("data: a"), 0xff, 0xc3, 10, 10])
    assert.deepStrictEqual(read(bytes).events, [["", "a\ufffd\ufffd"]])
  })
})
