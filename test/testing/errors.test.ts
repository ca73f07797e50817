/** The kit's errors where no runner renders them: `console.log`, `node:test`, a rejected promise. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { inspect } from "node:util"
import { explore, MockOrchestrator, TestModel, TestTools } from "../../src/testing/index.ts"
import { RecordingError } from "../../src/testing/Recording.ts"
import { harness, search, toolkit } from "./kit.ts"

const errors: Record<string, Effect.Effect<Error, unknown>> = {
  ExpectationError: Effect.flip(Effect.provide(
    Effect.andThen(MockOrchestrator.expectToolCalls([search("cats")]).inOrder(), MockOrchestrator.execute("go")),
    harness(["done"])
  )),
  TestModelError: Effect.flip(Effect.provide(TestModel.assertComplete, TestModel.script(["left over"]))),
  TestToolsError: Effect.flip(Effect.provide(
    TestTools.assertComplete,
    TestTools.layer(toolkit, { search: [TestTools.never] })
  )),
  ExploreError: Effect.flip(explore(Effect.fail("always"), { seeds: 1 })),
  RecordingError: Effect.succeed(new RecordingError({ file: "a.json", reason: { _tag: "Empty" } }))
}

describe("an error of the kit", () => {
  it.effect.each(Object.keys(errors))("is printed with its whole message: %s", (name) =>
    Effect.gen(function*() {
      const error = yield* errors[name]!
      assert.isAbove(error.message.length, 20)
      for (const printed of [inspect(error), inspect({ error })]) {
        assert.include(printed, `${name}: ${error.message.split("\n")[0]}`)
      }
      assert.include(inspect(error), error.message)
    }))
})
