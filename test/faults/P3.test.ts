/** A model's provider that is broken: its own errors, a connection that is reset, a name that is not found. Over real HTTP. */
import { assert, describe, it } from "@effect/vitest"
import * as Model from "effect/ai/Model"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Layer from "effect/Layer"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import * as Breaker from "../../src/policy/Breaker.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { json } from "../replay/server.ts"
import type { Answer } from "../replay/server.ts"
import { callOf, ends, halfOf, mount, observe, says, server, streams, tools } from "./provider.ts"

const refusal = (status: number): Answer => json({ error: { message: `broken: ${status}` } }, status)
const reset: Answer = { status: 200, headers: {}, chunks: [], reset: true }
const calls = streams(callOf("a"), callOf("b", "look", 1), ends("tool_calls"))
const done = streams(says("done"), ends("stop"))
const soon = Retry.layer({ base: 1 })

const textOf = (parts: ReadonlyArray<{ readonly type: string }>) => (parts.at(-1) as { readonly text?: string }).text

const broken: ReadonlyArray<readonly [what: string, answer: Answer]> = [
  ...[500, 502, 503, 504, 529].map((status) => [String(status), refusal(status)] as const),
  ["ECONNRESET before the answer", reset],
  ["ECONNRESET behind the headers", { ...streams(), hangUp: true }],
  ["ECONNRESET behind a call and a half", { ...streams(callOf("a"), halfOf("b", "look", 1)), hangUp: true }]
]

describe("P3: a model's provider that is broken for a moment", () => {
  it.live.each(broken)("P3: %s is asked again, and no call runs twice", ([, answer]) =>
    Effect.gen(function*() {
      const at = mount(yield* server, answer, answer, calls, done)
      const used = tools()
      const { error, parts } = yield* observe({}, used, Layer.merge(at.model, soon))
      assert.isUndefined(error)
      assert.strictEqual(textOf(parts), "done")
      assert.lengthOf(at.seen, 4)
      assert.deepStrictEqual([...used.ran].sort(), ["a", "b"])
      assert.lengthOf(parts.filter(({ type }) => type === "step-retry"), 2)
    }).pipe(Effect.scoped))

  it.live.each(broken)(
    "P3: %s, for good: bounded, then the provider's own error, typed",
    ([, answer]) =>
      Effect.gen(function*() {
        const at = mount(yield* server, answer)
        const { error } = yield* observe({}, tools(), Layer.merge(at.model, soon))
        assert.lengthOf(at.seen, 3)
        const failed = error as {
          readonly _tag: string
          readonly isRetryable: boolean
          readonly reason: { readonly _tag: string }
        }
        assert.isTrue(failed.isRetryable)
        assert.include(["AiError", "OrchestratorError"], failed._tag)
        assert.strictEqual(failed._tag === "OrchestratorError" ? failed.reason._tag : "TurnBroken", "TurnBroken")
      }).pipe(Effect.scoped)
  )

  it.live.each(broken)("P3: %s, for good: the next provider answers", ([, answer]) =>
    Effect.gen(function*() {
      const running = yield* server
      const [one, two] = [mount(running, answer), mount(running, calls, done)]
      const used = tools()
      const failover = ExecutionPlan.make({ provide: two.model })
      const { error, parts } = yield* observe({ failover }, used, Layer.merge(one.model, soon))
      assert.isUndefined(error)
      assert.strictEqual(textOf(parts), "done")
      assert.deepStrictEqual([one.seen.length, two.seen.length], [3, 2])
      assert.deepStrictEqual([...used.ran].sort(), ["a", "b"])
    }).pipe(Effect.scoped))

  it.live("P3: a name that is not found, and a port where nobody listens, are left for the next provider", () =>
    Effect.gen(function*() {
      for (const baseURL of ["http://provider.invalid/v1", "http://127.0.0.1:1/v1"]) {
        const two = mount(yield* server, done)
        const { error, parts } = yield* observe(
          { failover: ExecutionPlan.make({ provide: two.model }) },
          tools(),
          Layer.merge(OpenAi.layer({ model: "m", baseURL }), soon)
        )
        assert.isUndefined(error, baseURL)
        assert.strictEqual(textOf(parts), "done")
        assert.lengthOf(parts.filter(({ type }) => type === "step-retry"), 3, baseURL)
      }
    }).pipe(Effect.scoped))
})

describe("P3: a model's provider that is dead", () => {
  it.live("P3: is asked for 200 turns at most 10 % more often than once each", () =>
    Effect.gen(function*() {
      const at = mount(yield* server, refusal(503))
      const all = yield* Effect.context<Retry.Retry>()
      for (let n = 0; n < 200; n++) {
        const { error } = yield* observe({}, tools(), Layer.merge(at.model, Layer.succeedContext(all)))
        assert.isDefined(error)
      }
      assert.isAtLeast(at.seen.length, 201)
      assert.isAtMost(at.seen.length, 220)
    }).pipe(Effect.provide(soon), Effect.scoped), 30_000)

  it.live("P3: is not asked while its circuit is open: the run fails typed, or goes to the next provider", () =>
    Effect.gen(function*() {
      const running = yield* server
      const [one, two] = [mount(running, refusal(500)), mount(running, done)]
      const policies = yield* Layer.build(Layer.merge(Breaker.layer({ failures: 3 }), soon))
      const provided = Layer.merge(one.model, Layer.succeedContext(policies))
      yield* observe({}, tools(), provided)
      assert.lengthOf(one.seen, 3)
      const { error } = yield* observe({}, tools(), provided)
      const { reason } = error as { readonly reason: { readonly _tag: string; readonly limit: string } }
      assert.strictEqual(reason._tag, "Rejected")
      assert.include(reason.limit, "openai")
      // The same provider's name is the same service: another one has a circuit of its own.
      const named = Layer.merge(two.model, Layer.succeed(Model.ProviderName, "other"))
      const next = yield* observe({ failover: ExecutionPlan.make({ provide: named }) }, tools(), provided)
      assert.strictEqual(textOf(next.parts), "done")
      assert.lengthOf(one.seen, 3)
    }).pipe(Effect.scoped))
})
