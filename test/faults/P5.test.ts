import { assert, describe, it } from "@effect/vitest"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, encoded, scripted } from "../model.ts"
import { retrying } from "../retry.ts"
import { results, statuses } from "../stage.ts"

const setUp = () => {
  const ran: Array<string> = []
  const handler = ({ id }: { readonly id: string }) => Effect.sync(() => ran.push(id)).pipe(Effect.as(id))
  const parameters = Schema.Struct({ id: Schema.String })
  return {
    ran,
    ...ToolPolicy.define({
      look: ToolPolicy.tool({ parameters, success: Schema.String, annotations: { readonly: true }, handler }),
      save: ToolPolicy.tool({ parameters, success: Schema.String, handler })
    })
  }
}

/** The arguments of each call come in five pieces, two calls interleaved. */
const pieces = (id: string, name: string): ReadonlyArray<Response.StreamPartEncoded> => {
  const [start, delta, ...rest] = encoded(ToolCall(name, { id }, { id }))
  const json = delta?.type === "tool-params-delta" ? delta.delta : ""
  const cut = [json.slice(0, 2), json.slice(2, 5), json.slice(5)]
  return [start!, ...cut.map((delta) => ({ type: "tool-params-delta" as const, id, delta })), ...rest]
}
const interleaved = (a: ReadonlyArray<Response.StreamPartEncoded>, b: ReadonlyArray<Response.StreamPartEncoded>) =>
  a.flatMap((part, i) => [part, b[i]!])

const whole = [
  ...encoded("working"),
  ...pieces("one", "save"),
  ...interleaved(pieces("two", "look"), pieces("three", "save")),
  ...pieces("four", "look"),
  ...encoded(TestModel.finish("tool-calls"))
]

/** What a stream cut after `count` parts had opened and sealed. */
const upTo = (count: number) => {
  const seen = whole.slice(0, count)
  const opened = seen.flatMap((part) => part.type === "tool-params-start" ? [part.id] : [])
  const sealed = seen.flatMap((part) => part.type === "tool-call" ? [part.id] : [])
  return { seen, opened, sealed, open: opened.filter((id) => !sealed.includes(id)) }
}

describe("P5: a stream cut after each of its parts", () => {
  const cuts = Array.from({ length: whole.length }, (_, count) => count)

  it.effect.each(cuts)("P5: runs whole calls once and no other, after %d parts", (count) => {
    const { layer, ran, toolkit } = setUp()
    const { open, opened, sealed, seen } = upTo(count)
    // One part a chunk, as on a slow line.
    const model = scripted([...seen.map((part) => TestModel.chunk(part)), TestModel.fail(aiError)])
    return Effect.gen(function*() {
      const parts: Array<{ readonly type: string }> = []
      const error = yield* Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
        Effect.flip
      )
      assert.deepStrictEqual(ran, sealed)
      assert.deepStrictEqual(statuses(results(parts)), sealed.map((id) => `${id} ok`))
      if (opened.length === 0) return assert.strictEqual(error, aiError)
      assert.isTrue(error._tag === "OrchestratorError" && error.reason._tag === "TurnBroken")
      if (error._tag !== "OrchestratorError" || error.reason._tag !== "TurnBroken") return
      assert.deepStrictEqual(error.reason.completed, sealed)
      assert.deepStrictEqual([...error.reason.incomplete].sort(), [...open].sort())
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect.each(cuts)("P5: a run from the error's prompt does not run them again, after %d parts", (count) => {
    const { layer, ran, toolkit } = setUp()
    const { sealed, seen } = upTo(count)
    const model = scripted([...seen, TestModel.fail(aiError)])
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Orchestrator.run({ prompt: "go", toolkit }))
      if (error._tag !== "OrchestratorError") return
      const result = yield* Orchestrator.run({ prompt: error.prompt, toolkit })
      assert.strictEqual(result.text, "done")
      assert.deepStrictEqual(ran, sealed)
      const shown = (yield* TestModel.requests)[1]!.prompt.content.flatMap(({ content }) =>
        typeof content === "string" ? [] : content.flatMap((part) => part.type === "tool-result" ? [part.id] : [])
      )
      assert.deepStrictEqual(shown, sealed)
    }).pipe(Effect.provide([layer, model]))
  })

  it.effect.each(cuts)("P5: asked again, no call runs twice and each has its result, after %d parts", (count) => {
    const { layer, ran, toolkit } = setUp()
    const { sealed, seen } = upTo(count)
    const model = scripted([...seen.map((part) => TestModel.chunk(part)), TestModel.fail(aiError)], whole)
    return Effect.gen(function*() {
      const parts: Array<AnyPart> = []
      yield* Orchestrator.stream({ prompt: "go", toolkit }).pipe(
        Stream.runForEach((part) => Effect.sync(() => parts.push(part as AnyPart)))
      )
      assert.deepStrictEqual(ran, [...sealed, ...["one", "two", "three", "four"].filter((id) => !sealed.includes(id))])
      const made = parts.flatMap((part) => part.type === "tool-call" ? [part.id] : [])
      assert.deepStrictEqual([...statuses(results(parts))].sort(), made.map((id) => `${id} ok`).sort())
      assert.lengthOf(parts.filter(({ type }) => type === "tool-adopted"), sealed.length)
      const [, assistant, tool, answer] = (yield* TestModel.requests)[2]!.prompt.content.map(({ content }) => content)
      const ids = (content: typeof assistant, type: string) =>
        typeof content === "string"
          ? []
          : content!.flatMap((part) => part.type === type && "id" in part ? [part.id] : [])
      assert.lengthOf(ids(assistant, "tool-call"), 4)
      assert.deepStrictEqual(ids(tool, "tool-result"), ids(assistant, "tool-call"))
      assert.isUndefined(answer)
    }).pipe(Effect.provide([layer, model, retrying([0]).layer]))
  })
})
