import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { KeyValueStore } from "effect/persistence"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Predictor } from "../../src/index.ts"
import { TestModel, TestPredictor, ToolCall } from "../../src/testing/index.ts"
import { settle } from "../stage.ts"
import { ask, question, tell, words } from "./predictors.ts"

const search = (query: string) => ToolCall("search", { query })

/** Time that passes second by second, so that everybody gets their turn. */
const passes = (seconds: number) =>
  Effect.andThen(settle, Effect.repeat(Effect.andThen(TestClock.adjust("1 second"), settle), { times: seconds - 1 }))

/** A predictor of `TestPredictor` and what it noted, for tests with several. */
const noted = (...[turn, options]: Parameters<typeof TestPredictor.layer>) => {
  const context = Effect.runSync(Effect.scoped(Layer.build(TestPredictor.layer(turn, options))))
  return {
    layer: Layer.succeed(Predictor.Predictor, Context.get(context, Predictor.Predictor)),
    record: Context.get(context, TestPredictor.TestPredictor)
  }
}

describe("make", () => {
  it.effect("names its guesses, whatever they say", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(words(yield* ask()), ["mine: search"])
    }).pipe(Effect.provide(Predictor.make({
      name: "mine",
      predict: () => Stream.succeed({ tool: "search", params: {}, confidence: 1, predictor: "somebody" })
    }))))

  it.effect("hands on what is no guess, for the ledger to count", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* ask(), [null, 7] as never)
    }).pipe(Effect.provide(Predictor.make({ predict: () => Stream.make(null, 7) as never }))))

  it.effect("fails with what a predictor throws", () =>
    Effect.gen(function*() {
      const { predict } = yield* Predictor.Predictor
      const asked = predict(question())
      assert.deepStrictEqual(yield* Effect.exit(Stream.runDrain(asked)), Exit.die("thrown"))
    }).pipe(Effect.provide(Predictor.make({
      predict: () => {
        throw "thrown"
      }
    }))))
})

describe("merge", () => {
  it.effect("gives the guesses of all as they come", () => {
    const slowFirst = TestPredictor.layer([TestPredictor.guess(search("a"), { after: "2 seconds" }), search("b")], {
      name: "slow"
    })
    const quick = TestPredictor.layer([search("c"), TestPredictor.guess(search("d"), { after: "3 seconds" })], {
      name: "quick"
    })
    return Effect.gen(function*() {
      const asking = yield* Effect.forkChild(ask())
      yield* passes(10)
      const guesses = yield* Fiber.join(asking)
      assert.deepStrictEqual(guesses.map(({ params, predictor }) => [predictor, (params as { query: string }).query]), [
        ["quick", "c"],
        ["slow", "a"],
        ["slow", "b"],
        ["quick", "d"]
      ])
    }).pipe(Effect.provide(Predictor.merge(slowFirst, quick)))
  })

  it.effect("gives each a name of its own, also those of merged ones", () => {
    const named = (name: string) => TestPredictor.layer(search(name), { name })
    return Effect.gen(function*() {
      const { members, names } = yield* Predictor.Predictor
      assert.deepStrictEqual(names, ["a", "a-2", "b", "a-3", "a-2-2"])
      assert.deepStrictEqual(members?.map((member) => member.names), names.map((name) => [name]))
      assert.deepStrictEqual(words(yield* ask()).toSorted(), names.map((name) => `${name}: search`).toSorted())
    }).pipe(
      Effect.provide(
        Predictor.merge(named("a"), Predictor.merge(named("a"), named("b")), named("a"), named("a-2"))
      )
    )
  })

  it.effect("lets the others go on when one fails, dies or hangs, and fails only when they have ended", () => {
    const good = TestPredictor.layer(TestPredictor.guess(search("a"), { after: "1 second" }))
    const merged = Predictor.merge(
      TestPredictor.layer(TestPredictor.fail("no")),
      TestPredictor.layer(TestPredictor.die("no")),
      good
    )
    return Effect.gen(function*() {
      const given: Array<string> = []
      const { predict } = yield* Predictor.Predictor
      const asking = yield* Effect.forkChild(
        Effect.exit(Stream.runForEach(predict(question()), ({ tool }) => Effect.sync(() => given.push(tool))))
      )
      yield* passes(1)
      assert.deepStrictEqual(given, ["search"])
      assert.deepStrictEqual(yield* Fiber.join(asking), Exit.fail("no"))
    }).pipe(Effect.provide(merged))
  })

  it.effect("goes on beside one that hangs, and stops it when it is stopped", () => {
    const hanging = noted(TestPredictor.never, { name: "hanging" })
    return Effect.gen(function*() {
      const given: Array<string> = []
      const { predict } = yield* Predictor.Predictor
      const asking = yield* Effect.forkChild(
        Stream.runForEach(predict(question()), ({ tool }) => Effect.sync(() => given.push(tool)))
      )
      yield* settle
      assert.deepStrictEqual(given, ["search"])
      assert.strictEqual(hanging.record.questions[0]?.status, "asked")
      yield* Fiber.interrupt(asking)
      assert.strictEqual(hanging.record.questions[0]?.status, "interrupted")
    }).pipe(Effect.provide(Predictor.merge(hanging.layer, TestPredictor.layer(search("a")))))
  })

  it.effect("tells each what came of its own guesses, in its own name", () => {
    const [one, two] = [noted(search("a"), { name: "p" }), noted(search("b"), { name: "p" })]
    return Effect.gen(function*() {
      yield* tell("search", true, 1, "p")
      yield* tell("search", false, 2, "p-2")
      yield* tell("search", false, 1, "nobody")
      yield* tell("search", false, 1)
      assert.deepStrictEqual(one.record.verdicts.map(({ guess, right }) => [guess.predictor, right]), [["p", true]])
      assert.deepStrictEqual(two.record.verdicts.map(({ guess, right }) => [guess.predictor, right]), [
        ["p", false],
        ["p", false]
      ])
    }).pipe(Effect.provide(Predictor.merge(one.layer, two.layer)))
  })

  it.effect("lets all learn, also beside one that cannot", () => {
    const learned = noted([])
    const failing = Predictor.make({ predict: () => Stream.empty, learn: () => Effect.fail("no") })
    return Effect.gen(function*() {
      const { learn } = yield* Predictor.Predictor
      const { from, prompt, runId, tools } = question()
      const exit = yield* Effect.exit(learn({ runId, prompt, from, tools }))
      assert.deepStrictEqual(exit, Exit.fail("no"))
      assert.deepStrictEqual(learned.record.finishedRuns.map(({ runId }) => runId), ["run"])
    }).pipe(Effect.provide(Predictor.merge(failing, learned.layer)))
  })

  it.effect("hands on what is no guess, for the ledger to count", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* ask(), [null, "x"] as never)
    }).pipe(Effect.provide(Predictor.merge(Predictor.make({ predict: () => Stream.make(null, "x") as never })))))

  it.effect("of nothing guesses nothing", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* ask(), [])
      assert.deepStrictEqual((yield* Predictor.Predictor).names, [])
    }).pipe(Effect.provide(Predictor.merge())))
})

describe("options that make no sense", () => {
  const model = TestModel.script([])
  const predict = () => Stream.empty
  const wrong: ReadonlyArray<readonly [what: string, make: () => unknown, message: string]> = [
    [
      "make: none",
      () => Predictor.make(undefined as never),
      "make: the value given is undefined; it must be an object"
    ],
    ["make: no predict", () => Predictor.make({} as never), "make: predict is undefined; it must be a function"],
    ["make: an empty name", () => Predictor.make({ name: "", predict }), "make: name is ; it must be a text that is"],
    [
      "make: the engine's name",
      () => Predictor.make({ name: "arguments", predict }),
      "make: name is arguments; it must be"
    ],
    ["make: judged", () => Predictor.make({ predict, judged: 1 as never }), "make: judged is 1; it must be a function"],
    ["make: learn", () => Predictor.make({ predict, learn: {} as never }), "make: learn is {}; it must be a function"],
    [
      "make: misspelt",
      () => Predictor.make({ predict, lern: 1 } as never),
      "make: an option is lern; it must be one of"
    ],
    [
      "model: none",
      () => Predictor.layerModel({} as never),
      "layerModel: model is undefined; it must be a LanguageModel"
    ],
    [
      "model: another thing",
      () => Predictor.layerModel({ model: {} as never }),
      "model is {}; it must be a LanguageModel or its Layer"
    ],
    ["model: name", () => Predictor.layerModel({ model, name: 5 as never }), "layerModel: name is 5"],
    [
      "model: calls",
      () => Predictor.layerModel({ model, maxCalls: 0 }),
      "layerModel: maxCalls is 0; it must be an integer"
    ],
    [
      "model: a threshold that only looks like a number",
      () => Predictor.layerModel({ model, confidenceThreshold: true as never }),
      "layerModel: confidenceThreshold is true; it must be a number from 0 to 1"
    ],
    ["model: null", () => Predictor.layerModel({ model, maxCalls: null as never }), "layerModel: maxCalls is null"],
    [
      "model: prior",
      () => Predictor.layerModel({ model, prior: 0.5 as never }),
      "layerModel: prior is 0.5; it must be an"
    ],
    [
      "model: prior's confidence",
      () => Predictor.layerModel({ model, prior: { confidence: Number.NaN } }),
      "layerModel: prior.confidence is NaN; it must be a number from 0 to 1"
    ],
    [
      "model: prior's weight",
      () => Predictor.layerModel({ model, prior: { weight: 0 } }),
      "layerModel: prior.weight is 0; it must be a number above 0"
    ],
    [
      "model: prior misspelt",
      () => Predictor.layerModel({ model, prior: { wait: 1 } as never }),
      "layerModel: an option of prior is wait; it must be one of confidence, weight"
    ],
    [
      "model: misspelt",
      () => Predictor.layerModel({ model, treshold: 1 } as never),
      "layerModel: an option is treshold; it must be one of model, confidenceThreshold"
    ],
    [
      "history: a Layer as store",
      () => Predictor.layerHistory({ store: KeyValueStore.layerMemory as never }),
      "it must be a KeyValueStore (the service, not its Layer)"
    ],
    [
      "history: keepValues",
      () => Predictor.layerHistory({ keepValues: "false" as never }),
      "layerHistory: keepValues is false; it must be true or false"
    ],
    [
      "history: learn",
      () => Predictor.layerHistory({ learn: 0 as never }),
      "layerHistory: learn is 0; it must be true"
    ],
    ["history: name", () => Predictor.layerHistory({ name: "" }), "layerHistory: name is ; it must be a text"],
    [
      "history: misspelt",
      () => Predictor.layerHistory({ keepValue: false } as never),
      "layerHistory: an option is keepValue; it must be one of store, learn, keepValues, name"
    ]
  ]
  it.each(wrong)("die where they are given, named: %s", (_, make, message) => {
    assert.throws(make, RangeError, message)
  })

  it("are not those left undefined", () => {
    Predictor.make({ name: undefined, predict, judged: undefined, learn: undefined })
    Predictor.layerModel({ model, confidenceThreshold: undefined, prior: { weight: undefined } })
    Predictor.layerHistory({ store: undefined, learn: undefined, keepValues: undefined, name: undefined })
  })
})
