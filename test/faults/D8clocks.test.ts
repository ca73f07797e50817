/**
 * D8: the wall clock steps forward and back by hours while everything that waits is waiting. What is measured is monotonic, so
 * every start, end and answer comes at the instant it has under a steady clock.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import * as Branch from "../../src/engine/Branch.ts"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import * as Breaker from "../../src/policy/Breaker.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, scripted } from "../model.ts"
import { random } from "../random.ts"

const hour = 3_600_000

/** The test's clock, whose wall may be moved; monotonic time is left alone. */
const jumping = (wall: { offset: number }): Effect.Effect<Context.Context<never>> =>
  Effect.map(Effect.clockWith(Effect.succeed), (clock) => {
    const millis = () => clock.currentTimeMillisUnsafe() + wall.offset
    const nanos = () => clock.currentTimeNanosUnsafe() + BigInt(wall.offset) * 1_000_000n
    const moved: Clock.Clock = Object.assign(Object.create(clock as object) as Clock.Clock, {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos)
    })
    return Context.make(Clock.Clock, moved)
  })

const monotonic = Effect.clockWith((clock) => Effect.sync(() => Number(clock.monotonicTimeNanosUnsafe()) / 1e6))

const Id = Schema.Struct({ id: Schema.String })
const Busy = Schema.Struct({
  status: Schema.Int,
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})

/** Every kind of wait, each in a tool of its own; `note` gets what happens when. */
const toolsOf = (note: (what: string) => Effect.Effect<void>) => {
  const attempts = new Map<string, number>()
  const tool = (
    annotations: ToolPolicy.Annotations<typeof Id.Type, string>,
    body: (id: string, attempt: number) => Effect.Effect<string, typeof Busy.Type>
  ) =>
    ToolPolicy.tool({
      parameters: Id,
      success: Schema.String,
      failure: Busy,
      annotations,
      handler: ({ id }) =>
        Effect.suspend(() => {
          const attempt = (attempts.get(id) ?? 0) + 1
          attempts.set(id, attempt)
          return note(`${id} starts`).pipe(
            Effect.andThen(body(id, attempt)),
            Effect.onExit((exit) => note(`${id} ${exit._tag === "Success" ? "ends" : "breaks off"}`))
          )
        })
    })
  const failing = (failure: typeof Busy.Type) => (id: string, attempt: number) =>
    attempt <= 2 ? Effect.fail(failure) : Effect.succeed(id)
  return ToolPolicy.define({
    timeout: tool({ timeout: 700 }, () => Effect.never),
    deadline: tool({ deadline: 900 }, () => Effect.never),
    grace: tool({ timeout: 200, grace: 450 }, () => Effect.uninterruptible(Effect.as(Effect.sleep(2500), "late"))),
    backoff: tool({ readonly: true, service: "backoff" }, failing({ status: 503 })),
    paused: tool(
      { readonly: true, service: "paused" },
      failing({ status: 429, headers: { "retry-after-ms": "650" } })
    ),
    hedged: tool(
      { idempotent: true, hedge: { after: 300, budget: 1 } },
      (id, attempt) => Effect.as(Effect.sleep(attempt === 1 ? 5000 : 100), id)
    ),
    limited: tool({ service: "limited" }, (id) => Effect.as(Effect.sleep(100), id)),
    month: tool(
      { timeout: "30 days", deadline: "60 days", hedge: { after: "30 days" }, idempotent: true },
      (id) => Effect.as(Effect.sleep(800), id)
    ),
    within: tool({}, (id) =>
      Branch.run([Effect.never, Effect.never], Branch.first(1).pipe(Branch.within(550))).pipe(
        Effect.orDie,
        Effect.map(({ winners }) => `${id} ${winners.length}`)
      ))
  })
}

const names = ["timeout", "deadline", "grace", "backoff", "paused", "hedged", "limited", "month", "within"]

const model = () =>
  scripted(
    [
      "a",
      TestModel.call(ToolCall("timeout", {}, { id: "x" }), { open: true, chunks: ["{\"id\":"] }),
      TestModel.wait(5000),
      TestModel.finish("tool-calls")
    ],
    [TestModel.wait(5000), TestModel.finish("tool-calls")],
    [
      ...names.map((name) => ToolCall(name, { id: name }, { id: name })),
      TestModel.wait(100),
      ...["limited2", "limited3"].map((id) => ToolCall("limited", { id }, { id })),
      TestModel.wait(100),
      TestModel.finish("tool-calls")
    ],
    TestModel.fail(aiError),
    "done"
  )

type Wall = (now: number) => number

const trace = (wallOf: Wall): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function*() {
    const wall = { offset: 0 }
    const clock = yield* jumping(wall)
    const seen: Array<string> = []
    const note = (what: string) => Effect.map(monotonic, (now) => void seen.push(`${now} ${what}`))
    const { layer, toolkit } = toolsOf(note)
    const { next } = random(1)
    const policies = yield* Layer.build(Layer.mergeAll(
      Retry.layer({ base: 200 }),
      Breaker.layer({ failures: 100 }),
      Limiter.layer({ services: { limited: [Limiter.permits(1), Limiter.slidingWindow({ limit: 2, window: 900 })] } })
    )).pipe(Effect.provideContext(clock))
    const stream = Orchestrator.stream({
      prompt: "go",
      toolkit,
      runId: "clocks",
      timeout: { total: 60_000, model: { firstByte: 750, idle: 600, total: 30_000 } }
    })
    const context = Context.mergeAll(
      clock,
      policies,
      Context.make(Random.Random, { nextDoubleUnsafe: next, nextIntUnsafe: () => Math.floor(next() * 1e9) })
    )
    const read = Stream.runForEach(stream, (part) => {
      const { callId, id, type } = part as AnyPart & { readonly callId?: string; readonly id?: string }
      return type.startsWith("tool-params") ? Effect.void : note(`${type} ${callId ?? id ?? ""}`)
    })
    const fiber = yield* Effect.forkChild(
      Effect.provideContext(Effect.provide(read, [layer, model()]), context) as Effect.Effect<void, unknown>
    )
    for (let now = 0; fiber.pollUnsafe() === undefined && now < 60_000; now += 10) {
      yield* TestClock.adjust(10)
      wall.offset = wallOf(now)
    }
    assert.strictEqual(fiber.pollUnsafe()?._tag, "Success", String(fiber.pollUnsafe()))
    return seen
  }).pipe(Effect.scoped) as Effect.Effect<ReadonlyArray<string>>

const steadily = Effect.runSync(Effect.cached(Effect.suspend(() => trace(() => 0))))

describe("D8: the wall clock steps", () => {
  it.effect("D8: under a steady one every kind of wait is seen", () =>
    Effect.map(steadily, (seen) => {
      const at = (what: string) =>
        seen.filter((line) => line.endsWith(` ${what}`)).map((line) => Number(line.split(" ")[0]))
      const [started] = at("timeout starts")
      assert.deepStrictEqual(at("timeout breaks off"), [started! + 700])
      assert.deepStrictEqual(at("deadline breaks off"), [started! + 900])
      assert.deepStrictEqual(at("tool-abandoned grace"), [started! + 650])
      assert.strictEqual(at("backoff starts").length, 3)
      const [first, second] = at("paused starts")
      assert.isAtLeast(second! - first!, 650)
      assert.deepStrictEqual(at("hedged starts"), [started!, started! + 300])
      assert.deepStrictEqual(at("limited3 starts").map((then) => then - started! >= 900), [true])
      assert.deepStrictEqual(at("within ends"), [started! + 550])
      assert.deepStrictEqual(at("month ends"), [started! + 800])
      // `idle`, `firstByte` and the break of the last turn; plus what was asked again.
      assert.strictEqual(at("step-retry ").length, 3)
    }))

  const walls: Readonly<Record<string, Wall>> = {
    "back by 5 hours": (now) => now >= 400 ? -5 * hour : 0,
    "forward by 5 hours": (now) => now >= 400 ? 5 * hour : 0,
    "forward by 30 days, as after a suspend": (now) => now >= 900 ? 30 * 24 * hour : 0,
    "to and fro every 100 ms": (now) => (Math.floor(now / 100) % 2 === 0 ? 1 : -1) * 7 * hour,
    "slowly back, 9 ms of every 10": (now) => -0.9 * now
  }
  it.effect.each(Object.entries(walls))(
    "D8: %s, and nothing fires early or late",
    ([, wallOf]) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* trace((now) => Math.round(wallOf(now))), yield* steadily)
      })
  )

  it.effect("D8: during a drain's grace, and it is as long as ever", () =>
    Effect.gen(function*() {
      const wall = { offset: 0 }
      const clock = yield* jumping(wall)
      const { layer, toolkit } = ToolPolicy.define({
        work: ToolPolicy.tool({ annotations: { grace: 100 }, handler: () => Effect.never })
      })
      const registry = yield* Layer.build(Orchestrator.layerRuns())
      const context = Context.merge(clock, registry)
      const run = Orchestrator.run({ prompt: "go", toolkit }).pipe(
        Effect.provide([layer, scripted(ToolCall("work", {}, { id: "a" }))])
      )
      const fiber = yield* Effect.forkChild(Effect.provideContext(Effect.flip(run), context))
      yield* TestClock.adjust(10)
      const drain = yield* Effect.forkChild(Effect.provideContext(Orchestrator.drain({ grace: 2000 }), context))
      yield* TestClock.adjust(500)
      wall.offset = -9 * hour
      yield* TestClock.adjust(1400)
      wall.offset = 9 * hour
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(100)
      assert.isDefined(fiber.pollUnsafe())
      assert.isDefined(drain.pollUnsafe())
    }))

  it.effect("D8: and a call from code keeps its deadline of 30 days to the millisecond", () =>
    Effect.gen(function*() {
      const wall = { offset: 0 }
      const clock = yield* jumping(wall)
      const { layer, toolkit } = ToolPolicy.define({
        work: ToolPolicy.tool({ annotations: { deadline: "30 days" }, handler: () => Effect.never })
      })
      const fiber = yield* Effect.forkChild(
        Effect.flip(Executor.call(toolkit.tools.work, {})).pipe(Effect.provide(layer), Effect.provideContext(clock))
      )
      for (const offset of [-30, 60, -90]) {
        yield* TestClock.adjust(Duration.days(9))
        wall.offset = offset * 24 * hour
      }
      yield* TestClock.adjust(Duration.millis(3 * 24 * hour - 1))
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.isDefined(fiber.pollUnsafe())
    }))
})
