import { assert, describe, it } from "@effect/vitest"
import { ToolCall } from "../../src/index.ts"

describe("ToolCall.parseArguments", () => {
  it.each([
    ["", {}],
    [" \n", {}],
    ["{}", {}],
    ["\ufeff{\"a\":1}", { a: 1 }],
    ["{\"a\":{\"b\":[1,null]}}", { a: { b: [1, null] } }]
  ])("reads %j as an object", (text, value) => {
    assert.deepStrictEqual<unknown>(ToolCall.parseArguments(text), value)
  })

  it.each(["null", "[]", "1", "\"x\"", "{", "{} {}", "undefined", "{a:1}"])(
    "gives %j back as the text it is",
    (text) => {
      assert.strictEqual(ToolCall.parseArguments(text), text)
    }
  )

  it("does not parse what is too deep or too long, by one", () => {
    const nested = (depth: number) => `${"{\"a\":".repeat(depth)}1${"}".repeat(depth)}`
    assert.isObject(ToolCall.parseArguments(nested(ToolCall.maxArgumentsDepth)))
    assert.isString(ToolCall.parseArguments(nested(ToolCall.maxArgumentsDepth + 1)))
    const long = (length: number) => `{"a":"${"x".repeat(length - 8)}"}`
    assert.isObject(ToolCall.parseArguments(long(ToolCall.maxArgumentsLength)))
    assert.isString(ToolCall.parseArguments(long(ToolCall.maxArgumentsLength + 1)))
  })

  it("does not count brackets inside strings as depth", () => {
    assert.isObject(ToolCall.parseArguments(`{"a":"${"[".repeat(5000)}\\"${"{".repeat(5000)}"}`))
  })
})

describe("ToolCall.isCompleteObject", () => {
  it.each([["{}", true], ["{\"a\":1}", true], ["", false], [" ", false], ["{\"a\":", false], ["[]", false]])(
    "says of %j: %s",
    (text, complete) => assert.strictEqual(ToolCall.isCompleteObject(text), complete)
  )
})

describe("ToolCall.canonical", () => {
  it("is the same text for the same value, whatever the order of keys", () => {
    assert.strictEqual(
      ToolCall.canonical({ b: { d: 1, c: 2 }, a: [1] }),
      ToolCall.canonical({ a: [1], b: { c: 2, d: 1 } })
    )
  })

  it.each([
    [1, "1"],
    [{ a: 1 }, { a: "1" }],
    [{ a: [1, 2] }, { a: [2, 1] }],
    [{ a: null }, {}],
    [{ "a,b": 1 }, { a: 1, b: 1 }],
    [["a", "b"], ["a,b"]],
    [1n, 1],
    [{}, []]
  ])("tells %o from %o", (a, b) => assert.notStrictEqual(ToolCall.canonical(a), ToolCall.canonical(b)))

  it.each([undefined, null, NaN, Infinity, () => 1, Symbol("s")])("answers for %o", (value) => {
    assert.strictEqual(ToolCall.canonical(value), "null")
  })
})

describe("ToolCall.deriveId", () => {
  it("keeps an id that is free, numbers one that is taken, names an empty one", () => {
    const taken = new Set(["x", "x_2", "call_1"])
    const derive = (id: string) => ToolCall.deriveId(id, (candidate) => taken.has(candidate))
    assert.deepStrictEqual(["y", "x", ""].map(derive), ["y", "x_3", "call_2"])
  })
})

describe("ToolCall.nearNames", () => {
  const names = ["web_search", "read_file", "write_file", "getWeather"]

  it.each([
    ["WEB_SEARCH", ["web_search"]],
    ["functions.read_file", ["read_file"]],
    ["read_fil", ["read_file"]],
    ["get_weather", ["getWeather"]],
    ["rite_file", ["write_file"]],
    ["launch_rocket", []],
    ["", []],
    ["___", []]
  ])("of %j are %j, the best first", (name, near) => {
    assert.deepStrictEqual(ToolCall.nearNames(name, names), near)
  })

  it("are three at most, also among thousands of long ones", () => {
    const many = Array.from({ length: 5000 }, (_, i) => `tool_${"x".repeat(500)}_${i}`)
    assert.isAtMost(ToolCall.nearNames(`tool_${"x".repeat(10_000)}`, many).length, 3)
  })
})
