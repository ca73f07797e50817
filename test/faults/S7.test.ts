/** A predictor that is wrong for long costs little, is turned off, and comes back when it is right. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Limiter, ToolPolicy } from "../../src/index.ts"
import type { Predictor } from "../../src/index.ts"
import { TestModel, TestTools } from "../../src/testing/index.ts"
import { random } from "../random.ts"
import { both, guess, ledgerOf, made, played, seen, type Setting, timesOf } from "./guessing.ts"

const kit = (tools: TestTools.HandlerRecorder) =>
  ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Schema.Struct({ key: Schema.Int }),
      success: Schema.Int,
      annotations: { readonly: true, service: "api" },
      handler: tools.handler("look", ({ key }: { readonly key: number }) => TestTools.succeed(key, { after: 300 }))
    })
  })

const turns = (count: number): ReadonlyArray<TestModel.Turn> =>
  Array.from({ length: count }, (_, n): TestModel.Turn => [
    TestModel.wait("1 second"),
    made("look", { key: n + 1 }, `real ${n + 1}`)
  ])

const many = 90

/** Sure of many calls, none of which is ever made. */
const wrong = ({ step }: Predictor.Question): ReadonlyArray<Predictor.Guess> =>
  [1, 2, 3, 4].map((n) => guess("look", { key: -step * 10 - n }, 1))

const startsByTurn = (run: { readonly parts: ReadonlyArray<{ readonly type: string }> }): ReadonlyArray<number> => {
  const counts = Array.from({ length: many + 2 }, () => 0)
  for (const part of run.parts) {
    if (part.type === "tool-speculated") counts[(part as unknown as { readonly step: number }).step]!++
  }
  return counts
}

describe("S7 predictor that is wrong for long", () => {
  const setting: Setting = { kit, turns: turns(many), guesses: wrong, run: { maxSteps: many + 1 } }

  it.effect("is turned off after few starts, and probed seldom", () =>
    Effect.gen(function*() {
      const run = yield* played(setting)
      const counts = startsByTurn(run)
      const { hit, lateHit, started } = ledgerOf(run)
      assert.strictEqual(hit + lateHit, 0)
      assert.isAtLeast(started, 1)
      assert.isAtMost(started, 24, "of 360 guesses")
      assert.isTrue(run.finish.report.speculation!.predictors[0]!.off)
      const late = counts.slice(many / 2).reduce((sum, n) => sum + n, 0)
      assert.isAtMost(late, 4, `starts by turn: ${counts.join(" ")}`)
    }))

  it.effect("changes no result and no time of any real call", () =>
    Effect.gen(function*() {
      const policies = Limiter.layer({ services: { api: Limiter.permits(2) }, global: Limiter.permits(4) })
      const [run, plain] = yield* both({ ...setting, policies })
      assert.strictEqual(seen(run), seen(plain))
      assert.deepStrictEqual(timesOf(run), timesOf(plain))
      assert.strictEqual(run.finish.report.totalMillis, plain.finish.report.totalMillis)
    }))

  it.effect("never starts more in vain than its budget in any window, nor more at once than it may", () =>
    Effect.gen(function*() {
      for (let seed = 1; seed <= 10; seed++) {
        const r = random(seed)
        const budget = r.int(1, 6)
        const maxConcurrent = r.int(1, 3)
        const right = (
          { step }: Predictor.Question
        ) => [...(r.chance(0.5) ? [guess("look", { key: step }, 1)] : []), ...wrong({ step } as Predictor.Question)]
        const run = yield* played({
          ...setting,
          guesses: right,
          options: { budget: { calls: budget, window: "20 seconds" }, maxConcurrent }
        })
        const inVain = run.guessed.filter(({ params }) => (params as { readonly key: number }).key < 0)
        const starts = inVain.map(({ startedAt }) => startedAt)
        for (const start of starts) {
          const within = starts.filter((other) => other >= start && other < start + 20_000).length
          assert.isAtMost(within, budget, `seed ${seed}`)
        }
        for (const { startedAs } of run.guessed) {
          const atOnce = run.guessed.filter((other) =>
            other.startedAs <= startedAs && (other.endedAs === undefined || other.endedAs > startedAs)
          ).length
          assert.isAtMost(atOnce, maxConcurrent, `seed ${seed}`)
        }
      }
    }))

  it.effect("comes back when it is right again", () =>
    Effect.gen(function*() {
      const healed = 30
      const run = yield* played({
        ...setting,
        guesses: (question) => question.step <= healed ? wrong(question) : [guess("look", { key: question.step }, 1)]
      })
      const { hit, lateHit } = ledgerOf(run)
      assert.isAtLeast(
        hit + lateHit,
        20,
        `of ${many - healed} that it foresaw; starts by turn: ${startsByTurn(run).join(" ")}`
      )
      assert.isFalse(run.finish.report.speculation!.predictors[0]!.off)
    }))
})
