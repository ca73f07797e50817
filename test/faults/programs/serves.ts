/**
 * A program that serves: runs come and go on fibers of their own, and `runMain` interrupts the main fiber on SIGTERM. What closes
 * first is the drain; the tools and their limiter are still there while it ends the runs. Prints one line when they run, and one
 * for each run that ended.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as IoRedis from "../../../src/adapter/IoRedis.ts"
import { Executor, Limiter, Orchestrator, ToolPolicy } from "../../../src/index.ts"
import { ToolCall } from "../../../src/testing/index.ts"
import { scripted } from "../../model.ts"

const [grace = "2 seconds", url = ""] = process.argv.slice(2)

const say = (line: object) => Effect.sync(() => void process.stdout.write(`${JSON.stringify(line)}\n`))

const annotations = { service: "sites" } as const
const started = (name: string) => say({ started: name })
const tools = ToolPolicy.define({
  short: ToolPolicy.tool({
    success: Schema.String,
    annotations,
    handler: () => started("short").pipe(Effect.andThen(Effect.sleep("1 second")), Effect.as("well"))
  }),
  polite: ToolPolicy.tool({ annotations, handler: () => Effect.andThen(started("polite"), Effect.never) }),
  deaf: ToolPolicy.tool({
    annotations,
    handler: () =>
      Effect.andThen(started("deaf"), Effect.asVoid(Effect.orDie(Executor.promise(() => new Promise(() => {})))))
  })
})

const limits = Limiter.layerRedis({ name: "serves", services: { sites: Limiter.permits(20) } }).pipe(
  Layer.provide(IoRedis.layer({ url, commandTimeout: 5000, connectTimeout: 5000 }))
)
const services = Layer.merge(tools.layer, limits)

// What a server does for each request; it asks for the registry where it stands.
const serve = (name: keyof typeof tools.toolkit.tools) =>
  Orchestrator.run({ prompt: "go", toolkit: tools.toolkit }).pipe(
    Effect.provide(scripted(Array.from({ length: 10 }, (_, i) => ToolCall(name, {}, { id: `${name}_${i}` })))),
    Effect.matchEffect({
      onSuccess: ({ text }) => say({ ended: name, text }),
      onFailure: (error) =>
        say({
          ended: name,
          reason: error.reason,
          results: "prompt" in error
            ? error.prompt.content.flatMap(({ content, role }) => role === "tool" ? content : []).map((part) =>
              part.type === "tool-result" ? (part.result as { _tag?: string } | null)?._tag ?? "ok" : part.type
            )
            : []
        })
    })
  )

const program = Effect.gen(function*() {
  const context = yield* Effect.context<Layer.Success<typeof services>>()
  for (const name of ["short", "polite", "deaf"] as const) {
    Effect.runForkWith(context as Context.Context<never>)(serve(name) as Effect.Effect<void>)
  }
  return yield* Effect.never
})

NodeRuntime.runMain(
  Effect.provide(program, Orchestrator.layerRuns({ grace: grace as "2 seconds" }).pipe(Layer.provideMerge(services)))
)
