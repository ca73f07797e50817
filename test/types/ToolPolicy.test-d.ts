import { Effect, Schema } from "effect"
import type { Context, Layer } from "effect"
import type { Tool } from "effect/ai"
import { ToolPolicy } from "../../src/index.ts"

interface Db {
  readonly _: unique symbol
}
declare const Db: Context.Service<Db, { readonly get: (n: number) => number }>

const { layer, toolkit } = ToolPolicy.define({
  add: ToolPolicy.tool({
    parameters: Schema.Struct({ a: Schema.Finite, b: Schema.Finite }),
    success: Schema.Finite,
    annotations: { readonly: true, timeout: "1 second", resources: ({ a }) => [{ read: `${a}` }] },
    handler: ({ a, b }) => Effect.succeed(a + b)
  }),
  look: ToolPolicy.tool({
    parameters: Schema.Struct({ id: Schema.String }),
    success: Schema.String,
    failure: Schema.Struct({ missing: Schema.String }),
    handler: ({ id }) =>
      Effect.gen(function*() {
        const db = yield* Db
        if (db.get(1) > 1) return yield* Effect.fail({ missing: id })
        return id
      })
  })
})

export const a: Layer.Layer<Tool.Handler<"add"> | Tool.Handler<"look">, never, Db> = layer
export const b: "add" = toolkit.tools.add.name
export type Params = Tool.Parameters<typeof toolkit.tools.add>
export const c: Params = { a: 1, b: 2 }
export const d: Tool.Failure<typeof toolkit.tools.look> = { missing: "x" }

ToolPolicy.tool({
  success: Schema.Finite,
  // @ts-expect-error a wrong result does not compile
  handler: () => Effect.succeed("one")
})

ToolPolicy.tool({
  parameters: Schema.Struct({ text: Schema.String }),
  success: Schema.Struct({ tokens: Schema.Finite }),
  annotations: { service: "openai", cost: { estimate: ({ text }) => text.length, actual: ({ tokens }) => tokens } },
  handler: () => Effect.succeed({ tokens: 1 })
})

ToolPolicy.tool({
  parameters: Schema.Struct({ text: Schema.String }),
  // @ts-expect-error a cost is a number
  annotations: { cost: ({ text }) => text },
  handler: () => Effect.void
})

ToolPolicy.tool({
  success: Schema.Finite,
  // @ts-expect-error the result is what `success` says
  annotations: { cost: { actual: (result: { readonly tokens: number }) => result.tokens } },
  handler: () => Effect.succeed(1)
})

// Retries and hedges are written like every other annotation.
ToolPolicy.tool({
  annotations: {
    idempotent: true,
    retry: { attempts: 3, base: "100 millis", while: (failure) => failure !== undefined },
    hedge: { after: "1 second", max: 2, budget: 0.2 }
  },
  handler: () => Effect.void
})
ToolPolicy.tool({ annotations: { retry: false }, handler: () => Effect.void })
// @ts-expect-error retries are switched off by `false`; `true` says nothing
ToolPolicy.tool({ annotations: { retry: true }, handler: () => Effect.void })
// @ts-expect-error not an option of a hedge
ToolPolicy.tool({ annotations: { hedge: { times: 2 } }, handler: () => Effect.void })
