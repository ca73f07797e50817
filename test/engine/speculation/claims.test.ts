/** Which calls have the outcome of a guess, and which do not: what was written, what changed, what comes twice. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Predictor, Speculation, ToolPolicy } from "../../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../../src/testing/index.ts"

const Params = Schema.Struct({ id: Schema.String })
type Params = typeof Params.Type
const tool = (annotations: ToolPolicy.Annotations<Params, string>) =>
  ToolPolicy.tool({ parameters: Params, success: Schema.String, annotations, handler: ({ id }) => Effect.succeed(id) })

const { toolkit } = ToolPolicy.define({
  read: tool({ readonly: true }),
  look: tool({ readonly: true }),
  readFile: tool({ readonly: true, resources: ({ id }) => [{ read: id }] }),
  write: tool({}),
  writeFile: tool({ resources: ({ id }) => [{ write: id }] })
})

/** What tools read and write, to see who saw what. */
const world = () => {
  let version = 0
  const read = (millis: number) => () => TestTools.effect(Effect.delay(Effect.sync(() => `version ${version}`), millis))
  const write = () => TestTools.effect(Effect.delay(Effect.sync(() => `wrote ${++version}`), 100))
  return TestTools.layer(toolkit, {
    read: read(400),
    look: read(400),
    readFile: read(400),
    write,
    writeFile: write
  })
}

const guess = (tool: string, id: string, confidence = 1): Predictor.Guess => ({ tool, params: { id }, confidence })
const call = (tool: string, id: string, callId: string) => ToolCall(tool, { id }, { id: callId })

/** A run of these turns, in which the predictor says the same every time. What the model writes itself is no guess here. */
const run = (guesses: ReadonlyArray<Predictor.Guess>, ...turns: ReadonlyArray<TestModel.Turn>) =>
  MockOrchestrator.execute("go").pipe(
    Effect.tap(({ assertNoOrphans }) => assertNoOrphans()),
    Effect.map(({ guesses, result, totalDuration }) => ({
      millis: Duration.toMillis(totalDuration),
      results: result.toolResults.map(({ id, result }) => `${id} ${String(result)}`),
      claimed: result.report.calls.flatMap(({ callId, claimed }) => claimed === undefined ? [] : [callId]),
      guesses,
      report: result.report
    })),
    Effect.provide(
      MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge(Layer.mergeAll(
        TestModel.script([...turns, "done"]),
        world(),
        Speculation.layer({ confidenceThreshold: 0.995 }),
        Predictor.make({ predict: () => Stream.fromIterable(guesses) })
      )))
    )
  )

describe("a guess of a read", () => {
  it.effect("is claimed beside reads that nobody foresaw", () =>
    Effect.gen(function*() {
      const { claimed, millis } = yield* run([guess("read", "a")], [
        TestModel.wait(500),
        call("look", "b", "c1"),
        call("read", "a", "c2")
      ])
      assert.deepStrictEqual(claimed, ["c2"])
      assert.strictEqual(millis, 900)
    }))

  it.effect("is thrown away once something was written that may have been what it read", () =>
    Effect.gen(function*() {
      const { claimed, results } = yield* run(
        [guess("read", "a")],
        [TestModel.wait(500), call("write", "x", "w1"), call("read", "a", "c1")],
        [call("write", "y", "w2")],
        [TestModel.wait(300), call("read", "a", "c2")]
      )
      // The guess of the third turn began when both writes were over.
      assert.deepStrictEqual(claimed, ["c2"])
      assert.deepStrictEqual(results, ["w1 wrote 1", "c1 version 1", "w2 wrote 2", "c2 version 2"])
    }))

  it.effect("that says what it reads stands while something else is written", () =>
    Effect.gen(function*() {
      const { claimed, results } = yield* run(
        [guess("readFile", "a"), guess("readFile", "b")],
        [
          TestModel.wait(500),
          call("writeFile", "a", "w1"),
          call("readFile", "a", "c1"),
          call("readFile", "b", "c2")
        ]
      )
      assert.deepStrictEqual(claimed, ["c2"])
      assert.deepStrictEqual(results, ["w1 wrote 1", "c1 version 1", "c2 version 0"])
    }))

  it.effect("that a call has joined is not overtaken by a write that comes after the call", () =>
    Effect.gen(function*() {
      const { claimed, millis, results } = yield* run(
        [guess("readFile", "a")],
        [TestModel.wait(250), call("readFile", "a", "c1"), call("writeFile", "a", "w1")]
      )
      assert.deepStrictEqual(claimed, ["c1"])
      assert.deepStrictEqual(results, ["c1 version 0", "w1 wrote 1"])
      assert.strictEqual(millis, 500)
    }))

  it.effect("is claimed once: of two equal calls one runs", () =>
    Effect.gen(function*() {
      const { claimed, millis } = yield* run([guess("read", "a")], [
        TestModel.wait(500),
        call("read", "a", "c1"),
        call("read", "a", "c2")
      ])
      assert.deepStrictEqual(claimed, ["c1"])
      assert.strictEqual(millis, 900)
    }))
})
