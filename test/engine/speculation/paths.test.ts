/** What becomes of guesses, and of the calls that joined them, on every way out of a run. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../../src/domain/ToolEvent.ts"
import { CancelReason, Executor, Orchestrator, Predictor, Retry, Speculation, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools } from "../../../src/testing/index.ts"
import { assertBalanced, foreseeing, guess, ledgerOf, made, played, run, type Setting } from "../../faults/guessing.ts"
import { aiError } from "../../model.ts"

const Params = Schema.Struct({ key: Schema.String })
type Params = typeof Params.Type

const kitOf = (
  behaviour: (key: string, nth: number) => TestTools.Behaviour<string>,
  annotations: ToolPolicy.Annotations<Params, string> = {}
) =>
(tools: TestTools.HandlerRecorder) =>
  ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: { readonly: true, ...annotations },
      handler: tools.handler("look", ({ key }: Params, nth: number) => behaviour(key, nth))
    })
  })

const second = () => TestTools.succeed("found", { after: "1 second" })
const look = (key: string, id: string) => made("look", { key }, id)
const foreseen: Setting["guesses"] = ({ step }) => step === 1 ? [guess("look", { key: "a" })] : []
/** The call comes while its guess runs, and the model goes on. */
const joined: ReadonlyArray<TestModel.Turn> = [[TestModel.wait(200), look("a", "c"), TestModel.wait(50)]]

const typesOf = (parts: ReadonlyArray<AnyPart>) =>
  parts.flatMap((part) =>
    ("callId" in part && part.callId === "c") || ("id" in part && part.id === "c" && part.type === "tool-result")
      ? [part.type]
      : []
  )

/** A run by name in a registry of its own, under way for so long. */
const underWay = (setting: Setting, millis: number, tools = TestTools.recorderUnsafe()) =>
  Effect.gen(function*() {
    const { layer, toolkit } = setting.kit(tools) as ReturnType<ReturnType<typeof kitOf>>
    const parts: Array<AnyPart> = []
    const stream = Orchestrator.stream({ prompt: "go", toolkit, runId: "r" })
    const fiber = yield* Stream.runForEach(stream, (part) => Effect.sync(() => void parts.push(part as AnyPart))).pipe(
      Effect.provide(Layer.mergeAll(
        layer,
        TestModel.script(setting.turns, { otherwise: "Done." }),
        Speculation.layer(),
        foreseeing(setting.guesses!)
      )),
      Effect.forkChild({ startImmediately: true })
    )
    yield* TestClock.adjust(millis)
    return { fiber, parts, tools }
  })

const resultOf = (parts: ReadonlyArray<AnyPart>) =>
  parts.flatMap((part) => part.type === "tool-result" && part.id === "c" ? [part.result] : [])[0] as {
    readonly _tag: string
    readonly executionStarted: boolean
  }

describe("a call that has joined its guess", () => {
  it.effect("is queued, claims, and is answered; nothing of it starts", () =>
    Effect.gen(function*() {
      const one = yield* played({ kit: kitOf(second), turns: joined, guesses: foreseen })
      assert.deepStrictEqual(typesOf(one.parts), ["tool-queued", "tool-claimed", "tool-result"])
      assert.strictEqual(one.calls.length, 1)
      assert.deepInclude(one.finish.report.calls[0], {
        attempts: 1,
        status: "success",
        queuedMillis: 0,
        runMillis: 800,
        claimed: { speculationId: "spec_1", aheadMillis: 200 }
      })
    }))

  it.effect("hears its progress from then on, under its own id", () =>
    Effect.gen(function*() {
      const progressing = () =>
        TestTools.progress(["1", "2", "3", "4"], TestTools.succeed("found"), { every: "100 millis" })
      const one = yield* played({
        kit: kitOf(progressing),
        turns: [[TestModel.wait(250), look("a", "c"), TestModel.wait(50)]],
        guesses: foreseen
      })
      const heard = one.parts.flatMap((part) => part.type === "tool-progress" ? [[part.callId, part.result]] : [])
      assert.deepStrictEqual(heard, [["c", "3"], ["c", "4"]])
    }))

  for (
    const [how, target] of [["by name", { runId: "r", callId: "c" }], ["with its run", { runId: "r" }]] as const
  ) {
    it.effect(`is stopped ${how}, and its guess with it`, () =>
      Effect.gen(function*() {
        const { fiber, parts, tools } = yield* underWay({ kit: kitOf(second), turns: joined, guesses: foreseen }, 240)
        assert.strictEqual(yield* Orchestrator.cancel(target, CancelReason.branchCancelled()), 1)
        assert.deepStrictEqual(tools.calls.map(({ id, status }) => [id, status]), [["spec_1", "interrupted"]])
        yield* TestClock.adjust("1 minute")
        assert.isDefined(fiber.pollUnsafe())
        assert.deepInclude(resultOf(parts), { _tag: "Cancelled", executionStarted: true })
        assert.deepStrictEqual(typesOf(parts), ["tool-queued", "tool-claimed", "tool-cancelled", "tool-result"])
        assert.strictEqual(tools.calls.length, 1)
      }).pipe(Effect.provide(Orchestrator.layerRuns())))
  }

  it.effect("is told when its guess does not stop, and is the one that is reported", () =>
    Effect.gen(function*() {
      const deaf = () => TestTools.deaf({ for: "1 minute" })
      const one = yield* played({
        kit: kitOf(deaf, { deadline: "500 millis" }),
        turns: joined,
        guesses: foreseen
      })
      const { abandoned, calls } = one.finish.report
      assert.deepStrictEqual(abandoned.map(({ callId, reason }) => [callId, reason._tag]), [["c", "Timeout"]])
      assert.deepInclude(calls[0], { status: "TimedOut", abandoned: true, runMillis: 750 })
      assertBalanced(one)
    }))

  it.effect("is done to its end when the process goes down", () =>
    Effect.gen(function*() {
      const { fiber, parts } = yield* underWay({ kit: kitOf(second), turns: joined, guesses: foreseen }, 240)
      yield* Effect.forkChild(Orchestrator.drain({ grace: "1 minute" }))
      yield* TestClock.adjust("1 minute")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(parts.find((part) => part.type === "tool-result")?.result, "found")
    }).pipe(Effect.provide(Orchestrator.layerRuns())))

  it.effect("is done to its end when the process goes down, though it would be hedged", () =>
    Effect.gen(function*() {
      const kit = kitOf(second, { hedge: { after: "100 millis" } })
      const { fiber, parts } = yield* underWay({ kit, turns: joined, guesses: foreseen }, 240)
      yield* Effect.forkChild(Orchestrator.drain({ grace: "1 minute" }))
      yield* TestClock.adjust("1 minute")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(parts.find((part) => part.type === "tool-result")?.result, "found")
    }).pipe(Effect.provide(Orchestrator.layerRuns())))

  it.effect("does not run afresh when the process goes down", () =>
    Effect.gen(function*() {
      const dying = () => TestTools.die(new Error("bug"), { after: "1 second" })
      const { parts, tools } = yield* underWay({ kit: kitOf(dying), turns: joined, guesses: foreseen }, 240)
      yield* Effect.forkChild(Orchestrator.drain({ grace: "1 minute" }))
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(resultOf(parts), { _tag: "Cancelled", executionStarted: false })
      assert.strictEqual(tools.calls.length, 1)
    }).pipe(Effect.provide(Orchestrator.layerRuns())))

  it.effect("is adopted by the next answer, where its own broke off, and runs once", () =>
    Effect.gen(function*() {
      const one = yield* played({
        kit: kitOf(second),
        turns: [
          [TestModel.wait(200), look("a", "c"), TestModel.wait(50), TestModel.fail(aiError)],
          [look("a", "d"), TestModel.wait(50)]
        ],
        guesses: foreseen,
        policies: Retry.layer({ base: "10 millis" })
      })
      assert.strictEqual(one.calls.length, 1)
      const adopted = one.parts.flatMap((part) => part.type === "tool-adopted" ? [[part.callId, part.from]] : [])
      assert.deepStrictEqual(adopted, [["d", "c"]])
      assert.deepStrictEqual(
        one.parts.flatMap((part) => part.type === "tool-result" ? [`${part.id} ${String(part.result)}`] : [])
          .toSorted(),
        ["c found", "d found"]
      )
      assertBalanced(one)
    }))
})

describe("a guess that nobody has joined", () => {
  it.effect("is stopped at once when the process goes down", () =>
    Effect.gen(function*() {
      const { tools } = yield* underWay({ kit: kitOf(second), turns: joined, guesses: foreseen }, 100)
      assert.strictEqual(tools.running.length, 1)
      yield* Effect.forkChild(Orchestrator.drain({ grace: "1 minute" }), { startImmediately: true })
      assert.strictEqual(tools.running.length, 0)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(tools.calls.length, 1)
    }).pipe(Effect.provide(Orchestrator.layerRuns())))

  it.effect("and does not stop is left to itself when the process wants to go at once", () =>
    Effect.gen(function*() {
      const deaf = () => TestTools.deaf({ for: "1 hour" })
      const setting: Setting = {
        kit: kitOf(deaf, { grace: "10 minutes" }),
        turns: [[TestModel.wait(50)]],
        guesses: foreseen
      }
      const { fiber } = yield* underWay(setting, 1000)
      assert.isUndefined(fiber.pollUnsafe())
      ;(yield* Orchestrator.Runs).abandon()
      yield* TestClock.adjust(0)
      assert.isTrue(Exit.isSuccess(fiber.pollUnsafe()!))
    }).pipe(Effect.provide(Orchestrator.layerRuns())))

  it.effect("is claimed with the result it gave, whatever its handler does to its parameters", () =>
    Effect.gen(function*() {
      const one = yield* played({
        kit: (tools) =>
          ToolPolicy.define({
            look: ToolPolicy.tool({
              parameters: Schema.Struct({ filter: Schema.Unknown }),
              success: Schema.String,
              annotations: { readonly: true },
              handler: tools.handler("look", ({ filter }: { readonly filter: unknown }) => {
                ;(filter as { readonly list: Array<string> }).list.push("spoiled")
                return TestTools.succeed("found", { after: 100 })
              })
            })
          }),
        turns: [
          [TestModel.wait(200), made("look", { filter: { list: ["a"] } }, "c")],
          [TestModel.wait(200), made("look", { filter: { list: ["a"] } }, "d")]
        ],
        // One object, said in every turn.
        guesses: ((params) => () => [guess("look", params)])({ filter: { list: ["a"] } })
      })
      assert.strictEqual(ledgerOf(one).hit, 2)
    }))

  it.effect("whose handler left a promise behind gives its place up to a call, and tells the promise", () =>
    Effect.gen(function*() {
      const reasons: Array<unknown> = []
      const one = yield* played({
        kit: (tools) =>
          ToolPolicy.define({
            look: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { readonly: true },
              handler: tools.handler("look", () =>
                TestTools.effect(
                  Effect.as(
                    Effect.forkDetach(
                      Executor.promise((signal) =>
                        new Promise<void>((resolve) => {
                          signal.addEventListener("abort", () => {
                            reasons.push((signal.reason as CancelReason.CancelReason)._tag)
                            resolve()
                          })
                        })
                      ),
                      { startImmediately: true }
                    ),
                    "found"
                  )
                ))
            }),
            work: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { readonly: true, speculate: false },
              handler: tools.handler("work", () => TestTools.succeed("done", { after: 100 }))
            })
          }),
        turns: [[TestModel.wait(50), made("work", { key: "w" }, "c"), TestModel.wait(50)]],
        guesses: foreseen,
        run: { toolCallConcurrency: 1 }
      })
      assert.deepStrictEqual(reasons, ["Misspeculated"])
      assert.strictEqual(one.finish.report.calls[0]?.status, "success")
      assertBalanced(one)
    }))

  const ends: Readonly<Record<string, TestTools.Behaviour<string>>> = {
    "succeeds": TestTools.succeed("found", { after: 100 }),
    "succeeds soon": TestTools.succeed("soon", { after: 1 }),
    "dies": TestTools.die(new Error("bug"), { after: 100 }),
    "is stopped": TestTools.never,
    "takes its time to stop": TestTools.stuckFinalizer({ for: "100 millis" })
  }
  for (const [how, behaviour] of Object.entries(ends)) {
    it.effect(`gives its place among all guesses back where it ${how}, claimed or not`, () => {
      let guessed = "a"
      const kit = kitOf((key) => key === "a" ? behaviour : TestTools.succeed("found", { after: 100 }), {
        deadline: "1 second"
      })
      const once = (key: string, wait: number) =>
        Effect.gen(function*() {
          guessed = key
          const setting: Setting = { kit, turns: [[TestModel.wait(wait), look(key, "c"), TestModel.wait(20)]] }
          const fiber = yield* Effect.forkChild(run({ ...setting, isShared: true }), { startImmediately: true })
          yield* TestClock.adjust("1 minute")
          return ledgerOf(yield* Fiber.join(fiber))
        })
      return Effect.gen(function*() {
        for (const wait of [20, 500]) {
          assert.strictEqual((yield* once("a", wait)).started, 1)
          assert.strictEqual((yield* once("ok", 500)).hit, 1)
        }
      }).pipe(Effect.provide(Layer.merge(
        Speculation.layer({ maxConcurrent: 1 }),
        foreseeing(() => [guess("look", { key: guessed })])
      )))
    })
  }
})

describe("a predictor that does not stop", () => {
  it.effect("says nothing of the next turn", () =>
    Effect.gen(function*() {
      const late = Predictor.make({
        predict: ({ step }) =>
          step === 1
            ? Stream.fromEffect(
              Effect.uninterruptible(Effect.delay(Effect.succeed(guess("look", { key: "a" })), "2 seconds"))
            )
            : Stream.empty
      })
      const one = yield* played({
        kit: kitOf(second),
        turns: [[TestModel.wait(500), look("x", "x")], [TestModel.wait("3 seconds"), look("a", "c")]],
        policies: Layer.merge(Speculation.layer(), late) as Layer.Layer<never>
      })
      assert.strictEqual(one.guessed.length, 0)
    }))
})
