/**
 * Runs of the engine against a provider on loopback that misbehaves, over real HTTP, with handlers that note what they did.
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { chatEvent, events, start, utf8 } from "../replay/server.ts"
import type { Answer, Provider, Seen, Server } from "../replay/server.ts"

export const server: Effect.Effect<Server, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(start),
  (server) => Effect.promise(server.close)
)

/** A provider that gives these answers in order, and the last one for ever. */
export const answering = (...answers: ReadonlyArray<Answer | Provider>): Provider => (seen, turn) => {
  const answer = answers[Math.min(turn, answers.length - 1)]!
  return typeof answer === "function" ? answer(seen, turn) : answer
}

export interface Mounted {
  readonly model: ReturnType<typeof OpenAi.layer>
  readonly seen: ReadonlyArray<Seen>
}

export const mount = (server: Server, ...answers: ReadonlyArray<Answer | Provider>): Mounted => {
  const { baseURL, seen } = server.mount(answering(...answers))
  return { model: OpenAi.layer({ model: "m", baseURL }), seen }
}

/** What reached the handlers. */
export const tools = () => {
  const ran: Array<string> = []
  const handler = ({ id }: { readonly id: string }) => Effect.sync(() => ran.push(id)).pipe(Effect.as(id))
  const parameters = Schema.Struct({ id: Schema.String })
  return {
    ran,
    ...ToolPolicy.define({
      save: ToolPolicy.tool({ parameters, success: Schema.String, handler }),
      look: ToolPolicy.tool({ parameters, success: Schema.String, annotations: { readonly: true }, handler })
    })
  }
}

/** One prompt to its end: its parts, and what it failed with. */
export const observe = <E, R>(
  options: Omit<Parameters<typeof Orchestrator.stream>[0], "prompt" | "toolkit">,
  { layer, toolkit }: Pick<ReturnType<typeof tools>, "layer" | "toolkit">,
  provided: Layer.Layer<any, E, R>
) => {
  const parts: Array<AnyPart> = []
  return Orchestrator.stream({ prompt: "go", toolkit, ...options as object }).pipe(
    Stream.runForEach((part) => Effect.sync(() => parts.push(part as AnyPart))),
    Effect.provide([layer, provided]),
    Effect.result,
    Effect.map((result) => ({ parts, error: result._tag === "Failure" ? result.failure : undefined }))
  )
}

/** A call of `save` or `look`, whole, as a chunk of Chat Completions. */
export const callOf = (id: string, name = "save", index = 0): string =>
  chatEvent({
    delta: {
      tool_calls: [{ index, id, type: "function", function: { name, arguments: JSON.stringify({ id }) } }]
    },
    finish_reason: null
  })

/** A call that is cut in its arguments. */
export const halfOf = (id: string, name = "save", index = 0): string =>
  chatEvent({
    delta: { tool_calls: [{ index, id, type: "function", function: { name, arguments: "{\"id\":\"ha" } }] },
    finish_reason: null
  })

export const says = (text: string): string => chatEvent({ delta: { content: text }, finish_reason: null })

export const ends = (reason: string): string => `${chatEvent({ delta: {}, finish_reason: reason })}data: [DONE]\n\n`

/** A streamed answer of these events. */
export const streams = (...texts: ReadonlyArray<string>): Answer => events(texts.map(utf8))
