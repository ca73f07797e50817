import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Predictor } from "../../src/index.ts"
import { TestPredictor, ToolCall } from "../../src/testing/index.ts"
import { ask, question, tell } from "../policy/predictors.ts"

const search = (query: string) => ToolCall("search", { query })
const queries = (guesses: ReadonlyArray<Predictor.Guess>) =>
  guesses.map(({ params }) => (params as { readonly query: string }).query)

describe("TestPredictor.script", () => {
  it.effect("takes the next turn whenever it is asked, and then the other one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(queries(yield* ask()), ["a", "b"])
      assert.deepStrictEqual(queries(yield* ask({ step: 7 })), ["step 7"])
      assert.deepStrictEqual(yield* ask(), [])
      assert.deepStrictEqual(queries(yield* ask()), ["z"])
      assert.deepStrictEqual(queries(yield* ask()), ["z"])
    }).pipe(Effect.provide(
      TestPredictor.script([[search("a"), search("b")], ({ step }) => search(`step ${step}`), []], {
        otherwise: search("z")
      })
    )))

  it.effect("begins anew where it is built again", () => {
    const script = TestPredictor.script([search("a")])
    const once = Effect.scoped(Effect.provide(ask(), script))
    return Effect.gen(function*() {
      assert.deepStrictEqual(queries(yield* once), ["a"])
      assert.deepStrictEqual(queries(yield* once), ["a"])
    })
  })

  it.effect("says a guess as it stands in the script, nonsense included", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* ask(), [
        { tool: "search", params: {}, confidence: 0.6 },
        { tool: "nope", params: [1], confidence: Number.NaN, ifCalling: 2 }
      ])
    }).pipe(Effect.provide(TestPredictor.layer([
      ToolCall("search"),
      TestPredictor.guess(ToolCall("nope", [1]), { confidence: Number.NaN, ifCalling: 2 })
    ], { confidence: 0.6 }))))

  it.effect("takes its time on the run's clock", () =>
    Effect.gen(function*() {
      const asking = yield* Effect.forkChild(ask())
      yield* TestClock.adjust(2999)
      assert.deepStrictEqual(queries((yield* TestPredictor.questions)[0]!.guesses), ["a"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(queries(yield* Fiber.join(asking)), ["a", "b"])
    }).pipe(Effect.provide(TestPredictor.layer([
      search("a"),
      TestPredictor.wait("1 second"),
      TestPredictor.guess(search("b"), { after: "2 seconds" })
    ]))))

  it.effect("fails and dies after what came before", () =>
    Effect.gen(function*() {
      const { predict } = yield* Predictor.Predictor
      assert.deepStrictEqual(yield* Effect.exit(Stream.runDrain(predict(question()))), Exit.fail("no"))
      assert.deepStrictEqual(yield* Effect.exit(Stream.runDrain(predict(question()))), Exit.die("no"))
      const asked = yield* TestPredictor.questions
      assert.deepStrictEqual(asked.map(({ guesses, status }) => [status, guesses.length]), [["failed", 1], [
        "failed",
        0
      ]])
    }).pipe(Effect.provide(TestPredictor.script([[search("a"), TestPredictor.fail("no")], TestPredictor.die("no")]))))
})

describe("TestPredictor's record", () => {
  it.effect("has the questions with their times, what came of the guesses, and the runs", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust(5)
      yield* ask({ step: 3 })
      yield* tell("search", true)
      const { learn } = yield* Predictor.Predictor
      yield* learn(question())
      const [asked] = yield* TestPredictor.questions
      assert.deepStrictEqual([asked?.at, asked?.question.step, asked?.status], [5, 3, "answered"])
      assert.deepStrictEqual((yield* TestPredictor.verdicts).map(({ right }) => right), [true])
      assert.deepStrictEqual((yield* TestPredictor.finishedRuns).map(({ runId }) => runId), ["run"])
    }).pipe(Effect.provide(TestPredictor.layer(search("a")))))

  it.effect("can be that of another predictor, and of each of several", () => {
    const named = (name: string) =>
      Predictor.make({ name, predict: () => Stream.succeed({ tool: name, params: {}, confidence: 1 }) })
    return Effect.gen(function*() {
      const { members, names } = yield* Predictor.Predictor
      assert.deepStrictEqual(names, ["a", "b"])
      for (const { predict } of members!) yield* Stream.runDrain(predict(question()))
      const asked = yield* TestPredictor.questions
      assert.deepStrictEqual(asked.map(({ guesses }) => guesses.map(({ tool }) => tool)), [["a"], ["b"]])
    }).pipe(Effect.provide(TestPredictor.recording(Predictor.merge(named("a"), named("b")))))
  })
})
