import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Layer from "effect/Layer"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Breaker } from "../../src/index.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { describeData } from "../data.ts"
import { done } from "../replay/server.ts"
import { askAll, hammered, VirtualClock } from "./hammering.ts"
import type { Refused } from "./hammering.ts"
import { aiErrorOf, errorOf, first, refusal, stage } from "./pacedModel.ts"
import { mount, observe, server, tools } from "./provider.ts"

describe("P4: a request that is wrong", () => {
  it.effect.each([400, 401, 403, 404, 413, 422])(
    "P4: %d is one request, and no pause for others",
    (status) =>
      Effect.gen(function*() {
        const body = { error: { message: `it is wrong: ${status}` } }
        const at = yield* stage(first(refusal(status, { "x-ratelimit-remaining-requests": "10" }, body)))
        const error = aiErrorOf(yield* Effect.exit(at.call({ repeat: true })))
        assert.isFalse(error.isRetryable)
        assert.include(error.message, `it is wrong: ${status}`)
        assert.lengthOf(at.seen, 1)
        yield* at.call()
        assert.deepStrictEqual(at.starts, [0, 0])
      })
  )

  it.effect.each([400, 401, 404, 413])(
    "P4: %d ends a run of the engine, after one request",
    (status) =>
      Effect.gen(function*() {
        const at = yield* stage(first(refusal(status, {}, { error: { message: `it is wrong: ${status}` } })))
        const error = errorOf(yield* Effect.exit(at.run))
        assert.strictEqual(error._tag, "AiError")
        assert.include(error.message, `it is wrong: ${status}`)
        assert.lengthOf(at.seen, 1)
      })
  )

  it.effect("P4: an endless body is cut, and keys in it are blotted out", () =>
    Effect.gen(function*() {
      const quoted = "your key sk-canary-0123456789 (Bearer sk-canary-0123456789) is wrong"
      const body = JSON.stringify({ error: { message: `${quoted} ${"x".repeat(1_000_000)}` } })
      const at = yield* stage(first(refusal(401, {}, body)))
      const error = aiErrorOf(yield* Effect.exit(at.call({ repeat: true })))
      const shown = `${error.message} ${JSON.stringify(error)}`
      assert.include(shown, "your key <redacted>")
      assert.notInclude(shown, "canary")
      assert.isBelow(error.message.length, 10_000)
      assert.isBelow(shown.length, 65_536)
      assert.lengthOf(at.seen, 1)
    }))
})

describe("P4: a request that is wrong at one provider", () => {
  it.live.each([400, 401, 403, 404, 413, 422])(
    "P4: %d is one request, though the program retries, and may be right at the next provider",
    (status) =>
      Effect.gen(function*() {
        const running = yield* server
        const [one, two] = [mount(running, refusal(status)), mount(running, done("chat"))]
        const { error } = yield* observe({}, tools(), Layer.merge(one.model, Retry.layer()))
        assert.strictEqual((error as { readonly _tag: string })._tag, "AiError")
        assert.lengthOf(one.seen, 1)
        const next = yield* observe(
          { failover: ExecutionPlan.make({ provide: two.model }) },
          tools(),
          Layer.merge(one.model, Retry.layer())
        )
        assert.isUndefined(next.error)
        assert.deepStrictEqual([one.seen.length, two.seen.length], [2, 1])
      }).pipe(Effect.scoped)
  )
})

describe("P4: a request that is wrong, with a Retry and a Breaker", () => {
  it.live.each([400, 401, 403, 404, 413, 422])(
    "P4: %d is one request, whatever Retry-After says; the service is at work",
    (status) =>
      Effect.gen(function*() {
        const clock = new VirtualClock()
        const form = { name: "wrong", status, headers: { "retry-after": "5" }, askedMillis: 0 }
        // GitHub refuses for the rate with 403 and a Retry-After; without one it is wrong.
        const server = yield* hammered(clock, status === 403 ? { ...form, headers: {} } : form, false, 1)
        const policy = (asked: Effect.Effect<string, Refused>) =>
          asked.pipe(Breaker.withBreaker("api"), Retry.withRetry({ service: "api" }))
        const exits = yield* askAll(clock, server, 20, policy)
        for (const exit of exits) assert.deepInclude(errorOf(exit), { status })
        assert.deepStrictEqual(server.arrivals.map(({ at }) => at), Array(20).fill(0))
        assert.strictEqual((yield* Breaker.state("api"))._tag, "Closed")
      }).pipe(Effect.scoped, Effect.provide([Retry.layer(), Breaker.layer()]))
  )
})

interface Recorded {
  readonly interactions: ReadonlyArray<{
    readonly response: {
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly body?: string
      readonly bodyJson?: unknown
    }
  }>
}

describeData("wire", "P4: recorded refusals", (folder) => {
  const failing = readdirSync(folder).filter((file) => file.endsWith(".json") && file !== "index.json").flatMap((
    file
  ) =>
    (JSON.parse(readFileSync(join(folder, file), "utf8")) as Recorded).interactions
      .filter(({ response }) => response.status >= 400 && response.status < 500 && response.status !== 429)
      .map(({ response }) => ({ file, response, body: response.body ?? JSON.stringify(response.bodyJson) }))
  )

  it.effect("P4: are one request each, and say what the provider said, without keys", () =>
    Effect.gen(function*() {
      assert.isAbove(failing.length, 10)
      for (const { body, file, response } of failing) {
        const headers = Object.fromEntries(
          Object.entries(response.headers).filter(([name]) => !/^(?:content-|transfer-)/.test(name))
        )
        const at = yield* stage(first(refusal(response.status, headers, body)))
        const error = aiErrorOf(yield* Effect.exit(at.call({ repeat: true })))
        assert.isFalse(error.isRetryable, file)
        assert.lengthOf(at.seen, 1, file)
        const reason = error.reason as {
          readonly http?: { readonly body?: string; readonly response?: { readonly status: number } }
        }
        assert.strictEqual(reason.http?.response?.status, response.status, file)
        const said = /"message":\s*"([^"\\]{8,60})/.exec(body)?.[1] ?? assert.fail(`${file}: no message in ${body}`)
        const expected = said.replace(/\bsk-[\w*-]{4,}/g, "<redacted>")
        assert.include(reason.http?.body ?? "", expected, file)
        assert.notMatch(JSON.stringify(error), /\bsk-[\w*-]{4,}/, file)
        assert.strictEqual((yield* at.pace).pausedMillis, 0, file)
      }
    }).pipe(Effect.scoped), 60_000)
})
