import { assert, describe, it } from "@effect/vitest"
import { clauseText, splitClauses } from "../../src/adapter/internal/localClause.ts"
import { extract } from "../../src/adapter/internal/localExtract.ts"
import type { Reading } from "../../src/adapter/internal/localReading.ts"
import { type Answer, valuesFor } from "../../src/adapter/internal/localResult.ts"
import { type Slot, slotsOf } from "../../src/adapter/internal/localSlot.ts"
import { summarise } from "../../src/adapter/internal/localSummary.ts"
import { maxRequestLength, tokenize } from "../../src/adapter/internal/localToken.ts"
import { stem, wordsOf } from "../../src/adapter/internal/localWords.ts"

describe("localToken", () => {
  const table: ReadonlyArray<readonly [text: string, tokens: ReadonlyArray<string>]> = [
    ["Read src/a.ts.", ["word Read", "path src/a.ts", "mark ."]],
    ["1,000 and 2.5, -3", ["number 1000", "word and", "number 2.5", "mark ,", "number -3"]],
    ["see https://x.org/a?b=1.", ["word see", "url https://x.org/a?b=1", "mark ."]],
    ["mail a.b@c.io!", ["word mail", "email a.b@c.io", "mark !"]],
    ["find \"a, b\" and `c`", ["word find", "quoted a, b", "word and", "quoted c"]],
    ["don't use 'x y'", ["word don't", "word use", "quoted x y"]],
    ["on 2026-05-01 at 7pm", ["word on", "date 2026-05-01", "word at", "time 7pm"]],
    ["**/*.ts in lib/", ["path **/*.ts", "word in", "path lib/"]],
    ["order #42 or A-7 or user_id", [
      "word order",
      "identifier #42",
      "word or",
      "identifier A-7",
      "word or",
      "identifier user_id"
    ]],
    ["TypeScript and/or getUser()", ["word TypeScript", "word and/or", "identifier getUser"]]
  ]
  for (const [text, tokens] of table) {
    it(`reads ${JSON.stringify(text)}`, () => {
      assert.deepStrictEqual(tokenize(text).map((token) => `${token.kind} ${token.text}`), tokens)
    })
  }

  it("tells a name from a word that only opens a sentence", () => {
    const proper = (text: string) => tokenize(text).filter((token) => token.proper).map((token) => token.text)
    assert.deepStrictEqual(proper("Weather in Paris. Show Rome"), ["Paris", "Rome"])
    assert.deepStrictEqual(proper("Paris, Rome and Oslo: weather"), ["Paris", "Rome", "Oslo"])
    assert.deepStrictEqual(proper("I'm off on Friday in May"), [])
  })

  it("reads any text, and hostile text in bounded time", () => {
    for (const unit of ["a*", "a@", "*.", "/a,", "\"", "a-", "1,", "\u0000", "\ud83d", "{", "é"]) {
      const tokens = tokenize(unit.repeat(maxRequestLength))
      assert.isTrue(tokens.every((token) => token.end <= maxRequestLength))
    }
  })
})

describe("localClause", () => {
  const clauses = (text: string) => splitClauses(tokenize(text)).map(clauseText)

  it("keeps a list of values in one clause", () => {
    assert.deepStrictEqual(clauses("weather in Paris, Rome and Oslo"), ["weather in Paris Rome Oslo"])
    assert.deepStrictEqual(clauses("analyse src/a.ts, src/b.ts and src/c.ts"), ["analyse"])
  })

  it("cuts where another instruction begins", () => {
    assert.deepStrictEqual(clauses("show the log and find all files; read a.md. Stop"), [
      "show the log",
      "find all files",
      "read",
      "Stop"
    ])
  })

  it("counts the stages that a then opens", () => {
    const stages = splitClauses(tokenize("make a branch, then delete it and then tell Bob")).map((clause) =>
      clause.stage
    )
    assert.deepStrictEqual(stages, [0, 1, 2])
  })

  it("has no clause for an empty request", () => {
    assert.deepStrictEqual(splitClauses(tokenize(" \n . , ")), [])
  })
})

const slot = (name: string, schema: object = { type: "string" }, required = true): Slot =>
  slotsOf({ properties: { [name]: schema }, required: required ? [name] : [] })[0]!

const reading = (text: string, more: Partial<Reading> = {}): Reading => ({
  tokens: tokenize(text),
  taken: new Set(),
  today: Date.parse("2026-03-04"),
  toolStems: new Set(),
  soleNumber: true,
  similar: () => 0,
  ...more
})

describe("localSlot", () => {
  const kinds: ReadonlyArray<readonly [name: string, schema: object, kind: string]> = [
    ["file_path", { type: "string" }, "file"],
    ["startDate", { type: "string" }, "date"],
    ["x", { type: "string", format: "uri" }, "url"],
    ["to", { type: "string", description: "Email address" }, "email"],
    ["from", { type: "string", description: "Currency code" }, "currency"],
    ["city", { anyOf: [{ type: "string" }, { type: "null" }] }, "place"],
    ["query", { type: "string" }, "text"],
    ["user_id", { type: "string" }, "identifier"],
    ["level", { enum: ["low", "high"] }, "choice"],
    ["verbose", { type: "boolean" }, "flag"],
    ["n", { type: ["integer", "null"] }, "number"],
    ["tags", { type: "array", items: { type: "string" } }, "any"],
    ["where", { type: "object", properties: {} }, "object"]
  ]
  for (const [name, schema, kind] of kinds) {
    it(`takes ${name} for a ${kind}`, () => assert.strictEqual(slot(name, schema).kind, kind))
  }

  it("follows a local reference and survives one that leads nowhere", () => {
    const schema = {
      properties: { a: { $ref: "#/$defs/A" }, b: { $ref: "#/$defs/B" } },
      $defs: { A: { type: "integer" } }
    }
    assert.deepStrictEqual(slotsOf(schema).map((each) => each.kind), ["number", "any"])
    for (const bad of [undefined, null, 1, "x", [], { properties: 3 }]) assert.deepStrictEqual(slotsOf(bad), [])
  })
})

describe("localExtract", () => {
  const table: ReadonlyArray<readonly [slot: Slot, text: string, values: ReadonlyArray<unknown>]> = [
    [slot("city"), "weather in New York and Rio de Janeiro", ["New York", "Rio de Janeiro"]],
    [slot("city"), "what is the weather in paris", ["paris"]],
    [slot("city"), "what is the weather", []],
    [slot("path"), "read src/a.ts and README.md but not *.md", ["src/a.ts", "README.md"]],
    [slot("directory", { type: "string" }, false), "find files under lib", ["lib"]],
    [slot("directory", { type: "string" }, false), "find files in the packages folder", ["packages"]],
    [slot("directory", { type: "string" }, false), "find files in parallel", []],
    [slot("glob", { type: "string" }, false), "all Python files", ["**/*.py"]],
    [slot("extension", { type: "string" }, false), "all *.ts and Markdown files", ["ts", "md"]],
    [slot("date"), "tomorrow", ["2026-03-05"]],
    [slot("date"), "on Friday", ["2026-03-06"]],
    [slot("date"), "last Friday", ["2026-02-27"]],
    [slot("date"), "on March 3", ["2027-03-03"]],
    [slot("date"), "3 May 2026", ["2026-05-03"]],
    [slot("date"), "on June 31", []],
    [slot("time"), "at 7pm, 19:30 and noon", ["19:00", "19:30", "12:00"]],
    [slot("amount", { type: "number" }), "10, 20 and 50.5", [10, 20, 50.5]],
    [slot("n", { type: "integer" }), "take 2.5", []],
    [slot("n", { type: "integer", maximum: 5 }), "take 9", []],
    [slot("limit", { type: "integer" }, false), "the last twelve commits", [12]],
    [slot("limit", { type: "integer" }, false), "commits of 3 people", []],
    [slot("days", { type: "integer" }, false), "for 3 days", [3]],
    [slot("unit", { enum: ["celsius", "fahrenheit"] }), "in Fahrenheit", ["fahrenheit"]],
    [slot("unit", { enum: ["celsius", "fahrenheit"] }), "whatever", []],
    [slot("recursive", { type: "boolean" }), "make the list recursive", [true]],
    [slot("include_tests", { type: "boolean" }), "without the tests", [false]],
    [slot("currency"), "50 euros in dollars and CHF", ["EUR", "USD", "CHF"]],
    [slot("url"), "check https://a.io and https://b.io/x", ["https://a.io", "https://b.io/x"]],
    [slot("email"), "to a@b.co", ["a@b.co"]],
    [slot("query"), "search for rate limits in src/", ["rate limits"]],
    [slot("query"), "search for cats, dogs and birds", ["cats", "dogs", "birds"]],
    [slot("query"), "search for \"a\" and \"b\"", ["a", "b"]],
    [slot("order_id"), "orders 17 and 18", ["17", "18"]],
    [slot("language"), "into French and German", ["French", "German"]]
  ]
  for (const [slot, text, values] of table) {
    it(`reads ${slot.name} from ${JSON.stringify(text)}`, () => {
      const stems = new Set(["commit"])
      assert.deepStrictEqual(extract(slot, reading(text, { toolStems: stems })).map((found) => found.value), values)
    })
  }

  it("takes a required choice by similarity only when one is clearly near", () => {
    const unit = slot("unit", { enum: ["celsius", "fahrenheit"] })
    const similar = (word: string, choice: string) => word === "centigrade" && choice === "celsius" ? 0.8 : 0.3
    assert.deepStrictEqual(extract(unit, reading("in centigrade", { similar })).map((found) => found.value), [
      "celsius"
    ])
    assert.deepStrictEqual(extract({ ...unit, required: false }, reading("in centigrade", { similar })), [])
  })
})

const answer = (name: string, result: unknown, more: Partial<Answer> = {}): Answer => ({
  name,
  result,
  params: {},
  isFailure: false,
  ...more
})

describe("localResult", () => {
  it("prefers the key that is the parameter's name over a value of the right shape", () => {
    const answers = [answer("list", { users: [{ id: 1, email: "a@b.co" }, { id: 2, email: "c@d.co" }] })]
    assert.deepStrictEqual(valuesFor(slot("id"), answers), ["1", "2"])
    assert.deepStrictEqual(valuesFor(slot("user_id", { type: "integer" }), answers), [1, 2])
    assert.deepStrictEqual(valuesFor(slot("recipient"), answers), ["a@b.co", "c@d.co"])
  })

  it("finds paths wherever they stand, once each, and never in a failure", () => {
    assert.deepStrictEqual(valuesFor(slot("path"), [answer("find", { files: ["a.ts", "b/c.ts", "a.ts"], count: 2 })]), [
      "a.ts",
      "b/c.ts"
    ])
    assert.deepStrictEqual(valuesFor(slot("path"), [answer("find", { files: ["a.ts"] }, { isFailure: true })]), [])
  })

  it("survives a result of any shape", () => {
    for (const result of [null, undefined, 1, "x", [[[[]]]], { a: { b: null } }]) {
      assert.deepStrictEqual(valuesFor(slot("city"), [answer("t", result)]), [])
    }
  })
})

describe("localSummary", () => {
  it("quotes few results and counts many", () => {
    assert.strictEqual(
      summarise([answer("weather", { temperature: 7 }, { params: { city: "Oslo" } })], [], ["weather"]),
      "weather:\n  Oslo: temperature 7"
    )
    const many = Array.from({ length: 10 }, (_, i) => answer("analyse", { lines: i }, { params: { path: `${i}.ts` } }))
    assert.strictEqual(summarise(many, [], []), "analyse (10 calls):\n  lines: 45 in all, at most 9 (9.ts)")
  })

  it("names failures, missing values and the offered tools", () => {
    const failed = answer("read", { message: "no such file" }, { isFailure: true, params: { path: "x" } })
    assert.strictEqual(summarise([failed], [], []), "read:\n  x: failed: no such file")
    assert.strictEqual(
      summarise([], [{ tool: "weather", slots: ["city"] }], ["weather"]),
      "weather was not called: the request gives no value for city."
    )
    assert.strictEqual(summarise([], [], ["a", "b"]), "No offered tool fits this request. Offered: a, b.")
    assert.strictEqual(summarise([], [], []), "No tool is offered.")
  })
})

describe("localWords", () => {
  it("stems both sides of a pair to the same letters", () => {
    for (
      const [a, b] of [["files", "file"], ["analysing", "analyse"], ["analyze", "analyse"], ["cities", "city"], [
        "searches",
        "search"
      ]] as const
    ) {
      assert.strictEqual(stem(a), stem(b))
    }
  })

  it("cuts names at case, dashes and underscores", () => {
    assert.deepStrictEqual(wordsOf("getUser_ids-2"), ["get", "user", "ids", "2"])
  })
})
