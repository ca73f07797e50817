/** A guess that fails: nobody sees it, the real call runs as if nothing had been, and only guessing pays for it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Breaker, Limiter, Retry, ToolPolicy } from "../../src/index.ts"
import type { ToolPolicy as Policies } from "../../src/index.ts"
import { TestModel, TestTools } from "../../src/testing/index.ts"
import { assertBalanced, both, guess, ledgerOf, made, played, seen, type Setting, timesOf } from "./guessing.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", {
  status: Schema.Int,
  headers: Schema.Record(Schema.String, Schema.String)
}) {}

const refused = (status: number, headers: Readonly<Record<string, string>> = {}) => new Refused({ status, headers })

type Behaviour = TestTools.Behaviour<string, Refused>

/** A tool whose first handler does what is said; later ones succeed in 100 ms. */
const kit = (
  first: Behaviour | ((nth: number) => Behaviour | undefined),
  annotations: Policies.Annotations<{ readonly key: string }> = {}
) =>
(tools: TestTools.HandlerRecorder) => {
  const of = typeof first === "function" ? first : (nth: number) => nth === 1 ? first : undefined
  return ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Schema.Struct({ key: Schema.String }),
      success: Schema.String,
      failure: Refused,
      annotations: { readonly: true, service: "api", ...annotations },
      handler: tools.handler(
        "look",
        (_: unknown, nth: number) => of(nth) ?? TestTools.succeed("found", { after: 100 })
      )
    })
  })
}

const after = (wait: number): ReadonlyArray<TestModel.Turn> => [[
  TestModel.wait(wait),
  made("look", { key: "a" }, "real")
]]

const foreseen: Setting["guesses"] = ({ step }) => step === 1 ? [guess("look", { key: "a" })] : []

const faults: Readonly<Record<string, readonly [Behaviour, Policies.Annotations<{ readonly key: string }>?]>> = {
  "fails with its own failure": [TestTools.fail(refused(500), { after: 500 })],
  "is refused for the rate": [TestTools.fail(refused(429), { after: 500 })],
  "dies": [TestTools.die(new Error("bug"), { after: 500 })],
  "throws at once": [TestTools.effect(Effect.suspend((): Effect.Effect<string> => {
    throw new Error("bug")
  }))],
  "takes too long": [TestTools.never, { timeout: "500 millis" }],
  "gives what its schema does not allow": [TestTools.succeed(7 as unknown as string, { after: 500 })],
  "interrupts itself": [TestTools.effect(Effect.andThen(Effect.sleep(500), Effect.interrupt))]
}

describe("S5 speculative failure", () => {
  for (const [what, [behaviour, annotations]] of Object.entries(faults)) {
    for (const [when, wait] of [["before the call is made", 1000], ["while the call waits for it", 200]] as const) {
      it.effect(`that ${what} ${when} is never seen, and the call runs afresh`, () =>
        Effect.gen(function*() {
          const setting: Setting = { kit: kit(behaviour, annotations), turns: after(wait), guesses: foreseen }
          const run = yield* played(setting)
          const plain = yield* played({ ...setting, kit: kit(() => undefined, annotations), guesses: undefined })
          assert.strictEqual(seen(run), seen(plain))
          assert.strictEqual(run.guessed.length, 1)
          assert.strictEqual(run.real.length, 1)
          assert.strictEqual(run.real[0]!.status, "success")
          assert.deepStrictEqual(ledgerOf(run), { started: 1, hit: 0, lateHit: 0, miss: 0, failed: 1, preempted: 0 })
          assertBalanced(run)
        }))
    }
  }

  it.effect("that hangs is joined no longer than the call's own deadline, which is the call's", () =>
    Effect.gen(function*() {
      const run = yield* played({
        kit: kit(TestTools.never, { deadline: "2 seconds" }),
        turns: after(1000),
        guesses: foreseen
      })
      const [answer] = run.parts.filter((part) => part.type === "tool-result")
      assert.deepInclude(answer, { isFailure: true })
      assert.deepInclude(answer!.result, { _tag: "TimedOut", clock: "deadline" })
      assert.isTrue(run.calls.every(({ status }) => status === "interrupted"))
    }))
})

describe("S5 speculative 429", () => {
  const service = (options: Omit<Limiter.Options, "services"> = {}): Layer.Layer<never> =>
    Limiter.layer({ services: { api: Limiter.permits(10) }, ...options })

  /** Ten turns, each with a call that was not foreseen and a guess that is refused. */
  const jammed = (
    policies: Layer.Layer<never> | undefined,
    failure = refused(429),
    options: Setting["options"] = { budget: { calls: 1000 } }
  ): Setting => ({
    kit: (tools) =>
      ToolPolicy.define({
        look: ToolPolicy.tool({
          parameters: Schema.Struct({ key: Schema.String }),
          success: Schema.String,
          failure: Refused,
          annotations: { readonly: true, service: "api" },
          handler: tools.handler("look", ({ key }: { readonly key: string }) =>
            key === "wrong" ? TestTools.fail(failure, { after: 10 }) : TestTools.succeed(key, { after: 10 }))
        })
      }),
    turns: Array.from({ length: 10 }, (_, n): TestModel.Turn => [
      TestModel.wait("1 second"),
      made("look", { key: `${n}` }, `real ${n}`)
    ]),
    guesses: () => [guess("look", { key: "wrong" })],
    options,
    policies
  })

  const policies: Readonly<Record<string, Layer.Layer<never> | undefined>> = {
    "nothing": undefined,
    "a limiter": service(),
    "a limiter that learns": service({ onExceeded: "adaptive" }),
    "a breaker that opens at one failure": Breaker.layer({ failures: 1 }),
    "a retry with a pause": Retry.layer({ attempts: 3 })
  }
  for (const [what, layer] of Object.entries(policies)) {
    it.effect(`costs no real call an instant, and opens and slows nothing for it: ${what}`, () =>
      Effect.gen(function*() {
        const [run, plain] = yield* both(jammed(layer))
        assert.deepStrictEqual(timesOf(run), timesOf(plain))
        assert.strictEqual(seen(run), seen(plain))
        assert.isAtLeast(ledgerOf(run).failed, 1)
      }))
  }

  it.effect("with a time to wait holds for all, under a limiter that learns: the service said so", () =>
    Effect.gen(function*() {
      const [run, plain] = yield* both(
        jammed(service({ onExceeded: "adaptive" }), refused(429, { "retry-after": "30" }))
      )
      assert.match(timesOf(plain)[0]!, /made at 1000, started at 1000/)
      assert.match(timesOf(run)[0]!, /made at 1000, started at 300\d\d$/)
      assert.strictEqual(seen(run), seen(plain))
    }))

  it.effect("halves the budget of guesses before anything else is slower", () =>
    Effect.gen(function*() {
      const started = (failure: Refused) =>
        Effect.map(
          played({
            ...jammed(undefined, failure, { budget: { calls: 4, window: "1 hour" }, confidenceThreshold: 0 })
          }),
          (run) => run.guessed.length
        )
      const many = yield* started(refused(500))
      const few = yield* started(refused(429))
      assert.isBelow(few, many, "a refusal for the rate costs more of the budget than another failure")
      assert.isAtMost(few, 2)
    }))
})
