import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { settle, statuses } from "../stage.ts"

const month = "30 days"

const toolsOf = (act: (attempt: number) => Effect.Effect<string, string>) => {
  let attempts = 0
  return ToolPolicy.define({
    work: ToolPolicy.tool({
      success: Schema.String,
      failure: Schema.String,
      annotations: {
        readonly: true,
        timeout: month,
        deadline: "90 days",
        grace: month,
        hedge: { after: month },
        retry: { schedule: Schedule.spaced(month), while: () => true }
      },
      handler: () => Effect.suspend(() => act(++attempts))
    })
  })
}

const timeouts = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length

describe("D8: long timers and jumping clocks", () => {
  it.live("D8: a time-out, a deadline and a hedge of 30 days do not fire at once, and leave no timer", () => {
    const { layer, toolkit } = toolsOf(() => Effect.as(Effect.sleep("30 millis"), "fine"))
    return Effect.gen(function*() {
      const before = timeouts()
      assert.strictEqual(yield* Effect.provide(Executor.call(toolkit.tools.work, {}), layer), "fine")
      yield* Effect.yieldNow
      assert.isAtMost(timeouts(), before)
    })
  })

  it.live("D8: a wait of 30 days before the next attempt is not over at once, and ends with its call", () => {
    let attempts = 0
    const { layer, toolkit } = toolsOf((attempt) => {
      attempts = attempt
      return Effect.fail("busy")
    })
    return Effect.gen(function*() {
      const before = timeouts()
      const fiber = yield* Effect.forkChild(Effect.provide(Executor.call(toolkit.tools.work, {}), layer))
      yield* Effect.sleep("50 millis")
      assert.isUndefined(fiber.pollUnsafe())
      assert.strictEqual(attempts, 1)
      yield* Fiber.interrupt(fiber)
      yield* Effect.yieldNow
      assert.isAtMost(timeouts(), before)
    })
  })

  it.effect("D8: they fire when their time has come", () => {
    const starts: Array<number> = []
    const { layer, toolkit } = toolsOf((attempt) =>
      Effect.clockWith((clock) => {
        starts.push(clock.currentTimeMillisUnsafe())
        return attempt === 1 ? Effect.fail("busy") : Effect.never
      })
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.flip(Effect.provide(Executor.call(toolkit.tools.work, {}), layer)))
      for (let day = 0; day < 59; day++) yield* TestClock.adjust("1 days")
      assert.deepStrictEqual(starts.map((millis) => millis / 86_400_000), [0, 30])
      assert.isUndefined(fiber.pollUnsafe())
      for (let day = 0; day < 31; day++) yield* TestClock.adjust("1 days")
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "TimedOut" })
    })
  })

  it.effect("D8: a wall clock that jumps either way changes no time-out and makes no time negative", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let jump = 0
      const jumping = {
        ...clock,
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + jump,
        currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(jump) * 1_000_000n,
        currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + jump),
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        sleep: (duration: Parameters<typeof clock.sleep>[0]) => clock.sleep(duration)
      } as Clock.Clock
      const tools = ToolPolicy.define({
        slow: ToolPolicy.tool({ annotations: { timeout: "1 seconds" }, handler: () => Effect.never })
      })
      for (const by of [-3_600_000, 3_600_000]) {
        jump = 0
        const fiber = yield* Effect.forkChild(
          Orchestrator.run({ prompt: "go", toolkit: tools.toolkit }).pipe(Effect.provide([
            tools.layer,
            scripted([ToolCall("slow", {}, { id: "a" })]),
            Layer.succeed(Clock.Clock, jumping)
          ]))
        )
        yield* TestClock.adjust("400 millis")
        jump = by
        yield* TestClock.adjust("599 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* settle
        const { report, toolResults } = yield* Fiber.join(fiber)
        assert.deepStrictEqual(statuses(toolResults), ["a TimedOut"])
        assert.deepInclude(report.calls[0], { runMillis: 1000, queuedMillis: 0 })
        assert.strictEqual(report.totalMillis, 1000)
      }
    }))
})
