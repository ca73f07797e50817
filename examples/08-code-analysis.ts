/**
 * A code base analysed file by file: this package's own sources.
 *
 * First decision: find the files. Second: one call for each file found, all of them in parallel under a cap of 8. Third: a
 * summary. Every file is really read; one that cannot be read fails its own call and no other. The tools are written in
 * Effect's own way, definition and handlers apart, and the handlers take the file system as a service.
 *
 * Run: npx node examples/08-code-analysis.ts
 * Live: set OPENAI_API_KEY; without it the embedded planner decides, with no key and no network.
 * In a program of your own write "effect-toolformer" for "../src/index.ts".
 *
 * Expected output:
 *   turn 1: find_files x 1
 *   turn 2: analyse_file x …
 *   turn 3: the summary
 *   failed: 0, most at once: 8
 *
 *   …
 *   analyse_file (… calls):
 *     lines: … in all, at most … (…)
 *     commentLines: … in all, at most … (…)
 *     exports: … in all, at most … (…)
 *     imports: … in all, at most … (…)
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, FileSystem, Layer, Path, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { Orchestrator, ToolPolicy } from "../src/index.ts"
import { model } from "./shared/model.ts"

const root = `${import.meta.dirname}/../src`

// ---- the tools: what the model sees

const Unreadable = Schema.Struct({ _tag: Schema.tag("Unreadable"), path: Schema.String })

const FindFiles = Tool.make("find_files", {
  description: "Find and list source files by extension.",
  parameters: Schema.Struct({ extension: Schema.String.annotate({ description: "File extension such as ts" }) }),
  success: Schema.Struct({ files: Schema.Array(Schema.String) }),
  failure: Unreadable
}).annotate(Tool.Readonly, true)

const AnalyseFile = Tool.make("analyse_file", {
  description: "Analyse a source file: count its lines, comments, exports and imports.",
  parameters: Schema.Struct({ path: Schema.String.annotate({ description: "Path of the file" }) }),
  success: Schema.Struct({
    lines: Schema.Int,
    commentLines: Schema.Int,
    exports: Schema.Int,
    imports: Schema.Int
  }),
  failure: Unreadable
}).annotate(Tool.Readonly, true).annotate(ToolPolicy.Timeout, "5 seconds")

const toolkit = Toolkit.make(FindFiles, AnalyseFile)

// ---- the handlers: a Layer that needs the file system

const handlers = toolkit.toLayer(Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const unreadable = (path: string) => () => Unreadable.make({ path })
  return toolkit.of({
    find_files: ({ extension }) =>
      files.readDirectory(root, { recursive: true }).pipe(
        Effect.map((names) => ({ files: names.filter((name) => name.endsWith(ending(extension))).sort() })),
        Effect.mapError(unreadable("."))
      ),
    analyse_file: ({ path }) =>
      files.readFileString(join(root, path)).pipe(Effect.map(analyse), Effect.mapError(unreadable(path)))
  })
}))

// A model may say "ts", ".ts" or "*.ts".
const ending = (extension: string): string => `.${extension.slice(extension.lastIndexOf(".") + 1)}`

const analyse = (source: string): Tool.Success<typeof AnalyseFile> => {
  const lines = source.trimEnd().split("\n")
  return {
    lines: lines.length,
    commentLines: lines.filter((line) => /^\s*(\/\/|\/\*|\*)/.test(line)).length,
    exports: lines.filter((line) => line.startsWith("export ")).length,
    imports: lines.filter((line) => line.startsWith("import ")).length
  }
}

// ---- the run

const program = Effect.gen(function*() {
  const result = yield* Orchestrator.run({
    prompt: "Find all TypeScript files, then analyse each of them.",
    toolkit,
    toolCallConcurrency: 8
  })
  for (const { step, toolCalls } of result.steps) {
    const names = [...new Set(toolCalls.map(({ name }) => name))].join(", ")
    console.log(`turn ${step}: ${names === "" ? "the summary" : `${names} x ${toolCalls.length}`}`)
  }
  const failed = result.toolResults.filter(({ isFailure }) => isFailure)
  console.log(`failed: ${failed.length}, most at once: ${result.report.peakConcurrency}\n`)
  console.log(result.text)
})

await Effect.runPromise(program.pipe(Effect.provide([Layer.provide(handlers, NodeServices.layer), model])))
