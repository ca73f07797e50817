/** A guess that was wrong: stopped at once, and nobody but the metrics ever knew of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import type { ToolPolicy as Policies } from "../../src/index.ts"
import { Limiter, ToolPolicy } from "../../src/index.ts"
import { TestModel, TestTools } from "../../src/testing/index.ts"
import { assertBalanced, both, guess, ledgerOf, made, played, seen, type Setting, timesOf } from "./guessing.ts"

const second = 1000

interface Options {
  readonly annotations?: Policies.Annotations<{ readonly key: string }>
  readonly takes?: string
}

/** Two tools that read, each call as long as it is told to be. */
const kit = ({ annotations, takes = "10 seconds" }: Options = {}) => (tools: TestTools.HandlerRecorder) => {
  const reads = (name: string, given: Policies.Annotations<{ readonly key: string }> = {}) =>
    ToolPolicy.tool({
      parameters: Schema.Struct({ key: Schema.String }),
      success: Schema.String,
      annotations: { readonly: true, ...given },
      handler: tools.handler(name, ({ key }: { readonly key: string }) =>
        TestTools.succeed(`${name} ${key}`, { after: takes as "10 seconds" }))
    })
  return ToolPolicy.define({ look: reads("look", annotations), scan: reads("scan", annotations) })
}

const look = (key: string) => made("look", { key }, `look ${key}`)
const scan = (key: string) => made("scan", { key }, `scan ${key}`)
const turn = (...calls: ReadonlyArray<TestModel.Item>): TestModel.Turn => [TestModel.wait("1 second"), ...calls]

const setting: Setting = {
  kit: kit(),
  turns: [turn(look("a"), TestModel.wait("1 second"))],
  guesses: ({ step }) => step === 1 ? [guess("scan", { key: "c" }), guess("look", { key: "b" })] : []
}

describe("S1 guess wrong", () => {
  it.effect("stops a guess in the instant in which the model's call, or the end of its answer, rules it out", () =>
    Effect.gen(function*() {
      const [run] = yield* both(setting)
      const ended = run.guessed.map(({ endedAt, name, reason, startedAt, status }) =>
        [name, startedAt, endedAt, status, reason?._tag] as const
      )
      assert.deepStrictEqual(ended, [
        ["scan", 0, 2 * second, "interrupted", "Misspeculated"],
        ["look", 0, second, "interrupted", "Misspeculated"]
      ])
    }))

  it.effect("leaves no trace in history, results, calls and times: it is a number in the ledger", () =>
    Effect.gen(function*() {
      const [run, plain] = yield* both(setting)
      assert.strictEqual(seen(run), seen(plain))
      assert.deepStrictEqual(timesOf(run), timesOf(plain))
      assert.deepStrictEqual(run.finish.report.calls, plain.finish.report.calls)
      assert.deepStrictEqual(run.real.map(({ id }) => id), ["look a"])
      assert.deepStrictEqual(ledgerOf(run), { started: 2, hit: 0, lateHit: 0, miss: 2, failed: 0, preempted: 0 })
      assertBalanced(run)
      const ids = new Set(run.parts.flatMap((part) => part.type === "tool-speculated" ? [part.speculationId] : []))
      assert.strictEqual(ids.size, 2)
      const told = run.parts.filter((part) => "speculationId" in part).map(({ type }) => type)
      assert.deepStrictEqual(told, ["tool-speculated", "tool-speculated", "tool-discarded", "tool-discarded"])
      for (const part of run.parts) {
        if ("speculationId" in part) continue
        for (const id of ids) assert.notInclude(JSON.stringify(part), `"${id}"`, part.type)
      }
    }))

  it.effect("is counted in the metrics", () =>
    Effect.gen(function*() {
      yield* played(setting)
      const all = yield* Metric.snapshot
      const counted = all.filter(({ id }) => id === "async_orchestrator_speculations")
      assert.isAtLeast(counted.length, 1)
      assert.isTrue(counted.some(({ attributes }) => JSON.stringify(attributes).includes("miss")))
    }))
})

describe("S1 guess wrong: what it holds", () => {
  // One more than there is slack for.
  const three: Setting["guesses"] = ({ step }) => step === 1 ? ["c", "f", "g"].map((key) => guess("scan", { key })) : []
  const held: Readonly<Record<string, Setting>> = {
    "the only place of the run": { ...setting, run: { toolCallConcurrency: 1 } },
    "the only place, under a limiter": {
      ...setting,
      run: { toolCallConcurrency: 1 },
      policies: Limiter.layer({ global: Limiter.permits(50) })
    },
    "the only permit of its tool": {
      ...setting,
      kit: kit({ annotations: { concurrency: 1 } })
    },
    "permits of its service": {
      ...setting,
      kit: kit({ annotations: { service: "api" } }),
      policies: Limiter.layer({ services: { api: Limiter.permits(2) } }),
      turns: [turn(look("a"), look("d"), TestModel.wait("1 second"))]
    },
    "global permits, of which the model needs one": {
      ...setting,
      policies: Limiter.layer({ global: Limiter.permits(4) }),
      turns: [turn(look("a"), look("d"), look("e"), TestModel.wait("1 second")), turn(scan("x"), scan("y"), scan("z"))]
    },
    "a half of a window": {
      ...setting,
      kit: kit({ annotations: { service: "api" } }),
      policies: Limiter.layer({ services: { api: Limiter.slidingWindow({ limit: 4, window: "1 minute" }) } }),
      turns: [turn(look("a"), look("d"))],
      guesses: three
    },
    "half of the tokens": {
      ...setting,
      kit: kit({ annotations: { service: "api", cost: { estimate: () => 100 } } }),
      policies: Limiter.layer({
        services: { api: Limiter.tokenBucket({ capacity: 400, refill: 1, every: "1 minute", unit: "tokens" }) }
      }),
      turns: [turn(look("a"), look("d"))],
      guesses: three
    }
  }
  for (const [what, given] of Object.entries(held)) {
    it.effect(`delays no real call by a millisecond: ${what}`, () =>
      Effect.gen(function*() {
        const [run, plain] = yield* both(given)
        assert.deepStrictEqual(timesOf(run), timesOf(plain))
        assert.strictEqual(seen(run), seen(plain))
        assert.strictEqual(run.finish.report.totalMillis, plain.finish.report.totalMillis)
        assert.isAtLeast(ledgerOf(run).started, 1, "nothing was guessed")
        assertBalanced(run)
      }))
  }

  it.effect("gives way to a call of another tool that the model makes before its answer ends", () =>
    Effect.gen(function*() {
      const given: Setting = {
        kit: kit(),
        run: { toolCallConcurrency: 1 },
        turns: [turn(look("a"), TestModel.wait("5 seconds"))],
        guesses: ({ step }) => step === 1 ? [guess("scan", { key: "c" })] : []
      }
      const [run, plain] = yield* both(given)
      assert.deepStrictEqual(run.guessed.map(({ endedAt, status }) => [endedAt, status]), [[second, "interrupted"]])
      assert.deepStrictEqual(timesOf(run), timesOf(plain))
      assert.deepStrictEqual(ledgerOf(run), { started: 1, hit: 0, lateHit: 0, miss: 0, failed: 0, preempted: 1 })
    }))

  it.effect("gives its permits back to the limiter when it is stopped", () =>
    Effect.gen(function*() {
      const limits = Limiter.layer({ services: { api: Limiter.permits(4) } })
      yield* Effect.gen(function*() {
        const limiter = yield* Limiter.Limiter
        const run = yield* played({
          ...setting,
          kit: kit({ annotations: { service: "api" } }),
          policies: undefined
        })
        assert.strictEqual(ledgerOf(run).started, 2)
        const all = Array.from({ length: 4 }, () => ({ service: "api", takes: "1 second" as const }))
        const forecast = yield* limiter.explain(all)
        assert.deepStrictEqual(forecast.map(({ startMillis }) => startMillis), [0, 0, 0, 0])
      }).pipe(Effect.provide(limits))
    }))

  it.effect("never goes over a limit, also where no handler of a guess stops when it is asked", () =>
    Effect.gen(function*() {
      const deaf = (tools: TestTools.HandlerRecorder) =>
        ToolPolicy.define({
          look: ToolPolicy.tool({
            parameters: Schema.Struct({ key: Schema.String }),
            success: Schema.String,
            annotations: { readonly: true, concurrency: 2, grace: "50 millis" },
            handler: tools.handler("look", ({ key }: { readonly key: string }) =>
              key === "b"
                ? TestTools.deaf(TestTools.succeed("late", { after: "4 seconds" }))
                : TestTools.succeed(key, { after: "1 second" }))
          })
        })
      const run = yield* played({
        kit: deaf,
        turns: [turn(look("a"), look("c"), look("d")), turn(look("e"))],
        guesses: () => [guess("look", { key: "b" })]
      })
      let peak = 0
      for (const { startedAs } of run.calls) {
        const running = run.calls.filter((other) =>
          other.startedAs <= startedAs && (other.endedAs === undefined || other.endedAs > startedAs)
        )
        peak = Math.max(peak, running.length)
      }
      assert.strictEqual(peak, 2)
      assert.deepStrictEqual(run.guessed.length, 1, "a tool whose guesses do not stop is not guessed any more")
    }))
})
