/** Three handlers that will not stop. The run must end, the report must name them, and the process must exit by itself. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Executor, Orchestrator, ToolPolicy } from "../../../src/index.ts"
import { ToolCall } from "../../../src/testing/index.ts"
import { scripted } from "../../model.ts"

// `Effect.never` would keep the process alive by itself.
const stuck = Effect.callback<never>(() => {})
const annotations = { timeout: "20 millis", grace: "10 millis" } as const

const { layer, toolkit } = ToolPolicy.define({
  uninterruptible: ToolPolicy.tool({ annotations, handler: () => Effect.uninterruptible(stuck) }),
  finalizer: ToolPolicy.tool({ annotations, handler: () => Effect.ensuring(stuck, stuck) }),
  deaf: ToolPolicy.tool({
    annotations,
    success: Schema.Unknown,
    failure: Schema.Unknown,
    handler: () => Executor.promise(() => new Promise(() => {}))
  }),
  fine: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("fine") })
})

const names = ["uninterruptible", "finalizer", "deaf", "fine"]
const result = await Effect.runPromise(
  Orchestrator.run({ prompt: "go", toolkit }).pipe(
    Effect.provide([layer, scripted(names.map((name) => ToolCall(name, {}, { id: name })))])
  )
)
process.stdout.write(JSON.stringify({
  text: result.text,
  abandoned: result.report.abandoned.map(({ name }) => name),
  statuses: result.report.calls.map(({ name, status }) => `${name} ${status}`)
}))
