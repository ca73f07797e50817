/** A small toolkit and a harness around it, for the tests of the harness itself. */
import { Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"

const Query = Schema.Struct({ query: Schema.String })

export const Search = Tool.make("search", { parameters: Query, success: Schema.String, failure: Schema.String })
  .annotate(Tool.Readonly, true)
export const Read = Tool.make("read", {
  parameters: Schema.Struct({ path: Schema.String, lines: Schema.optionalKey(Schema.NumberFromString) }),
  success: Schema.String
}).annotate(Tool.Readonly, true)
  .annotate(ToolPolicy.Resources, (params: { readonly path: string }) => [{ read: `file:${params.path}` }])
export const Single = Tool.make("single", { parameters: Query, success: Schema.String })
  .annotate(ToolPolicy.Concurrency, 1)
export const Write = Tool.make("write", { parameters: Schema.Struct({ path: Schema.String }), success: Schema.String })
  .annotate(ToolPolicy.Resources, (params: { readonly path: string }) => [{ write: `file:${params.path}` }])
export const Pay = Tool.make("pay", { parameters: Query, success: Schema.String, needsApproval: true })

export const toolkit = Toolkit.make(Search, Read, Single, Write, Pay)
export type Tools = typeof toolkit.tools

export const search = (query: string, id?: string) => ToolCall("search", { query }, { id })
export const read = (path: string, id?: string) => ToolCall("read", { path }, { id })

const found = TestTools.succeed("found", { after: "10 millis" })
const usual = { search: found, read: found, single: found, write: found, pay: found }

type Turns = Parameters<typeof TestModel.script>[0]

/** A harness whose model plays these turns, and whose tools take 10 milliseconds, where `script` says nothing else. */
export const harness = (
  turns: Turns,
  script: TestTools.Script<Tools> = {},
  options: Partial<MockOrchestrator.Options<Tools>> = {}
) =>
  MockOrchestrator.layer({ toolkit, ...options }).pipe(
    Layer.provideMerge(Layer.mergeAll(TestModel.script(turns), TestTools.layer(toolkit, { ...usual, ...script })))
  )

/** The message of an effect that fails. */
export const messageOf = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ message }) => message)
