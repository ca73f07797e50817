/**
 * One fiber stands still before one of its operations, for as long as anything else has work to do; every operation of the
 * program has its turn. Who looks first and waits afterwards would miss what comes in between, and wait for ever.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Branch from "../../src/engine/Branch.ts"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import * as Breaker from "../../src/policy/Breaker.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { lease, limiterOf } from "../limiter.ts"
import { scripted } from "../model.ts"
import { Steps } from "../policy/steps.ts"

const tools = () => {
  const attempts = new Map<string, number>()
  const tool = (annotations: ToolPolicy.Annotations<{ readonly id: string }>, millis = 5, fails = 0) =>
    ToolPolicy.tool({
      parameters: Schema.Struct({ id: Schema.String }),
      success: Schema.String,
      failure: Schema.Struct({ status: Schema.Int }),
      annotations: { grace: "1 minute", ...annotations },
      handler: ({ id }) =>
        Effect.suspend(() => {
          const attempt = (attempts.get(id) ?? 0) + 1
          attempts.set(id, attempt)
          if (attempt <= fails) return Effect.fail({ status: 503 })
          // Its clean-up takes time, too.
          return Effect.onInterrupt(Effect.as(Effect.sleep(attempt === 1 ? millis : 1), id), () => Effect.sleep(3))
        })
    })
  return ToolPolicy.define({
    plain: tool({}),
    capped: tool({ concurrency: 1, resources: () => [{ write: "x" }] }),
    flaky: tool({ readonly: true, retry: { base: 3 } }, 5, 1),
    hedged: tool({ idempotent: true, hedge: { after: 4, budget: 1 } }, 20),
    raced: tool({}),
    slow: tool({}, 40)
  })
}

const script = (names: ReadonlyArray<string>) => [
  TestModel.chunk(...names.map((name, i) => ToolCall(name, { id: `c${i}` }, { id: `c${i}` }))),
  TestModel.wait(2)
]

const all = ["plain", "capped", "capped", "flaky", "hedged", "raced", "raced"]

/** A run, whose reader rests before each of its first parts, and what else is done meanwhile. */
interface Program {
  readonly names: ReadonlyArray<string>
  readonly words?: number
  readonly layer?: Layer.Layer<never>
  readonly readerRests?: number
  readonly beside?: Effect.Effect<unknown>
  readonly mayFail?: true
}

const limits = Limiter.layer({ global: Limiter.permits(3), services: { model: Limiter.permits(1) } })
const policies = Layer.mergeAll(limits, Retry.layer({ base: 3 }), Breaker.layer())

/** Ends what it has admitted after a while, whatever still runs. */
const impatient = limiterOf((request, use) =>
  request.repeat === true ? use(lease) : Effect.timeoutOption(use(lease), 3)
)

const programs: Readonly<Record<string, Program>> = {
  "a turn under all policies": { names: all, layer: policies },
  "a reader that is slower than the model": { names: ["plain"], words: 300, readerRests: 8 },
  "a drain beside it": {
    names: [...all, "slow"],
    beside: Effect.delay(Orchestrator.drain({ grace: 4 }), 4),
    mayFail: true
  },
  "a limiter that takes its admissions away": {
    names: ["plain", "capped", "slow"],
    layer: impatient,
    mayFail: true
  }
}

const run = (
  { beside, layer = Layer.empty, names, readerRests = 0, words = 0 }: Program,
  stallAt: number,
  interrupts = false
) => {
  const steps = new Steps(2048, undefined, { singly: true, stallAt })
  const { layer: handlers, toolkit } = tools()
  const before = steps.fibers
  let read = 0
  let calls = 0
  const results: Array<string> = []
  const texts = Array.from({ length: words }, () => ({ type: "text-delta", id: "t", delta: "word" }) as const)
  const opening = words === 0
    ? []
    : [TestModel.chunk({ type: "text-start", id: "t" }, ...texts, { type: "text-end", id: "t" })]
  const reading = Orchestrator.stream({
    prompt: "go",
    toolkit,
    completion: { raced: { tools: ["raced"], policy: Branch.first(1) } }
  }).pipe(
    Stream.runForEach((part) => {
      if (part.type === "tool-call") calls++
      if (part.type === "tool-result") results.push(part.id)
      return read++ < readerRests ? Effect.sleep(5) : Effect.void
    }),
    Effect.provide([handlers, scripted([...opening, ...script(names)])])
  )
  const program = Effect.gen(function*() {
    const context = Context.merge(yield* Layer.build(layer), yield* Layer.build(Orchestrator.layerRuns()))
    const both = Effect.all([Effect.exit(reading), beside ?? Effect.void], { concurrency: "unbounded" })
    const [exit] = yield* Effect.provideContext(both as Effect.Effect<[Exit.Exit<void, unknown>, unknown]>, context)
    return exit
  })
  const fiber = Effect.runForkWith(steps.context)(Effect.scoped(program))
  if (interrupts) {
    while (!steps.isStalled && steps.take());
    fiber.interruptUnsafe()
  }
  steps.finish()
  return {
    ended: fiber.pollUnsafe(),
    calls,
    results,
    operations: steps.operations,
    left: [steps.fibers - before, steps.sleepers]
  }
}

describe("a fiber that stands still before any one of its operations", () => {
  it.each(Object.entries(programs))("makes nobody wait for ever: %s", (_, program) => {
    const { operations } = run(program, -1)
    assert.isAbove(operations, 200)
    const stride = Math.max(1, Math.floor(operations / 1500))
    for (let at = 1; at <= operations; at += stride) {
      const { calls, ended, left, results } = run(program, at)
      const seen = `before operation ${at} of ${operations}: ${JSON.stringify({ ended, left, results })}`
      assert.strictEqual(ended?._tag, "Success", seen)
      if (program.mayFail !== true) assert.isTrue(ended?._tag === "Success" && Exit.isSuccess(ended.value), seen)
      if (program.mayFail !== true) assert.strictEqual(calls, program.names.length, seen)
      assert.strictEqual(results.length, calls, seen)
      assert.deepStrictEqual(left, [0, 0], seen)
    }
  }, 120_000)

  it("leaves nothing behind when its program is interrupted then", () => {
    const program = programs["a turn under all policies"]!
    const { operations } = run(program, -1)
    for (let at = 1; at <= operations; at += at < 400 ? 1 : 3) {
      // A run that stayed in the registry would keep its scope, which drains it, from closing.
      const { ended, left } = run(program, at, true)
      const seen = `interrupted before operation ${at} of ${operations}: ${JSON.stringify({ ended, left })}`
      assert.isDefined(ended, seen)
      assert.deepStrictEqual(left, [0, 0], seen)
    }
  }, 120_000)
})
