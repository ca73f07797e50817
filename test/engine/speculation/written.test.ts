/** Guesses of what the model is writing, over the wire that does not say when a call is complete. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { FetchHttpClient } from "effect/http"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as OpenAi from "../../../src/adapter/OpenAi.ts"
import { Orchestrator, Speculation, ToolPolicy } from "../../../src/index.ts"
import { chatEvent, done, utf8 } from "../../replay/server.ts"

/** Two pieces of an answer, the second when `until` has come. */
const inTwo = (first: string, second: string, until: Promise<void>): Response =>
  new Response(
    new ReadableStream<Uint8Array>({
      start: async (controller) => {
        controller.enqueue(utf8(first))
        await until
        controller.enqueue(utf8(second))
        controller.close()
      }
    }),
    { headers: { "content-type": "text/event-stream" } }
  )

const entry = (entry: object) => chatEvent({ delta: { tool_calls: [{ index: 0, ...entry }] }, finish_reason: null })

/** A run over Chat Completions whose first answer goes on when a handler has started; what started, and what it came to. */
const runOf = (written: ReadonlyArray<string>, rest: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const started: Array<string> = []
    let go = () => {}
    const until = new Promise<void>((resolve) => {
      go = resolve
    })
    let asked = 0
    const fetch: typeof globalThis.fetch = () => {
      if (asked++ > 0) {
        return Promise.resolve(new Response(done("chat").chunks[0]! as never, { headers: done("chat").headers }))
      }
      const opened = entry({ id: "call_1", type: "function", function: { name: "look", arguments: "" } })
      const text = (pieces: ReadonlyArray<string>) =>
        pieces.map((piece) => entry({ function: { arguments: piece } })).join("")
      const end = `${chatEvent({ delta: {}, finish_reason: "tool_calls" })}data: [DONE]\n\n`
      return Promise.resolve(inTwo(opened + text(written), text(rest) + end, until))
    }
    const { layer, toolkit } = ToolPolicy.define({
      look: ToolPolicy.tool({
        parameters: Schema.Struct({ id: Schema.String }),
        success: Schema.String,
        annotations: { readonly: true },
        handler: ({ id }, { toolCallId }) =>
          Effect.sync(() => {
            started.push(`${toolCallId} ${id}`)
            go()
            return `found ${id}`
          })
      })
    })
    const { report, toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(
      Effect.provide([
        layer,
        Speculation.layer(),
        OpenAi.layer({ model: "m", baseURL: "http://localhost/v1", api: "chat" }).pipe(
          Layer.provide(Layer.succeed(FetchHttpClient.Fetch, fetch))
        )
      ])
    )
    return { entries: report.speculation?.entries ?? [], started, results: toolResults.map(({ result }) => result) }
  })

describe("arguments that look complete", () => {
  it.live("start before the wire says that the call is", () =>
    Effect.gen(function*() {
      // The wire goes on only when the handler has started.
      const { entries, results, started } = yield* runOf(["{\"id\":", "\"a", " ", "}b\"", "}"], [])
      assert.deepStrictEqual(started, ["spec_1 a }b"])
      assert.deepStrictEqual(results, ["found a }b"])
      assert.deepInclude(entries[0], { predictor: "arguments", tool: "look", started: 1, hit: 1, right: 1 })
    }))

  it.live("are thrown away when they go on, and the call has its own", () =>
    Effect.gen(function*() {
      const { entries, results, started } = yield* runOf(["{\"id\":\"a\"}"], [" \n"])
      assert.deepStrictEqual([started, results], [["spec_1 a"], ["found a"]])
      assert.strictEqual(entries[0]?.hit, 1)
      const more = yield* runOf(["{\"id\":\"a\"}"], ["}"])
      assert.deepStrictEqual(more.started, ["spec_1 a"])
      assert.deepInclude(more.entries[0], { started: 1, hit: 0, miss: 1 })
      assert.strictEqual((more.results[0] as { readonly _tag?: string })._tag, "InvalidInput")
    }))
})
