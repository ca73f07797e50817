/** Whose room guesses take, and how they give it up: as many as are needed, at once, and no call is worse off for those that do not. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Limiter, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools } from "../../../src/testing/index.ts"
import { assertBalanced, guess, ledgerOf, made, played, run, type Setting } from "../../faults/guessing.ts"
import type { Played } from "../../faults/guessing.ts"

const Params = Schema.Struct({ key: Schema.String })
type Params = typeof Params.Type

/** `look` may be guessed, `work` may not; how they behave is by key. */
const kitOf = (
  behaviours: Readonly<Record<string, TestTools.Behaviour<string>>>,
  annotations: ToolPolicy.Annotations<Params, string> = {}
) =>
(tools: TestTools.HandlerRecorder) => {
  const handler = (name: string) =>
    tools.handler(name, ({ key }: Params) => behaviours[key] ?? TestTools.succeed(key, { after: 100 }))
  return ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: { readonly: true, ...annotations },
      handler: handler("look")
    }),
    work: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: { readonly: true, speculate: false },
      handler: handler("work")
    })
  })
}

const slow = TestTools.succeed("slow", { after: "10 seconds" })
const tidying = TestTools.stuckFinalizer({ for: "100 millis" })
const foreseen = (...keys: ReadonlyArray<string>): Setting["guesses"] => ({ step }) =>
  step === 1 ? keys.map((key) => guess("look", { key })) : []

const discards = ({ parts }: Played) =>
  parts.flatMap((part) => part.type === "tool-discarded" ? [part.why] : []).filter((why) => why === "preempted").length

const startOf = ({ calls }: Played, key: string) => calls.find(({ id }) => id === key)?.startedAt

const limiters = {
  "without a limiter": undefined,
  "under a limiter": Limiter.layer({ global: Limiter.permits(100) }) as Layer.Layer<never>
}

for (const [where, policies] of Object.entries(limiters)) {
  describe(`room, ${where}`, () => {
    it.effect("is given up by one guess for each call that waits for a place, at once", () =>
      Effect.gen(function*() {
        const setting: Setting = {
          kit: kitOf({ a: slow, b: slow, c: slow }),
          turns: [[
            TestModel.wait(50),
            made("work", { key: "w" }, "w"),
            TestModel.wait(500),
            made("look", { key: "c" }, "c")
          ]],
          guesses: foreseen("a", "b", "c"),
          run: { toolCallConcurrency: 3 },
          policies
        }
        const one = yield* played(setting)
        assert.strictEqual(discards(one), 1)
        assert.strictEqual(startOf(one, "w"), 50)
        assert.strictEqual(ledgerOf(one).lateHit, 1)
        assertBalanced(one)
      }))

    it.effect("is given up by one guess for each call that waits for its tool's permit, at once", () =>
      Effect.gen(function*() {
        const one = yield* played({
          kit: kitOf({ a: slow, b: slow }, { concurrency: 2 }),
          turns: [[
            TestModel.wait(50),
            made("look", { key: "x" }, "x"),
            TestModel.wait(500),
            made("look", { key: "b" }, "b")
          ]],
          guesses: foreseen("a", "b"),
          policies
        })
        assert.strictEqual(discards(one), 1)
        assert.strictEqual(startOf(one, "x"), 50)
        assert.strictEqual(ledgerOf(one).lateHit, 1)
      }))

    it.effect("that is on its way back is not asked for twice", () =>
      Effect.gen(function*() {
        const work = (key: string) => made("work", { key }, key)
        const one = yield* played({
          kit: kitOf({ a: tidying, b: tidying, c: slow }),
          turns: [[
            TestModel.wait(50),
            work("v"),
            TestModel.wait(10),
            work("w"),
            TestModel.wait(500),
            made("look", { key: "c" }, "c")
          ]],
          guesses: foreseen("a", "b", "c"),
          run: { toolCallConcurrency: 3 },
          policies
        })
        assert.strictEqual(discards(one), 2)
        // Calls in a limiter ask for their places one at a time.
        assert.deepStrictEqual([startOf(one, "v"), startOf(one, "w")], [150, policies === undefined ? 160 : 250])
        assert.strictEqual(ledgerOf(one).lateHit, 1)
      }))

    it.effect("that a guess does not give up when asked is no call's loss for longer than its grace, and is reported", () =>
      Effect.gen(function*() {
        const one = yield* played({
          kit: kitOf({ a: TestTools.deaf({ for: "1 minute" }) }),
          turns: [
            [TestModel.wait(50), made("work", { key: "w" }, "w"), TestModel.wait(1000)],
            [TestModel.wait(50), made("look", { key: "b" }, "b")]
          ],
          guesses: ({ step }) => [guess("look", { key: step === 1 ? "a" : "b" })],
          run: { toolCallConcurrency: 1 },
          policies
        })
        assert.strictEqual(startOf(one, "w"), 300)
        const { abandoned, calls } = one.finish.report
        assert.deepStrictEqual(abandoned.map(({ callId, name, reason }) => [callId, name, reason._tag]), [
          ["spec_1", "look", "Misspeculated"]
        ])
        assert.deepStrictEqual(calls.map(({ status }) => status), ["success", "success"])
        // Its tool is not guessed any more.
        assert.strictEqual(one.guessed.length, 1)
        assertBalanced(one)
      }))

    it.effect("is given up for a call whose permit another run gives back", () =>
      Effect.gen(function*() {
        const tools = TestTools.recorderUnsafe()
        const handler = (name: string, millis: number) =>
          tools.handler(name, ({ key }: Params) => TestTools.succeed(key, { after: millis }))
        const of = (name: string, millis: number, annotations: ToolPolicy.Annotations<Params, string>) =>
          ToolPolicy.tool({ parameters: Params, success: Schema.String, annotations, handler: handler(name, millis) })
        const kit = ToolPolicy.define({
          look: of("look", 10_000, { readonly: true }),
          only: of("only", 500, { concurrency: 1, readonly: true, speculate: false }),
          work: of("work", 2000, { readonly: true, speculate: false })
        })
        const other = yield* Effect.forkChild(
          run({ kit: () => kit, turns: [[made("only", { key: "a" }, "a")]], policies }, tools),
          { startImmediately: true }
        )
        const own = yield* Effect.forkChild(
          run({
            kit: () => kit,
            turns: [[
              TestModel.wait(10),
              made("only", { key: "b" }, "b"),
              TestModel.wait(10),
              made("work", { key: "w" }, "w"),
              TestModel.wait(5000)
            ]],
            guesses: foreseen("g"),
            run: { toolCallConcurrency: 2 },
            policies
          }, tools),
          { startImmediately: true }
        )
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(other)
        const one = yield* Fiber.join(own)
        assert.strictEqual(startOf(one, "w"), 20)
        assert.strictEqual(startOf(one, "b"), 500)
        assert.strictEqual(discards(one), 1)
      }))
  })
}
