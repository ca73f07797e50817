import { assert, describe, it } from "@effect/vitest"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { results, statuses } from "../stage.ts"

/** Keeps the event loop to itself, really. */
const busy = (millis: number): void => {
  const end = performance.now() + millis
  while (performance.now() < end) { /* on purpose */ }
}

const inner = ToolPolicy.define({
  busy: ToolPolicy.tool({
    parameters: Schema.Struct({ millis: Schema.Finite }),
    success: Schema.String,
    handler: ({ millis }) =>
      Effect.sync(() => {
        busy(millis)
        return "done"
      })
  }),
  busyThenWaits: ToolPolicy.tool({
    annotations: { timeout: "1 minutes" },
    handler: () => Effect.andThen(Effect.sync(() => busy(300)), Effect.sleep(1))
  }),
  slow: ToolPolicy.tool({ annotations: { timeout: "50 millis" }, handler: () => Effect.never })
})

const outer = ToolPolicy.define({
  outer: ToolPolicy.tool({
    success: Schema.String,
    failure: Schema.Unknown,
    handler: () => Executor.call(inner.toolkit.tools.busy, { millis: 300 })
  })
})

const toolkit = Toolkit.merge(inner.toolkit, outer.toolkit)

interface Warning {
  readonly level: string
  readonly tool: unknown
  readonly blockedMillis: unknown
}

/** Notes the warnings of one test. */
const noting = () => {
  const warnings: Array<Warning> = []
  const logger = Logger.make(({ fiber, logLevel }) => {
    const { blockedMillis, tool } = fiber.getRef(References.CurrentLogAnnotations)
    warnings.push({ level: logLevel, tool, blockedMillis })
  })
  return { warnings, layer: Layer.merge(Logger.layer([logger]), Layer.succeed(Executor.BlockedAfter, "100 millis")) }
}

const stream = (...made: ReadonlyArray<ToolCall>) => {
  const { layer, warnings } = noting()
  return Effect.map(
    Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit })).pipe(
      Effect.provide([Layer.provideMerge(outer.layer, inner.layer), scripted(made), layer])
    ),
    (parts) => ({ parts, warnings })
  )
}

describe("T2: a handler that blocks the event loop", () => {
  it.live("T2: is named in a warning and counted, and other time-outs fire once after it", () =>
    Effect.gen(function*() {
      const { parts, warnings } = yield* stream(
        ToolCall("slow", {}, { id: "a" }),
        ToolCall("busy", { millis: 300 }, { id: "b" })
      )
      assert.deepStrictEqual([...statuses(results(parts))].sort(), ["a TimedOut", "b ok"])
      assert.strictEqual(parts.filter(({ type }) => type === "tool-cancelled").length, 1)
      assert.deepStrictEqual(warnings.map(({ level, tool }) => [level, tool]), [["Warn", "busy"]])
      assert.isAtLeast(Number(warnings[0]!.blockedMillis), 300)
      const counted = (yield* Metric.snapshot).flatMap(({ attributes, id, state }) =>
        id === "async_orchestrator_blocked_milliseconds_total" && attributes?.["tool_name"] === "busy" &&
          "count" in state
          ? [Number(state.count)]
          : []
      )
      assert.strictEqual(counted.length, 1)
      assert.isAtLeast(counted[0]!, 300)
    }))

  it.live("T2: is seen up to where it first waits", () =>
    Effect.gen(function*() {
      const { warnings } = yield* stream(ToolCall("busyThenWaits", {}, { id: "a" }))
      assert.deepStrictEqual(warnings.map(({ tool }) => tool), ["busyThenWaits"])
    }))

  it.live("T2: is reported once, by its own name, when it was called from another", () =>
    Effect.gen(function*() {
      const { parts, warnings } = yield* stream(ToolCall("outer", {}, { id: "a" }))
      assert.deepStrictEqual(statuses(results(parts)), ["a ok"])
      assert.deepStrictEqual(warnings.map(({ tool }) => tool), ["busy"])
    }))

  it.live("T2: is not reported while it stays below the threshold", () =>
    Effect.gen(function*() {
      const { warnings } = yield* stream(ToolCall("busy", { millis: 0 }, { id: "a" }))
      assert.deepStrictEqual(warnings, [])
    }))
})
