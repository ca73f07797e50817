/** A guess is the call if, and only if, their decoded parameters are equal. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { isDeepStrictEqual } from "node:util"
import { ToolPolicy } from "../../src/index.ts"
import { TestModel, TestTools } from "../../src/testing/index.ts"
import { random } from "../random.ts"
import { guess, ledgerOf, made, played, type Setting } from "./guessing.ts"

class Place extends Schema.Class<Place>("Place")({ city: Schema.String, zip: Schema.NumberFromString }) {}

const Parameters = Schema.Struct({
  text: Schema.String.pipe(Schema.decodeTo(Schema.Trim)),
  count: Schema.Union([Schema.NumberFromString, Schema.Number]),
  when: Schema.DateFromString,
  place: Place,
  tags: Schema.Array(Schema.String),
  limit: Schema.Number.pipe(Schema.withDecodingDefaultKey(Effect.succeed(10))),
  note: Schema.optionalKey(Schema.NullOr(Schema.String)),
  any: Schema.optionalKey(Schema.Unknown)
})

const kit = (tools: TestTools.HandlerRecorder) =>
  ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Parameters,
      success: Schema.String,
      annotations: { readonly: true },
      handler: tools.handler("look", TestTools.succeed("found"))
    })
  })

const raw = (tools: TestTools.HandlerRecorder) => {
  const toolkit = Toolkit.make(
    Tool.dynamic("look", { parameters: { type: "object", additionalProperties: true }, success: Schema.String })
      .annotate(Tool.Readonly, true)
  )
  return { toolkit, layer: toolkit.toLayer({ look: tools.handler("look", TestTools.succeed("found")) as never }) }
}

type Random = ReturnType<typeof random>

const shuffled = (r: Random, value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map((each) => shuffled(r, each))
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [r.next(), key, shuffled(r, each)] as const)
      .sort((a, b) => a[0] - b[0]).map(([, key, each]) => [key, each])
  )
}

// Few values, many spellings: about half of all pairs are equal.
const params = (r: Random): Record<string, unknown> => ({
  text: r.pick(["a", " a", "a  ", "a", "b"]),
  count: r.pick([1, "1", "1.0", " 1", 1, "2"]),
  when: r.pick(["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"]),
  place: { city: "Rome", zip: r.pick(["7", "07", "7.0"]) },
  tags: r.pick([["x", "y"], ["x", "y"], ["x", "y"], ["y", "x"]]),
  ...(r.chance(0.5) ? {} : { limit: r.pick([10, 10, 10, 11]) }),
  ...(r.chance(0.8) ? {} : { note: r.pick([null, ""]) }),
  ...(r.chance(0.8) ? {} : { any: { deep: [{ one: 1, two: "1" }] } })
})

const turns = (params: unknown): ReadonlyArray<TestModel.Turn> => [[
  TestModel.wait("1 second"),
  made("look", params, "made")
]]

const isHit = (setting: Pick<Setting, "kit">, guessed: unknown, made: unknown) =>
  Effect.map(
    played({ ...setting, turns: turns(made), guesses: ({ step }) => step === 1 ? [guess("look", guessed)] : [] }),
    (run) => {
      const { hit, lateHit, started } = ledgerOf(run)
      assert.strictEqual(started, 1)
      assert.strictEqual(
        run.calls.length,
        hit + lateHit === 1 ? 1 : 2,
        "the handler runs for the guess, and for a call that is another"
      )
      return hit + lateHit === 1
    }
  )

describe("S2 guess with other arguments", () => {
  it.effect("is the call exactly where the decoded parameters are equal, however they were written", () =>
    Effect.gen(function*() {
      const decode = Schema.decodeUnknownEffect(Parameters)
      let equals = 0
      let others = 0
      for (let seed = 1; seed <= 250; seed++) {
        const r = random(seed)
        const guessed = params(r)
        // Half of the calls are the guess in another order, the rest are drawn anew.
        const made = shuffled(r, r.chance(0.3) ? guessed : params(r))
        const isEqual = isDeepStrictEqual(yield* decode(guessed), yield* decode(made))
        if (isEqual) equals++
        else others++
        const what = `seed ${seed}: ${JSON.stringify(guessed)} and ${JSON.stringify(made)}`
        assert.strictEqual(yield* isHit({ kit }, guessed, made), isEqual, what)
      }
      assert.isAbove(equals, 50)
      assert.isAbove(others, 50)
    }))

  it.effect("of a tool with a JSON Schema: the same JSON in any order of keys", () =>
    Effect.gen(function*() {
      const values: ReadonlyArray<unknown> = [
        1,
        "1",
        true,
        null,
        [],
        {},
        [1, 2],
        [2, 1],
        { a: 1, b: { c: [1] } },
        { a: 1 },
        0,
        ""
      ]
      let equals = 0
      for (let seed = 1; seed <= 150; seed++) {
        const r = random(seed)
        const one = r.pick(values)
        const other = r.chance(0.4) ? one : r.pick(values)
        const guessed = { value: one, more: { x: 1, y: "2" } }
        const made = shuffled(r, { value: other, more: { x: 1, y: "2" } })
        const isEqual = isDeepStrictEqual(one, other)
        if (isEqual) equals++
        assert.strictEqual(
          yield* isHit({ kit: raw }, guessed, made),
          isEqual,
          `seed ${seed}: ${JSON.stringify([guessed, made])}`
        )
      }
      assert.isAbove(equals, 20)
    }))

  it.effect("with the right name and no sense is ignored, and counted", () =>
    Effect.gen(function*() {
      for (const bad of [{}, { text: 1 }, null, [], "text", undefined, Number.NaN]) {
        const given = random(1)
        const made = params(given)
        const result = yield* played({ kit, turns: turns(made), guesses: () => [guess("look", bad)] })
        assert.strictEqual(result.guessed.length, 0)
        assert.strictEqual(result.real.length, 1)
        assert.isAtLeast(result.finish.report.speculation!.predictors[0]!.ignored, 1, JSON.stringify(bad))
      }
    }))

  it.effect("a handler that changes its parameters changes no comparison", () =>
    Effect.gen(function*() {
      const value = (): Record<string, unknown> => ({ list: ["a"] })
      const spoiling = (tools: TestTools.HandlerRecorder) => {
        const toolkit = Toolkit.make(
          Tool.dynamic("look", { parameters: { type: "object", additionalProperties: true }, success: Schema.String })
            .annotate(Tool.Readonly, true)
        )
        const handler = tools.handler("look", (params: { list: Array<string> }) => {
          params.list.push("spoiled")
          return TestTools.succeed("found")
        })
        return { toolkit, layer: toolkit.toLayer({ look: handler as never }) }
      }
      assert.isTrue(yield* isHit({ kit: spoiling }, value(), value()))
      assert.isFalse(yield* isHit({ kit: spoiling }, value(), { list: ["a", "spoiled"] }))
    }))
})
