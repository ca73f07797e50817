import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { inspect } from "node:util"
import { compile, expectedKeys, type Validate } from "../../src/engine/internal/jsonSchema.ts"
import { describeData } from "../data.ts"

type Dialect = NonNullable<Parameters<typeof compile>[1]>

const valid = (schema: unknown, dialect?: Dialect): Validate =>
  Result.getOrThrowWith(compile(schema, dialect), (refusal) => new Error(refusal.message))

const issue = (schema: unknown, value: unknown, dialect?: Dialect): string | undefined =>
  valid(schema, dialect)(value)?.issue

const refusal = (schema: unknown, dialect?: Dialect): readonly [keyword: string, path: string] =>
  Result.match(compile(schema, dialect), {
    onSuccess: () => ["none", ""],
    onFailure: ({ keyword, path }) => [keyword, path]
  })

const refused: ReadonlyArray<readonly [schema: unknown, keyword: string, path: string, dialect?: Dialect]> = [
  [{ properties: { a: { $ref: "https://example.com/a.json" } } }, "$ref", "/properties/a"],
  [{ $ref: "#/nowhere" }, "$ref", ""],
  [{ $ref: "#/properties", properties: {} }, "$ref", ""],
  [{ $ref: "#/components/a", components: { a: {} } }, "$ref", ""],
  [{ $ref: "#" }, "$ref", ""],
  [{ $defs: { a: { allOf: [{ $ref: "#/$defs/b" }] }, b: { not: { $ref: "#/$defs/a" } } } }, "$ref", "/$defs/b/not"],
  [{ dependentSchemas: { a: { $ref: "#" } } }, "$ref", "/dependentSchemas/a"],
  [{ $dynamicRef: "#a" }, "$dynamicRef", ""],
  [{ $defs: { a: { $dynamicAnchor: "a" } } }, "$dynamicAnchor", "/$defs/a"],
  [{ $recursiveRef: "#" }, "$recursiveRef", ""],
  [{ $schema: "https://json-schema.org/draft/2019-09/schema" }, "$schema", ""],
  [{ $schema: "http://json-schema.org/draft-04/schema#" }, "$schema", ""],
  [{ $schema: 7 }, "$schema", ""],
  [{ items: { $id: "https://example.com/b" } }, "$id", "/items"],
  [{ $id: "#a" }, "$id", ""],
  [{ items: [{ type: "string" }] }, "items", ""],
  [{ items: {}, additionalItems: false }, "additionalItems", ""],
  [{ properties: { a: { type: "strnig" } } }, "type", "/properties/a"],
  [{ type: [] }, "type", ""],
  [{ required: "a" }, "required", ""],
  [{ minimum: "3" }, "minimum", ""],
  [{ minimum: 1, exclusiveMinimum: true }, "exclusiveMinimum", ""],
  [{ multipleOf: 0 }, "multipleOf", ""],
  [{ multipleOf: 1e-8 }, "multipleOf", ""],
  [{ maxLength: -1 }, "maxLength", ""],
  [{ maxLength: 1.5 }, "maxLength", ""],
  [{ pattern: "(" }, "pattern", ""],
  [{ patternProperties: { "[": {} } }, "patternProperties", ""],
  [{ properties: [] }, "properties", ""],
  [{ properties: { a: 1 } }, "schema", "/properties/a"],
  [{ allOf: [] }, "allOf", ""],
  [{ anyOf: [{ oneOf: {} }] }, "oneOf", "/anyOf/0"],
  [{ type: "string", nullable: true }, "nullable", ""],
  [{ if: {}, then: {}, unevaluatedProperties: false }, "if", ""],
  [
    { $ref: "#/$defs/a", allOf: [{ unevaluatedProperties: false }], $defs: { a: { properties: { b: true } } } },
    "unevaluatedProperties",
    "/allOf/0"
  ],
  [
    { anyOf: [{}], dependentSchemas: { a: { not: true, unevaluatedItems: true } } },
    "unevaluatedItems",
    "/dependentSchemas/a"
  ],
  [{ prefixItems: [{}] }, "prefixItems", "", "draft-07"],
  [{ properties: { a: { unevaluatedProperties: false } } }, "unevaluatedProperties", "/properties/a", "draft-07"],
  [{ dependentRequired: {} }, "dependentRequired", "", "draft-07"],
  [{ const: 1n }, "const", ""],
  ["object", "schema", ""],
  [null, "schema", ""],
  [[], "schema", ""],
  [undefined, "schema", ""]
]

interface Group {
  readonly description: string
  readonly schema: unknown
  readonly tests: ReadonlyArray<{ readonly description: string; readonly data: unknown; readonly valid: boolean }>
}

// What may be refused, by keyword. A group refused for another keyword is a failure: it would be a claim we do not keep.
const mayRefuse = new Set([
  "$ref",
  "$id",
  "$dynamicRef",
  "$dynamicAnchor",
  "$schema",
  "if",
  "multipleOf",
  "$anchor",
  "unevaluatedProperties",
  "unevaluatedItems"
])

// Draft 7 lets a validator assert `contentEncoding` and `contentMediaType`, and 2020-12 does not; here they are annotations.
const annotationsOnly = new Set(["content.json"])

const runSuite = (folder: string, dialect: Dialect) => {
  const tally = { judged: 0, refused: new Map<string, number>(), wrong: [] as Array<string> }
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".json") && !annotationsOnly.has(name))) {
    const groups: ReadonlyArray<Group> = JSON.parse(readFileSync(join(folder, file), "utf8"))
    for (const group of groups) {
      const compiled = compile(group.schema, dialect)
      if (Result.isFailure(compiled)) {
        const { keyword } = compiled.failure
        tally.refused.set(keyword, (tally.refused.get(keyword) ?? 0) + group.tests.length)
        if (!mayRefuse.has(keyword)) tally.wrong.push(`${file}: ${group.description}: ${compiled.failure.message}`)
        continue
      }
      for (const test of group.tests) {
        tally.judged++
        const found = compiled.success(test.data)
        if ((found === undefined) !== test.valid) {
          tally.wrong.push(`${file}: ${group.description}: ${test.description}: ${found?.issue ?? "valid"}`)
        }
      }
    }
  }
  return tally
}

describe("jsonSchema", () => {
  describe("a value", () => {
    it("is judged by every fault, named by its path", () => {
      const schema = {
        type: "object",
        properties: { a: { type: "array", items: { type: "integer" } }, "b/c": { enum: ["x"] } },
        required: ["d"],
        additionalProperties: false
      }
      assert.isUndefined(issue({ ...schema, required: [] }, { a: [1], "b/c": "x" }))
      assert.strictEqual(
        issue(schema, { a: [1, "2"] }),
        "the value: Instance does not have required property \"d\"; "
          + "/a/1: Instance type \"string\" is invalid. Expected \"integer\""
      )
      assert.match(issue(schema, { d: 1 }) ?? "", /the value: Property "d" does not match additional properties schema/)
      assert.match(issue(schema, { d: 1, "b/c": 2 }) ?? "", /\/b~1c: Instance does not match any of \["x"\]/)
    })

    it.each([undefined, () => 1, Symbol("s"), 1n, NaN, Infinity])(
      "that JSON does not know is an issue: %s",
      (value) => {
        assert.match(issue(true, value) ?? "", /which JSON does not know/)
        assert.match(issue(true, { a: [value] }) ?? "", value === undefined ? /\/a\/0 is undefined/ : /\/a\/0 is/)
      }
    )

    it("keeps names of Object.prototype apart from own properties", () => {
      for (const name of ["toString", "constructor", "__proto__", "hasOwnProperty", "valueOf"]) {
        assert.isDefined(issue({ required: [name] }, {}), name)
        assert.isUndefined(issue({ required: [name] }, JSON.parse(`{"${name}":1}`)), name)
        const properties = JSON.parse(`{"properties":{"${name}":{"type":"string"}},"additionalProperties":false}`)
        assert.isUndefined(issue(properties, {}), name)
        assert.isDefined(issue(properties, JSON.parse(`{"${name}":1}`)), name)
        assert.isUndefined(issue(properties, JSON.parse(`{"${name}":"x"}`)), name)
        assert.isDefined(issue(properties, { other: 1 }), name)
      }
      assert.isUndefined(({} as Record<string, unknown>)["polluted"])
    })

    it("tells an empty list from an empty object", () => {
      assert.isDefined(issue({ const: [] }, {}))
      assert.isDefined(issue({ const: {} }, []))
      assert.isDefined(issue({ enum: [[1]] }, { 0: 1 }))
      assert.isDefined(issue({ const: [] }, { length: 0 }))
      assert.isDefined(issue({ const: [1] }, { 0: 1, length: 1 }))
      assert.isDefined(issue({ const: [] }, JSON.parse("{\"__proto__\":{},\"length\":0}")))
      assert.isDefined(issue({ enum: [{ a: [] }] }, { a: {} }))
      assert.isUndefined(issue({ enum: [{ a: [] }] }, { a: [] }))
      assert.isUndefined(issue({ uniqueItems: true }, [[], {}, { 0: 1 }, [1]]))
      assert.isDefined(issue({ uniqueItems: true }, [[{ a: 1, b: 2 }], [{ b: 2, a: 1 }]]))
    })

    it("is a multiple of a whole number only exactly", () => {
      assert.isUndefined(issue({ multipleOf: 3 }, 9))
      assert.isDefined(issue({ multipleOf: 3 }, 9.00000001))
      assert.isDefined(issue({ type: "number", multipleOf: 1 }, 1.00000001))
      assert.isUndefined(issue({ multipleOf: 3 }, "nine"))
      assert.isUndefined(issue({ multipleOf: 0.01 }, 4.35))
      assert.isDefined(issue({ multipleOf: 0.01 }, 4.355))
    })

    it("wants one item where only maxContains is given", () => {
      const schema = { contains: { const: 1 }, maxContains: 1 }
      assert.isDefined(issue(schema, [2]))
      assert.isUndefined(issue(schema, [2, 1]))
      assert.isDefined(issue(schema, [1, 1]))
    })

    it("may have keys that are not well-formed", () => {
      assert.isUndefined(issue({ additionalProperties: { type: "number" } }, { "\ud800": 1 }))
      assert.isDefined(issue({ additionalProperties: { type: "number" } }, { "\ud800": "1" }))
      assert.isDefined(issue({ propertyNames: { maxLength: 1 } }, { "%E0%A4%A": 1 }))
    })

    it("is checked against patterns with needless escapes, as schemas in the wild have", () => {
      const schema = { pattern: "^[\\w\\_\\-\\.]+\\@[a-z\\-]+\\-$" }
      assert.isUndefined(issue(schema, "a_b-c.d@e-f-"))
      assert.isDefined(issue(schema, "a b@e-"))
    })

    it("may be nested 500 deep in a recursive schema, and is refused deeper", () => {
      const tree = {
        type: "object",
        properties: { next: { anyOf: [{ type: "null" }, { $ref: "#" }] } },
        required: ["next"]
      }
      const deep = (levels: number): unknown =>
        Array.from({ length: levels }).reduce((inner) => ({ next: inner }), null as unknown)
      assert.isUndefined(issue(tree, deep(100)))
      assert.match(issue(tree, deep(600)) ?? "", /nested deeper than 512/)
      const cyclic: Record<string, unknown> = {}
      cyclic["next"] = cyclic
      assert.match(issue(tree, cyclic) ?? "", /nested deeper than 512/)
    })

    it("costs a bounded number of steps even where the schema is exponential", () => {
      const branch = { properties: { a: { $ref: "#" } } }
      const schema = { anyOf: [{ ...branch, required: ["x"] }, { ...branch, required: ["y"] }] }
      const deep = Array.from({ length: 200 }).reduce((inner) => ({ a: inner }), {} as unknown)
      assert.match(issue(schema, deep) ?? "", /too deep or too ambiguous to be checked/)
      assert.isDefined(issue(schema, { a: { z: 1 } }))
      assert.isUndefined(issue(schema, { x: 1 }))
    })

    it("has at most 2000 items where they must be unique", () => {
      const items = Array.from({ length: 2001 }, (_, i) => i)
      assert.match(issue({ uniqueItems: true }, items) ?? "", /2001 items is longer than the 2000/)
      assert.isUndefined(issue({ uniqueItems: true }, items.slice(1)))
      assert.isUndefined(issue({ items: { type: "integer" } }, items))
    })

    it("is judged alone: one check leaves nothing for the next", () => {
      const check = valid({ properties: { a: { type: "string" } }, unevaluatedProperties: false })
      assert.isDefined(check({ a: 1 }))
      assert.isUndefined(check({ a: "1" }))
      assert.isDefined(check({ b: "1" }))
      assert.isUndefined(check({ a: "1" }))
    })
  })

  describe("a schema", () => {
    it("is left as it was, frozen or not", () => {
      const schema = Object.freeze({
        $id: "https://x.test/a",
        properties: Object.freeze({ a: Object.freeze({ $ref: "#" }) })
      })
      assert.isUndefined(issue(schema, { a: { a: {} } }))
      assert.deepStrictEqual(Reflect.ownKeys(schema), ["$id", "properties"])
      assert.deepStrictEqual(Reflect.ownKeys(schema.properties.a), ["$ref"])
    })

    for (const [schema, keyword, path, dialect] of refused) {
      it(`is refused by keyword and path: ${inspect(schema, { depth: 9 })}`, () => {
        assert.deepStrictEqual(refusal(schema, dialect), [keyword, path])
      })
    }

    it("that is cyclic, too deep or too large is refused", () => {
      const cyclic: Record<string, unknown> = {}
      cyclic["not"] = cyclic
      assert.strictEqual(refusal(cyclic)[0], "schema")
      const wide = Array.from({ length: 30 }).reduce<unknown>((inner) => ({ allOf: [inner, inner] }), {})
      assert.strictEqual(refusal(wide)[0], "schema")
    })

    it("may carry annotations, words of its own, and properties named like keywords", () => {
      const schema = {
        title: "t",
        description: "d",
        default: 1,
        examples: [{ $ref: "nowhere" }],
        "x-order": { $id: "a", $ref: "nowhere" },
        id: "not an id here",
        format: "date",
        enum: [{ $ref: "nowhere" }, "2020"],
        properties: { $ref: { type: "string" }, $id: { type: "string" }, items: true, type: true, __proto__: {} }
      }
      assert.isUndefined(issue(schema, "2020"))
      assert.isUndefined(issue(schema, { $ref: "nowhere" }))
      assert.isDefined(issue(schema, "2021"))
    })

    it("gives the names of its top-level properties", () => {
      assert.deepStrictEqual(expectedKeys({ properties: { b: {}, a: {} } }), ["b", "a"])
      for (const schema of [true, null, {}, { properties: 1 }, "x", undefined]) {
        assert.deepStrictEqual(expectedKeys(schema), [])
      }
    })
  })

  describeData("json-schema", "JSON-Schema-Test-Suite", (folder) => {
    it.each<readonly [name: string, dialect: Dialect, least: number]>([
      ["draft2020-12", "2020-12", 500],
      ["draft2020-12/optional", "2020-12", 40],
      ["draft7", "draft-07", 400],
      ["draft7/optional", "draft-07", 40]
    ])("agrees on %s, or refuses", (name, dialect, least) => {
      assert.isTrue(existsSync(join(folder, name)))
      const { judged, refused, wrong } = runSuite(join(folder, name), dialect)
      assert.deepStrictEqual(wrong, [])
      assert.isAtLeast(judged, least, `refused: ${JSON.stringify([...refused])}`)
    })
  })
})
