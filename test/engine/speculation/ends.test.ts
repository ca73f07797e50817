/** What is left when guesses are over: how long a run waits for them, which are kept, what a tracer saw. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as Tracer from "effect/Tracer"
import { Orchestrator, Predictor, Speculation, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools } from "../../../src/testing/index.ts"
import { guess, made, played, type Setting, sums } from "../../faults/guessing.ts"

const kitOf = (behaviour: TestTools.Behaviour<string>) => (tools: TestTools.HandlerRecorder) =>
  ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Schema.Struct({ key: Schema.String }),
      success: Schema.String,
      annotations: { readonly: true },
      handler: tools.handler("look", () => behaviour)
    })
  })

const look = (key: string, id: string) => made("look", { key }, id)
const keys = (count: number) => Array.from({ length: count }, (_, i) => `k${i}`)
const inFirstTurn = (...keys: ReadonlyArray<string>): Setting["guesses"] => ({ step }) =>
  step === 1 ? keys.map((key) => guess("look", { key })) : []

describe("the end of a run", () => {
  it.effect("comes when guesses that were ruled out have cleaned up", () =>
    Effect.gen(function*() {
      let cleanedAt = Number.NaN
      const cleaning = Effect.andThen(
        Effect.sleep(100),
        Effect.clockWith((clock) => Effect.sync(() => void (cleanedAt = clock.currentTimeMillisUnsafe())))
      )
      const { finish, guessed } = yield* played({
        kit: kitOf(TestTools.effect(Effect.onInterrupt(Effect.never, () => cleaning))),
        turns: [[TestModel.wait(50), "Nothing to look for."]],
        guesses: inFirstTurn("a")
      })
      assert.lengthOf(guessed, 1)
      assert.deepStrictEqual([cleanedAt, finish.time, finish.report.totalMillis], [150, 150, 150])
    }))
})

describe("guesses that have finished and nobody has asked for", () => {
  it.effect("are kept for later turns, the newest 16 of them", () =>
    Effect.gen(function*() {
      const { finish, guessed } = yield* played({
        kit: kitOf(TestTools.succeed("found")),
        turns: [
          [TestModel.wait(50), look("other", "c0")],
          [look("k3", "dropped"), look("k4", "oldest"), look("k19", "newest")]
        ],
        guesses: inFirstTurn(...keys(20)),
        options: { maxConcurrent: 20 }
      })
      assert.lengthOf(guessed, 20)
      const claimed = finish.report.calls.flatMap(({ callId, claimed }) => claimed === undefined ? [] : [callId])
      assert.deepStrictEqual(claimed, ["oldest", "newest"])
      assert.deepInclude(sums(finish.report.speculation), { started: 20, hit: 2, miss: 18 })
    }))
})

describe("a guess that comes late", () => {
  it.effect("of a call that the model has made by then starts nothing, and was right", () =>
    Effect.gen(function*() {
      const tools = TestTools.recorderUnsafe()
      const { layer, toolkit } = kitOf(TestTools.succeed("found"))(tools)
      const late = Predictor.make({
        predict: ({ step }) =>
          step === 1 ? Stream.fromEffect(Effect.delay(Effect.succeed(guess("look", { key: "a" })), 100)) : Stream.empty
      })
      const fiber = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(
        Effect.provide(Layer.mergeAll(
          layer,
          TestModel.script([[TestModel.wait(50), look("a", "c"), TestModel.wait(100)], "done"]),
          Speculation.layer(),
          late
        )),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("1 minute")
      const { report } = yield* Effect.flatten(Effect.sync(() => fiber.pollUnsafe()!))
      assert.deepStrictEqual(tools.calls.map(({ id }) => id), ["c"])
      assert.deepInclude(report.speculation?.entries[0], { predictor: "custom", started: 0, passed: 1, right: 1 })
    }))
})

describe("a tracer", () => {
  it.effect("sees guesses under the step, each ended, and which call has whose outcome", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      yield* played({
        kit: kitOf(TestTools.succeed("found", { after: 20 })),
        turns: [[TestModel.wait(50), look("a", "c")]],
        guesses: inFirstTurn("a", "wrong")
      }).pipe(Effect.withTracer(tracer))
      const parentOf = ({ parent }: Tracer.NativeSpan) => {
        const span = Option.getOrUndefined(parent)
        return span?._tag === "Span" ? span.name : undefined
      }
      const guessed = spans.filter(({ name }) => name === "speculate look")
      assert.deepStrictEqual(guessed.map(parentOf), ["step", "step"])
      assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
      const call = spans.find(({ name }) => name === "execute_tool look")
      assert.strictEqual(call?.attributes.get("toolformer.speculation"), "spec_1")
    }))
})
