import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "effect/ai/Prompt"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { results, Stage, statuses } from "../stage.ts"

const Id = Schema.Struct({ id: Schema.String })

const setUp = () => {
  const stage = new Stage()
  const handler = stage.tools.handler("any", ({ id }: typeof Id.Type) => TestTools.succeed(id, { after: 0 }))
  const tool = (needsApproval?: Parameters<typeof ToolPolicy.tool<typeof Id>>[0]["needsApproval"]) =>
    ToolPolicy.tool({ parameters: Id, success: Schema.String, needsApproval, handler })
  return {
    stage,
    ...ToolPolicy.define({
      free: tool(),
      ask: tool(true),
      some: tool(({ id }) => id === "big"),
      effectful: tool(({ id }) => Effect.as(Effect.yieldNow, id === "big")),
      throwing: tool(() => {
        throw new Error("no idea")
      }),
      dying: tool(() => Effect.die("no idea"))
    })
  }
}

const make = (name: string, id = name) => ToolCall(name, { id }, { id })

const answer = (...answers: ReadonlyArray<readonly [approvalId: string, approved: boolean, reason?: string]>) =>
  Prompt.fromMessages([Prompt.toolMessage({
    content: answers.map(([approvalId, approved, reason]) =>
      Prompt.toolApprovalResponsePart({ approvalId, approved, ...(reason === undefined ? undefined : { reason }) })
    )
  })])

describe("approvals", () => {
  it.effect("end the run before the next turn; calls that need none have run", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted([make("ask"), make("free")])
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(stage.started, ["free"])
      assert.deepStrictEqual(statuses(result.toolResults), ["free ok"])
      assert.deepStrictEqual(result.pendingApprovals, [
        { approvalId: "approval_ask", callId: "ask", name: "ask", params: { id: "ask" } }
      ])
      assert.strictEqual((yield* TestModel.requests).length, 1)
      const { calls: reported, criticalPath } = result.report
      assert.deepInclude(reported[0], { callId: "ask", status: "pending", queuedMillis: 0, runMillis: 0 })
      assert.deepStrictEqual(criticalPath.flatMap((part) => "callId" in part ? [part.callId] : []), ["free", "free"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("send one request part for the call, and neither tool-started nor a result", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const parts = yield* Stream.runCollect(Orchestrator.stream({ prompt: "go", toolkit }))
      const about = parts.flatMap((part) =>
        part.type === "tool-approval-request"
          ? [`${part.type} ${part.toolCallId}`]
          : part.type === "tool-started" || part.type === "tool-result"
          ? [part.type]
          : []
      )
      assert.deepStrictEqual(about, ["tool-approval-request ask"])
      const last = parts.at(-1)
      assert.strictEqual(last?.type === "run-finish" ? last.pendingApprovals.length : 0, 1)
    }).pipe(Effect.provide([layer, scripted([make("ask")])]))
  })

  it.effect("across two runs: the approved runs once, the denied never, and the model sees both", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted([make("ask", "yes"), make("ask", "no"), make("free")], "thanks")
    return Effect.gen(function*() {
      const first = yield* Orchestrator.run({ prompt: "go", toolkit })
      const prompt = Prompt.concat(
        first.prompt,
        answer(["approval_yes", true], ["approval_no", false, "too dear"], ["approval_yes", true])
      )
      const parts = yield* Stream.runCollect(Orchestrator.stream({ prompt, toolkit }))
      assert.deepStrictEqual(stage.started, ["free", "yes"])
      assert.deepStrictEqual([...statuses(results(parts))].sort(), [
        "no {\"type\":\"execution-denied\",\"reason\":\"too dear\"}",
        "yes ok"
      ])
      const queued = parts.find((part) => part.type === "tool-queued")
      assert.strictEqual(queued?.type === "tool-queued" ? queued.step : undefined, 0)
      const finish = parts.at(-1)
      assert.strictEqual(finish?.type === "run-finish" ? finish.text : "", "thanks")
      const seen = (yield* TestModel.requests)[1]!.prompt.content.filter(({ role }) => role === "tool")
      const ids = seen.flatMap(({ content }) =>
        typeof content === "string" ? [] : content.map((part) => "id" in part ? part.id : "")
      )
      assert.includeMembers(ids, ["free", "yes", "no"])
      // Fed back once more, nothing is left to run.
      if (finish?.type !== "run-finish") return
      yield* Orchestrator.run({ prompt: Prompt.concat(finish.prompt, "again"), toolkit })
      assert.deepStrictEqual(stage.started, ["free", "yes"])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("that nobody has answered stop before the model is asked; the answered ones have run", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted([make("ask", "a"), make("ask", "b")])
    return Effect.gen(function*() {
      const first = yield* Orchestrator.run({ prompt: "go", toolkit })
      const second = yield* Orchestrator.run({
        prompt: Prompt.concat(first.prompt, answer(["approval_a", true])),
        toolkit
      })
      assert.deepStrictEqual(stage.started, ["a"])
      assert.strictEqual((yield* TestModel.requests).length, 1)
      assert.deepStrictEqual(second.pendingApprovals.map(({ callId }) => callId), ["b"])
      assert.deepStrictEqual(statuses(second.toolResults), ["a ok"])
      const third = yield* Orchestrator.run({
        prompt: Prompt.concat(second.prompt, answer(["approval_b", true])),
        toolkit
      })
      assert.deepStrictEqual(stage.started, ["a", "b"])
      assert.strictEqual(third.text, "done")
      assert.strictEqual((yield* TestModel.requests).length, 2)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect("of a tool that is not offered any more are answered UnknownTool", () => {
    const { layer, stage, toolkit } = setUp()
    const model = scripted([make("ask")])
    return Effect.gen(function*() {
      const first = yield* Orchestrator.run({ prompt: "go", toolkit })
      const prompt = Prompt.concat(first.prompt, answer(["approval_ask", true]))
      const result = yield* Orchestrator.run({ prompt, toolkit, activeTools: ["free"] })
      assert.deepStrictEqual(statuses(result.toolResults), ["ask UnknownTool"])
      assert.deepStrictEqual(stage.started, [])
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect.each(["some", "effectful"])("are asked for as the parameters say: %s", (name) => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(stage.started, ["small"])
      assert.deepStrictEqual(result.pendingApprovals.map(({ callId }) => callId), ["big"])
    }).pipe(Effect.provide([layer, scripted([make(name, "big"), make(name, "small")])]))
  })

  it.effect.each(["throwing", "dying"])("that cannot be decided (%s) fail that call, which never runs", (name) => {
    const { layer, stage, toolkit } = setUp()
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(stage.started, ["free"])
      assert.deepStrictEqual(statuses(result.toolResults), [`${name} HandlerFailed`, "free ok"])
      assert.deepStrictEqual(result.pendingApprovals, [])
    }).pipe(Effect.provide([layer, scripted([make(name), make("free")])]))
  })

  it.effect("are not asked for arguments that do not fit", () => {
    const { layer, toolkit } = setUp()
    return Effect.gen(function*() {
      const result = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(statuses(result.toolResults), ["a InvalidInput"])
      assert.deepStrictEqual(result.pendingApprovals, [])
    }).pipe(Effect.provide([layer, scripted([ToolCall("ask", { id: 7 }, { id: "a" })])]))
  })
})
