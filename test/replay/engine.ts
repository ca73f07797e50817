/**
 * One decision through the whole program: adapter, real HTTP, Orchestrator, handlers that write down what reached them.
 */
import type * as AiError from "effect/ai/AiError"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import * as Orchestrator from "../../src/engine/Orchestrator.ts"
import type { OrchestratorError } from "../../src/engine/Orchestrator.ts"

/** A tool as data. */
export interface ToolSpec {
  readonly name: string
  readonly description?: string
  readonly parameters: object
}

/** A call that reached its handler. */
export interface Ran {
  readonly id: string | undefined
  readonly name: string
  readonly params: unknown
}

export interface Outcome {
  readonly ran: ReadonlyArray<Ran>
  readonly results: ReadonlyArray<
    { readonly id: string; readonly name: string; readonly isFailure: boolean; readonly result: unknown }
  >
  readonly error: OrchestratorError | AiError.AiError | undefined
  /** What was neither success nor a typed failure. */
  readonly defect: string | undefined
}

export interface RunOptions {
  readonly baseURL: string
  readonly api: "chat" | "responses"
  readonly tools: ReadonlyArray<ToolSpec>
  /** Handlers end only when this many have started; unset: at once. */
  readonly together?: number
}

/** Anything a model may send for a tool whose schema is not known. */
export const anyObject: object = { type: "object", additionalProperties: true }

/** A run that takes longer has hung. */
const patienceMillis = 10_000

/** Runs one prompt to its end and tells what happened. Never rejects. */
export const run = async (options: RunOptions): Promise<Outcome> => {
  const ran: Array<Ran> = []
  const latch = Latch.makeUnsafe(options.together === undefined)
  const toolkit = Toolkit.make(...options.tools.map((tool) =>
    Tool.dynamic(tool.name, {
      ...(tool.description === undefined ? undefined : { description: tool.description }),
      parameters: tool.parameters as never,
      success: Schema.Unknown
    })
  ))
  const handlers = Object.fromEntries(options.tools.map((tool) => [
    tool.name,
    (params: unknown, context: { readonly toolCallId?: string }) =>
      Effect.suspend(() => {
        ran.push({ id: context.toolCallId, name: tool.name, params })
        if (ran.length === options.together) latch.openUnsafe()
        return Effect.as(latch.await, "ok")
      })
  ]))
  const program = Orchestrator.run({ prompt: "go", toolkit, maxSteps: 2 }).pipe(
    Effect.provide(toolkit.toLayer(handlers as never)),
    Effect.provide(OpenAi.layer({ model: "m", baseURL: options.baseURL, api: options.api }))
  ) as Effect.Effect<Orchestrator.RunResult<Record<string, Tool.Any>>, OrchestratorError | AiError.AiError>
  const fiber = Effect.runFork(program)
  const timer = setTimeout(() => Effect.runFork(Fiber.interrupt(fiber)), patienceMillis)
  const exit = await Effect.runPromise(Fiber.await(fiber))
  clearTimeout(timer)
  return { ran, ...ending(exit) }
}

const ending = (
  exit: Exit.Exit<Orchestrator.RunResult<Record<string, Tool.Any>>, OrchestratorError | AiError.AiError>
): Omit<Outcome, "ran"> => {
  if (Exit.isSuccess(exit)) {
    const results = exit.value.toolResults.map(({ id, isFailure, name, result }) => ({
      id,
      name,
      isFailure,
      result: result
    }))
    return { results, error: undefined, defect: undefined }
  }
  const error = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
  const defect = error !== undefined
    ? undefined
    : Cause.hasInterrupts(exit.cause)
    ? `hung for ${patienceMillis} ms`
    : Cause.pretty(exit.cause)
  return { results: [], error, defect }
}

/** Names a failure of ours in a result, `undefined` for everything else. */
export const tagOf = (result: unknown): string | undefined =>
  typeof result === "object" && result !== null && "_tag" in result ? String(result._tag) : undefined
