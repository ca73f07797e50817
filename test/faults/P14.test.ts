import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"

const count = 10_000
const ids = Array.from({ length: count }, (_, i) => `c${i}`)
const parameters = Schema.Struct({ i: Schema.Finite })
const many = ids.map((id, i) => ToolCall("work", { i }, { id }))

/** A handler that ends in its first step, or yields so that others run beside it. */
const setUp = (yields: boolean, annotations: ToolPolicy.Annotations<unknown> = {}) => {
  const seen = { running: 0, peak: 0, started: 0 }
  const work = Effect.sync(() => {
    seen.started++
    seen.peak = Math.max(seen.peak, ++seen.running)
  }).pipe(
    Effect.andThen(yields ? Effect.yieldNow : Effect.void),
    Effect.ensuring(Effect.sync(() => seen.running--))
  )
  return {
    seen,
    ...ToolPolicy.define({
      work: ToolPolicy.tool({
        parameters,
        success: Schema.Finite,
        annotations: { timeout: "1 minute", ...annotations },
        handler: ({ i }) => Effect.as(work, i)
      })
    })
  }
}

const shapes = [
  ["in one chunk", many],
  ["one call a chunk", many.map((one) => TestModel.chunk(one))]
] as const

describe("P14: 10,000 calls in one decision", () => {
  for (const yields of [false, true]) {
    it.effect.each(shapes)(
      `P14: %s, ${yields ? "each with a wait" : "each over at once"}: all run once, in order, under the cap`,
      ([, chunks]) => {
        const { layer, seen, toolkit } = setUp(yields)
        return Effect.gen(function*() {
          const { report, toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
          assert.strictEqual(seen.started, count)
          assert.isAtMost(seen.peak, 30)
          assert.strictEqual(report.peakConcurrency, seen.peak)
          assert.deepStrictEqual(toolResults.map(({ id }) => id), ids)
          assert.deepStrictEqual(toolResults.map(({ result }) => result), ids.map((_, i) => i))
        }).pipe(Effect.provide([layer, scripted(chunks)]))
      }
    )
  }

  it.effect("P14: under a tool's own cap of 2 none is lost and two run at once", () => {
    const { layer, seen, toolkit } = setUp(true, { concurrency: 2 })
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.strictEqual(toolResults.length, count)
      assert.strictEqual(seen.peak, 2)
    }).pipe(Effect.provide([layer, scripted(many)]))
  })

  it.effect("P14: on one resource they run one after the other, in order", () => {
    const order: Array<number> = []
    const { layer, toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        parameters,
        annotations: { resources: () => [{ write: "x" }] },
        handler: ({ i }) => Effect.sync(() => void order.push(i))
      })
    })
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(order, ids.map((_, i) => i))
    }).pipe(Effect.provide([layer, scripted(many)]))
  })

  it.effect.each(
    [
      ["started at the seal", {}],
      ["held back and released together", { eager: "after-finish" }],
      ["under a cap of their tool", { concurrency: 2 }]
    ] as const
  )("P14: %s and each over at once: the event loop gets its turn between starts", ([, annotations]) => {
    const { layer, seen, toolkit } = setUp(false, annotations)
    const startedAtTurn: Array<number> = []
    return Effect.gen(function*() {
      const turn = (): void => {
        startedAtTurn.push(seen.started)
        if (seen.started < count) setImmediate(turn)
      }
      setImmediate(turn)
      yield* Orchestrator.run({ prompt: "go", toolkit })
      startedAtTurn.push(seen.started)
      const jumps = startedAtTurn.map((started, i) => started - (startedAtTurn[i - 1] ?? 0))
      assert.isAtMost(Math.max(...jumps), 256)
    }).pipe(Effect.provide([layer, scripted(many)]))
  })

  it.effect("P14: a stream reader gets every part of every call", () => {
    const { layer, toolkit } = setUp(true)
    return Effect.gen(function*() {
      const counts: Record<string, number> = {}
      yield* Stream.runForEach(Orchestrator.stream({ prompt: "go", toolkit }), ({ type }) =>
        Effect.sync(() => {
          counts[type] = (counts[type] ?? 0) + 1
        }))
      assert.strictEqual(counts["tool-queued"], count)
      assert.strictEqual(counts["tool-started"], count)
      assert.strictEqual(counts["tool-result"], count)
    }).pipe(Effect.provide([layer, scripted(many.map((one) => TestModel.chunk(one)))]))
  })

  it.effect("P14: the 10,001st call is Rejected with the limit's name", () => {
    const { layer, seen, toolkit } = setUp(false)
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.strictEqual(seen.started, count)
      const last = toolResults.at(-1)
      assert.strictEqual(toolResults.length, count + 1)
      assert.include(JSON.stringify(last?.result), "at most 10000 calls")
    }).pipe(Effect.provide([layer, scripted([...many, ToolCall("work", { i: 0 }, { id: "over" })])]))
  })
})
