import { Context, Effect, Schema } from "effect"
import type { Layer } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { ToolPolicy } from "../../src/index.ts"
import { TestTools } from "../../src/testing/index.ts"

class Db extends Context.Service<Db, { readonly rows: number }>()("test/Db") {}

const Search = Tool.make("search", {
  parameters: Schema.Struct({ query: Schema.String, limit: Schema.FiniteFromString }),
  success: Schema.Struct({ state: Schema.Literals(["found", "lost"]), hits: Schema.Array(Schema.String) }),
  failure: Schema.Struct({ status: Schema.Finite })
})
const Note = Tool.make("note", { parameters: Schema.Struct({ text: Schema.String }), success: Schema.String })
const Count = Tool.make("count", { success: Schema.Finite, dependencies: [Db] })
const toolkit = Toolkit.make(Search, Note, Count)

// Every form of a script, literals of the success inferred from the schema.
export const a: Layer.Layer<
  Tool.Handler<"search"> | Tool.Handler<"note"> | Tool.Handler<"count"> | TestTools.TestTools
> = TestTools.layer(toolkit, {
  search: ({ limit, query }, nth) =>
    limit.toFixed() === "1"
      ? TestTools.fail({ status: 404 })
      : TestTools.succeed({ state: "found", hits: [query, nth.toFixed()] }, { after: "2 seconds" }),
  note: [
    TestTools.succeed("a"),
    TestTools.die(new Error("no")),
    TestTools.never,
    TestTools.deaf(),
    TestTools.deaf({ for: "1 second" }),
    TestTools.deaf(TestTools.succeed("b")),
    TestTools.deafPromise(),
    TestTools.deafPromise(TestTools.succeed("b")),
    TestTools.stuckFinalizer({ for: 10 }),
    TestTools.gate("c"),
    TestTools.gate(TestTools.succeed("d"), { name: "gate" }),
    TestTools.progress(["1 %", "2 %"], TestTools.succeed("e"), { every: "1 second" }),
    TestTools.effect(Effect.succeed("f")),
    TestTools.effect(({ id, preliminary }) => Effect.as(preliminary("half"), id))
  ],
  count: TestTools.effect(Effect.map(Db, ({ rows }) => rows))
})

// A script may leave tools out.
TestTools.layer(toolkit, { note: TestTools.succeed("a") })
TestTools.layer(toolkit, {})
TestTools.layer(toolkit, {
  search: TestTools.gate({ state: "lost", hits: [] })
})

TestTools.layer(toolkit, {
  // @ts-expect-error a wrong result
  note: TestTools.succeed(1)
})
TestTools.layer(toolkit, {
  // @ts-expect-error a wrong result in a list
  note: [TestTools.succeed("a"), TestTools.succeed(1)]
})
TestTools.layer(toolkit, {
  // @ts-expect-error a wrong result of a function
  note: ({ text }) => TestTools.succeed(text.length)
})
TestTools.layer(toolkit, {
  // @ts-expect-error not one of the success's literals
  search: TestTools.succeed({ state: "gone", hits: [] })
})
TestTools.layer(toolkit, {
  // @ts-expect-error a wrong failure
  search: TestTools.fail({ code: 404 })
})
TestTools.layer(toolkit, {
  // @ts-expect-error a tool without a failure of its own fails with none
  note: TestTools.fail({ status: 404 })
})
TestTools.layer(toolkit, {
  // @ts-expect-error parameters are those of the tool, decoded
  search: ({ limit }) => TestTools.succeed({ state: "found", hits: [limit.toUpperCase()] })
})
// @ts-expect-error no tool of the toolkit
TestTools.layer(toolkit, { serch: TestTools.never })
// @ts-expect-error a bare value is no behaviour
TestTools.layer(toolkit, { note: "a" })
TestTools.layer(toolkit, {
  // @ts-expect-error a wrong result behind a gate
  note: TestTools.gate(1)
})
TestTools.layer(toolkit, {
  // @ts-expect-error a wrong result of a deaf handler
  note: TestTools.deaf(TestTools.succeed(1))
})
TestTools.layer(toolkit, {
  // @ts-expect-error progress has the shape of a result
  note: TestTools.progress([1], TestTools.succeed("a"))
})
TestTools.layer(toolkit, {
  // @ts-expect-error a service that the tool does not depend on
  note: TestTools.effect(Effect.map(Db, ({ rows }) => `${rows}`))
})
// @ts-expect-error not an option
TestTools.succeed("a", { afterwards: 1 })

// Reading needs the layer.
// @ts-expect-error TestTools is missing
Effect.runSync(TestTools.calls)

// A handler in its definition: typed by what it gives, its parameters by the definition.
const tools = TestTools.recorderUnsafe()
export const defined: Layer.Layer<Tool.Handler<"a"> | Tool.Handler<"b"> | Tool.Handler<"c">, never, Db> = ToolPolicy
  .define({
    a: ToolPolicy.tool({
      parameters: Schema.Struct({ query: Schema.String }),
      success: Schema.Literals(["found", "lost"]),
      failure: Schema.Finite,
      handler: tools.handler(
        "a",
        ({ query }, nth) => query === "" ? TestTools.fail(nth) : TestTools.succeed("found" as const)
      )
    }),
    b: ToolPolicy.tool({
      success: Schema.Finite,
      failure: Schema.String,
      handler: tools.handler("b", [TestTools.fail("busy"), TestTools.effect(Effect.map(Db, ({ rows }) => rows))])
    }),
    c: ToolPolicy.tool({ handler: tools.handler("c", TestTools.deaf()) })
  }).layer
export const record: Layer.Layer<TestTools.TestTools> = tools.layer

ToolPolicy.tool({
  success: Schema.String,
  // @ts-expect-error a wrong result
  handler: tools.handler("d", TestTools.succeed(1))
})
ToolPolicy.tool({
  // @ts-expect-error a failure that the tool does not have
  handler: tools.handler("e", TestTools.fail("busy"))
})
