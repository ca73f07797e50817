/** One guess, one claim: whoever else makes the same call runs it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { ToolPolicy } from "../../src/index.ts"
import { explore, TestModel, TestTools } from "../../src/testing/index.ts"
import { random } from "../random.ts"
import { assertBalanced, guess, ledgerOf, made, type Played, run, type Setting } from "./guessing.ts"

/** Every run of the handler gives a number of its own: who has whose result can be seen. */
const kit = (takes: number) => (tools: TestTools.HandlerRecorder) => {
  let runs = 0
  return ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Schema.Struct({ key: Schema.String }),
      success: Schema.Int,
      annotations: { readonly: true },
      handler: tools.handler(
        "look",
        () => TestTools.effect(Effect.suspend(() => Effect.as(Effect.sleep(takes), ++runs)))
      )
    })
  })
}

const look = (id: string) => made("look", { key: "a" }, id)

const resultsOf = ({ parts }: Played): ReadonlyArray<unknown> =>
  parts.flatMap((part) => part.type === "tool-result" && !part.preliminary ? [part.result] : [])

const claims = ({ parts }: Played): ReadonlyArray<string> =>
  parts.flatMap((part) => part.type === "tool-claimed" ? [part.speculationId] : [])

const assertOnce = (result: Played, calls: number): void => {
  const results = resultsOf(result)
  assert.strictEqual(results.length, calls)
  assert.strictEqual(new Set(results).size, calls, "no two calls have one handler's result")
  assert.strictEqual(new Set(claims(result)).size, claims(result).length, "no guess is claimed twice")
  const { hit, lateHit } = ledgerOf(result)
  assert.strictEqual(claims(result).length, hit + lateHit)
  assertBalanced(result)
}

describe("S6 two claims", () => {
  for (const calls of [2, 3, 5]) {
    it.live(
      `of ${calls} equal calls in a decision one takes the guess and the others run, in every schedule`,
      () =>
        explore(
          Effect.gen(function*() {
            const r = random(yield* Random.nextInt)
            const setting: Setting = {
              kit: kit(r.int(0, 60)),
              turns: [[
                TestModel.wait(r.int(0, 60)),
                ...Array.from({ length: calls }, (_, n) => [look(`${n}`), TestModel.wait(r.int(0, 5))]).flat()
              ]],
              guesses: ({ step }) => step === 1 ? [guess("look", { key: "a" }), guess("look", { key: "a" })] : []
            }
            const result = yield* run(setting)
            assertOnce(result, calls)
            assert.isAtMost(claims(result).length, 1)
            assert.isAtMost(result.guessed.length, 1, "a guess that is at hand is not started again")
            assert.strictEqual(result.calls.length, calls + result.guessed.length - claims(result).length)
          }),
          { seeds: 150 }
        ),
      60_000
    )
  }

  it.live("a guess is claimed at most once over turns, too", () =>
    explore(
      Effect.gen(function*() {
        const r = random(yield* Random.nextInt)
        const result = yield* run({
          kit: kit(r.int(0, 30)),
          turns: Array.from({ length: 4 }, (_, n): TestModel.Turn => [TestModel.wait(r.int(0, 60)), look(`${n}`)]),
          guesses: ({ step }) => step === 1 ? [guess("look", { key: "a" })] : []
        })
        assertOnce(result, 4)
        assert.isAtMost(claims(result).length, 1)
      }),
      { seeds: 100 }
    ), 60_000)

  it.live("a run never takes another's guess", () =>
    explore(
      Effect.gen(function*() {
        const r = random(yield* Random.nextInt)
        const tools = TestTools.recorderUnsafe()
        const shared = kit(r.int(0, 60))(tools)
        const one = (step: number): Effect.Effect<Played> =>
          run({
            kit: () => shared,
            turns: [[TestModel.wait(r.int(0, 60)), look(`${step}`)]],
            guesses: (question) => question.step === 1 ? [guess("look", { key: "a" })] : []
          }, tools)
        const runs = yield* Effect.all([one(1), one(2), one(3)], { concurrency: 3 })
        for (const each of runs) assertOnce(each, 1)
        const results = runs.flatMap(resultsOf)
        assert.strictEqual(new Set(results).size, 3, "each run has its own handler's result")
      }),
      { seeds: 100 }
    ), 60_000)

  it.live("a claimed guess is nobody's to stop but its call's", () =>
    explore(
      Effect.gen(function*() {
        const r = random(yield* Random.nextInt)
        const result = yield* run({
          kit: kit(100),
          run: { toolCallConcurrency: 1 },
          turns: [[TestModel.wait(10), look("first"), look("second"), TestModel.wait(r.int(0, 60))]],
          guesses: ({ step }) => step === 1 ? [guess("look", { key: "a" })] : []
        })
        assertOnce(result, 2)
        assert.strictEqual(ledgerOf(result).preempted, 0)
        assert.isTrue(result.calls.every(({ status }) => status === "success"))
      }),
      { seeds: 60 }
    ), 60_000)
})
