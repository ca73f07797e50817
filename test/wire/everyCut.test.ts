/**
 * Every recorded stream of the wires we speak, cut behind every byte: the turn is asked again and the whole recording comes. No
 * tool runs on partial arguments, and no call that arrived whole runs twice.
 */
import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Orchestrator, ToolCall } from "../../src/index.ts"
import { TestModel } from "../../src/testing/index.ts"
import { describeData } from "../data.ts"
import { random } from "../random.ts"
import { anyObject } from "../replay/engine.ts"
import { reading, wanted } from "../replay/exchange.ts"
import type { Exchange } from "../replay/exchange.ts"
import { seedOf } from "../replay/report.ts"
import { done, start, utf8 } from "../replay/server.ts"
import { streamed } from "../replay/wire.ts"
import { retrying } from "../retry.ts"

type Parts = ReadonlyArray<Response.StreamPartEncoded>

/** What a cut stream brings before it ends: `error` unless its end was one. */
interface Cut {
  readonly at: string
  readonly parts: Parts
  readonly finished: boolean
}

const hungUp = AiError.make({
  module: "Wire",
  method: "streamText",
  reason: new AiError.NetworkError({ reason: "TransportError", method: "POST", url: "", description: "hung up" })
})

// ---- the cuts of a recording ----------------------------------------------------------------------------------------------

/**
 * The different things that cuts bring. A connection that breaks brings the parts before the cut, one outcome for all bytes
 * inside an event; a body that ends there, by mistake, also what its end brings: at every byte of a small recording, else
 * around each event's end.
 */
const cutsOf = (exchange: Exchange): { readonly cuts: ReadonlyArray<Cut>; readonly bytes: number } => {
  const bytes = utf8(exchange.body)
  const reader = reading(exchange)
  const all: Array<Response.StreamPartEncoded> = []
  const counts: Array<number> = [0]
  for (let at = 0; at < bytes.length; at++) {
    all.push(...reader.push(bytes.subarray(at, at + 1)))
    counts.push(all.length)
  }
  const cuts = new Map<string, Cut>()
  counts.forEach((count, at) => {
    const key = `broken ${count}`
    if (!cuts.has(key)) cuts.set(key, { at: `broken at ${at}`, parts: all.slice(0, count), finished: false })
    const nearEvent = counts[at + 1] !== count || counts[at + 2] !== count || counts[at - 1] !== count
    if (bytes.length > 8000 && !nearEvent) return
    const ended = endedAt(exchange, bytes.subarray(0, at))
    const last = ended.parts.map((part) => part.type === "tool-call" ? part.id : part.type).join()
    const outcome = `ended ${count} ${last} ${ended.finished}`
    if (!cuts.has(outcome)) {
      cuts.set(outcome, { ...ended, at: `ended at ${at}`, parts: [...all.slice(0, count), ...ended.parts] })
    }
  })
  return { cuts: [...cuts.values()], bytes: bytes.length }
}

const endedAt = (exchange: Exchange, bytes: Uint8Array): { readonly parts: Parts; readonly finished: boolean } => {
  const reader = reading(exchange)
  reader.push(bytes)
  const { ending, parts } = reader.end()
  return { parts: parts, finished: ending._tag === "Finished" }
}

// ---- one run ----------------------------------------------------------------------------------------------------------------

const textOf = (name: string, params: unknown) => `${name} ${ToolCall.canonical(params)}`

/** The tools of a recording, with handlers that note what reached them. Every second one may be repeated. */
const toolsOf = (exchange: Exchange) => {
  const ran: Array<string> = []
  const names = [...new Set(exchange.calls.map(({ name }) => name))]
  const toolkit = Toolkit.make(
    ...names.map((name, n) =>
      Tool.dynamic(name, { parameters: anyObject as never, success: Schema.Unknown }).annotate(
        Tool.Readonly,
        n % 2 === 1
      )
    )
  )
  const handlers = Object.fromEntries(names.map((name) => [
    name,
    (params: unknown) =>
      Effect.sync(() => {
        ran.push(textOf(name, params))
        return "ok"
      })
  ]))
  return { ran, toolkit, layer: toolkit.toLayer(handlers as never) }
}

interface Observed {
  readonly parts: ReadonlyArray<AnyPart>
  readonly prompt: Prompt.Prompt | undefined
}

const observe = (used: ReturnType<typeof toolsOf>, model: Layer.Layer<LanguageModel.LanguageModel>) => {
  const parts: Array<AnyPart> = []
  used.ran.length = 0
  return Orchestrator.stream({ prompt: "go", toolkit: used.toolkit, maxSteps: 3 }).pipe(
    Stream.runForEach((part) => Effect.sync(() => parts.push(part as AnyPart))),
    Effect.provide([used.layer as never, model, retrying([0, 0]).layer]),
    Effect.map((): Observed => {
      const end = parts.at(-1)
      return { parts, prompt: end?.type === "run-finish" ? end.prompt : undefined }
    })
  ) as Effect.Effect<Observed, unknown>
}

const ids = (parts: ReadonlyArray<{ readonly type: string }>, type: string) =>
  (parts as ReadonlyArray<{ readonly type: string; readonly id: string; readonly providerExecuted?: boolean }>)
    .flatMap((part) => part.type === type && part.providerExecuted !== true ? [part.id] : [])

/** What is wrong with what came of a cut; nothing when all is well. */
const faultsOf = (
  exchange: Exchange,
  ran: ReadonlyArray<string>,
  { parts, prompt }: Observed,
  sealed: number
): ReadonlyArray<string> => {
  const runnable = wanted(exchange).filter(({ params }) => typeof params !== "string")
  const expected = runnable.map(({ name, params }) => textOf(name, params)).sort()
  const faults: Array<string> = []
  const same = (what: string, a: ReadonlyArray<string>, b: ReadonlyArray<string>) => {
    if (a.join() !== b.join()) faults.push(`${what}: ${a.join()} instead of ${b.join()}`)
  }
  same("handlers got", [...ran].sort(), expected)
  same("results in the stream", [...ids(parts, "tool-result")].sort(), [...ids(parts, "tool-call")].sort())
  const kept = (prompt?.content ?? []).flatMap(({ content }) => typeof content === "string" ? [] : content as never)
  same("results in the history", ids(kept, "tool-result"), ids(kept, "tool-call"))
  const adopted = parts.filter(({ type }) => type === "tool-adopted").length
  if (adopted !== sealed) faults.push(`${adopted} calls were adopted, and ${sealed} had arrived`)
  if (prompt === undefined) faults.push("the run did not finish")
  return faults
}

const sealedIn = (parts: ReadonlyArray<{ readonly type: string }>) =>
  (parts as ReadonlyArray<Response.ToolCallPartEncoded>).filter((part) =>
    part.type === "tool-call" && part.providerExecuted !== true && typeof part.params !== "string"
  ).length

describeData("wire", "every recorded stream, cut", (folder) => {
  const { ours } = streamed(folder)
  const whole = ours.filter((exchange) => exchange.whole)

  it("there are recordings of both wires", () => {
    assert.isAbove(whole.filter(({ api }) => api === "chat").length, 5)
    assert.isAbove(whole.filter(({ api }) => api === "responses").length, 3)
  })

  describe("behind every byte", () => {
    it.effect.each(whole.map((exchange) => [exchange.id, exchange] as const))(
      "%s: runs each call once, on whole arguments",
      ([, exchange]) =>
        Effect.gen(function*() {
          const { bytes, cuts } = cutsOf(exchange)
          const all = cuts.findLast(({ finished }) => finished)!.parts
          const used = toolsOf(exchange)
          assert.isAbove(cuts.length, 3)
          for (const cut of cuts) {
            const turns = cut.finished ? [cut.parts] : [[...cut.parts, TestModel.fail(hungUp)], all]
            const observed = yield* observe(used, TestModel.script(turns, { otherwise: "done" }))
            const faults = faultsOf(exchange, used.ran, observed, cut.finished ? 0 : sealedIn(cut.parts))
            assert.deepStrictEqual(faults, [], `${cut.at} of ${bytes} bytes`)
          }
        }),
      60_000
    )
  })

  describe("over HTTP, at seeded bytes", () => {
    it.live("run each call once, on whole arguments", () =>
      Effect.gen(function*() {
        const server = yield* Effect.acquireRelease(Effect.promise(start), (server) => Effect.promise(server.close))
        for (const exchange of whole) {
          const bytes = utf8(exchange.body)
          const r = random(seedOf(exchange.id) ^ 0xc07)
          const used = toolsOf(exchange)
          const headers = { "content-type": "text/event-stream" }
          for (let n = 0; n < 4; n++) {
            const at = r.int(0, bytes.length - 1)
            const { baseURL, seen, unmount } = server.mount(({ body }, turn) =>
              turn === 0
                ? { status: 200, headers, chunks: at === 0 ? [] : [bytes.subarray(0, at)], hangUp: true }
                : /"tool_call_id"|"function_call_output"/.test(JSON.stringify(body))
                ? done(exchange.api)
                : { status: 200, headers, chunks: [bytes] }
            )
            const observed = yield* observe(used, OpenAi.layer({ model: "m", baseURL, api: exchange.api }))
            unmount()
            const adopted = observed.parts.filter(({ type }) => type === "tool-adopted").length
            const faults = faultsOf(exchange, used.ran, observed, adopted)
            assert.deepStrictEqual(faults, [], `${exchange.id}, cut at ${at}`)
            // An answer without calls may be whole before the cut.
            assert.isAtLeast(seen.length, exchange.calls.length > 0 ? 2 : 1)
          }
        }
      }).pipe(Effect.scoped), 60_000)
  })
})
