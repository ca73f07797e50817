/**
 * Our side: `Orchestrator.run` and `Orchestrator.stream`, with a timeout per call and one turn of the model, as the
 * peers.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Branch, Executor, Orchestrator } from "../../../src/index.ts"
import { toolkit } from "./scripted.ts"

const options = (toolCallConcurrency: number) => ({
  prompt: "work",
  toolkit,
  toolCallConcurrency,
  maxSteps: 1,
  timeout: { tool: "30 seconds" as const }
})

/** One decision under a cap; returns how many tool results came out. Spans are made with whatever tracer there is. */
export const decide = (concurrency: number) =>
  Effect.map(Orchestrator.run(options(concurrency)), (result) => result.toolResults.length)

/** The same, over as soon as one call has succeeded. */
export const decideFirst = (concurrency: number) =>
  Effect.map(
    Orchestrator.run({
      ...options(concurrency),
      completion: { all: { tools: ["work"], policy: Branch.first(1) } }
    }),
    (result) => result.toolResults.length
  )

/** No run at all: the effects, raced. */
export const race = (effects: ReadonlyArray<Effect.Effect<number>>) => Effect.orDie(Branch.race(effects))

/** The same as a stream, read to its end. */
export const decideStreaming = (concurrency: number) =>
  Orchestrator.stream(options(concurrency)).pipe(
    Stream.runFold(() => 0, (count, part) => part.type === "tool-result" ? count + 1 : count)
  )

/**
 * The same with a tracer that makes real spans and exports nothing, so that only the cost of making them shows. Fails
 * if a result came without its span.
 */
export const decideTraced = (concurrency: number) =>
  Effect.suspend(() => {
    let spans = 0
    const tracer = Tracer.make({
      span: (span) => {
        if (span.name.startsWith("execute_tool")) spans++
        return new Tracer.NativeSpan(span)
      }
    })
    return decide(concurrency).pipe(
      Effect.withTracer(tracer),
      Effect.flatMap((results) =>
        spans === results ? Effect.succeed(results) : Effect.die(new Error(`${spans} spans for ${results} results`))
      )
    )
  })

/** A handler around a promise whose signal carries the reason; a rejection is a defect, as in the other peers. */
export const promise = (make: (signal: AbortSignal) => Promise<number>): Effect.Effect<number> =>
  Effect.orDie(Executor.promise(make))
