/** What `Branch` infers and refuses. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Branch, Orchestrator, ToolPolicy } from "../../src/index.ts"

declare const text: Effect.Effect<string, "no text">
declare const count: Effect.Effect<number, "no count">

// Values and failures of effects of several types are their unions.
const raced: Effect.Effect<string | number, Branch.BranchError<"no text" | "no count">> = Branch.race([text, count])
// @ts-expect-error the value may be a text
const narrowed: Effect.Effect<number, unknown> = Branch.race([text, count])
// @ts-expect-error the failures are typed
const unfailing: Effect.Effect<string | number, Branch.BranchError> = Branch.race([text, count])

// A score is asked with the effects' own values.
Branch.best([count], { score: (value: number) => value })
// @ts-expect-error it is asked with a number
Branch.best([count], { score: (value: string) => value.length })

// A field's name is one of the effects' own fields that hold a number.
declare const hit: Effect.Effect<{ readonly title: string; readonly relevance: number }>
declare const other: Effect.Effect<{ readonly relevance: number; readonly year: number }>
declare const json: Effect.Effect<unknown>
declare const record: Effect.Effect<Readonly<Record<string, number>>>
Branch.best([hit], { score: "relevance", keep: 1, within: "1 second" })
Branch.best([hit, other], { score: "relevance" })
Branch.best([json], { score: "relevance" })
Branch.best([record], { score: "relevance" })
// @ts-expect-error there is no such field
Branch.best([hit], { score: "relevancy" })
// @ts-expect-error it holds a text
Branch.best([hit], { score: "title" })

// @ts-expect-error a policy for texts does not judge numbers
Branch.run([count], Branch.best<string>({ score: (value) => value.length }))
Branch.run([count], Branch.first(1).pipe(Branch.within("1 second")))

const { toolkit } = ToolPolicy.define({
  web: ToolPolicy.tool({ success: Schema.String, annotations: { group: "g" }, handler: () => Effect.succeed("") })
})
Orchestrator.run({ prompt: "go", toolkit, completion: { g: Branch.best<string>({ score: (value) => value.length }) } })
Orchestrator.run({ prompt: "go", toolkit, completion: { h: { tools: ["web"], policy: Branch.first(1) } } })
// @ts-expect-error there is no such tool
Orchestrator.run({ prompt: "go", toolkit, completion: { h: { tools: ["wed"], policy: Branch.first(1) } } })

void [raced, narrowed, unfailing]
