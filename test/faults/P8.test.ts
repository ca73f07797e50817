import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Orchestrator, ToolCall, ToolPolicy } from "../../src/index.ts"
import * as Testing from "../../src/testing/index.ts"
import { describeData } from "../data.ts"
import { scripted } from "../model.ts"
import { failureOf, statuses } from "../stage.ts"

const setUp = () => {
  const got: Array<unknown> = []
  return {
    got,
    ...ToolPolicy.define({
      anything: ToolPolicy.tool({
        parameters: Schema.Record(Schema.String, Schema.Unknown),
        success: Schema.Finite,
        handler: (params) => Effect.sync(() => got.push(params))
      }),
      sibling: ToolPolicy.tool({
        parameters: Schema.Struct({ n: Schema.Finite }),
        success: Schema.Finite,
        handler: ({ n }) => Effect.succeed(n)
      })
    })
  }
}

/** One decision: a call for each argument text, each followed by a sibling that must run. */
const decide = (texts: ReadonlyArray<string>) => {
  const { got, layer, toolkit } = setUp()
  const all = texts.flatMap((text, i) => [
    Testing.ToolCall("anything", ToolCall.parseArguments(text), { id: `bad${i}` }),
    Testing.ToolCall("sibling", { n: i }, { id: `good${i}` })
  ])
  return Orchestrator.run({ prompt: "go", toolkit }).pipe(
    Effect.map(({ toolResults }) => ({
      got,
      toolResults,
      bad: statuses(toolResults.filter(({ id }) => id.startsWith("bad"))).map((line) => line.split(" ")[1]),
      good: toolResults.filter(({ id, isFailure }) => id.startsWith("good") && !isFailure).length
    })),
    Effect.provide([layer, scripted(all)])
  )
}

const refused: ReadonlyArray<readonly [what: string, text: string]> = [
  ["null", "null"],
  ["an array", "[]"],
  ["a string", "\"text\""],
  ["a number", "1"],
  ["true", "true"],
  ["trailing text", "{\"a\":1} and more"],
  ["two objects", "{}{}"],
  ["a trailing comma", "{\"a\":1,}"],
  ["NaN", "{\"a\":NaN}"],
  ["Infinity", "{\"a\":-Infinity}"],
  ["single quotes", "{'a':1}"],
  ["a comment", "{\"a\":1/**/}"],
  ["half an object", "{\"a\":"],
  ["a raw newline in a string", "{\"a\":\"\n\"}"],
  ["a fenced block", "```json\n{\"a\":1}\n```"],
  ["100,000 open brackets", "[".repeat(100_000)],
  ["100,000 nested arrays", `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`],
  ["50,000 times [{\"\":", "[{\"\":".repeat(50_000)],
  ["50 MB", `{"a":"${"x".repeat(50 * 1024 * 1024)}"}`],
  ["50 MB of blanks and a brace", `${" ".repeat(50 * 1024 * 1024)}{`],
  ["a NUL", "\0"]
]

const taken: ReadonlyArray<readonly [what: string, text: string, value: unknown]> = [
  ["nothing", "", {}],
  ["blanks", " \r\n\t", {}],
  ["a byte order mark", "\ufeff{\"a\":1}", { a: 1 }],
  ["a byte order mark alone", "\ufeff", {}],
  ["duplicate keys: the last one", "{\"a\":1,\"a\":2}", { a: 2 }],
  ["lone surrogates", "{\"a\":\"\\ud800\"}", { a: "\ud800" }],
  ["brackets inside strings", `{"a":"${"[{".repeat(1000)}"}`, { a: "[{".repeat(1000) }],
  ["escaped quotes", "{\"a\":\"\\\"[\\\\\"}", { a: "\"[\\" }],
  ["a huge exponent", "{\"a\":1e999}", { a: Infinity }],
  ["500 levels", `${"{\"a\":".repeat(500)}1${"}".repeat(500)}`, undefined]
]

describe("P8: argument text that is no JSON object", () => {
  it.effect.each(refused)(
    "P8: %s is InvalidInput for that call; its sibling runs",
    ([, text]) =>
      Effect.gen(function*() {
        const { bad, good, got, toolResults } = yield* decide([text])
        assert.deepStrictEqual(bad, ["InvalidInput"])
        assert.strictEqual(good, 1)
        assert.deepStrictEqual(got, [])
        const { message } = failureOf(toolResults, "bad0")
        assert.include(String(message), "not one JSON object")
        assert.isAtMost(String(message).length, 8192)
      })
  )

  it.effect("P8: says which keys were expected and which came, with the path of what is wrong", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      const failure = failureOf(toolResults, "a")
      assert.deepInclude(failure, { _tag: "InvalidInput", tool: "sibling", callId: "a", isRetryable: true })
      assert.deepStrictEqual(failure["expected"], ["n"])
      assert.deepStrictEqual(failure["received"], ["N", "m"])
      assert.include(String(failure["message"]), "[\"n\"]")
    }).pipe(Effect.provide([layer, scripted([Testing.ToolCall("sibling", { N: 1, m: 2 }, { id: "a" })])]))
  })
})

describe("P8: argument text that is one JSON object", () => {
  it.effect.each(taken)("P8: %s is taken", ([, text, value]) =>
    Effect.gen(function*() {
      const { bad, good, got } = yield* decide([text])
      assert.deepStrictEqual(bad, ["ok"])
      assert.strictEqual(good, 1)
      if (value !== undefined) assert.deepStrictEqual(got, [value])
    }))
})

describeData("json-parsing", "P8: JSONTestSuite as arguments", (folder) => {
  interface Case {
    readonly id: string
    readonly expect: "accept" | "reject" | "either"
    readonly base64: string
  }
  const cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as ReadonlyArray<Case>
  const read = ({ base64 }: Case) => Buffer.from(base64, "base64").toString("utf8")

  it.effect("P8: of all cases in one decision, none reaches a tool that must be rejected; every sibling runs", () =>
    Effect.gen(function*() {
      assert.isAbove(cases.length, 0)
      const { bad, good } = yield* decide(cases.map(read))
      assert.strictEqual(good, cases.length)
      const wrong = cases.flatMap(({ expect, id }, i) => {
        const text = read(cases[i]!)
        // Blank text stands for no arguments; broken UTF-8 has become U+FFFD on the wire before it comes here.
        const lenient = /^\ufeff?\s*$/.test(text) || text.includes("\ufffd")
        if (expect === "reject" && bad[i] !== "InvalidInput" && !lenient) return [`${id} reached the tool`]
        if (expect === "accept" && text.trim().startsWith("{") && bad[i] !== "ok") return [`${id} was refused`]
        return []
      })
      assert.deepStrictEqual(wrong, [])
    }))

  it("P8: every prefix of an accepted text is read without a throw", () => {
    for (const text of cases.filter(({ expect }) => expect === "accept").map(read)) {
      for (let end = 0; end <= Math.min(text.length, 512); end++) {
        const value = ToolCall.parseArguments(text.slice(0, end))
        assert.isTrue(typeof value === "string" || (typeof value === "object" && value !== null))
      }
    }
  })
})
