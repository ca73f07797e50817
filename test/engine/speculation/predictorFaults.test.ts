/** Whatever a predictor does wrong changes nothing but a counter: results, history and times are those of a run without it. */
import { assert, describe, it } from "@effect/vitest"
import { Tool, Toolkit } from "effect/ai"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Predictor, Speculation } from "../../../src/index.ts"
import { MockOrchestrator, TestModel, TestPredictor, TestTools, ToolCall } from "../../../src/testing/index.ts"
import { aiError } from "../../model.ts"
import { settle } from "../../stage.ts"

const parameters = Schema.Struct({ id: Schema.Int })
const toolkit = Toolkit.make(
  Tool.make("look", { parameters, success: Schema.String }).annotate(Tool.Readonly, true),
  Tool.make("save", { parameters, success: Schema.String }),
  Tool.make("pay", { parameters, success: Schema.String, needsApproval: true }).annotate(Tool.Readonly, true)
)

const script = () =>
  Layer.mergeAll(
    TestModel.script([
      [TestModel.wait("1 second"), ToolCall("look", { id: 1 })],
      [TestModel.wait("1 second"), ToolCall("save", { id: 2 })],
      [TestModel.wait("1 second"), "Saved."]
    ]),
    TestTools.layer(toolkit, {
      look: ({ id }) => TestTools.succeed(`look ${id}`, { after: "500 millis" }),
      save: ({ id }) => TestTools.succeed(`save ${id}`, { after: "500 millis" }),
      pay: TestTools.succeed("paid")
    })
  )

const execute = Effect.gen(function*() {
  const { assertNoOrphans, guesses, result, totalDuration } = yield* MockOrchestrator.execute("Go on.")
  yield* assertNoOrphans()
  const handled = (yield* TestTools.calls).map(({ name, params }) => `${name} ${(params as { id: number }).id}`)
  const said = JSON.stringify([result.text, result.toolResults, result.prompt.content])
  const millis = Duration.toMillis(totalDuration)
  // Arguments that look complete before their end mark are guesses of the engine's own.
  const foreseen = guesses.filter(({ predictor }) => predictor !== "arguments")
  return { same: { said, millis, handled }, guesses: foreseen, predictors: result.report.speculation?.predictors ?? [] }
})

const running = <A, E>(speculation: Layer.Layer<A, E>) =>
  Effect.provide(
    execute,
    MockOrchestrator.layer({ toolkit, runId: "run" }).pipe(Layer.provideMerge(Layer.merge(script(), speculation)))
  )

const withPredictor = (predictor: Layer.Layer<Predictor.Predictor>) =>
  running(Layer.merge(Speculation.layer(), predictor))

const layer = (turn: TestPredictor.Turn) => TestPredictor.layer(turn, { name: "p" })

const { guess } = TestPredictor
const odd = (params: unknown, confidence = 0.9) => guess(ToolCall("look", params), { confidence })

interface Fault {
  readonly predictor: Layer.Layer<Predictor.Predictor>
  readonly failures?: number
  readonly ignored?: number
}

// Three turns; each asks the predictor once.
const faults: Readonly<Record<string, Fault>> = {
  "fails": { predictor: layer(TestPredictor.fail("no")), failures: 3 },
  "dies": { predictor: layer(TestPredictor.die("no")), failures: 3 },
  "throws when it is asked": {
    predictor: Predictor.make({
      name: "p",
      predict: () => {
        throw new Error("no")
      }
    }),
    failures: 3
  },
  "fails as its model fails": {
    predictor: Predictor.layerModel({
      model: TestModel.script([], { otherwise: TestModel.fail(aiError) }),
      name: "p"
    }),
    failures: 3
  },
  "hangs": { predictor: layer(TestPredictor.never) },
  "says nothing": { predictor: layer([]) },
  "names a tool that is not there": { predictor: layer(ToolCall("nope", { id: 1 })), ignored: 3 },
  "names a tool of every object": {
    predictor: layer([ToolCall("constructor", {}), ToolCall("__proto__", {})]),
    ignored: 6
  },
  "names a tool that writes": { predictor: layer(ToolCall("save", { id: 2 })), ignored: 3 },
  "names a tool that needs approval": { predictor: layer(ToolCall("pay", { id: 2 })), ignored: 3 },
  "gives NaN as confidence": { predictor: layer(odd({ id: 1 }, Number.NaN)), ignored: 3 },
  "gives 2 as confidence": { predictor: layer(odd({ id: 1 }, 2)), ignored: 3 },
  "gives -1 as confidence": { predictor: layer(odd({ id: 1 }, -1)), ignored: 3 },
  "gives a text as confidence": { predictor: layer(odd({ id: 1 }, "0.9" as never)), ignored: 3 },
  "gives parameters that do not decode": { predictor: layer(odd({ id: "x" })), ignored: 3 },
  "gives no parameters": { predictor: layer(odd(null)), ignored: 3 },
  "gives what is no guess": {
    predictor: Predictor.make({ name: "p", predict: () => Stream.make(null, 7, "look", {}) as never }),
    ignored: 12
  },
  "fails to hear and to learn": {
    predictor: Predictor.make({
      name: "p",
      predict: () => Stream.empty,
      judged: () => Effect.die("no"),
      learn: () => Effect.die("no")
    })
  }
}

describe("a predictor that", () => {
  it.effect.each(Object.entries(faults))(
    "%s changes nothing but a counter",
    ([, { failures = 0, ignored = 0, predictor }]) =>
      Effect.gen(function*() {
        const plain = yield* running(Layer.empty)
        const faulty = yield* withPredictor(predictor)
        assert.deepStrictEqual(faulty.same, plain.same)
        assert.deepStrictEqual(faulty.guesses, [])
        const entry = faulty.predictors.find(({ predictor }) => predictor === "p")
        assert.strictEqual(entry?.asked, 3)
        assert.strictEqual(entry?.failures, failures)
        assert.strictEqual(entry?.ignored, ignored)
      })
  )

  it.effect("hangs when it hears and learns changes nothing but a counter, and the program ends", () =>
    Effect.gen(function*() {
      const plain = yield* running(Layer.empty)
      const predictor = Predictor.make({
        name: "p",
        predict: () => Stream.succeed({ tool: "look", params: { id: 7 }, confidence: 0.01 }),
        judged: () => Effect.never,
        learn: () => Effect.never
      })
      const ending = yield* Effect.forkChild(withPredictor(predictor))
      // The end of the program gives lessons a little time, which is the test's to move.
      yield* Effect.repeat(Effect.andThen(settle, TestClock.adjust("10 seconds")), { times: 10 })
      const faulty = yield* Fiber.join(ending)
      assert.deepStrictEqual(faulty.same, plain.same)
    }))

  it.effect("floods is read so far and no further, and stopped", () =>
    Effect.gen(function*() {
      const plain = yield* running(Layer.empty)
      let given = 0
      const flood = Predictor.make({
        name: "p",
        predict: () =>
          Stream.map(Stream.range(1, 1_000_000), (n) => (given++, { tool: "nope", params: { n }, confidence: 1 }))
      })
      const faulty = yield* withPredictor(flood)
      assert.deepStrictEqual(faulty.same, plain.same)
      const entry = faulty.predictors.find(({ predictor }) => predictor === "p")
      assert.isAtMost(entry!.guesses, 3 * 65)
      assert.isAtLeast(entry!.ignored, 3 * 64)
      // Streams come in chunks of some thousands.
      assert.isBelow(given, 100_000)
    }))

  it.effect("fails does not take those merged with it along", () =>
    Effect.gen(function*() {
      const plain = yield* running(Layer.empty)
      const good = TestPredictor.script([ToolCall("look", { id: 1 })], { name: "good" })
      const { guesses, predictors, same } = yield* withPredictor(
        Predictor.merge(layer(TestPredictor.die("no")), layer(TestPredictor.never), good)
      )
      assert.strictEqual(same.said, plain.same.said)
      assert.strictEqual(same.millis, plain.same.millis - 500)
      assert.deepStrictEqual(guesses.map(({ outcome, predictor }) => [predictor, outcome]), [["good", "claimed"]])
      const failures = predictors.map(({ failures, predictor }) => [predictor, failures] as const)
      assert.deepStrictEqual(new Map(failures), new Map([["p", 3], ["p-2", 0], ["good", 0]]))
    }))

  it.effect("hangs is stopped when the model's answer has ended", () =>
    Effect.gen(function*() {
      const predictor = TestPredictor.layer(TestPredictor.never)
      const harness = MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge(
        Layer.merge(script(), Layer.merge(Speculation.layer(), predictor))
      ))
      const statuses = yield* Effect.gen(function*() {
        yield* MockOrchestrator.execute("Go on.")
        return (yield* TestPredictor.questions).map(({ status }) => status)
      }).pipe(Effect.provide(harness))
      assert.deepStrictEqual(statuses, ["interrupted", "interrupted", "interrupted"])
    }))
})
