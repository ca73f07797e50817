/**
 * The planner on material it was not written for: other people's tools and questions, and strings made to break
 * programs.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Embedding from "../../src/adapter/internal/localEmbedding.ts"
import { decide, type PlannedTool, textsOf } from "../../src/adapter/internal/localPlan.ts"
import { slotsOf } from "../../src/adapter/internal/localSlot.ts"
import { defaultThreshold } from "../../src/adapter/LocalModel.ts"
import { describeData } from "../data.ts"

interface Case {
  readonly id: string
  readonly question: ReadonlyArray<ReadonlyArray<{ readonly role: string; readonly content: string }>>
  readonly functions: ReadonlyArray<
    { readonly name: string; readonly description: string; readonly parameters: unknown }
  >
  readonly expected: ReadonlyArray<Record<string, Record<string, ReadonlyArray<unknown>>>>
}

// The set's type names are Python's.
const jsonTypes: Readonly<Record<string, string>> = { dict: "object", float: "number", tuple: "array" }
const jsonSchema = (schema: unknown): unknown =>
  JSON.parse(
    JSON.stringify(schema, (key, value: unknown) =>
      key === "type" && typeof value === "string" ? jsonTypes[value] ?? value : value)
  )

const tool = (name: string, description: string, schema: unknown): PlannedTool => ({
  name,
  title: undefined,
  description,
  examples: [],
  readonly: true,
  schema
})

const plan = Effect.fnUntraced(
  function*(encoder: Embedding.Encoder, request: string, tools: ReadonlyArray<PlannedTool>) {
    const vectors = yield* encoder.encode(textsOf(request, tools))
    return decide({
      request,
      tools,
      answers: [],
      made: [],
      threshold: defaultThreshold,
      required: false,
      today: Date.parse("2026-03-04"),
      similarity: (a, b) => Embedding.cosine(vectors.get(a), vectors.get(b))
    })
  }
)

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a).toLowerCase() === JSON.stringify(b).toLowerCase()

const accepts = (expected: Record<string, ReadonlyArray<unknown>>, params: Record<string, unknown>): boolean =>
  Object.keys(params).every((key) => key in expected) &&
  Object.entries(expected).every(([key, values]) =>
    values.some((value) => key in params ? same(value, params[key]) : value === "")
  )

describeData("bfcl", "LocalModel on the Berkeley Function Calling Leaderboard", (folder) => {
  const measure = Effect.fnUntraced(function*(set: string) {
    const encoder = yield* Embedding.make
    const cases: ReadonlyArray<Case> = readFileSync(join(folder, `${set}.jsonl`), "utf8").trim().split("\n").map((
      line
    ) => JSON.parse(line))
    const count = {
      cases: cases.length,
      toolsRight: 0,
      toolsChosen: 0,
      toolsWanted: 0,
      callsRight: 0,
      callsMade: 0,
      callsWanted: 0
    }
    for (const { expected, functions, question } of cases) {
      const request = question[0]!.filter(({ role }) => role === "user").map(({ content }) => content).join("\n")
      const decision = yield* plan(
        encoder,
        request,
        functions.map((each) => tool(each.name, each.description, jsonSchema(each.parameters)))
      )
      const wanted = expected.flatMap((each) => Object.entries(each))
      const chosen = new Set([...decision.calls.map(({ name }) => name), ...decision.unfilled.map(({ tool }) => tool)])
      const names = new Set(wanted.map(([name]) => name))
      count.toolsChosen += chosen.size
      count.toolsWanted += names.size
      count.toolsRight += [...names].filter((name) => chosen.has(name)).length
      count.callsMade += decision.calls.length
      count.callsWanted += wanted.length
      for (const { name, params } of decision.calls) {
        const index = wanted.findIndex(([wantedName, values]) => wantedName === name && accepts(values, params))
        if (index >= 0) count.callsRight += wanted.splice(index, 1).length
      }
    }
    return count
  })

  for (const [set, calls] of [["multiple", 0.25], ["parallel", 0.2], ["parallel_multiple", 0.2]] as const) {
    it.effect(
      `${set}: chooses 9 of 10 tools rightly, fills at least ${calls * 100} % of the calls exactly`,
      () =>
        Effect.gen(function*() {
          const count = yield* measure(set)
          const said = JSON.stringify(count)
          assert.isAtLeast(count.toolsRight / count.toolsWanted, 0.9, said)
          assert.isAtLeast(count.toolsRight / count.toolsChosen, 0.9, said)
          assert.isAtLeast(count.callsRight / count.callsWanted, calls, said)
        }),
      120_000
    )
  }

  it.effect("irrelevance: makes no call for at least 4 of 5 requests that no tool fits", () =>
    Effect.gen(function*() {
      const { callsMade, cases } = yield* measure("irrelevance")
      assert.isAtMost(callsMade / cases, 0.2)
    }), 120_000)
})

describeData("naughty-strings", "LocalModel on naughty strings", (folder) => {
  const strings: ReadonlyArray<string> = JSON.parse(readFileSync(join(folder, "blns.json"), "utf8"))

  it("answers any request and any tool, and makes no call of a name that was not offered", () => {
    const schema = { type: "object", properties: { a: { type: "string" }, path: { type: "string" } }, required: ["a"] }
    for (const text of strings) {
      const tools = [
        tool(text, text, schema),
        tool("other", "Find files.", { properties: { [text]: { description: text } } })
      ]
      const request = `Find ${text} and then ${text}, "${text}"`
      textsOf(request, tools)
      const situation = {
        request,
        tools,
        answers: [],
        made: [],
        threshold: 0,
        required: true,
        today: 0,
        similarity: () => 1
      }
      const { calls } = decide({
        ...situation,
        answers: [{ name: "other", params: text, result: { [text]: [text] }, isFailure: false }]
      })
      assert.isTrue(calls.every(({ name }) => name === text || name === "other"), text)
    }
    assert.isUndefined(({} as Record<string, unknown>)["a"])
    assert.deepStrictEqual(
      slotsOf({ properties: JSON.parse("{\"__proto__\":{\"type\":\"string\"}}") }).map(({ name }) => name),
      ["__proto__"]
    )
  })
})
