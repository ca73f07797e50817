/**
 * Hundreds of promises that settle after their call was answered. Run under `--unhandled-rejections=strict`: one that nobody
 * handles ends the process with code 1.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Executor, Orchestrator, ToolPolicy } from "../../../src/index.ts"
import { ToolCall } from "../../../src/testing/index.ts"
import { scripted } from "../../model.ts"

const waiting: Array<() => void> = []
const late = (rejects: boolean) =>
  new Promise<string>((resolve, reject) => {
    waiting.push(() => rejects ? reject(new Error("late")) : resolve("late"))
  })

const tool = (handler: (id: number) => Effect.Effect<string, unknown>) =>
  ToolPolicy.tool({
    parameters: Schema.Struct({ id: Schema.Finite }),
    success: Schema.String,
    failure: Schema.Unknown,
    annotations: { timeout: "20 millis", grace: 0 },
    handler: ({ id }) => handler(id)
  })

const { layer, toolkit } = ToolPolicy.define({
  ours: tool((id) => Executor.promise(() => late(id % 2 === 0))),
  stock: tool((id) => Effect.tryPromise(() => late(id % 2 === 0))),
  several: tool((id) =>
    Effect.all([
      Executor.promise(() => late(id % 2 === 0)),
      Executor.promise({ try: () => late(true), catch: () => Promise.reject(new Error("from catch")) })
    ], { concurrency: "unbounded" }).pipe(Effect.as("both"))
  )
})

const count = 200
const names = ["ours", "stock", "several"]
const all = names.flatMap((name) =>
  Array.from({ length: count }, (_, id) => ToolCall(name, { id }, { id: `${name}_${id}` }))
)

const results: Array<string> = []
let afterEnd = 0
let ended = false
const program = Effect.gen(function*() {
  yield* Stream.runForEach(
    Orchestrator.stream({ prompt: "go", toolkit, toolCallConcurrency: 1000 }),
    (part) =>
      Effect.sync(() => {
        if (ended) afterEnd++
        if (part.type === "tool-result") results.push(part.id)
      })
  )
  ended = true
  const promises = waiting.length
  waiting.forEach((settle) => settle())
  // A rejection nobody handles is reported when the microtasks are done, so before the second of these.
  yield* Effect.repeat(Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void))), { times: 1 })
  const counted = (yield* Metric.snapshot).filter(({ id }) => id === "async_orchestrator_late_results_total")
  return {
    promises,
    afterEnd,
    results: results.length,
    distinct: new Set(results).size,
    late: Object.fromEntries(
      counted.map(({ attributes, state }) =>
        [attributes?.["tool_name"], "count" in state ? Number(state.count) : undefined] as const
      )
    )
  }
})

const summary = await Effect.runPromise(program.pipe(Effect.provide([layer, scripted(all)])))
process.stdout.write(JSON.stringify(summary))
