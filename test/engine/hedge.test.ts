import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { CancelReason, Executor, Limiter, Orchestrator, ToolPolicy } from "../../src/index.ts"
import type { Retry, ToolEvent } from "../../src/index.ts"
import { TestLimiter, ToolCall } from "../../src/testing/index.ts"
import { lease, limiterOf } from "../limiter.ts"
import { scripted } from "../model.ts"
import { failureOf, results, settle, statuses } from "../stage.ts"
import { ScriptedRetry } from "./scriptedRetry.ts"

const Failure = Schema.Struct({ status: Schema.Finite })
type Act = Effect.Effect<string, { readonly status: number }>

/** A tool whose nth attempt, over all calls, ends as its test says. */
const gated = (
  annotations: ToolPolicy.Annotations<{ readonly id: string }>,
  wrap: (act: Act) => Act = (act) => act
) => {
  const attempts: Array<Deferred.Deferred<string, { readonly status: number }>> = []
  const stopped: Array<CancelReason.CancelReason | undefined> = []
  const { layer, toolkit } = ToolPolicy.define({
    work: ToolPolicy.tool({
      parameters: Schema.Struct({ id: Schema.String }),
      success: Schema.String,
      failure: Failure,
      annotations: { readonly: true, ...annotations },
      handler: () =>
        Effect.suspend(() => {
          const end = Deferred.makeUnsafe<string, { readonly status: number }>()
          attempts.push(end)
          return wrap(Deferred.await(end))
        }).pipe(Effect.onExit((exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit) && Exit.hasInterrupts(exit)) stopped.push(CancelReason.fromCause(exit.cause))
          })
        ))
    })
  })
  const end = (attempt: number, act: Act) =>
    Effect.andThen(Effect.suspend(() => Deferred.completeWith(attempts[attempt - 1]!, act)), settle)
  return { attempts, stopped, end, layer, toolkit }
}

type Gated = ReturnType<typeof gated>

const streamed = (
  { layer, toolkit }: Gated,
  options: { readonly ids?: ReadonlyArray<string>; readonly toolCallConcurrency?: number } = {},
  extra: Layer.Layer<never> | Layer.Layer<Retry.Retry> = Layer.empty
) => {
  const { ids = ["a"], ...rest } = options
  const parts: Array<ToolEvent.Part<typeof toolkit.tools>> = []
  return Effect.map(
    Effect.forkChild(
      Stream.runForEach(
        Orchestrator.stream({ prompt: "go", toolkit, runId: "r", ...rest }),
        (part) => Effect.sync(() => void parts.push(part))
      ).pipe(Effect.provide(Layer.mergeAll(
        scripted(ids.map((id) => ToolCall("work", { id }, { id }))),
        layer,
        extra as Layer.Layer<never>
      )))
    ),
    (fiber) => ({ fiber, parts, ended: Effect.as(Fiber.join(fiber), parts) })
  )
}

const reportOf = (parts: ReadonlyArray<{ readonly type: string }>) =>
  (parts.find((part) => part.type === "run-finish") as unknown as {
    readonly report: Orchestrator.RunResult<{}>["report"]
  })
    .report

const startsOf = (parts: ReadonlyArray<{ readonly type: string }>) =>
  (parts as ReadonlyArray<{ readonly type: string; readonly attempt: number; readonly hedge?: true }>)
    .flatMap((part) => part.type === "tool-started" ? [`${part.attempt}${part.hedge === true ? " hedge" : ""}`] : [])

const hedged: ToolPolicy.Annotations<{ readonly id: string }> = { hedge: { after: "100 millis" } }

describe("a hedged call", () => {
  it.effect("made by a handler is over when its losers have ended, and its run not before", () => {
    const work = gated({ ...hedged, grace: "5 seconds" }, Effect.onInterrupt(() => Effect.sleep("2 seconds")))
    const outer = ToolPolicy.define({
      ask: ToolPolicy.tool({
        success: Schema.String,
        handler: () => Effect.orDie(Effect.provide(Executor.call(work.toolkit.tools.work, { id: "a" }), work.layer))
      })
    })
    return Effect.gen(function*() {
      const parts: Array<ToolEvent.AnyPart> = []
      const fiber = yield* Orchestrator.stream({ prompt: "go", toolkit: outer.toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => void parts.push(part as ToolEvent.AnyPart))),
        Effect.provide([outer.layer, scripted([ToolCall("ask", {}, { id: "a" })])]),
        Effect.forkChild
      )
      yield* TestClock.adjust("100 millis")
      yield* work.end(2, Effect.succeed("fast"))
      assert.deepStrictEqual(statuses(results(parts)), ["a ok"], "the answer waits for no loser")
      yield* TestClock.adjust(1999)
      assert.isUndefined(fiber.pollUnsafe())
      assert.lengthOf(work.stopped, 0)
      yield* TestClock.adjust(1)
      yield* settle
      assert.lengthOf(work.stopped, 1)
      assert.isDefined(fiber.pollUnsafe())
    })
  })

  it.effect("that is slow gets a second attempt; the first to succeed is its result, the other is superseded", () =>
    Effect.gen(function*() {
      for (const winner of [1, 2]) {
        const work = gated(hedged)
        const run = yield* streamed(work)
        yield* TestClock.adjust("99 millis")
        assert.strictEqual(work.attempts.length, 1)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(work.attempts.length, 2)
        yield* work.end(winner, Effect.succeed(`by ${winner}`))
        const parts = yield* run.ended
        assert.deepStrictEqual(results(parts).map(({ result }) => result), [`by ${winner}`])
        assert.deepStrictEqual(startsOf(parts), ["1", "2 hedge"])
        assert.deepStrictEqual(work.stopped, [CancelReason.superseded(`attempt ${winner}`)])
        assert.notInclude(parts.map(({ type }) => type), "tool-cancelled")
        const report = reportOf(parts)
        assert.deepInclude(report.calls[0], { status: "success", attempts: 2, runMillis: 100, abandoned: false })
        assert.deepStrictEqual([report.peakConcurrency, report.abandoned], [2, []])
      }
    }))

  it.effect("that is quick has one attempt", () =>
    Effect.gen(function*() {
      const work = gated(hedged)
      const run = yield* streamed(work)
      yield* TestClock.adjust("99 millis")
      yield* work.end(1, Effect.succeed("fine"))
      yield* run.ended
      yield* TestClock.adjust("1 minutes")
      assert.strictEqual(work.attempts.length, 1)
    }))

  it.effect("gets at most max further attempts, one after each delay", () =>
    Effect.gen(function*() {
      const work = gated({ hedge: { after: "100 millis", max: 2, budget: 1 } })
      const run = yield* streamed(work)
      const seen: Array<number> = []
      for (let i = 0; i < 4; i++) {
        yield* TestClock.adjust("100 millis")
        seen.push(work.attempts.length)
      }
      assert.deepStrictEqual(seen, [2, 3, 3, 3])
      yield* work.end(3, Effect.succeed("fine"))
      assert.deepStrictEqual(startsOf(yield* run.ended), ["1", "2 hedge", "3 hedge"])
      assert.strictEqual(work.stopped.length, 2)
    }))

  it.effect("waits for the other attempt when one fails, and fails when all have", () =>
    Effect.gen(function*() {
      const work = gated(hedged)
      const run = yield* streamed(work)
      yield* TestClock.adjust("100 millis")
      yield* work.end(1, Effect.fail({ status: 500 }))
      assert.deepStrictEqual(results(run.parts), [])
      yield* work.end(2, Effect.fail({ status: 501 }))
      assert.deepStrictEqual(results(yield* run.ended).map(({ result }) => result), [{ status: 501 }])
    }))

  it.effect("is tried again as a whole when all its attempts failed", () =>
    Effect.gen(function*() {
      const work = gated(hedged)
      const retry = new ScriptedRetry([50])
      const run = yield* streamed(work, {}, retry.layer)
      yield* TestClock.adjust("100 millis")
      yield* work.end(2, Effect.fail({ status: 500 }))
      assert.deepStrictEqual(retry.failures, [])
      yield* work.end(1, Effect.fail({ status: 503 }))
      assert.deepStrictEqual(retry.failures, [{ status: 503 }])
      yield* TestClock.adjust("50 millis")
      assert.strictEqual(work.attempts.length, 3)
      yield* work.end(3, Effect.succeed("fine"))
      assert.deepStrictEqual(startsOf(yield* run.ended), ["1", "2 hedge", "3"])
    }))

  it.effect("gets none where its run, its tool or its service has no room at once, and one as soon as there is", () =>
    Effect.gen(function*() {
      const limiter = TestLimiter.makeUnsafe({ permits: { api: 1 } })
      const cases = [
        { options: { toolCallConcurrency: 1 }, annotations: hedged, extra: Layer.empty, opens: false },
        { options: {}, annotations: { ...hedged, concurrency: 1 }, extra: Layer.empty, opens: false },
        { options: {}, annotations: { ...hedged, service: "api" }, extra: limiter.layer, opens: true }
      ]
      for (const { annotations, extra, opens, options } of cases) {
        const work = gated(annotations)
        const run = yield* streamed(work, options, extra)
        yield* TestClock.adjust("250 millis")
        assert.strictEqual(work.attempts.length, 1)
        if (opens) {
          yield* limiter.allow("api", 2)
          yield* TestClock.adjust("50 millis")
          assert.strictEqual(work.attempts.length, 2)
        }
        yield* work.end(1, Effect.succeed("fine"))
        const parts = yield* run.ended
        assert.deepStrictEqual(statuses(results(parts)), ["a ok"])
        assert.strictEqual(reportOf(parts).calls[0]!.attempts, opens ? 2 : 1)
      }
      assert.deepStrictEqual([...limiter.held, ...limiter.waiting], [])
      const [call, ...hedges] = limiter.admissions.filter(({ service }) => service === "api")
      assert.deepStrictEqual([call?.request.speculative, call?.status], [undefined, "released"])
      assert.deepStrictEqual(hedges.map(({ request }) => request.speculative), [true, true, true])
      assert.deepStrictEqual(hedges.map(({ status }) => status), ["rejected", "rejected", "released"])
    }))

  it.effect("passes the program's limiter at once or not at all, and asks again after the same time", () =>
    Effect.gen(function*() {
      const limiter = Limiter.layer({ services: { api: Limiter.permits(2) } })
      const work = gated({ ...hedged, hedge: { after: "100 millis", budget: 1 }, service: "api" })
      const run = yield* streamed(work, { ids: ["a", "b", "c"] }, limiter)
      yield* TestClock.adjust("150 millis")
      assert.strictEqual(work.attempts.length, 2)
      yield* work.end(1, Effect.succeed("fine"))
      // The third call has the room, no hedge.
      assert.deepStrictEqual(startsOf(run.parts), ["1", "1", "1"])
      yield* work.end(2, Effect.succeed("fine"))
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(startsOf(run.parts), ["1", "1", "1", "2 hedge"])
      yield* work.end(3, Effect.succeed("fine"))
      const parts = yield* run.ended
      assert.deepStrictEqual(statuses(results(parts)), ["a ok", "b ok", "c ok"])
      assert.deepStrictEqual(reportOf(parts).calls.map(({ attempts }) => attempts), [1, 1, 2])
    }))

  it.effect("gets none where its run has no place, with a limiter too", () =>
    Effect.gen(function*() {
      const limiter = Limiter.layer({ services: { api: Limiter.permits(20) } })
      const work = gated({ ...hedged, service: "api" })
      const run = yield* streamed(work, { ids: ["a", "b"], toolCallConcurrency: 1 }, limiter)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(startsOf(run.parts), ["1"])
      yield* work.end(1, Effect.succeed("fine"))
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(startsOf(run.parts), ["1", "1"])
      yield* work.end(2, Effect.succeed("fine"))
      assert.deepStrictEqual(statuses(results(yield* run.ended)), ["a ok", "b ok"])
    }))

  it.effect("never takes the room of a call that waits", () =>
    Effect.gen(function*() {
      const work = gated({ ...hedged, concurrency: 2 })
      const run = yield* streamed(work, { ids: ["a", "b", "c"] })
      yield* TestClock.adjust("150 millis")
      assert.strictEqual(work.attempts.length, 2)
      yield* work.end(1, Effect.succeed("fine"))
      // The third call started, and there is still no room beside it.
      assert.strictEqual(work.attempts.length, 3)
      assert.deepStrictEqual(startsOf(run.parts), ["1", "1", "1"])
      yield* work.end(2, Effect.succeed("fine"))
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(startsOf(run.parts), ["1", "1", "1", "2 hedge"])
      yield* work.end(4, Effect.succeed("fine"))
      assert.deepStrictEqual(statuses(results(yield* run.ended)), ["a ok", "b ok", "c ok"])
    }))

  it.effect("learns from the tool's own calls when it is slow, once it has seen 20", () =>
    Effect.gen(function*() {
      const work = gated({ hedge: { budget: 1 } })
      for (let i = 1; i <= 20; i++) {
        const run = yield* streamed(work)
        yield* TestClock.adjust(i * 10)
        assert.strictEqual(work.attempts.length, i)
        yield* work.end(i, Effect.succeed("fine"))
        yield* run.ended
      }
      const run = yield* streamed(work)
      yield* TestClock.adjust(189)
      assert.strictEqual(work.attempts.length, 21)
      yield* TestClock.adjust(1)
      assert.strictEqual(work.attempts.length, 22)
      yield* work.end(22, Effect.succeed("fine"))
      yield* run.ended
    }))

  it.effect("is answered while a deaf loser still runs, which keeps its permit, is reported, and is heard no more", () =>
    Effect.gen(function*() {
      const work = gated({ ...hedged, concurrency: 2, grace: "250 millis" }, Effect.uninterruptible)
      const run = yield* streamed(work)
      yield* TestClock.adjust("100 millis")
      yield* work.end(2, Effect.succeed("fine"))
      assert.deepStrictEqual(statuses(results(run.parts)), ["a ok"])
      yield* TestClock.adjust("250 millis")
      const parts = yield* run.ended
      const after = parts.slice(parts.findIndex(({ type }) => type === "tool-result") + 1)
      assert.deepStrictEqual(after.map(({ type }) => type).filter((type) => type.startsWith("tool-")), [])
      assert.deepStrictEqual(reportOf(parts).abandoned, [
        { callId: "a", name: "work", reason: CancelReason.superseded("attempt 2") }
      ])
      assert.isFalse(reportOf(parts).calls[0]!.abandoned)
      // One of the two permits is still with the loser.
      const next = yield* streamed(work, { ids: ["b", "c"] })
      yield* settle
      assert.strictEqual(work.attempts.length, 3)
      yield* work.end(1, Effect.succeed("late"))
      assert.strictEqual(work.attempts.length, 4)
      yield* work.end(3, Effect.succeed("fine"))
      yield* work.end(4, Effect.succeed("fine"))
      assert.deepStrictEqual(statuses(results(yield* next.ended)), ["b ok", "c ok"])
    }))

  it.effect("is not tried again beside an attempt that did not stop", () =>
    Effect.gen(function*() {
      const deaf = gated({ ...hedged, timeout: "200 millis", grace: "50 millis" }, Effect.uninterruptible)
      const retry = new ScriptedRetry([1, 1])
      const run = yield* streamed(deaf, {}, retry.layer)
      yield* TestClock.adjust("250 millis")
      // The first attempt is abandoned, the second still has time.
      assert.deepStrictEqual(results(run.parts), [])
      yield* deaf.end(2, Effect.fail({ status: 503 }))
      const parts = yield* run.ended
      assert.deepStrictEqual(results(parts).map(({ result }) => result), [{ status: 503 }])
      assert.deepStrictEqual([retry.failures, deaf.attempts.length], [[], 2])
      assert.deepStrictEqual(reportOf(parts).abandoned, [
        { callId: "a", name: "work", reason: CancelReason.timeout("attempt", 200) }
      ])
    }))

  it.effect("fails as its attempt did when the further one found no room after that", () =>
    Effect.gen(function*() {
      const rejected = new Limiter.Rejected({ reason: "RateLimited", limit: "l", message: "no" })
      const slow = limiterOf(({ speculative }, use) =>
        speculative === true ? Effect.andThen(Effect.sleep("1 seconds"), Effect.fail(rejected)) : use(lease)
      )
      const work = gated(hedged)
      const retry = new ScriptedRetry([])
      const run = yield* streamed(work, {}, Layer.merge(slow, retry.layer))
      yield* TestClock.adjust("100 millis")
      yield* work.end(1, Effect.fail({ status: 503 }))
      assert.deepStrictEqual(results(run.parts), [])
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(results(yield* run.ended).map(({ result }) => result), [{ status: 503 }])
      assert.deepStrictEqual(retry.failures, [{ status: 503 }])
    }))

  it.effect("keeps its resources until the loser has really ended", () =>
    Effect.gen(function*() {
      const work = gated({ ...hedged, resources: () => [{ write: "file" }] }, Effect.uninterruptible)
      const run = yield* streamed(work, { ids: ["a", "b"] })
      yield* TestClock.adjust("100 millis")
      yield* work.end(2, Effect.succeed("fine"))
      assert.deepStrictEqual(statuses(results(run.parts)), ["a ok"])
      assert.strictEqual(work.attempts.length, 2)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(work.attempts.length, 2)
      yield* work.end(1, Effect.succeed("late"))
      assert.strictEqual(work.attempts.length, 3)
      yield* work.end(3, Effect.succeed("fine"))
      assert.deepStrictEqual(statuses(results(yield* run.ended)), ["a ok", "b ok"])
    }))

  it.effect("lets a loser report no progress after the result", () =>
    Effect.gen(function*() {
      let attempts = 0
      const chatty = ToolPolicy.define({
        work: ToolPolicy.tool({
          parameters: Schema.Struct({ id: Schema.String }),
          success: Schema.String,
          annotations: { readonly: true, ...hedged },
          handler: (_, { preliminary }) =>
            ++attempts === 2 ? Effect.succeed("fine") : Effect.andThen(
              preliminary("before"),
              Effect.onInterrupt(Effect.never, () => preliminary("after"))
            )
        })
      })
      const run = yield* streamed(chatty as never)
      yield* TestClock.adjust("100 millis")
      const parts = yield* run.ended
      const progress = parts.flatMap((part) => part.type === "tool-progress" ? [part.result] : [])
      assert.deepStrictEqual(progress, ["before"])
    }))

  it.effect("counts what has started, so no attempt is begun while one still waits for its limit", () =>
    Effect.gen(function*() {
      // A limiter that takes its time to answer.
      const slow = limiterOf(({ speculative }, use) =>
        speculative === true ? Effect.andThen(Effect.sleep("1 seconds"), use(lease)) : use(lease)
      )
      const work = gated({ hedge: { after: "100 millis", max: 1, budget: 1 } })
      const run = yield* streamed(work, {}, slow)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(work.attempts.length, 2)
      yield* work.end(1, Effect.succeed("fine"))
      assert.deepStrictEqual(startsOf(yield* run.ended), ["1", "2 hedge"])
    }))

  it.effect("that is stopped stops all its attempts, and is answered when they are", () =>
    Effect.gen(function*() {
      const work = gated(hedged)
      const run = yield* streamed(work)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Orchestrator.cancel({ runId: "r", callId: "a" }), 1)
      const parts = yield* run.ended
      assert.deepInclude(failureOf(results(parts), "a"), { _tag: "Cancelled", executionStarted: true })
      assert.deepStrictEqual(work.stopped, Array(2).fill(CancelReason.branchCancelled()))
      assert.strictEqual(parts.filter(({ type }) => type === "tool-cancelled").length, 1)
    }))

  it.effect("from code is hedged too", () =>
    Effect.gen(function*() {
      const work = gated(hedged)
      const fiber = yield* Effect.forkChild(
        Effect.provide(Executor.call(work.toolkit.tools.work, { id: "a" }), work.layer)
      )
      yield* TestClock.adjust("100 millis")
      yield* work.end(2, Effect.succeed("second"))
      assert.strictEqual(yield* Fiber.join(fiber), "second")
      assert.deepStrictEqual(work.stopped, [CancelReason.superseded("attempt 2")])
    }))

  it.effect("costs at most its budget over many calls", () =>
    Effect.gen(function*() {
      const work = gated(hedged)
      const ids = Array.from({ length: 40 }, (_, i) => `c${i}`)
      const run = yield* streamed(work, { ids, toolCallConcurrency: 100 })
      yield* TestClock.adjust("1 minutes")
      // One to begin with, and a tenth of 40.
      assert.strictEqual(work.attempts.length, 45)
      for (let i = 1; i <= 45; i++) yield* work.end(i, Effect.succeed("fine"))
      assert.strictEqual(results(yield* run.ended).length, 40)
    }))
})
