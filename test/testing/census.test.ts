/** What is left of a run is found, kind by kind, and said so that a stranger understands it. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, type Context, Deferred, Effect, Fiber, Layer, Scheduler, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { TestClock } from "effect/testing"
import { CancelReason, Executor, Limiter, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import * as Census from "../../src/testing/internal/census.ts"
import { advancing } from "../../src/testing/internal/virtualTime.ts"

const tool = <E>(handler: Effect.Effect<string, E>, annotations: ToolPolicy.Annotations<Record<string, never>> = {}) =>
  ToolPolicy.tool({ success: Schema.String, annotations, handler: () => Effect.orDie(handler) })

const quick = tool(Effect.as(Effect.sleep("10 millis"), "done"))

/** A run of one call, `c`, of the tool `work`, beside a quick one; and who was left of it. */
const left = (
  work: ReturnType<typeof tool>,
  options: {
    readonly layer?: Layer.Layer<Limiter.Limiter>
    readonly during?: Effect.Effect<unknown>
    readonly script?: ReadonlyArray<TestModel.Turn>
  } = {}
) =>
  Effect.gen(function*() {
    const { layer, toolkit } = ToolPolicy.define({ work, quick })
    const census = yield* Census.make({ tools: Object.values(toolkit.tools) })
    const script = options.script ?? [[ToolCall("work", {}, { id: "c" }), ToolCall("quick", {}, { id: "q" })], "over"]
    const run = Effect.exit(Orchestrator.run({ runId: "r", prompt: "go", toolkit, timeout: { tool: "1 minute" } }))
    const both = Effect.all([census.around(run), options.during ?? Effect.void], { concurrency: 2 })
    yield* Effect.provide(
      advancing(both),
      Layer.mergeAll(layer, TestModel.script(script), options.layer ?? Layer.empty)
    )
    return { census, toolkit, orphans: yield* census.alive }
  })

const details = (orphans: ReadonlyArray<Census.Orphan>) => orphans.map(({ detail, kind }) => `${kind}: ${detail}`)

const stopAt = (millis: number) =>
  Effect.andThen(Effect.sleep(millis), Orchestrator.cancel({ runId: "r", callId: "c" }, CancelReason.branchCancelled()))

describe("the census of a run", () => {
  it.effect("finds nobody where all have ended", () =>
    Effect.gen(function*() {
      const fetch = Effect.as(
        Effect.all([Effect.sleep(30), Effect.sleep(20), Effect.promise(() => Promise.resolve())], { concurrency: 3 }),
        "done"
      )
      const limits = Limiter.layer({ services: { web: Limiter.permits(1) } })
      const annotations = { concurrency: 1, service: "web", deadline: "1 minute" } as const
      const { orphans } = yield* left(tool(fetch, annotations), { layer: limits })
      assert.deepStrictEqual(orphans, [])
    }))

  it.effect("finds the sleep of a fiber that its scheduler never sees", () =>
    Effect.gen(function*() {
      const work = Effect.as(Effect.forkDetach(Effect.sleep("1 hour")), "done")
      const { orphans } = yield* left(tool(Effect.provideService(work, Scheduler.PreventSchedulerYield, true)))
      assert.deepStrictEqual(details(orphans), [
        "sleep: a sleep of call c (work) that ends at 3600000 ms, in a fiber started at 0 ms"
      ])
    }))

  it.effect("excuses no permit that a handler holds which was not abandoned", () =>
    Effect.gen(function*() {
      const Held = Tool.make("held", { success: Schema.String }).annotate(ToolPolicy.Concurrency, 2)
      const toolkit = Toolkit.make(Held)
      const census = yield* Census.make({ tools: [Held] })
      const call = yield* Effect.forkChild(Executor.call(Held, {}), { startImmediately: true }).pipe(
        Effect.provide(toolkit.toLayer({ held: () => Effect.never }))
      )
      assert.deepStrictEqual(
        (yield* census.alive).map(({ abandoned, detail }) => ({ abandoned, detail })),
        [{ abandoned: false, detail: "1 permit of held, held by calls that are over" }]
      )
      yield* Fiber.interrupt(call)
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.effect("finds nobody where a call was stopped and took its time to end", () =>
    Effect.gen(function*() {
      const work = Effect.onInterrupt(Effect.never, () => Effect.sleep("200 millis"))
      const { orphans } = yield* left(tool(work, { concurrency: 1 }), { during: stopAt(100) })
      assert.deepStrictEqual(orphans, [])
    }))

  it.effect("finds a fiber that a handler left behind, and whose it is", () =>
    Effect.gen(function*() {
      const work = Effect.andThen(Effect.sleep(30), Effect.as(Effect.forkDetach(Effect.never), "done"))
      const { orphans } = yield* left(tool(work))
      assert.deepStrictEqual(orphans, [{
        kind: "fiber",
        callId: "c",
        name: "work",
        detail: "a fiber of call c (work), started at 30 ms",
        abandoned: false
      }])
    }))

  it.effect("finds a sleep, and says when it ends", () =>
    Effect.gen(function*() {
      const work = Effect.andThen(Effect.sleep(30), Effect.forkDetach(Effect.sleep("31 seconds")))
      const { census, orphans } = yield* left(tool(Effect.as(work, "done")))
      assert.deepStrictEqual(details(orphans), [
        "sleep: a sleep of call c (work) that ends at 31030 ms, in a fiber started at 30 ms"
      ])
      yield* TestClock.adjust("31 seconds")
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.effect("finds a fiber that never rests", () =>
    Effect.gen(function*() {
      const fibers: Array<Fiber.Fiber<never>> = []
      const restless = Effect.forkDetach(Effect.forever(Effect.andThen(Effect.yieldNow, Effect.void)))
      const census = yield* Census.make({ tools: [] })
      yield* census.around(Effect.map(restless, (fiber) => fibers.push(fiber)))
      const orphans = yield* census.alive
      yield* Fiber.interruptAll(fibers)
      assert.deepStrictEqual(details(orphans), ["fiber: a fiber of the run itself, started at 0 ms"])
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.effect("finds what an abandoned handler holds, and says that it was abandoned", () =>
    Effect.gen(function*() {
      const work = Effect.uninterruptible(Effect.as(Effect.sleep("1 hour"), "late"))
      const limits = Limiter.layer({ services: { web: Limiter.permits(1) } })
      const annotations = { concurrency: 2, service: "web", grace: "1 second" } as const
      const { census, orphans } = yield* left(tool(work, annotations), { layer: limits, during: stopAt(100) })
      assert.deepStrictEqual(details(orphans), [
        "sleep: a sleep of call c (work) that ends at 3600000 ms, in a fiber started at 0 ms",
        "lease: an admission by the limiter for service \"web\", held by the run itself since 0 ms",
        "handler: 1 handler of work that did not stop when told to, abandoned and still at work",
        "permit: 1 permit of work, held by abandoned handlers"
      ])
      assert.isTrue(orphans.every(({ abandoned }) => abandoned))
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.effect("finds a promise that was abandoned, though no fiber waits for it", () =>
    Effect.gen(function*() {
      const settle: Array<(value: string) => void> = []
      const work = Executor.promise(() => new Promise<string>((resolve) => settle.push(resolve)))
      const { census, orphans } = yield* left(tool(work, { grace: "1 second" }), { during: stopAt(100) })
      assert.deepStrictEqual(details(orphans), [
        "handler: 1 handler of work that did not stop when told to, abandoned and still at work"
      ])
      settle.forEach((resolve) => resolve("late"))
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.effect("finds admissions that a handler holds or waits for beyond its end", () =>
    Effect.gen(function*() {
      const take = Effect.forkDetach(Limiter.withAdmission({ service: "db" })(Effect.never))
      const limits = yield* Layer.build(Limiter.layer({ services: { db: Limiter.permits(1) }, maxWait: "1 hour" }))
      const work = Effect.contextWith((own: Context.Context<never>) =>
        Effect.as(Effect.provideContext(Effect.all([take, take]), own as Context.Context<Limiter.Limiter>), "done")
      )
      const { orphans } = yield* left(tool(work), { layer: Layer.succeedContext(limits) })
      assert.deepStrictEqual(details(orphans), [
        "lease: an admission by the limiter for service \"db\", held by call c (work) since 0 ms",
        "lease: a request to the limiter for service \"db\" by call c (work), waiting since 0 ms"
      ])
    }))

  it.effect("does not count what was there before, nor what runs beside it", () =>
    Effect.gen(function*() {
      const { layer, toolkit } = ToolPolicy.define({ work: tool(Effect.never, { concurrency: 1 }) })
      const call = Effect.provide(Executor.call(toolkit.tools.work, {}), layer)
      yield* Effect.forkChild(call, { startImmediately: true })
      yield* Effect.forkChild(Effect.sleep("1 hour"), { startImmediately: true })
      const census = yield* Census.make({ tools: [toolkit.tools.work] })
      yield* census.around(Effect.void)
      assert.deepStrictEqual(yield* census.alive, [])
      const waiting = yield* Effect.forkChild(call, { startImmediately: true })
      assert.deepStrictEqual(details(yield* census.alive), ["permit: 1 call of work, waiting for a permit"])
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.effect("counts the watched effect's own fiber until it leaves the effect", () =>
    Effect.gen(function*() {
      const census = yield* Census.make({ tools: [] })
      const gate = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(Effect.andThen(census.around(Deferred.await(gate)), Effect.never))
      yield* Effect.yieldNow
      assert.deepStrictEqual(details(yield* census.alive), ["fiber: a fiber of the run itself, started at 0 ms"])
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.yieldNow
      assert.deepStrictEqual(yield* census.alive, [])
      assert.isUndefined(fiber.pollUnsafe())
    }))

  it.effect("keeps the time of a run inside a run", () =>
    Effect.gen(function*() {
      const now = Effect.andThen(Effect.sleep("1 second"), Clock.currentTimeMillis)
      const census = yield* Census.make({ tools: [] })
      const stuck = Effect.catchTag(advancing(Effect.never, { patience: "20 millis" }), "Stuck", () => Effect.void)
      const inner = Effect.andThen(census.around(Effect.andThen(stuck, advancing(now))), now)
      const times = yield* advancing(census.around(inner), { patience: 0 })
      assert.strictEqual(times - (yield* Clock.currentTimeMillis), 0)
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.effect("waits for finishers that need no time", () =>
    Effect.gen(function*() {
      const census = yield* Census.make({ tools: [] })
      const gate = yield* Deferred.make<void>()
      const finisher = Deferred.await(gate).pipe(
        Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 50 })),
        Effect.andThen(Effect.promise(() => Promise.resolve()))
      )
      yield* census.around(Effect.andThen(Effect.forkDetach(finisher), Deferred.succeed(gate, undefined)))
      assert.deepStrictEqual(yield* census.alive, [])
    }))

  it.live("sees the sleeps of a real clock, too", () =>
    Effect.gen(function*() {
      const census = yield* Census.make({ tools: [] })
      const fiber = yield* census.around(Effect.forkDetach(Effect.sleep("1 hour"), { startImmediately: true }))
      const [orphan] = yield* census.alive
      assert.strictEqual(orphan?.kind, "sleep")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* census.alive, [])
    }))
})
