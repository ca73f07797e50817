import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { advancing, Stuck } from "../../src/testing/internal/virtualTime.ts"

describe("virtual time", () => {
  it.effect("goes from sleep to sleep until the effect is over", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const say = (after: number) =>
        Effect.andThen(Effect.sleep(after), Effect.map(Clock.currentTimeMillis, (now) => times.push(now)))
      yield* advancing(
        Effect.all([say(500), say(20), Effect.andThen(say(20), say(3_600_000))], { concurrency: "unbounded" })
      )
      assert.deepStrictEqual(times, [20, 20, 500, 3_600_020])
    }))

  it.effect("says that nothing can end the effect", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(advancing(Effect.never, { patience: 10 }))
      assert.instanceOf(error, Stuck)
      assert.strictEqual(
        error.message,
        "nothing happens any more at 0 ms of virtual time: what is not over waits for something that no clock moves"
      )
    }))
})
