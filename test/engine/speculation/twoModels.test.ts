/**
 * Two models in virtual time: the faster one is right with probability 0.8. Whatever it guesses, results and history are those of the
 * run without it, the time is what its right guesses leave, and a wrong guess is stopped at the seal that refutes it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Tool, Toolkit } from "effect/ai"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Predictor, Speculation } from "../../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../../src/testing/index.ts"
import { random } from "../../random.ts"

const Look = Tool.make("look", { parameters: Schema.Struct({ page: Schema.Int }), success: Schema.String })
  .annotate(Tool.Readonly, true)
const toolkit = Toolkit.make(Look)
const look = (page: number) => ToolCall("look", { page })

const steps = 10
const isWrong = (page: number) => page > 1000
const pages = Array.from({ length: steps }, (_, step) => step + 1)

const main = () => TestModel.script([...pages.map((page) => [TestModel.wait("1 second"), look(page)]), "Read."])

/** What nobody asked for is still at work when it is refuted. */
const tools = () =>
  TestTools.layer(toolkit, {
    look: ({ page }) => TestTools.succeed(`page ${page}`, { after: isWrong(page) ? "5 seconds" : "800 millis" })
  })

const execute = Effect.gen(function*() {
  const { guesses, result, totalDuration } = yield* MockOrchestrator.execute("Read on.")
  const handled = yield* TestTools.calls
  const said = JSON.stringify([result.text, result.toolResults, result.prompt.content, result.usage])
  return { guesses, handled, said, report: result.report, millis: Duration.toMillis(totalDuration) }
})

const mock = () =>
  MockOrchestrator.layer({ toolkit, runId: "run" }).pipe(Layer.provideMerge(Layer.mergeAll(main(), tools())))

const without = Effect.suspend(() => Effect.provide(execute, mock()))

/** The same with a faster model. */
const withGuesses = (guessed: ReadonlyArray<number>) =>
  Effect.suspend(() => {
    const turns = guessed.map((page) => [TestModel.wait("100 millis"), look(page)])
    return Effect.gen(function*() {
      const { languageModel } = yield* TestModel.make(turns, { otherwise: "Nothing." })
      const speculation = Layer.merge(Speculation.layer(), Predictor.layerModel({ model: languageModel }))
      const harness = MockOrchestrator.layer({ toolkit, runId: "run" }).pipe(
        Layer.provideMerge(Layer.mergeAll(main(), tools(), speculation))
      )
      return yield* Effect.provide(execute, harness)
    })
  })

describe("a faster model as predictor", () => {
  for (const seed of [1, 2, 3, 24]) {
    it.effect(`changes nothing but the time (seed ${seed})`, () =>
      Effect.gen(function*() {
        const draw = random(seed)
        const guessed = pages.map((page) => draw.chance(0.8) ? page : 1000 + page)
        const wrong = guessed.filter(isWrong)
        const plain = yield* without
        const quick = yield* withGuesses(guessed)
        assert.strictEqual(quick.said, plain.said)
        assert.strictEqual(plain.millis, steps * 1800)
        assert.strictEqual(quick.millis, steps * 1000 + wrong.length * 800)

        const stopped = quick.handled.filter(({ params }) => isWrong((params as { page: number }).page))
        assert.deepStrictEqual(stopped.map(({ params }) => (params as { page: number }).page), wrong)
        for (const { endedAt, reason, startedAt, status } of stopped) {
          assert.strictEqual(status, "interrupted")
          assert.strictEqual(reason?._tag, "Misspeculated")
          // Guessed after 100 ms of a turn of 1,000, which ends with the seal.
          assert.strictEqual(endedAt! - startedAt, 900)
        }
        assert.deepStrictEqual(
          quick.guesses.filter(({ predictor }) => predictor === "model").map(({ outcome }) => outcome),
          guessed.map((page) => isWrong(page) ? "refuted" : "claimed")
        )
        const entry = quick.report.speculation!.entries.find(({ predictor }) => predictor === "model")
        assert.deepStrictEqual([entry?.started, entry?.hit, entry?.miss], [steps, steps - wrong.length, wrong.length])
      }))
  }

  it.effect("stops a wrong guess at the seal, though the model's answer goes on", () =>
    Effect.gen(function*() {
      const { languageModel } = yield* TestModel.make([look(1001)], { otherwise: "Nothing." })
      const speculation = Layer.merge(Speculation.layer(), Predictor.layerModel({ model: languageModel }))
      const model = TestModel.script([
        [TestModel.wait("1 second"), look(1), TestModel.wait("3 seconds"), "And so on."],
        "Read."
      ])
      const harness = MockOrchestrator.layer({ toolkit }).pipe(
        Layer.provideMerge(Layer.mergeAll(model, tools(), speculation))
      )
      const { handled } = yield* Effect.provide(execute, harness)
      assert.deepStrictEqual(
        handled.map(({ endedAt, startedAt, status }) => [status, endedAt! - startedAt]),
        [["interrupted", 1000], ["success", 800]]
      )
    }))
})
