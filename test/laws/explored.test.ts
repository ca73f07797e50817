/**
 * The engine under seeded schedules: whichever fiber goes on, wherever another one stops, and though time passes while there is work,
 * every call has its result and every permit of a limit comes back.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { CancelReason, Limiter, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { explore, TestModel, ToolCall } from "../../src/testing/index.ts"

const tool = (annotations: ToolPolicy.Annotations<{ readonly id: string }> = {}) =>
  ToolPolicy.tool({
    parameters: Schema.Struct({ id: Schema.String }),
    success: Schema.String,
    annotations: { grace: "1 minute", ...annotations },
    handler: ({ id }) => Effect.onInterrupt(Effect.as(Effect.sleep(5), id), () => Effect.sleep(3))
  })
const { layer, toolkit } = ToolPolicy.define({
  plain: tool(),
  capped: tool({ concurrency: 1, group: "g", resources: () => [{ write: "x" }] }),
  limited: tool({ service: "api" }),
  hedged: tool({ idempotent: true, hedge: { after: 4, budget: 1 } }),
  raced: tool({ group: "g" })
})
const calls = ["plain", "capped", "capped", "limited", "limited", "hedged", "raced", "raced"]
  .map((name, i) => ToolCall(name, { id: `c${i}` }, { id: `c${i}` }))

const options = { prompt: "go", toolkit, runId: "r" }

const permitIsFree = Limiter.withAdmission({ service: "api" })(Effect.void).pipe(
  Effect.timeoutOrElse({ duration: "1 second", orElse: () => Effect.die("a permit is lost") })
)

const provided = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.provide(Effect.andThen(program, permitIsFree), [
    layer,
    TestModel.script([calls, "done"]),
    Limiter.layer({ services: { api: Limiter.permits(1) } }),
    Orchestrator.layerRuns()
  ])

const cancelling = (target: { readonly callId?: string; readonly group?: string }) =>
  provided(Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Orchestrator.run(options))
    yield* Effect.sleep(3)
    yield* Orchestrator.cancel({ runId: "r", ...target }, CancelReason.branchCancelled())
    const { text, toolResults } = yield* Fiber.join(fiber)
    assert.lengthOf(toolResults, calls.length)
    assert.strictEqual(text, "done")
  }))

const programs = {
  "a cancelled call": cancelling({ callId: "c3" }),
  "a cancelled group": cancelling({ group: "g" }),
  "a reader that leaves": provided(Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Stream.runDrain(Orchestrator.stream(options)))
    yield* Effect.sleep(4)
    yield* Fiber.interrupt(fiber)
  })),
  "a drain": provided(Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Effect.exit(Orchestrator.run(options)))
    yield* Effect.sleep(3)
    yield* Orchestrator.drain({ grace: 4 })
    yield* Fiber.join(fiber)
  }))
}

describe("the engine under seeded schedules", () => {
  for (const [name, program] of Object.entries(programs)) {
    for (const hurry of [0, 0.03]) {
      it.effect(
        `keeps its promises through ${name}, ${hurry === 0 ? "in time" : "in a hurry"}`,
        () =>
          Effect.gen(function*() {
            const { schedules } = yield* explore(program, { seeds: 100, hurry, maxSteps: 100_000 })
            assert.strictEqual(schedules, 100)
          }),
        120_000
      )
    }
  }
})
