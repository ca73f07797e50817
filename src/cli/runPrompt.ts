/** One prompt, from its model and tools to what is printed. */
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Report } from "../domain/Report.ts"
import type { AnyPart, RunFinish } from "../domain/ToolEvent.ts"
import * as Orchestrator from "../engine/Orchestrator.ts"
import { failed } from "./CommandError.ts"
import { Ending } from "./Ending.ts"
import type { Policies } from "./environment.ts"
import * as Output from "./Output.ts"
import * as Screen from "./Screen.ts"
import type { Tools } from "./userTools.ts"
import * as Waterfall from "./Waterfall.ts"

/**
 * What to run and how to show it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly prompt: string
  readonly tools: Tools
  readonly model: Layer.Layer<LanguageModel.LanguageModel>
  readonly policies: Policies
  readonly maxParallel: number | undefined
  readonly json: boolean
}

/**
 * Streams the run to the screen and gives its end.
 *
 * **Errors** Those of the run; `CommandError` when the stream ended without its last part.
 *
 * @category running
 * @since 0.1.0
 */
export const runPrompt = Effect.fnUntraced(function*(request: Request) {
  const finish = yield* Effect.scoped(watch(request, yield* Screen.make(request.json)))
  if (!request.json) {
    yield* Output.out(`\n${finish.text === "" ? "(no answer)" : finish.text}\n\n${summary(finish.report)}\n`)
  }
  if (finish.finishReason !== "stop") {
    yield* Output.complain(`toolformer: the last turn ended with ${finish.finishReason}`)
  }
  if (finish.pendingApprovals.length > 0) {
    const names = finish.pendingApprovals.map(({ name }) => name).join(", ")
    yield* Output.complain(`toolformer: not run, they wait for an approval this command cannot ask for: ${names}`)
  }
  return finish
}, Effect.scoped)

const watch = Effect.fnUntraced(function*(request: Request, screen: Screen.Screen) {
  let finish: RunFinish | undefined
  const ending = yield* Ending
  ending.say = screen.note
  const { policies } = request
  const parts = Orchestrator.stream({
    prompt: request.prompt,
    toolkit: request.tools.toolkit,
    ...request.maxParallel === undefined ? {} : { toolCallConcurrency: request.maxParallel }
  })
  const begin = Effect.sync(() => {
    ending.hasBegun = true
  })
  yield* parts.pipe(
    Stream.runForEachArray((parts) => {
      const last = parts.at(-1)
      if (last?.type === "run-finish") finish = last
      return screen.show(parts as ReadonlyArray<AnyPart>)
    }),
    Effect.ensuring(screen.end),
    // Model, tools and limits are there: from here on there is something to drain.
    (run) => Effect.andThen(begin, run),
    Effect.provide([policies.retries, request.tools.layer, request.model, policies.limits])
  )
  return finish ?? (yield* failed("the run ended without a result"))
})

/** What a run cost, in one line. @category formatting @since 0.1.0 */
export const summary = (report: Report): string => {
  const calls = report.calls.length
  const failures = report.calls.filter(({ status }) => status !== "success").length
  const bad = failures === 0 ? "" : `, ${failures} not successful`
  return calls === 0
    ? `No tool calls; ${Waterfall.millis(report.totalMillis)}.`
    : `${calls} tool ${calls === 1 ? "call" : "calls"}${bad}, at most ${report.peakConcurrency} at once, in ${
      Waterfall.millis(report.totalMillis)
    } (model ${Waterfall.millis(report.modelMillis)}).`
}
