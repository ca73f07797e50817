import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "effect/ai/Prompt"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Predictor } from "../../../src/policy/Predictor.ts"
import * as Baseline from "./baseline.ts"

const user = (content: string): Prompt.MessageEncoded => ({ role: "user", content })

let made = 0
const called = (name: string, params: unknown, result: unknown): ReadonlyArray<Prompt.MessageEncoded> => {
  const id = `c${++made}`
  return [
    { role: "assistant", content: [{ type: "tool-call", id, name, params }] },
    { role: "tool", content: [{ type: "tool-result", id, name, isFailure: false, result }] }
  ]
}

const run = (...messages: ReadonlyArray<Prompt.MessageEncoded>) => ({
  runId: "r",
  prompt: Prompt.make(messages),
  from: 0,
  tools: {}
})

/** What it guesses in a situation, having learned these runs. */
const guessed = (
  learned: ReadonlyArray<ReturnType<typeof run>>,
  now: ReadonlyArray<Prompt.MessageEncoded>,
  options?: Baseline.Options
) =>
  Effect.gen(function*() {
    const predictor = yield* Predictor
    for (const each of learned) yield* predictor.learn(each)
    const question = { ...run(...now), step: 1, speculable: new Set(["user", "order", "find"]), spend: () => {} }
    return [...yield* Stream.runCollect(predictor.predict(question))]
  }).pipe(Effect.provide(Baseline.layer(options)))

const mia = { orders: ["O1", "O2"], city: "Rome" }
const first = run(
  user("I am mia_li_3668."),
  ...called("user", { id: "mia_li_3668" }, mia),
  ...called("order", { id: "O1", for: "mia_li_3668" }, { state: "sent" }),
  ...called("cancel", { id: "O1" }, {}),
  { role: "assistant", content: "Done." }
)

describe("the baseline", () => {
  it.effect("takes an argument from where it was copied: the user's words of the same shape", () =>
    Effect.gen(function*() {
      const [guess, ...others] = yield* guessed([first], [user("Hello, tom_orr_1234 here")])
      assert.deepStrictEqual([guess?.tool, guess?.params], ["user", { id: "tom_orr_1234" }])
      assert.deepStrictEqual(others, [])
    }))

  it.effect("takes an argument from a result, of a list the first, and from an earlier call", () =>
    Effect.gen(function*() {
      const now = [
        user("tom_orr_1234"),
        ...called("user", { id: "tom_orr_1234" }, { orders: ["X7", "X8"], city: "Oslo" })
      ]
      const [guess] = yield* guessed([first], now)
      assert.deepStrictEqual([guess?.tool, guess?.params], ["order", { id: "X7", for: "tom_orr_1234" }])
    }))

  it.effect("takes the newest of what stands in several places", () =>
    Effect.gen(function*() {
      const now = [
        user("tom_orr_1234"),
        ...called("user", { id: "tom_orr_1234" }, { orders: ["X7"] }),
        ...called("user", { id: "ann_orr_1234" }, { orders: ["Y7"] })
      ]
      const guesses = yield* guessed([first, run(user("O9"), ...called("user", { id: "O9" }, {}))], now)
      assert.deepStrictEqual(guesses.find(({ tool }) => tool === "order")?.params, { id: "Y7", for: "tom_orr_1234" })
    }))

  it.effect("follows the last two names, and the last one where those were never seen", () =>
    Effect.gen(function*() {
      const ask = (name: string) => called(name, { id: "O5" }, {})
      const after = (...names: ReadonlyArray<string>) => [user("O5"), ...names.flatMap(ask)]
      const rare = run(...after("user", "order", "find"))
      const usual = run(...after("find", "order", "user"))
      const next = (...names: ReadonlyArray<string>) =>
        Effect.map(guessed([rare, usual, usual], after(...names)), ([guess]) => guess?.tool)
      assert.deepStrictEqual(
        [yield* next("user", "order"), yield* next("find", "order"), yield* next("order", "order")],
        ["find", "user", "user"]
      )
    }))

  it.effect("guesses at most two, none of which writes, each with its share of the calls", () =>
    Effect.gen(function*() {
      const runs = [
        run(user("A1"), ...called("user", { id: "A1" }, {})),
        run(user("A2"), ...called("order", { id: "A2" }, {})),
        run(user("A3"), ...called("order", { id: "A3" }, {})),
        run(user("A4"), ...called("find", { id: "A4" }, {}), { role: "assistant", content: "Bye." }),
        run(user("A5"), ...called("cancel", { id: "A5" }, {}))
      ]
      const guesses = yield* guessed(runs, [user("A9")])
      assert.deepStrictEqual(guesses.map(({ tool }) => tool), ["order", "user"])
      assert.strictEqual(guesses[0]?.ifCalling, 2 / 5)
      // Five of six turns called.
      assert.approximately(guesses[0]?.confidence ?? 0, 2 / 5 * 5 / 6, 1e-12)
    }))

  it.effect("guesses calls made before again, unless it is told not to", () =>
    Effect.gen(function*() {
      const twice = run(user("A1"), ...called("user", { id: "A1" }, {}), ...called("user", { id: "A1" }, {}))
      const now = [user("A9"), ...called("user", { id: "A9" }, {})]
      assert.strictEqual((yield* guessed([twice], now)).length, 1)
      assert.strictEqual((yield* guessed([twice], now, { skipsRepeats: true })).length, 0)
    }))

  it.effect("learns nothing from what an earlier run has shown it", () =>
    Effect.gen(function*() {
      const messages = [
        user("A1"),
        ...called("user", { id: "A1" }, {}),
        user("A2"),
        ...called("order", { id: "A2" }, {})
      ]
      const later = { ...run(...messages), from: 3 }
      const guesses = yield* guessed([later], [user("A9"), ...called("user", { id: "A9" }, {})])
      assert.deepStrictEqual(guesses.map(({ tool }) => tool), ["order"])
    }))

  it.effect("says nothing before it has learned", () =>
    Effect.map(guessed([], [user("A9")]), (guesses) => assert.deepStrictEqual(guesses, [])))
})
