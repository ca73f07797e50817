/** The `completion` option of a run: groups of calls of one turn under a policy, through the real engine. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Branch, CancelReason, Orchestrator, Retry, ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { aiError, scripted } from "../model.ts"
import { failureOf, results, settle, Stage, statuses } from "../stage.ts"

const Scored = Schema.Struct({ id: Schema.String, points: Schema.Finite, note: Schema.String })

/** Three tools of the group "searches", whose calls wait at their gates; a call's points stand in its parameters. */
const searches = (stage: Stage, annotations: ToolPolicy.Annotations<never> = {}) => {
  const search = () =>
    ToolPolicy.tool({
      parameters: Schema.Struct({ id: Schema.String, points: Schema.Finite }),
      success: Scored,
      failure: Schema.String,
      annotations: { group: "searches", ...annotations } as never,
      handler: ({ id, points }) =>
        Effect.flatMap(
          stage.play(id),
          () => points === -1 ? Effect.fail("nothing found") : Effect.succeed({ id, points, note: "" })
        )
    })
  return ToolPolicy.define({ web: search(), docs: search(), code: search(), other: stage.tool() })
}

const search = (id: string, points = 1, name = "web") => ToolCall(name, { id, points }, { id })

interface Live {
  readonly runId: string
  readonly parts: ReadonlyArray<AnyPart>
  readonly fiber: Fiber.Fiber<void, unknown>
  readonly report: () => Extract<AnyPart, { readonly type: "run-finish" }>["report"]
}

const start = (
  stage: Stage,
  script: TestModel.Turn,
  completion: Branch.Completions<"web" | "docs" | "code" | "other">,
  options: { readonly toolCallConcurrency?: number; readonly annotations?: ToolPolicy.Annotations<never> } = {}
): Effect.Effect<Live> =>
  Effect.gen(function*() {
    const { layer, toolkit } = searches(stage, options.annotations)
    const runId = `completion_${++runs}`
    const parts: Array<AnyPart> = []
    const fiber = yield* Orchestrator.stream({
      prompt: "go",
      toolkit,
      runId,
      completion,
      ...(options.toolCallConcurrency === undefined ? {} : { toolCallConcurrency: options.toolCallConcurrency })
    }).pipe(
      Stream.runForEach((part) => Effect.sync(() => void parts.push(part as AnyPart))),
      Effect.provide([layer, scripted(script, "done")]),
      Effect.forkChild
    )
    yield* settle
    return {
      runId,
      parts,
      fiber,
      report: () => {
        const last = parts.at(-1)
        return last?.type === "run-finish" ? last.report : assert.fail(`the run is not over: ${last?.type}`)
      }
    }
  })

let runs = 0

/** The same searches in virtual time: each takes so many seconds, or 1. */
const mock = (
  turns: ReadonlyArray<TestModel.Turn>,
  completion: Branch.Completions<"web" | "docs" | "code" | "other">,
  seconds: Readonly<Record<string, number>> = {}
) => {
  const { toolkit } = searches(new Stage())
  const after = (id: string) => ({ after: Duration.seconds(seconds[id] ?? 1) })
  const find = ({ id, points }: { readonly id: string; readonly points: number }) =>
    TestTools.succeed({ id, points, note: "" }, after(id))
  return MockOrchestrator.layer({ toolkit, completion }).pipe(Layer.provideMerge([
    scripted(...turns),
    TestTools.layer(toolkit, { web: find, docs: find, code: find, other: ({ id }) => TestTools.succeed(id, after(id)) })
  ]))
}

const messageOf = (live: Live, id: string): unknown => failureOf(results(live.parts), id)["message"]

const group = (live: Live) => {
  const { groups } = live.report()
  assert.strictEqual(groups.length, 1)
  const { millis: _, ...rest } = groups[0]!
  return rest
}

describe("completion", () => {
  it.effect("first: the winner ends the others at once, and the run goes on", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const live = yield* start(stage, [search("a"), search("b", 1, "docs"), search("c", 1, "code")], {
        searches: Branch.first(1)
      })
      yield* stage.open("b")
      assert.deepStrictEqual(statuses(results(live.parts)), ["b ok", "a Cancelled", "c Cancelled"])
      assert.deepStrictEqual(stage.interrupted, ["a", "c"])
      assert.strictEqual(
        messageOf(live, "a"),
        "web was cancelled: superseded by b in group \"searches\". It had started, so part of its work may be done."
      )
      assert.deepStrictEqual(group(live), {
        group: "searches",
        step: 1,
        policy: "first(1)",
        outcome: "decided",
        winners: ["b"],
        losers: ["a", "c"]
      })
    }))

  it.effect("leaves the calls of other tools alone, and the order of the history", () => {
    const other = (id: string) => ToolCall("other", { id }, { id })
    const turn = [search("a"), other("x"), search("b"), other("y")]
    return Effect.gen(function*() {
      const { calls, result } = yield* MockOrchestrator.execute("go")
      assert.deepStrictEqual(calls.map(({ endedAt, id, status }) => [id, status, endedAt]), [
        ["a", "Cancelled", 1000],
        ["x", "success", 3000],
        ["b", "success", 1000],
        ["y", "success", 2000]
      ])
      const history = result.prompt.content.flatMap((message) => message.role === "tool" ? message.content : [])
      assert.deepStrictEqual(history.map((part) => part.type === "tool-result" && part.id), ["a", "x", "b", "y"])
    }).pipe(Effect.provide(mock([turn], { searches: Branch.first(1) }, { a: 9, x: 3, b: 1, y: 2 })))
  })

  it.effect("counts failures, refusals and what is cancelled as failed branches", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const script = [search("a", -1), ToolCall("web", { id: 1 }, { id: "b" }), search("c"), search("d")]
      const live = yield* start(stage, script, { searches: Branch.quorum(2) })
      yield* Orchestrator.cancel({ runId: live.runId, callId: "c" })
      // Two failed, one was cancelled: two can no longer succeed.
      yield* stage.open("a")
      assert.deepStrictEqual(statuses(results(live.parts)), [
        "b InvalidInput",
        "c Cancelled",
        "a \"nothing found\"",
        "d Cancelled"
      ])
      assert.strictEqual(
        messageOf(live, "d"),
        "web was cancelled: group \"searches\" can no longer have 2 calls that succeed. " +
          "It had started, so part of its work may be done."
      )
      assert.deepInclude(group(live), { outcome: "unreachable", winners: [], losers: ["a", "b", "c", "d"] })
    }))

  it.effect("never starts a queued loser", () =>
    Effect.gen(function*() {
      const superseded = CancelReason.superseded("a", "searches")
      yield* MockOrchestrator.expectNotCalled([search("b"), search("c")])
      for (const id of ["b", "c"]) yield* MockOrchestrator.expectCancelled(id, superseded)
      const { result } = yield* MockOrchestrator.execute({ prompt: "go", toolCallConcurrency: 1 })
      assert.deepStrictEqual(failureOf(result.toolResults, "c")["executionStarted"], false)
      assert.strictEqual(
        failureOf(result.toolResults, "c")["message"],
        "web was cancelled: superseded by a in group \"searches\". It had not started."
      )
    }).pipe(Effect.provide(mock([[search("a"), search("b"), search("c")]], { searches: Branch.first(1) }))))

  it.effect("answers a call that comes when its group is decided, without starting it", () =>
    Effect.gen(function*() {
      yield* MockOrchestrator.expectNotCalled([search("b")])
      const { result } = yield* MockOrchestrator.execute("go")
      assert.deepStrictEqual(statuses(result.toolResults), ["a ok", "b Cancelled"])
      assert.deepStrictEqual(result.report.groups.map(({ losers }) => losers), [["b"]])
    }).pipe(Effect.provide(
      mock([[search("a"), TestModel.wait("1 minute"), search("b")]], { searches: Branch.first(1) })
    )))

  it.effect("best: holds results back until they are known to be kept or beaten", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const live = yield* start(stage, [search("a", 5), search("b", 3), search("c", 9), search("d", -1)], {
        searches: Branch.best<typeof Scored.Type>({ score: "points" })
      })
      yield* stage.open("a")
      assert.deepStrictEqual(statuses(results(live.parts)), [])
      yield* stage.open("b")
      assert.deepStrictEqual(statuses(results(live.parts)), ["b Cancelled"])
      assert.strictEqual(
        messageOf(live, "b"),
        "web was cancelled: superseded by a in group \"searches\". It had finished; its result was not kept."
      )
      yield* stage.open("c")
      assert.deepStrictEqual(statuses(results(live.parts)), ["b Cancelled", "a Cancelled"])
      yield* stage.open("d")
      assert.deepStrictEqual(statuses(results(live.parts)).slice(2), ["d \"nothing found\"", "c ok"])
      const { calls: reported } = live.report()
      assert.deepStrictEqual(reported.map(({ status }) => status), ["Cancelled", "Cancelled", "success", "failure"])
      assert.deepInclude(group(live), { policy: "best(keep 1)", winners: ["c"], losers: ["a", "b", "d"] })
    }))

  it.effect("best: enough ends the race at once", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const live = yield* start(stage, [search("a", 5), search("b", 9), search("c", 9)], {
        searches: Branch.best<typeof Scored.Type>({ score: ({ points }) => points, enough: 9 })
      })
      yield* stage.open("a")
      yield* stage.open("c")
      assert.deepStrictEqual(statuses(results(live.parts)), ["a Cancelled", "c ok", "b Cancelled"])
      assert.deepStrictEqual(stage.interrupted, ["b"])
    }))

  it.effect("best: more to keep than there are calls holds nothing back, and the report says so", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const script: TestModel.Turn = [
        TestModel.chunk(search("a", 1)),
        search("b", 2),
        TestModel.wait(stage.gate("go on").await)
      ]
      const live = yield* start(stage, script, {
        searches: Branch.best<typeof Scored.Type>({ score: "points", keep: 5 })
      })
      yield* stage.open("a")
      assert.deepStrictEqual(statuses(results(live.parts)), [])
      yield* stage.open("go on")
      assert.deepStrictEqual(statuses(results(live.parts)), ["a ok"])
      yield* stage.open("b")
      assert.deepInclude(group(live), { policy: "best(keep 5) of 2", winners: ["b", "a"], losers: [] })
    }))

  it.effect.each<readonly [what: string, score: Branch.Score<typeof Scored.Type>, issue: string]>([
    ["throws", () => {
      throw new Error("no idea")
    }, "its score threw Error: no idea"],
    ["is NaN", () => Number.NaN, "its score is NaN, no finite number"],
    // An unhandled rejection fails the run of the tests, as it would end a program.
    [
      "is a promise that is rejected",
      () => Promise.reject(new Error("late")) as never,
      "its score is a promise, no finite number"
    ]
  ])(
    "best: a score that %s is that call's typed failure and wins nothing",
    ([, score, issue]) =>
      Effect.gen(function*() {
        const stage = new Stage()
        const live = yield* start(stage, [search("a"), search("b")], { searches: Branch.best({ score }) })
        yield* stage.open("a", "b")
        assert.deepStrictEqual(statuses(results(live.parts)), ["a InvalidOutput", "b InvalidOutput"])
        assert.strictEqual(messageOf(live, "a"), `web ran, but its result could not be handed on: ${issue}`)
        assert.deepInclude(group(live), { outcome: "decided", winners: [] })
      })
  )

  it.effect("quorum: calls that agree", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const live = yield* start(stage, [search("a", 1), search("b", 2), search("c", 2), search("d", 2)], {
        searches: Branch.quorum<typeof Scored.Type>(2, { agree: ({ points }) => points })
      })
      yield* stage.open("a")
      yield* stage.open("d", "b")
      assert.deepStrictEqual(statuses(results(live.parts)), ["a ok", "d ok", "b ok", "c Cancelled"])
      assert.deepInclude(group(live), { winners: ["d", "b"], losers: ["a", "c"] })
    }))

  it.effect("quorum: larger than the group it is decided as soon as that is known", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const script: TestModel.Turn = [
        TestModel.chunk(search("a")),
        search("b"),
        TestModel.wait(stage.gate("go on").await)
      ]
      const live = yield* start(stage, script, { searches: Branch.quorum(3) })
      yield* stage.open("a")
      assert.deepStrictEqual([...stage.running], ["b"])
      yield* stage.open("go on")
      assert.deepStrictEqual(statuses(results(live.parts)), ["a ok", "b Cancelled"])
      assert.deepInclude(group(live), { policy: "quorum(3) of 2", outcome: "unreachable", winners: [] })
    }))

  it.effect("within: from the first seal; what runs is stopped, and best decides among what there is", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const script: TestModel.Turn = [search("a", 1), TestModel.wait(100), search("b", 2), search("c", 3)]
      const live = yield* start(stage, script, {
        searches: Branch.best<typeof Scored.Type>({ score: "points" }).pipe(Branch.within(500))
      })
      yield* TestClock.adjust(100)
      yield* stage.open("a", "b")
      yield* TestClock.adjust(399)
      assert.deepStrictEqual(statuses(results(live.parts)), ["a Cancelled"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(statuses(results(live.parts)), ["a Cancelled", "b ok", "c TimedOut"])
      assert.deepInclude(failureOf(results(live.parts), "c"), { clock: "group", afterMillis: 500 })
      assert.deepStrictEqual(live.report().groups[0], {
        group: "searches",
        step: 1,
        policy: "best(keep 1) within 500 ms",
        outcome: "timed-out",
        winners: ["b"],
        losers: ["a", "c"],
        millis: 500
      })
    }))

  it.effect("timeout: of each branch, from its seal, its wait for a place included", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const live = yield* start(stage, [search("a"), search("b")], { searches: Branch.all({ timeout: 200 }) }, {
        toolCallConcurrency: 1
      })
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(statuses(results(live.parts)), ["a TimedOut", "b TimedOut"])
      assert.deepInclude(failureOf(results(live.parts), "b"), { clock: "branch", executionStarted: false })
      assert.deepInclude(group(live), { outcome: "decided", winners: [] })
    }))

  it.effect("a group is named by the tools of the option as well", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const live = yield* start(stage, [search("a"), search("b", 1, "docs"), search("c", 1, "code")], {
        pair: { tools: ["web", "docs"], policy: Branch.first(1) }
      })
      yield* stage.open("a")
      assert.deepStrictEqual([...stage.running], ["c"])
      yield* stage.open("c")
      assert.deepInclude(group(live), { group: "pair", winners: ["a"], losers: ["b"] })
    }))

  it.effect("each turn has groups of its own", () =>
    Effect.gen(function*() {
      for (const [loser, by] of [["b", "a"], ["c", "d"]] as const) {
        yield* MockOrchestrator.expectCancelled(loser, CancelReason.superseded(by, "searches"))
      }
      const { result: { report } } = yield* MockOrchestrator.execute("go")
      assert.deepStrictEqual(report.groups.map(({ step, winners }) => [step, winners]), [[1, ["a"]], [2, ["d"]]])
    }).pipe(Effect.provide(
      mock([[search("a"), search("b")], [search("c"), search("d")]], { searches: Branch.first(1) }, { b: 2, c: 2 })
    )))

  it.effect("cancelling a group by name settles it: what is held back is handed on, what comes later is answered", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const script: TestModel.Turn = [
        TestModel.chunk(search("a", 5)),
        search("b", 3, "docs"),
        TestModel.wait(stage.gate("go on").await),
        search("c")
      ]
      const live = yield* start(stage, script, {
        pair: { tools: ["web", "docs"], policy: Branch.best<typeof Scored.Type>({ score: "points" }) }
      })
      yield* stage.open("a")
      const told = yield* Orchestrator.cancel(
        { runId: live.runId, group: "pair" },
        CancelReason.branchCancelled("not needed")
      )
      assert.strictEqual(told, 1)
      yield* settle
      assert.deepStrictEqual(statuses(results(live.parts)), ["a ok", "b Cancelled"])
      yield* stage.open("go on")
      assert.deepStrictEqual(stage.started, ["a", "b"])
      assert.strictEqual(messageOf(live, "c"), "web was cancelled: not needed. It had not started.")
      assert.deepInclude(group(live), { outcome: "cancelled", winners: ["a"], losers: ["b", "c"] })
    }))

  it.effect("a held result never delays the end of a run that is cancelled, interrupted or broken", () =>
    Effect.gen(function*() {
      const best = { searches: Branch.best<typeof Scored.Type>({ score: "points" }) }
      const stage = new Stage()
      const cancelled = yield* start(stage, [search("a"), search("b")], best)
      yield* stage.open("a")
      yield* Orchestrator.cancel({ runId: cancelled.runId })
      yield* settle
      assert.deepStrictEqual(statuses(results(cancelled.parts)), ["a ok", "b Cancelled"])
      assert.isTrue(cancelled.fiber.pollUnsafe() !== undefined)

      const second = new Stage()
      const interrupted = yield* start(second, [search("a"), search("b")], best)
      yield* second.open("a")
      yield* Fiber.interrupt(interrupted.fiber)
      assert.deepStrictEqual(second.interrupted, ["b"])

      const third = new Stage()
      const broken = yield* start(
        third,
        [TestModel.chunk(search("a")), search("b"), TestModel.wait(third.gate("break").await), TestModel.fail(aiError)],
        best
      )
      yield* third.open("a")
      yield* third.open("break")
      yield* third.open("b")
      assert.deepStrictEqual(statuses(results(broken.parts)), ["a ok", "b ok"])
      const exit = broken.fiber.pollUnsafe()
      assert.isTrue(exit !== undefined && Exit.isFailure(exit))
    }))

  it.effect("a call cut off in its arguments is a failed branch", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const script: TestModel.Turn = [
        TestModel.chunk(search("a")),
        TestModel.call(ToolCall("web", {}, { id: "b" }), { open: true, chunks: ["{\"id\":"] })
      ]
      const live = yield* start(stage, script, { searches: Branch.quorum(2) })
      assert.deepStrictEqual(statuses(results(live.parts)), ["b Truncated", "a Cancelled"])
    }))

  it.effect("a call that waits for a person leaves its group", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const ask = (needsApproval: boolean) =>
        ToolPolicy.tool({
          parameters: Schema.Struct({ id: Schema.String }),
          success: Schema.String,
          needsApproval,
          annotations: { group: "g" },
          handler: ({ id }) => stage.play(id)
        })
      const { layer, toolkit } = ToolPolicy.define({ free: ask(false), asked: ask(true) })
      const run = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, completion: { g: Branch.quorum(2) } }).pipe(
          Effect.provide([
            layer,
            scripted([ToolCall("free", { id: "a" }, { id: "a" }), ToolCall("asked", { id: "b" }, { id: "b" })])
          ])
        )
      )
      yield* settle
      const { pendingApprovals, report, toolResults } = yield* Fiber.join(run)
      assert.deepStrictEqual(statuses(toolResults as never), ["a Cancelled"])
      assert.deepStrictEqual([pendingApprovals.length, report.groups[0]?.losers], [1, ["a"]])
    }))

  it.effect("a deaf loser is abandoned and holds up nobody beyond its grace", () => {
    const tool = ToolPolicy.tool({
      success: Schema.String,
      annotations: { group: "g", grace: 100 },
      handler: () => Effect.succeed("quick")
    })
    const { toolkit } = ToolPolicy.define({ deaf: tool, quick: tool })
    return Effect.gen(function*() {
      const { assertNoOrphans, result: { report }, totalDuration } = yield* MockOrchestrator.execute("go")
      assert.strictEqual(Duration.toMillis(totalDuration), 1 + 100)
      assert.deepStrictEqual(report.abandoned, [{
        callId: "a",
        name: "deaf",
        reason: CancelReason.superseded("b", "g")
      }])
      yield* assertNoOrphans({ abandoned: "allow" })
    }).pipe(Effect.provide(
      MockOrchestrator.layer({ toolkit, completion: { g: Branch.first(1) } }).pipe(Layer.provideMerge([
        scripted([ToolCall("deaf", {}, { id: "a" }), ToolCall("quick", {}, { id: "b" })], "done"),
        TestTools.layer(toolkit, { deaf: TestTools.deafPromise(), quick: TestTools.succeed("quick") })
      ]))
    ))
  })

  it.effect("an answer that is asked again has groups of its own, and its calls the outcomes of the first one's", () =>
    Effect.gen(function*() {
      const stage = new Stage()
      const { layer, toolkit } = searches(stage)
      const again = (id: string, of: string, points: number) => ToolCall("web", { id: of, points }, { id })
      const broken: TestModel.Turn = [
        TestModel.chunk(search("a", 5)),
        search("b", 3),
        TestModel.wait(stage.gate("break").await),
        TestModel.fail(aiError)
      ]
      const parts: Array<AnyPart> = []
      const fiber = yield* Orchestrator.stream({
        prompt: "go",
        toolkit,
        completion: { searches: Branch.best<typeof Scored.Type>({ score: "points" }) }
      }).pipe(
        Stream.runForEach((part) => Effect.sync(() => void parts.push(part as AnyPart))),
        Effect.provide([
          layer,
          scripted(broken, [again("a2", "a", 5), again("b2", "b", 3), search("c", 9)], "done"),
          Retry.layer({ base: 100 })
        ]),
        Effect.forkChild
      )
      yield* settle
      yield* stage.open("a")
      yield* stage.open("break")
      assert.deepStrictEqual(statuses(results(parts)), ["a ok"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(stage.started, ["a", "b", "c"])
      yield* stage.open("c")
      assert.deepStrictEqual(statuses(results(parts)), ["a ok", "a2 Cancelled"])
      yield* stage.open("b")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(results(parts)).slice(2).sort(), ["b ok", "b2 Cancelled", "c ok"])
      const last = parts.at(-1)
      const groups = last?.type === "run-finish" ? last.report.groups : []
      assert.deepStrictEqual(groups.map(({ losers, outcome, winners }) => [outcome, winners, losers]), [
        ["cancelled", ["a"], ["b"]],
        ["decided", ["c"], ["a2", "b2"]]
      ])
    }))

  it.effect("calls of several attempts are branches like any other: one that succeeds again may win, one that waits may lose", () =>
    Effect.gen(function*() {
      let tries = 0
      const tool = (millis: number, failures: number) =>
        ToolPolicy.tool({
          success: Scored,
          failure: Schema.String,
          annotations: { group: "searches", readonly: true, retry: { base: 100, while: () => true } },
          handler: () =>
            Effect.andThen(
              Effect.sleep(millis),
              Effect.suspend(() =>
                tries++ < failures ? Effect.fail("not yet") : Effect.succeed({ id: "x", points: millis, note: "" })
              )
            )
        })
      const { layer, toolkit } = ToolPolicy.define({ flaky: tool(10, 1), never: tool(1_000_000, 0) })
      const run = (completion: Branch.Completions<"flaky" | "never">) =>
        Effect.gen(function*() {
          tries = 0
          const fiber = yield* Effect.forkChild(
            Orchestrator.run({ prompt: "go", toolkit, completion }).pipe(
              Effect.provide([
                layer,
                scripted([ToolCall("flaky", {}, { id: "a" }), ToolCall("never", {}, { id: "b" })], "done"),
                Retry.layer({ base: 100 })
              ])
            )
          )
          yield* TestClock.adjust("2 seconds")
          const { report, toolResults } = yield* Fiber.join(fiber)
          return [statuses(toolResults), report.groups[0]?.winners, report.calls[0]?.attempts] as const
        })
      assert.deepStrictEqual(yield* run({ searches: Branch.first(1) }), [["a ok", "b Cancelled"], ["a"], 2])
      assert.deepStrictEqual(
        yield* run({
          searches: Branch.best<typeof Scored.Type>({ score: ({ points }) => -points }).pipe(Branch.within("1 second"))
        }),
        [["a ok", "b TimedOut"], ["a"], 2]
      )
    }))
})

describe("completion, checked when the run starts", () => {
  const Unknown = Schema.Struct({ id: Schema.String })
  const tool = (success: Schema.Top, group?: string) =>
    ToolPolicy.tool({
      success: success as typeof Unknown,
      annotations: group === undefined ? {} : { group },
      handler: () => Effect.succeed({ id: "x" })
    })
  const { layer, toolkit } = ToolPolicy.define({
    web: tool(Scored, "searches"),
    plain: tool(Schema.String, "texts"),
    open: tool(Schema.Record(Schema.String, Schema.Unknown), "open")
  })
  const issueOf = (completion: Branch.Completions) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Orchestrator.run({ prompt: "go", toolkit, completion: completion as never }).pipe(
          Effect.provide([layer, scripted()])
        )
      )
      return error._tag === "OrchestratorError" ? error.message : assert.fail(error.message)
    })

  it.effect.each<readonly [what: string, completion: Branch.Completions, issue: string]>([
    [
      "an unknown group",
      { search: Branch.first(1) },
      "no tool is annotated with the group \"search\", did you mean searches?; groups: searches, texts, open"
    ],
    [
      "an unknown tool",
      { g: { tools: ["wed"], policy: Branch.first(1) } },
      "group \"g\": there is no tool \"wed\", did you mean web?; tools: web, plain, open"
    ],
    ["no tools", { g: { tools: [], policy: Branch.first(1) } }, "group \"g\" has no tools"],
    ["no policy", { g: undefined as never }, "group \"g\" has no policy"],
    [
      "a tool in two groups",
      { searches: Branch.first(1), g: { tools: ["web"], policy: Branch.first(1) } },
      "tool \"web\" is in two groups, \"searches\" and \"g\""
    ],
    [
      "a field that there is not",
      { searches: Branch.best({ score: "score" }) },
      "group \"searches\" scores by the field \"score\", which results of tool \"web\" do not have; fields: id, points, note"
    ],
    [
      "a field of something else",
      { searches: Branch.best({ score: "note" }) },
      "group \"searches\" scores by the field \"note\", which is no number in results of tool \"web\""
    ],
    [
      "a field of a text",
      { texts: Branch.best({ score: "length" }) },
      "group \"texts\" scores by the field \"length\", which results of tool \"plain\" do not have; fields: none"
    ]
  ])("refuses %s", ([, completion, issue]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* issueOf(completion), `Invalid option completion: ${issue}`)
    }))

  it.effect("leaves a field that only the result can tell to the result", () =>
    Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({
        prompt: "go",
        toolkit,
        completion: { open: Branch.best({ score: "points" }) }
      }).pipe(Effect.provide([layer, scripted([ToolCall("open", {}, { id: "a" })], "done")]))
      assert.include(
        (toolResults[0]?.result as { readonly message?: string } | undefined)?.message ?? "",
        "its score \"points\" is undefined, no finite number"
      )
    }))
})
