import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { compile } from "../../src/engine/internal/jsonSchema.ts"
import { oracle } from "./jsonSchemaOracle.ts"

// mulberry32: small, and the same on every machine.
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const names = ["a", "b", "c", "__proto__", "toString", "0"]

// Schemas and values over a small alphabet, so that they meet.
const generator = (seed: number) => {
  const next = random(seed)
  const below = (n: number): number => Math.floor(next() * n)
  const pick = <A>(from: ReadonlyArray<A>): A => from[below(from.length)]!
  const some = <A>(make: () => A, most = 3): Array<A> => Array.from({ length: 1 + below(most) }, make)
  const record = (make: () => unknown): object =>
    // `Object.fromEntries` defines, so `__proto__` becomes a key of its own.
    Object.fromEntries(some(() => [pick(names), make()] as const))
  const leaf = (): unknown => pick<unknown>([null, true, false, 0, 1, 2, 3.5, 6, "", "a", "b", "ab", "\u{1f600}"])
  const value = (depth: number): unknown => {
    const kind = depth <= 0 ? 0 : below(4)
    if (kind < 2) return leaf()
    return kind === 2
      ? Array.from({ length: below(4) }, () => value(depth - 1))
      : below(5) === 0
      ? {}
      : record(() => value(depth - 1))
  }
  const type = (): string =>
    pick(["null", "boolean", "object", "object", "array", "array", "number", "integer", "string"])
  const schema = (depth: number): unknown => {
    if (below(9) === 0) return below(4) > 0
    const sub = (): unknown => schema(depth - 1)
    const makers: Record<string, () => unknown> = {
      type: () => below(2) === 0 ? type() : [...new Set(some(type))],
      const: () => value(2),
      enum: () => some(() => value(2), 5),
      minimum: () => below(4),
      exclusiveMaximum: () => below(5),
      multipleOf: () => pick([1, 2, 0.5, 3]),
      maxLength: () => below(3),
      pattern: () => pick(["a", "^b", "^.$"]),
      minItems: () => below(3),
      uniqueItems: () => below(2) === 0,
      required: () => [...new Set(some(() => pick(names), 2))],
      maxProperties: () => below(4),
      dependentRequired: () => record(() => [pick(names)]),
      ...(depth <= 0 ? {} : {
        $ref: () => pick(["#/$defs/a", "#/$defs/b", "#"]),
        allOf: () => some(sub),
        anyOf: () => some(sub),
        oneOf: () => some(sub),
        not: sub,
        if: sub,
        then: sub,
        else: sub,
        items: sub,
        prefixItems: () => some(sub),
        contains: sub,
        minContains: () => below(3),
        maxContains: () => below(3),
        properties: () => record(sub),
        patternProperties: () => ({ [pick(["a", "^[bc]$", "_"])]: sub() }),
        additionalProperties: sub,
        propertyNames: sub,
        dependentSchemas: () => record(sub),
        unevaluatedProperties: sub,
        unevaluatedItems: sub
      })
    }
    const keywords = some(() => pick(Object.keys(makers)), 4)
    return Object.fromEntries(keywords.map((keyword) => [keyword, makers[keyword]!()]))
  }
  const root = (): unknown => {
    const whole = schema(3)
    return typeof whole === "object" ? { ...whole, $defs: { a: schema(2), b: schema(1) } } : whole
  }
  return { root, value }
}

describe("jsonSchema", () => {
  it("agrees with the specification's text on random schemas and values", () => {
    const first = Number(process.env["TOOLFORMER_SEED"] ?? 1)
    const count = Number(process.env["TOOLFORMER_SEEDS"] ?? 3000)
    let judged = 0
    let valid = 0
    for (let seed = first; seed < first + count; seed++) {
      const { root, value } = generator(seed)
      const schema = root()
      const compiled = compile(schema)
      if (Result.isFailure(compiled)) {
        assert.include(
          ["$ref", "if", "unevaluatedProperties", "unevaluatedItems"],
          compiled.failure.keyword,
          `TOOLFORMER_SEED=${seed}: ${compiled.failure.message}`
        )
        continue
      }
      for (let i = 0; i < 8; i++) {
        const one = value(3)
        const expected = oracle(schema as boolean, one)
        judged++
        if (expected) valid++
        const issue: string | undefined = compiled.success(one)?.issue
        if ((issue === undefined) !== expected) {
          assert.fail(
            `TOOLFORMER_SEED=${seed}: expected ${expected ? "valid" : "invalid"}, got ${issue ?? "valid"}\n`
              + `schema ${JSON.stringify(schema)}\nvalue ${JSON.stringify(one)}`
          )
        }
      }
    }
    // Both answers must have been asked for often, or the generator tests nothing.
    assert.isAbove(judged, count * 3)
    assert.isAbove(valid, judged / 10)
    assert.isBelow(valid, judged * 0.9)
  })
})
