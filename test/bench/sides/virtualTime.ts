/**
 * A test as the testing kit's users write it: a scripted model asks for all calls, scripted handlers take their virtual time,
 * and the clock moves by itself.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ToolPolicy } from "../../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../../src/testing/index.ts"

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

/** One test of so many calls, one virtual minute for every twenty of them. */
export const test = (calls: number): Effect.Effect<number> => {
  const program = Effect.gen(function*() {
    const { result, totalDuration } = yield* MockOrchestrator.execute("search")
    yield* MockOrchestrator.assertNoOrphans()
    const minutes = Duration.toMinutes(totalDuration)
    if (minutes !== calls / callsPerTurn) return yield* Effect.die(new Error(`it took ${minutes} virtual minutes`))
    return result.toolResults.length
  })
  const harness = MockOrchestrator.layer({ toolkit, maxSteps: 100, timeout: { tool: "2 minutes", total: "1 hour" } })
  const parts = Layer.merge(TestModel.script(turnsOf(calls)), tools)
  return Effect.orDie(Effect.provide(program, Layer.provideMerge(harness, parts)))
}
