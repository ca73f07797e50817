/** What one run counts of what all runs share, and what is measured of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { RunAppraisal } from "../../../src/engine/internal/RunAppraisal.ts"
import { appraisal, boundTool, came, candidate } from "./guesses.ts"

const guess = (
  run: RunAppraisal,
  each: ReturnType<typeof candidate>,
  outcome: "hit" | "lateHit" | "miss" | "failed" | "preempted"
): void => {
  const refusal = run.admit(each, 0, undefined)
  run.judged(each, outcome === "hit", refusal === undefined, 0)
  run.ended(each)
  run.settled(each, came(outcome, { wastedTokens: outcome === "miss" ? 7 : 0 }), 0)
}

describe("a run's ledger", () => {
  it("has what its own guesses came to, and the program's has that of all", () => {
    const shared = appraisal()
    const [first, second] = [new RunAppraisal(shared), new RunAppraisal(shared)]
    first.asked("custom")
    first.ignored("custom")
    second.failed("custom")
    second.spent("custom", 30)
    guess(first, candidate(0.9), "hit")
    guess(second, candidate(0.9), "miss")
    guess(second, candidate(0.1), "miss")
    const [one, two, all] = [first, second, shared].map((each) => each.report())
    const entry = { predictor: "custom", tool: "look_up", lateHit: 0, failed: 0, preempted: 0 }
    const saved = { savedMillis: 500, wastedMillis: 0, wastedTokens: 0 }
    const wasted = { savedMillis: 0, wastedMillis: 500, wastedTokens: 7 }
    assert.deepStrictEqual(one, {
      entries: [{ ...entry, ...saved, started: 1, passed: 0, right: 1, hit: 1, miss: 0 }],
      predictors: [{ predictor: "custom", asked: 1, guesses: 2, ignored: 1, failures: 0, tokens: 0, off: false }]
    })
    assert.deepStrictEqual(two, {
      entries: [{ ...entry, ...wasted, started: 1, passed: 1, right: 0, hit: 0, miss: 1 }],
      predictors: [{ predictor: "custom", asked: 0, guesses: 2, ignored: 0, failures: 1, tokens: 30, off: false }]
    })
    assert.deepStrictEqual(all, {
      entries: [{ ...entry, ...saved, ...wasted, savedMillis: 500, started: 2, passed: 1, right: 1, hit: 1, miss: 1 }],
      predictors: [{ predictor: "custom", asked: 1, guesses: 4, ignored: 1, failures: 1, tokens: 30, off: false }]
    })
  })

  it("shares what is known, and the places", () => {
    const shared = appraisal({ maxConcurrent: 1 })
    const [first, second] = [new RunAppraisal(shared), new RunAppraisal(shared)]
    const each = candidate(0.9)
    assert.isUndefined(first.admit(each, 0, undefined))
    assert.strictEqual(second.admit(candidate(0.9), 0, undefined), "concurrency")
    first.ended(each)
    assert.isUndefined(second.admit(candidate(0.9), 0, undefined))
    first.toolTook(each.tool, 0)
    assert.strictEqual(second.admit(candidate(0.9), 0, undefined), "worth")
    first.modelTook("openai", 100)
    assert.strictEqual(second.modelLeft("openai", 0), 100)
    for (let i = 0; i < 20; i++) first.judged(candidate(0.9), false, true, 0)
    assert.isBelow(second.confidence(candidate(0.9)), 0.2)
  })
})

describe("metrics", () => {
  it.effect("count outcomes, time and tokens, by tool and predictor", () =>
    Effect.gen(function*() {
      const tool = boundTool("look_up", undefined, yield* Effect.context())
      const run = new RunAppraisal(appraisal())
      for (const outcome of ["hit", "lateHit", "miss", "miss", "failed", "preempted"] as const) {
        guess(run, candidate(1, { tool, predictor: "measured" }), outcome)
      }
      const counted = (yield* Metric.snapshot).flatMap(({ attributes, id, state }) =>
        id.startsWith("async_orchestrator_speculation") ? [[id, attributes, (state as { count: number }).count]] : []
      )
      const labels = { tool_name: "look_up", predictor: "measured" }
      const of = (name: string, more: object, count: number) => [name, { ...labels, ...more }, count]
      assert.sameDeepMembers(counted, [
        of("async_orchestrator_speculations", { outcome: "hit" }, 1),
        of("async_orchestrator_speculations", { outcome: "lateHit" }, 1),
        of("async_orchestrator_speculations", { outcome: "miss" }, 2),
        of("async_orchestrator_speculations", { outcome: "failed" }, 1),
        of("async_orchestrator_speculations", { outcome: "preempted" }, 1),
        of("async_orchestrator_speculation_seconds", { kind: "saved" }, 1),
        of("async_orchestrator_speculation_seconds", { kind: "wasted" }, 2),
        of("async_orchestrator_speculation_wasted_tokens", {}, 14)
      ])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("have a bounded number of labels, whatever predictors are called", () =>
    Effect.gen(function*() {
      const tool = boundTool("look_up", undefined, yield* Effect.context())
      const run = new RunAppraisal(appraisal({ budget: { calls: 1000 } }))
      for (let i = 0; i < 200; i++) guess(run, candidate(1, { tool, predictor: `made up ${i}` }), "hit")
      const names = new Set((yield* Metric.snapshot).flatMap(({ attributes, id }) =>
        id === "async_orchestrator_speculations" ? [attributes?.["predictor"]] : []
      ))
      assert.isAtMost(names.size, 33)
      assert.isTrue(names.has("other"))
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
