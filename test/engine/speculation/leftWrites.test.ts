/** Writes that go on after their call is answered, and calls that write nothing: what may be guessed beside them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools } from "../../../src/testing/index.ts"
import { guess, ledgerOf, made, type Played, played, type Setting } from "../../faults/guessing.ts"

const Params = Schema.Struct({ key: Schema.String })
type Params = typeof Params.Type

/** A world that a write changes when it really ends, long after its call was given up. */
const kitOf = (
  read: ToolPolicy.Annotations<Params, string>,
  write: ToolPolicy.Annotations<Params, string>,
  behaviour: (change: Effect.Effect<string>, nth: number) => TestTools.Behaviour<string>
) =>
(tools: TestTools.HandlerRecorder) => {
  let version = 0
  const change = Effect.sync(() => `wrote ${++version}`)
  return ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: { readonly: true, ...read },
      handler: tools.handler("look", () => TestTools.effect(Effect.delay(Effect.sync(() => `version ${version}`), 10)))
    }),
    put: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: { retry: false, ...write },
      handler: tools.handler("put", (_: Params, nth: number) => behaviour(change, nth))
    })
  })
}

const declared = [{ resources: () => [{ read: "x" }] }, { resources: () => [{ write: "x" }] }] as const
const undeclared = [{}, {}] as const

const lastOf = ({ parts }: Played) =>
  parts.flatMap((part) => part.type === "tool-result" && part.id === "c" ? [part.result] : [])

const turnsOf = (wait: number): ReadonlyArray<TestModel.Turn> => [
  [made("put", { key: "x" }, "w"), TestModel.wait(500)],
  [TestModel.wait(wait), made("look", { key: "x" }, "c")]
]
const foreseen: Setting["guesses"] = ({ step }) => step === 2 ? [guess("look", { key: "x" })] : []

for (const [what, [read, write]] of Object.entries({ declared, undeclared })) {
  describe(`a write that is ${what}`, () => {
    it.effect("and goes on after its call was given up keeps what it writes from being guessed", () =>
      Effect.gen(function*() {
        const deaf = (change: Effect.Effect<string>) =>
          TestTools.deaf(TestTools.effect(Effect.delay(change, "2 seconds")))
        const one = yield* played({
          // Locks of a call that was given up would refuse the read.
          kit: kitOf(what === "declared" ? {} : read, { ...write, timeout: 100, grace: 100 }, deaf),
          turns: turnsOf(3000),
          guesses: foreseen
        })
        assert.strictEqual(one.guessed.length, 0)
        assert.deepStrictEqual(lastOf(one), ["version 1"])
      }))

    it.effect("and goes on in an attempt beside the one that won does the same", () =>
      Effect.gen(function*() {
        const loser = (change: Effect.Effect<string>, nth: number) =>
          nth === 1
            ? TestTools.deaf(TestTools.effect(Effect.delay(change, "2 seconds")))
            : TestTools.effect(Effect.delay(change, 10))
        const one = yield* played({
          kit: kitOf(
            read,
            { ...write, idempotent: true, grace: 100, hedge: { after: 100, max: 1, budget: 1 } },
            loser
          ),
          turns: [
            [made("put", { key: "x" }, "w"), TestModel.wait(500)],
            [TestModel.wait(1000), made("look", { key: "x" }, "c")]
          ],
          guesses: foreseen
        })
        assert.strictEqual(one.guessed.length, 0)
      }))

    it.effect("and is over keeps nothing from being guessed", () =>
      Effect.gen(function*() {
        const one = yield* played({
          kit: kitOf(read, write, (change) => TestTools.effect(Effect.delay(change, 10))),
          turns: turnsOf(100),
          guesses: foreseen
        })
        assert.strictEqual(ledgerOf(one).hit, 1)
        assert.deepStrictEqual(lastOf(one), ["version 1"])
      }))
  })
}

describe("a call that may be made in vain", () => {
  it.effect("makes no guess stale", () =>
    Effect.gen(function*() {
      const one = yield* played({
        kit: kitOf({}, { speculate: true }, () => TestTools.succeed("logged", { after: 10 })),
        turns: [[TestModel.wait(100), made("put", { key: "y" }, "w"), made("look", { key: "x" }, "c")]],
        guesses: () => [guess("look", { key: "x" })]
      })
      assert.strictEqual(ledgerOf(one).hit, 1)
    }))
})
