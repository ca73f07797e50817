/**
 * A test as the testing kit's users write it: a scripted model asks for all calls, scripted handlers take their virtual time,
 * and the clock moves by itself.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Orchestrator, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools, ToolCall } from "../../../src/testing/index.ts"
import { advancing } from "../../../src/testing/internal/virtualTime.ts"

const callsPerTurn = 20
const turnSeconds = 60

const { toolkit } = ToolPolicy.define({
  search: ToolPolicy.tool({
    parameters: Schema.Struct({ index: Schema.Number }),
    success: Schema.Number,
    handler: ({ index }) => Effect.succeed(index)
  })
})

// No two calls of a turn end at one moment, and the last ends with the turn's minute.
const tools = TestTools.layer(toolkit, {
  search: ({ index }) =>
    TestTools.succeed(index, { after: `${turnSeconds / callsPerTurn * (1 + index % callsPerTurn)} seconds` })
})

const turnsOf = (calls: number): ReadonlyArray<TestModel.Turn> => [
  ...Array.from(
    { length: calls / callsPerTurn },
    (_, turn) =>
      Array.from({ length: callsPerTurn }, (_, place) => ToolCall("search", { index: turn * callsPerTurn + place }))
  ),
  "done"
]

const run = Effect.gen(function*() {
  const { toolResults } = yield* Orchestrator.run({
    prompt: "search",
    toolkit,
    maxSteps: 100,
    timeout: { tool: "2 minutes", total: "1 hour" }
  })
  return { results: toolResults.length, minutes: (yield* Clock.currentTimeMillis) / 60_000 }
})

/** One test of so many calls, one virtual minute for every twenty of them. */
export const test = (calls: number): Effect.Effect<number> => {
  const layer = Layer.merge(TestModel.script(turnsOf(calls)), tools)
  return advancing(Effect.provide(run, layer)).pipe(
    Effect.orDie,
    Effect.flatMap(({ minutes, results }) =>
      minutes === calls / callsPerTurn
        ? Effect.succeed(results)
        : Effect.die(new Error(`${minutes} virtual minutes instead of ${calls / callsPerTurn}`))
    )
  )
}
