/** The models a run turns to when the one of its context fails: `failover`. */
import { assert, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import * as Breaker from "../../src/policy/Breaker.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, encoded, recording } from "../model.ts"
import { refused, retrying } from "../retry.ts"
import { settle, Stage, statuses } from "../stage.ts"

const setUp = () => {
  const stage = new Stage()
  return { stage, ...ToolPolicy.define({ save: stage.tool() }) }
}

/** A provider of its own: its model, how often it was built and given back, what it was asked. */
const provider = (name: string, ...scripts: ReadonlyArray<TestModel.Turn>) => {
  const { layer: model, requests } = recording(...scripts)
  const lives = { built: 0, closed: 0 }
  const layer = Layer.mergeAll(model, Layer.succeed(Model.ProviderName, name)).pipe(
    Layer.merge(Layer.effectDiscard(Effect.acquireRelease(
      Effect.sync(() => lives.built++),
      () => Effect.sync(() => lives.closed++)
    )))
  )
  return { layer, requests, lives }
}

const first = (...scripts: ReadonlyArray<TestModel.Turn>) => provider("one", ...scripts)
const always = (script: TestModel.Turn) => Array.from({ length: 20 }, () => script)
const broken: TestModel.Turn = TestModel.fail(aiError)
const denied: TestModel.Turn = TestModel.fail(refused)
const save = (id: string, what = id) => ToolCall("save", { id: what }, { id })

describe("failover", () => {
  it.effect("turns to the next model when the context's fails, at once, also for what no repetition helps", () => {
    const { layer, toolkit } = setUp()
    const [one, two] = [first(denied), provider("two", "two")]
    return Effect.gen(function*() {
      const parts: Array<AnyPart> = []
      const plan = ExecutionPlan.make({ provide: two.layer })
      yield* Orchestrator.stream({ prompt: "go", toolkit, failover: plan }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part as AnyPart)))
      )
      const end = parts.at(-1)
      assert.strictEqual(end?.type === "run-finish" ? end.text : "", "two")
      assert.deepInclude(parts.find((part) => part.type === "step-retry"), {
        step: 1,
        attempt: 1,
        delayMillis: 0,
        message: refused.message,
        failover: true
      })
      assert.deepStrictEqual([(yield* one.requests).length, (yield* two.requests).length], [1, 1])
      assert.deepStrictEqual(two.lives, { built: 1, closed: 1 })
    }).pipe(Effect.provide([layer, one.layer]))
  })

  it.effect("comes after the retries, adopts what the first model's answer started, and stays for the run", () => {
    const { layer, stage, toolkit } = setUp()
    const one = first([save("a"), TestModel.fail(aiError)], [save("b", "a"), TestModel.fail(aiError)])
    const two = provider("two", save("c", "a"), [save("d")], "done")
    const retry = retrying([0])
    return Effect.gen(function*() {
      yield* stage.open("a", "d")
      const result = yield* Orchestrator.run({
        prompt: "go",
        toolkit,
        failover: ExecutionPlan.make({ provide: two.layer })
      })
      assert.deepStrictEqual(stage.started, ["a", "d"])
      assert.deepStrictEqual(statuses(result.toolResults), ["c ok", "d ok"])
      assert.deepStrictEqual([(yield* one.requests).length, (yield* two.requests).length], [2, 3])
      assert.deepStrictEqual(two.lives, { built: 1, closed: 1 })
      assert.deepStrictEqual(retry.told.begun, ["one", "two", "two", "two"])
      assert.strictEqual(result.report.steps[0]?.attempts, 3)
    }).pipe(Effect.provide([layer, one.layer, retry.layer]))
  })

  it.effect("builds nothing while the context's model answers", () => {
    const { layer, toolkit } = setUp()
    const two = provider("two")
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit, failover: ExecutionPlan.make({ provide: two.layer }) })
      assert.deepStrictEqual(two.lives, { built: 0, closed: 0 })
    }).pipe(Effect.provide([layer, first("one").layer]))
  })

  it.effect("gives back what a step built when the run fails or is interrupted", () => {
    const { layer, toolkit } = setUp()
    const two = provider("two", denied, [TestModel.wait(Effect.never), TestModel.unfinished])
    const run = Orchestrator.run({ prompt: "go", toolkit, failover: ExecutionPlan.make({ provide: two.layer }) })
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(run), refused)
      assert.deepStrictEqual(two.lives, { built: 1, closed: 1 })
      const fiber = yield* Effect.forkChild(run)
      yield* settle
      assert.deepStrictEqual(two.lives, { built: 2, closed: 1 })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(two.lives, { built: 2, closed: 2 })
    }).pipe(Effect.provide([layer, first(...always(denied)).layer]))
  })

  it.effect("keeps a step's attempts and schedule, and asks the next step after them", () => {
    const { layer, toolkit } = setUp()
    const one = first(...always(broken))
    const two = provider("two", ...always(broken))
    const three = provider("three", broken, "three")
    const plan = ExecutionPlan.make(
      { provide: two.layer, attempts: 3, schedule: Schedule.spaced("1 second") },
      { provide: three.layer, attempts: 2 }
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit, failover: plan }))
      yield* settle
      assert.deepStrictEqual([(yield* one.requests).length, (yield* two.requests).length], [1, 0])
      for (const asked of [1, 2, 3]) {
        yield* TestClock.adjust(1000)
        assert.strictEqual((yield* two.requests).length, asked)
      }
      assert.strictEqual((yield* Fiber.join(fiber)).text, "three")
      assert.strictEqual((yield* three.requests).length, 2)
    }).pipe(Effect.provide([layer, one.layer]))
  })

  it.effect("asks a step's while, and passes over a step that will not have the failure", () => {
    const { layer, toolkit } = setUp()
    const [two, three] = [provider("two"), provider("three", "three")]
    const seen: Array<unknown> = []
    const plan = ExecutionPlan.make(
      {
        provide: two.layer,
        while: (error: unknown) => {
          seen.push(error)
          return false
        }
      },
      { provide: three.layer, while: () => Effect.succeed(true) }
    )
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit, failover: plan })
      assert.strictEqual(result.text, "three")
      assert.deepStrictEqual(seen, [refused])
      assert.strictEqual(two.lives.built, 0)
    }).pipe(Effect.provide([layer, first(denied).layer]))
  })

  it.effect("lets the program's Retry decide about a step that says nothing itself, by its own service", () => {
    const { layer, toolkit } = setUp()
    const two = provider("two", broken, broken, "two")
    const retry = retrying([0, 0])
    return Effect.gen(function*() {
      const plan = ExecutionPlan.make({ provide: two.layer })
      const result = yield* Orchestrator.run({ prompt: "go", toolkit, modelService: "mine", failover: plan })
      assert.strictEqual(result.text, "two")
      assert.deepStrictEqual(retry.told.begun, ["mine", "two"])
      assert.deepStrictEqual(retry.told.failed, [refused, aiError, aiError])
    }).pipe(Effect.provide([layer, first(denied).layer, retry.layer]))
  })

  it.effect("takes a layer that cannot be built for a failure of that step", () => {
    const { layer, toolkit } = setUp()
    const bad = Layer.effect(LanguageModel.LanguageModel, Effect.fail({ why: "no key" }))
    const two = provider("two", "two")
    return Effect.gen(function*() {
      const both = ExecutionPlan.make({ provide: bad }, { provide: two.layer })
      assert.strictEqual((yield* Orchestrator.run({ prompt: "go", toolkit, failover: both })).text, "two")
      const error = yield* Effect.flip(
        Orchestrator.run({ prompt: "go", toolkit, failover: ExecutionPlan.make({ provide: bad }) })
      )
      assert.strictEqual(error._tag, "AiError")
      assert.include(error.message, "step 1 of the failover plan could not be built: {\"why\":\"no key\"}")
    }).pipe(Effect.provide([layer, first(...always(denied)).layer]))
  })

  it.effect("takes a context as well as a layer, and a default of the program", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const context = yield* Layer.build(provider("two", "two").layer)
      const failover = ExecutionPlan.make({ provide: context })
      const config = yield* Orchestrator.Config
      const result = yield* Effect.provideService(
        Orchestrator.run({ prompt: "go", toolkit }),
        Orchestrator.Config,
        { ...config, failover }
      )
      assert.strictEqual(result.text, "two")
    }).pipe(Effect.provide([layer, first(denied).layer]))
  })

  it.effect("turns away from a model whose limit lets nobody through, to one that has limits of its own", () => {
    const { layer, toolkit } = setUp()
    const [one, two] = [first(), provider("two", "two")]
    const limits = Limiter.layer({
      services: { one: Limiter.slidingWindow({ limit: 1, window: "1 hour" }), two: Limiter.permits(1) },
      maxWait: "1 second"
    })
    return Effect.gen(function*() {
      yield* Limiter.withAdmission({ service: "one" })(Effect.void)
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, failover: ExecutionPlan.make({ provide: two.layer }) })
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "two")
      assert.strictEqual((yield* one.requests).length, 0)
    }).pipe(Effect.provide([layer, one.layer, limits]))
  })

  it.effect("names the limit of the last model that was turned to, where that was not asked at all", () => {
    const { layer, toolkit } = setUp()
    const [one, two] = [first(broken), provider("two", "two")]
    const limits = Limiter.layer({
      services: { two: Limiter.slidingWindow({ limit: 1, window: "1 hour" }) },
      onExceeded: "fail"
    })
    return Effect.gen(function*() {
      yield* Limiter.withAdmission({ service: "two" })(Effect.void)
      const failover = ExecutionPlan.make({ provide: two.layer })
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit, failover }))
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "Rejected")
      assert.include(error.message, "two")
      assert.deepStrictEqual([(yield* one.requests).length, (yield* two.requests).length], [1, 0])
    }).pipe(Effect.provide([layer, one.layer, limits]))
  })

  it.effect("fails as the model did, where its circuit opens between two askings of one turn", () => {
    const { layer, toolkit } = setUp()
    const one = first(...always(broken))
    return Effect.gen(function*() {
      const parts: Array<AnyPart> = []
      const run = Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part as AnyPart)))
      )
      const fiber = yield* Effect.forkChild(Effect.flip(run))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), aiError)
      assert.strictEqual((yield* one.requests).length, 2)
      const next = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.strictEqual(next._tag === "OrchestratorError" ? next.reason._tag : "", "Rejected")
    }).pipe(Effect.provide([layer, one.layer, Retry.layer({ attempts: 9, base: 0 }), Breaker.layer({ failures: 2 })]))
  })

  it.effect("turns away from a model whose circuit is open; with nobody left the error names the circuit", () => {
    const { layer, toolkit } = setUp()
    const [one, two] = [first(...always(broken)), provider("two", "two")]
    const run = Orchestrator.run({ prompt: "go", toolkit })
    return Effect.gen(function*() {
      for (let i = 0; i < 2; i++) assert.strictEqual(yield* Effect.flip(run), aiError)
      const error = yield* Effect.flip(run)
      assert.strictEqual((yield* one.requests).length, 2)
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "Rejected")
      if (error._tag !== "OrchestratorError" || error.reason._tag !== "Rejected") return
      assert.include(error.reason.limit, "one")
      assert.include(error.message, "the circuit of")
      assert.isTrue(error.isRetryable)
      assert.strictEqual(error.reason.retryAfterMillis, 30_000)
      const failover = ExecutionPlan.make({ provide: two.layer })
      assert.strictEqual((yield* Orchestrator.run({ prompt: "go", toolkit, failover })).text, "two")
      assert.strictEqual((yield* one.requests).length, 2)
    }).pipe(Effect.provide([layer, one.layer, Breaker.layer({ failures: 2 })]))
  })

  it.effect("is not asked for a defect", () => {
    const { layer, toolkit } = setUp()
    const two = provider("two")
    const failover = ExecutionPlan.make({ provide: two.layer })
    const dying = first([TestModel.wait(Effect.die(new Error("a bug in the adapter"))), TestModel.unfinished])
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(Orchestrator.run({ prompt: "go", toolkit, failover }))
      assert.include(String(exit), "a bug in the adapter")
      assert.strictEqual(two.lives.built, 0)
    }).pipe(Effect.provide([layer, dying.layer]))
  })

  it.effect("keeps the run's result when a model that was built dies as it is closed", () => {
    const { layer, toolkit } = setUp()
    const two = Layer.merge(
      provider("two", "two").layer,
      Layer.effectDiscard(Effect.acquireRelease(Effect.void, () => Effect.die(new Error("the socket is gone"))))
    )
    const failover = ExecutionPlan.make({ provide: two })
    return Effect.gen(function*() {
      assert.strictEqual((yield* Orchestrator.run({ prompt: "go", toolkit, failover })).text, "two")
    }).pipe(Effect.provide([layer, first(broken).layer]))
  })

  it.effect("lets nothing through a step whose \"while\" or schedule throws", () => {
    const { layer, toolkit } = setUp()
    const throws = () => {
      throw new Error("a bug in the plan")
    }
    const schedule = Schedule.map(Schedule.recurs(3), throws)
    return Effect.gen(function*() {
      for (const rules of [{ attempts: 2, while: throws }, { schedule }]) {
        const [two, three] = [provider("two"), provider("three", "three")]
        const failover = ExecutionPlan.make({ provide: two.layer, ...rules }, { provide: three.layer })
        const run = Orchestrator.run({ prompt: "go", toolkit, failover }).pipe(Effect.provide(first(broken).layer))
        assert.strictEqual((yield* run).text, "three")
        assert.deepStrictEqual(yield* two.requests, [])
      }
    }).pipe(Effect.provide(layer))
  })

  it.effect("is a policy that run-start does not list: it is an option of the run", () => {
    const { layer, toolkit } = setUp()
    const limits = Limiter.layer({ services: {} })
    return Effect.gen(function*() {
      const parts = yield* Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit }))
      const start = parts.find((part) => part.type === "run-start")
      assert.deepStrictEqual(start?.policies, ["limiter", "retry", "breaker"])
    }).pipe(
      Effect.provide([layer, first("one").layer, limits, retrying([]).layer, Breaker.layer()])
    )
  })

  it.effect("gives a step's model the rest of what the step provides", () => {
    const { layer, toolkit } = setUp()
    const Region = Context.Reference<string>("test/Region", { defaultValue: () => "nowhere" })
    const regional = Layer.effect(
      LanguageModel.LanguageModel,
      LanguageModel.make({
        generateText: () => Effect.succeed([]),
        streamText: () =>
          Stream.unwrap(Effect.map(Region, (region) => Stream.fromIterable(encoded(region, TestModel.finish("stop")))))
      })
    )
    return Effect.gen(function*() {
      const plan = ExecutionPlan.make({ provide: Layer.merge(regional, Layer.succeed(Region, "eu")) })
      assert.strictEqual((yield* Orchestrator.run({ prompt: "go", toolkit, failover: plan })).text, "eu")
    }).pipe(Effect.provide([layer, first(denied).layer]))
  })
})

describe("what is not asked again, nor of another", () => {
  it.effect("a limit that lets nobody through is not pressed by the retries", () => {
    const { layer, toolkit } = setUp()
    const retry = retrying([0, 0])
    const limits = Limiter.layer({
      services: { one: Limiter.slidingWindow({ limit: 1, window: "1 hour" }) },
      maxWait: "1 second"
    })
    return Effect.gen(function*() {
      yield* Limiter.withAdmission({ service: "one" })(Effect.void)
      const fiber = yield* Effect.forkChild(Effect.flip(Orchestrator.run({ prompt: "go", toolkit })))
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag === "OrchestratorError" ? error.reason._tag : "", "Rejected")
      assert.deepStrictEqual(retry.told.failed, [])
    }).pipe(Effect.provide([layer, first().layer, retry.layer, limits]))
  })

  it.effect("an option that makes no sense makes none at the next model", () => {
    const { layer, toolkit } = setUp()
    const two = provider("two")
    return Effect.gen(function*() {
      const config = { ...(yield* Orchestrator.Config), modelCost: () => 0 }
      const error = yield* Orchestrator.run({
        prompt: "go",
        toolkit,
        failover: ExecutionPlan.make({ provide: two.layer })
      }).pipe(Effect.provideService(Orchestrator.Config, config), Effect.flip)
      assert.strictEqual(error._tag === "OrchestratorError" ? error.reason._tag : "", "InvalidOptions")
      assert.strictEqual(two.lives.built, 0)
    }).pipe(Effect.provide([layer, first().layer, Limiter.layer({ services: {} })]))
  })

  it.effect("a policy that would wait for ever lets the failure stand", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit })), aiError)
    }).pipe(Effect.provide([layer, first(...always(broken)).layer, retrying([Infinity]).layer]))
  })

  it.effect("a service that wants to be left alone for longer than a turn may wait is not asked", () => {
    const { layer, toolkit } = setUp()
    const one = first("one")
    const policy = Layer.succeed(Retry.Retry, {
      begin: () => ({
        pauseMillis: () => 0,
        refusedMillis: () => 90_000,
        failed: () => Effect.undefined,
        succeeded: () => {}
      })
    })
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "Rejected")
      if (error._tag !== "OrchestratorError" || error.reason._tag !== "Rejected") return
      assert.deepInclude(error.reason, { limit: "one", retryAfterMillis: 90_000, isRetryable: true })
      assert.lengthOf(yield* one.requests, 0)
    }).pipe(Effect.provide([layer, one.layer, policy]))
  })
})
