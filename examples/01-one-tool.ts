/**
 * One tool: a definition, a handler, a prompt, an answer.
 *
 * No model can work out a SHA-256 in its head, so it asks for the tool; the engine runs it and hands the result back.
 *
 * Run: npx node examples/01-one-tool.ts
 * Live: set OPENAI_API_KEY; without it the embedded planner chooses the tool, with no key and no network.
 * In a program of your own write "effect-toolformer" for "../src/index.ts".
 *
 * Expected output:
 *   sha256 {"text":"hello"}
 *   2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
 */
import { Effect, Schema } from "effect"
import { Executor, Orchestrator, ToolPolicy } from "../src/index.ts"
import { model } from "./shared/model.ts"

const { toolkit, layer } = ToolPolicy.define({
  sha256: ToolPolicy.tool({
    description: "Computes the SHA-256 hash of a text, in hexadecimal.",
    parameters: Schema.Struct({ text: Schema.String }),
    success: Schema.String,
    annotations: { readonly: true },
    handler: ({ text }) =>
      Executor.promise(() => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).pipe(
        Effect.map((hash) => Buffer.from(hash).toString("hex")),
        Effect.orDie
      )
  })
})

const program = Effect.gen(function*() {
  const { steps, toolResults } = yield* Orchestrator.run({ prompt: `What is the SHA-256 hash of "hello"?`, toolkit })
  for (const { name, params } of steps.flatMap((step) => step.toolCalls)) console.log(name, JSON.stringify(params))
  for (const { result } of toolResults) console.log(result)
})

await Effect.runPromise(program.pipe(Effect.provide([layer, model])))
