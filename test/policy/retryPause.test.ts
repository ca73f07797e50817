/** What a service asks for is part of the wait that is told, not only of the one that is kept. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Retry from "../../src/policy/Retry.ts"

describe("a service that says when to come back", () => {
  it.effect("is in the wait that `failed` gives, for who was told and for who fails after them", () =>
    Effect.gen(function*() {
      const context = yield* Effect.context()
      const retry = Retry.makeUnsafe({ base: 1 })
      const [told, other, elsewhere] = ["maps", "maps", "mail"].map((service) => retry.begin({ service }, context))
      const first = yield* told!.failed({ status: 429, headers: { "retry-after-ms": "5000" } })
      const second = yield* other!.failed({ status: 503 })
      const third = yield* elsewhere!.failed({ status: 503 })
      for (const millis of [first, second]) assert.isTrue(millis !== undefined && millis >= 5000, String(millis))
      assert.isTrue(third !== undefined && third <= 1, String(third))
    }))
})
