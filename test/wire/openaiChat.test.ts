/**
 * Chat Completions: streams written from the vendor's reference ("The chat completion chunk object") and from the reports of what
 * other servers send. Faults P5, P7, P8, P9 and P10 on this wire.
 */
import { assert, describe, it } from "@effect/vitest"
import { calls, chunk, decode, entries, finishOf, reasonOf, sse, stepwise, textOf } from "./openai.ts"

const done = "data: [DONE]\n\n"
const finish = chunk({}, "tool_calls")
const usage = {
  ...chunk({}),
  choices: [],
  usage: {
    prompt_tokens: 10,
    completion_tokens: 7,
    prompt_tokens_details: { cached_tokens: 4 },
    completion_tokens_details: { reasoning_tokens: 2 }
  }
}

const open = (index: number, id: string, name: string, text = "") => ({
  index,
  id,
  type: "function",
  function: { name, arguments: text }
})
const more = (index: number, text: string) => ({ index, function: { arguments: text } })

const two = [
  chunk({ role: "assistant", content: null }),
  entries(open(0, "call_a", "weather")),
  entries(more(0, "{\"city\"")),
  entries(more(0, ":\"Łódź\"}")),
  entries(open(1, "call_b", "events")),
  entries(more(1, "{\"day\":1}")),
  finish,
  usage
]
const twoCalls = [["call_a", "weather", { city: "Łódź" }], ["call_b", "events", { day: 1 }]]

describe("openAiChat, a turn as the vendor sends it", () => {
  it("raises calls, metadata, usage and one finish, last", () => {
    const { ending, parts } = decode("chat", sse(two) + done)
    assert.deepStrictEqual(calls(parts), twoCalls as never)
    assert.strictEqual(ending._tag, "Finished")
    assert.deepStrictEqual(
      parts[0],
      {
        type: "response-metadata",
        id: "chatcmpl-1",
        modelId: "gpt-test",
        timestamp: "2023-11-14T22:13:20.000Z"
      } as never
    )
    assert.strictEqual(parts.at(-1)?.type, "finish")
    assert.deepStrictEqual(finishOf(parts)?.usage, {
      inputTokens: { total: 10, cacheRead: 4, uncached: 6 },
      outputTokens: { total: 7, reasoning: 2, text: 5 }
    })
    assert.strictEqual(finishOf(parts)?.reason, "tool-calls")
  })

  it("answers the same parts in every chunking", () => {
    const body = sse(two) + done
    const whole = decode("chat", body)
    for (let size = 1; size < body.length; size += size < 40 ? 1 : 61) {
      assert.deepStrictEqual(decode("chat", body, size), whole, `chunks of ${size}`)
    }
  })

  it("seals a call when the next one opens, and the last when the turn finishes, before usage comes", () => {
    const sealed = stepwise("chat", two).map((parts) => calls(parts).map(([id]) => id))
    assert.deepStrictEqual(sealed, [[], [], [], [], ["call_a"], [], ["call_b"], []])
  })

  it("gives each call its start, deltas, end and tool-call in that order", () => {
    const { parts } = decode("chat", sse(two) + done)
    const ofA = parts.filter((part) => "id" in part && part.id === "call_a").map((part) => part.type)
    assert.deepStrictEqual(ofA, [
      "tool-params-start",
      "tool-params-delta",
      "tool-params-delta",
      "tool-params-end",
      "tool-call"
    ])
  })

  it("raises text, reasoning and refusals as blocks, and a refusal as content-filter", () => {
    const said = decode(
      "chat",
      sse([chunk({ reasoning_content: "hm" }), chunk({ content: "Hel" }), chunk({ content: "lo" }), chunk({}, "stop")])
    )
    assert.strictEqual(textOf(said.parts), "Hello")
    assert.deepStrictEqual(said.parts.map((part) => part.type), [
      "response-metadata",
      "reasoning-start",
      "reasoning-delta",
      "reasoning-end",
      "text-start",
      "text-delta",
      "text-delta",
      "text-end",
      "finish"
    ])
    const refused = decode("chat", sse([chunk({ refusal: "I can" }), chunk({ refusal: "not" }), chunk({}, "stop")]))
    assert.strictEqual(textOf(refused.parts), "I cannot")
    assert.strictEqual(finishOf(refused.parts)?.reason, "content-filter")
    assert.deepInclude(finishOf(refused.parts)?.metadata?.["openai"], { refusal: "I cannot" })
  })
})

describe("P10: fragments of calls are put together by id, then index, then the last open call", () => {
  const cases: ReadonlyArray<readonly [name: string, events: ReadonlyArray<object>]> = [
    ["interleaved by index", [
      entries(open(0, "call_a", "weather"), open(1, "call_b", "events")),
      entries(more(0, "{\"city\":"), more(1, "{\"day\"")),
      entries(more(1, ":1}")),
      entries(more(0, "\"Łódź\"}"))
    ]],
    ["interleaved by id alone", [
      entries({ id: "call_a", function: { name: "weather", arguments: "{\"city\":" } }, {
        id: "call_b",
        function: { name: "events", arguments: "{\"day\"" }
      }),
      entries({ id: "call_b", function: { arguments: ":1}" } }),
      entries({ id: "call_a", function: { arguments: "\"Łódź\"}" } })
    ]],
    ["every index is 0, ids tell them apart", [
      entries(open(0, "call_a", "weather", "{\"city\":\"Łódź\"}")),
      entries(open(0, "call_b", "events", "{\"day\":1}"))
    ]],
    ["a reused index with fragments", [
      entries(open(0, "call_a", "weather")),
      entries(more(0, "{\"city\":\"Łódź\"}")),
      entries(open(0, "call_b", "events")),
      entries(more(0, "{\"day\":1}"))
    ]],
    ["no index at all", [
      entries({ id: "call_a", function: { name: "weather", arguments: "" } }),
      entries({ function: { arguments: "{\"city\":" } }),
      entries({ function: { arguments: "\"Łódź\"}" } }),
      entries({ id: "call_b", function: { name: "events", arguments: "" } }),
      entries({ function: { arguments: "{\"day\":1}" } })
    ]],
    ["no index, both calls in one chunk", [
      entries({ id: "call_a", function: { name: "weather", arguments: "{\"city\":\"Łódź\"}" } }, {
        id: "call_b",
        function: { name: "events", arguments: "{\"day\":1}" }
      })
    ]],
    ["fragments counted one too high", [
      entries(open(0, "call_a", "weather")),
      entries(more(1, "{\"city\":\"Łódź\"}")),
      entries(open(1, "call_b", "events")),
      entries(more(2, "{\"day\":1}"))
    ]],
    ["fragments counted one too low", [
      entries(open(1, "call_a", "weather")),
      entries(more(0, "{\"city\":\"Łódź\"}")),
      entries(open(2, "call_b", "events")),
      entries(more(1, "{\"day\":1}"))
    ]],
    ["indices that start at 1 or leave gaps", [
      entries(open(1, "call_a", "weather")),
      entries(more(1, "{\"city\":\"Łódź\"}")),
      entries(open(7, "call_b", "events")),
      entries(more(7, "{\"day\":1}"))
    ]],
    ["ids that rotate from fragment to fragment", [
      entries(open(0, "call_a", "weather")),
      entries({ index: 0, id: "call_x", function: { arguments: "{\"city\":" } }),
      entries({ index: 0, id: "call_y", function: { arguments: "\"Łódź\"}" } }),
      entries(open(1, "call_b", "events")),
      entries({ index: 1, id: "call_z", function: { arguments: "{\"day\":1}" } })
    ]],
    ["arguments before the name", [
      entries({ index: 0, id: "call_a", function: { arguments: "{\"city\":" } }),
      entries({ index: 0, function: { name: "weather" } }),
      entries(more(0, "\"Łódź\"}")),
      entries({ index: 1, function: { arguments: "{\"day\":1}" } }),
      entries({ index: 1, id: "call_b", function: { name: "events" } })
    ]],
    ["id and name repeated in every fragment", [
      entries(open(0, "call_a", "weather", "{\"city\":")),
      entries(open(0, "call_a", "weather", "\"Łódź\"}")),
      entries(open(0, "call_a", "weather", "")),
      entries(open(1, "call_b", "events", "{\"day\"")),
      entries(open(1, "call_b", "events", ":1}"))
    ]],
    ["empty ids and names after the first fragment, null everywhere", [
      entries(open(0, "call_a", "weather")),
      entries({ index: 0, id: "", type: null, function: { name: "", arguments: "{\"city\":\"Łódź\"}" } }),
      entries(open(1, "call_b", "events")),
      entries({ index: 1, id: null, function: { name: null, arguments: "{\"day\":1}" } }),
      entries({ index: 1, function: { name: null, arguments: null } })
    ]],
    ["a name in two pieces", [
      entries(open(0, "call_a", "wea")),
      entries({ index: 0, function: { name: "ther" } }),
      entries(more(0, "{\"city\":\"Łódź\"}")),
      entries(open(1, "call_b", "events", "{\"day\":1}"))
    ]],
    ["arguments as an object", [
      entries({ index: 0, id: "call_a", function: { name: "weather", arguments: { city: "Łódź" } } }),
      entries({ index: 1, id: "call_b", function: { name: "events", arguments: { day: 1 } } })
    ]],
    ["an event sent twice", [
      entries(open(0, "call_a", "weather", "{\"city\":\"Łódź\"}")),
      entries(open(0, "call_a", "weather", "{\"city\":\"Łódź\"}")),
      entries(open(1, "call_b", "events", "{\"day\":1}"))
    ]]
  ]
  for (const [name, events] of cases) {
    it(
      name,
      () => assert.deepStrictEqual(calls(decode("chat", sse([...events, finish]) + done).parts), twoCalls as never)
    )
  }

  it("never merges two calls: fragments that say nothing of their owner spoil the calls they may belong to, and no other", () => {
    const { parts } = decode(
      "chat",
      sse([
        entries(open(0, "call_c", "clock", "{\"zone\":\"UTC\"}")),
        entries(open(1, "call_a", "weather"), open(2, "call_b", "events")),
        entries({ function: { arguments: "{\"city\":\"Łódź\"}" } }),
        entries({ function: { arguments: "{\"day\":1}" } }),
        finish
      ]) + done
    )
    assert.deepStrictEqual(calls(parts)[0], ["call_c", "clock", { zone: "UTC" }])
    for (const [, , params] of calls(parts).slice(1)) assert.isString(params)
    assert.strictEqual(calls(parts).length, 3)
  })
})

describe("P9: ids", () => {
  it("makes a stable id where there is none, another for each call", () => {
    const body = sse([
      entries({ index: 0, function: { name: "f", arguments: "{}" } }, {
        index: 1,
        id: "",
        function: { name: "g", arguments: "{}" }
      }),
      finish
    ])
    const found = calls(decode("chat", body).parts).map(([id]) => id)
    assert.deepStrictEqual(found, ["call_chatcmpl-1_1", "call_chatcmpl-1_2"])
    assert.deepStrictEqual(calls(decode("chat", body, 1).parts).map(([id]) => id), found)
  })

  it("passes two calls with one id on as two", () => {
    const { parts } = decode(
      "chat",
      sse([entries(open(0, "x", "f", "{\"n\":1}")), entries(open(1, "x", "f")), entries(more(1, "{\"n\":2}")), finish])
    )
    assert.deepStrictEqual(calls(parts), [["x", "f", { n: 1 }], ["x", "f", { n: 2 }]])
  })
})

describe("P8: argument text", () => {
  const table: ReadonlyArray<readonly [text: string, params: unknown]> = [
    ["", {}],
    ["{}", {}],
    [" {\"a\": 1} ", { a: 1 }],
    ["null", "null"],
    ["[]", "[]"],
    ["\"x\"", "\"x\""],
    ["{\"a\":1}}", "{\"a\":1}}"],
    ["{\"a\":NaN}", "{\"a\":NaN}"],
    ["{\"a\":1}{\"a\":1}", "{\"a\":1}{\"a\":1}"]
  ]
  for (const [text, params] of table) {
    it(`${JSON.stringify(text)} becomes ${JSON.stringify(params)}, its siblings stay`, () => {
      const { parts } = decode(
        "chat",
        sse([
          entries(open(0, "a", "f", "{\"n\":1}")),
          entries(open(1, "b", "g", text)),
          entries(open(2, "c", "h", "{\"n\":2}")),
          finish
        ])
      )
      assert.deepStrictEqual(
        [...calls(parts)].sort(([one], [other]) => one.localeCompare(other)),
        [["a", "f", { n: 1 }], ["b", "g", params], ["c", "h", { n: 2 }]] as never
      )
    })
  }

  it("hands 100,000 open brackets and 20 MB of text on as text, in linear time", () => {
    const brackets = "[".repeat(100_000)
    const long = `{"a":"${"x".repeat(20_000_000)}"}`
    const { parts } = decode(
      "chat",
      sse([entries(open(0, "a", "f", brackets)), entries(open(1, "b", "g", long)), finish]),
      65536
    )
    assert.deepStrictEqual(calls(parts).map(([id, , params]) => [id, typeof params]), [["a", "string"], [
      "b",
      "string"
    ]])
  })
})

describe("P5: a stream that is cut", () => {
  const body = sse(two) + done
  it("emits only whole calls before the cut, with equal arguments, and fails typed, at every byte", () => {
    const length = new TextEncoder().encode(body).length
    const bytes = new TextEncoder().encode(body)
    for (let at = 0; at < length; at++) {
      const text = new TextDecoder().decode(bytes.subarray(0, at))
      const { ending, parts } = decode("chat", text)
      assert.deepStrictEqual(calls(parts), twoCalls.slice(0, calls(parts).length) as never, `cut at ${at}`)
      const finished = parts.some((part) => part.type === "finish")
      assert.strictEqual(finished, ending._tag === "Finished", `cut at ${at}`)
      if (!finished) assert.include(["NetworkError", "InvalidResponseError"], reasonOf(ending), `cut at ${at}`)
    }
  })

  it("gives the call open at the cut its start, so that it is known", () => {
    const { parts } = decode("chat", sse(two.slice(0, 3)))
    assert.deepStrictEqual(calls(parts), [])
    assert.isTrue(parts.some((part) => part.type === "tool-params-start" && part.id === "call_a"))
  })
})

describe("P7: turns that do not end well", () => {
  for (const reason of ["length", "content_filter"]) {
    it(`${reason} seals what is complete and leaves half a call open`, () => {
      const { ending, parts } = decode(
        "chat",
        sse([entries(open(0, "a", "f", "{\"n\":1}")), entries(open(1, "b", "g", "{\"n\"")), chunk({}, reason)]) + done
      )
      assert.deepStrictEqual(calls(parts), [["a", "f", { n: 1 }]])
      assert.isTrue(parts.some((part) => part.type === "tool-params-start" && part.id === "b"))
      assert.strictEqual(ending._tag, "Finished")
      assert.strictEqual(finishOf(parts)?.reason, reason === "length" ? "length" : "content-filter")
    })
  }

  it("length seals the last call when its arguments are one complete object", () => {
    const { parts } = decode("chat", sse([entries(open(0, "a", "f", "{\"n\":1}")), chunk({}, "length")]))
    assert.deepStrictEqual(calls(parts), [["a", "f", { n: 1 }]])
  })

  it("an error event in mid-stream is that error, after the parts before it", () => {
    const { ending, parts } = decode(
      "chat",
      sse([
        entries(open(0, "a", "f", "{\"n\":1}"), open(1, "b", "g", "{")),
        { error: { message: "slow down, secret-key-1", type: "rate_limit_error", code: 429 } }
      ])
    )
    assert.deepStrictEqual(calls(parts).map(([id]) => id), ["a"])
    assert.strictEqual(reasonOf(ending), "RateLimitError")
    assert.notInclude(JSON.stringify(ending), "secret-key-1")
  })

  it("an error body, an HTML page and an empty body are typed", () => {
    assert.strictEqual(
      reasonOf(decode("chat", "{\"error\":{\"message\":\"no\",\"code\":\"insufficient_quota\"}}").ending),
      "QuotaExhaustedError"
    )
    assert.strictEqual(
      reasonOf(decode("chat", "<html><body>502 Bad Gateway</body></html>").ending),
      "InvalidResponseError"
    )
    assert.strictEqual(reasonOf(decode("chat", "").ending), "InvalidResponseError")
  })

  it("an event that is no JSON fails the turn at its end and seals no call that may have lost a piece", () => {
    const { ending, parts } = decode(
      "chat",
      `${sse([entries(open(0, "a", "f", "{\"n\":"))])}data: {"broken\n\n${
        sse([entries(more(0, "1}")), entries(open(1, "b", "g", "{\"n\":2}")), finish])
      }${done}`
    )
    assert.deepStrictEqual(calls(parts), [["b", "g", { n: 2 }]])
    assert.strictEqual(reasonOf(ending), "InvalidResponseError")
  })
})

describe("openAiChat, quirks of servers", () => {
  it("takes empty choices first, usage in every chunk, and stop with calls for tool-calls", () => {
    const { ending, parts } = decode(
      "chat",
      sse([
        { choices: [], created: 0, id: "", model: "", object: "", prompt_filter_results: [{}] },
        { ...entries(open(0, "a", "f", "{}")), usage: { prompt_tokens: 1, completion_tokens: 1 } },
        { ...chunk({}, "stop"), usage: { prompt_tokens: 3, completion_tokens: 4 } }
      ])
    )
    assert.strictEqual(ending._tag, "Finished")
    assert.strictEqual(finishOf(parts)?.reason, "tool-calls")
    assert.strictEqual(finishOf(parts)?.usage.outputTokens.total, 4)
  })

  it("takes the call of function_call, message instead of delta, and content in typed pieces", () => {
    const legacy = decode(
      "chat",
      sse([
        chunk({ function_call: { name: "f", arguments: "{\"n\"" } }),
        chunk({ function_call: { arguments: ":1}" } }),
        chunk({}, "function_call")
      ])
    )
    assert.deepStrictEqual(calls(legacy.parts).map(([, name, params]) => [name, params]), [["f", { n: 1 }]])
    const message = decode(
      "chat",
      sse([{
        choices: [{
          index: 0,
          message: { content: [{ type: "text", text: "a" }, { type: "text", text: "b" }] },
          finish_reason: "stop"
        }]
      }])
    )
    assert.strictEqual(textOf(message.parts), "ab")
  })

  it("reads a whole answer that came instead of a stream", () => {
    const whole = JSON.stringify({
      id: "c",
      model: "m",
      choices: [{
        index: 0,
        finish_reason: "tool_calls",
        message: {
          role: "assistant",
          content: "hm",
          tool_calls: [
            { id: "a", type: "function", function: { name: "f", arguments: "{\"n\":1}" } },
            { id: "a", type: "function", function: { name: "f", arguments: "{\"n\":1}" } }
          ]
        }
      }]
    })
    const { ending, parts } = decode("chat", whole, 7)
    assert.deepStrictEqual(calls(parts), [["a", "f", { n: 1 }], ["a", "f", { n: 1 }]])
    assert.strictEqual(ending._tag, "Finished")
  })

  it("hands on the calls of every choice", () => {
    const choice = (index: number, n: number) => ({
      ...chunk({}),
      choices: [{ index, delta: { tool_calls: [open(0, "x", "f", `{"n":${n}}`)] }, finish_reason: "tool_calls" }]
    })
    assert.deepStrictEqual(calls(decode("chat", sse([choice(0, 1), choice(1, 2)])).parts), [["x", "f", { n: 1 }], [
      "x",
      "f",
      { n: 2 }
    ]])
  })

  it("takes [DONE] for an end mark of its own, and does not guess about a call that is open there", () => {
    const said = decode("chat", sse([chunk({ content: "Hi" })]) + done)
    assert.strictEqual(finishOf(said.parts)?.reason, "stop")
    const whole = decode("chat", sse([entries(open(0, "a", "f", "{\"n\":1}"))]) + done)
    assert.strictEqual(finishOf(whole.parts)?.reason, "tool-calls")
    const half = decode("chat", sse([entries(open(0, "a", "f", "{\"n\""))]) + done)
    assert.deepStrictEqual(calls(half.parts), [])
    assert.strictEqual(finishOf(half.parts)?.reason, "unknown")
  })

  it("keeps what a server wants back with a call (extra_content)", () => {
    const { parts } = decode(
      "chat",
      sse([entries({ ...open(0, "a", "f", "{}"), extra_content: { google: { thought_signature: "s" } } }), finish])
    )
    const call = parts.find((part) => part.type === "tool-call")
    assert.deepStrictEqual(
      call?.metadata,
      { openai: { extraContent: { google: { thought_signature: "s" } } } }
    )
  })
})
