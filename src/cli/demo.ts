/**
 * The demonstration: the embedded planner reads this package's own sources with the built-in tools, then the same run
 * is made twice more, in parallel and with one call at a time, so that the comparison is measured and not estimated.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import * as LocalModel from "../adapter/LocalModel.ts"
import type { Report } from "../domain/Report.ts"
import * as Orchestrator from "../engine/Orchestrator.ts"
import { failed } from "./CommandError.ts"
import * as Output from "./Output.ts"
import { runPrompt } from "./runPrompt.ts"
import * as Folder from "./tools/Folder.ts"
import * as FolderTools from "./tools/FolderTools.ts"
import type { Tools } from "./userTools.ts"
import { millis } from "./Waterfall.ts"

/**
 * What the demonstration asks. The history of each file is asked for where there is one.
 *
 * @category constants
 * @since 0.1.0
 */
export const prompt = (hasHistory: boolean): string =>
  "Find all TypeScript files in src and analyse each of them" +
  (hasHistory ? ", show the git log of each of them" : "") +
  ", search the text of the files in src for \"Effect.fn\" and show the package facts"

/**
 * Runs it.
 *
 * @category running
 * @since 0.1.0
 */
export const demo = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = yield* Effect.orDie(path.fromFileUrl(new URL("../..", import.meta.url)))
  // One Layer each for both runs, so that the second does not load the planner again.
  const model = Layer.succeedContext(yield* Layer.build(LocalModel.layer()))
  const layer = FolderTools.layer.pipe(Layer.provide(Folder.layer(root)))
  const tools = { toolkit: FolderTools.toolkit, layer } as unknown as Tools
  const asked = prompt(yield* Effect.orDie(fs.exists(path.join(root, ".git"))))
  yield* Output.out(`$ toolformer run ${JSON.stringify(asked)} --provider local\n\n`)
  yield* runPrompt({
    prompt: asked,
    tools,
    model,
    policies: { limits: Layer.empty, retries: Layer.empty },
    maxParallel: undefined,
    json: false
  })
  const measured = (atOnce: number) => measure(asked, tools, atOnce).pipe(Effect.provide([layer, model]))
  yield* Output.out(comparison(yield* measured(30), yield* measured(1)))
}).pipe(Effect.scoped)

const measure = Effect.fnUntraced(function*(prompt: string, tools: Tools, toolCallConcurrency: number) {
  const parts = yield* Stream.runCollect(Orchestrator.stream({ prompt, toolkit: tools.toolkit, toolCallConcurrency }))
  const last = parts.at(-1)
  return last?.type === "run-finish" ? last.report : yield* failed("the measured run ended without a result")
})

const toolMillis = (report: Report): number => report.totalMillis - report.modelMillis

// Each call's own time is no measure of what it costs alone: calls that run together on one thread wait for each other.
const comparison = (parallel: Report, sequential: Report): string => {
  const ratio = toolMillis(sequential) / Math.max(1, toolMillis(parallel))
  return [
    "",
    "The same calls twice more, without drawing, files now in the disk cache; time of the tools alone:",
    `  at most ${parallel.peakConcurrency} at once     ${millis(toolMillis(parallel)).padStart(9)}`,
    `  one after the other   ${millis(toolMillis(sequential)).padStart(9)}   ${ratio.toFixed(1)} x as long`,
    "Reading local files hardly waits, so there is little to overlap here. Tools that wait for a network gain up to the number",
    "of calls at once.",
    ""
  ].join("\n")
}
